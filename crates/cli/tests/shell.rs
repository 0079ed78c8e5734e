//! Completions, manual pages and diagnostics.

mod common;

use std::process::{Command, Output};

use common::lpu;

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn every_shell_completes_every_subcommand() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = text(&lpu(&["completions", shell]));
        for name in ["generate", "compile", "conformance", "completions", "--max-tokens"] {
            assert!(script.contains(name.trim_start_matches('-')), "{shell}: no {name}");
        }
    }
    assert_eq!(lpu(&["completions", "sh"]).status.code(), Some(2));
}

#[test]
fn manual_pages_are_there_at_every_depth() {
    for (page, shown) in [
        (&[][..], "conformance"),
        (&["generate"], "prompt"),
        (&["conformance"], "coverage"),
        (&["conformance", "run"], "engine"),
    ] {
        let roff = text(&lpu(&[&["man"], page].concat()));
        let title = format!(".TH {}", ["lpu"].iter().chain(page).copied().collect::<Vec<_>>().join("-"));
        assert!(roff.contains(&title) && roff.contains(shown), "{page:?}: {roff}");
    }
    for (page, advice) in [(&["nothing"][..], "generate"), (&["chips", "tsp-v1"], "leave it out")] {
        let output = lpu(&[&["man"], page].concat());
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && message.contains(advice), "{message}");
    }
}

#[test]
fn diagnostics_are_asked_for_and_go_to_standard_error_alone() {
    let compile = |filter: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lpu"));
        match filter {
            Some(filter) => command.env("LPU_LOG", filter),
            None => command.env_remove("LPU_LOG"),
        };
        command.args(["compile", &common::root("tests/checkpoints/plain"), "--timing-only", "--context", "16"]);
        command.output().unwrap()
    };
    let (plain, shown) = (compile(None), compile(Some("debug")));
    let without_seconds = |output: &Output| {
        let text = text(output);
        text.lines().filter(|line| !line.contains(" s")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(without_seconds(&plain), without_seconds(&shown));
    assert_eq!(String::from_utf8_lossy(&plain.stderr), "");
    let shown = String::from_utf8_lossy(&shown.stderr).into_owned();
    for stage in ["place", "schedule{tokens=16}", "prove", "time.busy", "proven"] {
        assert!(shown.contains(stage), "no {stage}: {shown}");
    }
    let some = compile(Some("lpu_compiler=debug"));
    let some = String::from_utf8_lossy(&some.stderr).into_owned();
    assert!(some.contains("place") && !some.contains("proven"), "{some}");
    let wrong = compile(Some("lpu=loudly"));
    let message = String::from_utf8_lossy(&wrong.stderr);
    assert!(wrong.status.code() == Some(2) && message.starts_with("error: LPU_LOG: "), "{message}");
}
