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

/// Variables of the environment with their values.
type Filters<'a> = &'a [(&'a str, &'a str)];

#[test]
fn diagnostics_are_asked_for_and_go_to_standard_error_alone() {
    let compile = |filters: Filters<'_>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lpu"));
        command.env_remove("LPU_LOG").env_remove("RUST_LOG").envs(filters.iter().copied());
        command.args(["compile", &common::root("tests/checkpoints/plain"), "--timing-only", "--context", "16"]);
        command.output().unwrap()
    };
    let without_seconds = |output: &Output| {
        let text = text(output);
        text.lines().filter(|line| !line.contains(" s")).map(str::to_owned).collect::<Vec<_>>()
    };
    let plain = compile(&[]);
    let all: &[&str] = &["place", "schedule{tokens=16}", "prove", "time.busy", "proven"];
    let cases: [(Filters<'_>, &[&str], &[&str]); 7] = [
        (&[], &[], all),
        (&[("LPU_LOG", ""), ("RUST_LOG", "")], &[], all),
        (&[("LPU_LOG", "debug")], all, &[]),
        (&[("RUST_LOG", "debug")], all, &[]),
        (&[("LPU_LOG", ""), ("RUST_LOG", "lpu_compiler=debug")], &["place"], &["proven"]),
        (&[("LPU_LOG", "lpu_compiler=debug")], &["place"], &["proven"]),
        (&[("LPU_LOG", "lpu_compiler=debug"), ("RUST_LOG", "debug")], &["place"], &["proven"]),
    ];
    for (filters, shown, hidden) in cases {
        let output = compile(filters);
        assert_eq!(without_seconds(&plain), without_seconds(&output), "{filters:?}");
        let events = String::from_utf8_lossy(&output.stderr);
        assert!(shown.iter().all(|stage| events.contains(stage)), "{filters:?}: {events}");
        assert!(!hidden.iter().any(|stage| events.contains(stage)), "{filters:?}: {events}");
        assert_eq!(events.is_empty(), shown.is_empty(), "{filters:?}: {events}");
    }
    for variable in ["LPU_LOG", "RUST_LOG"] {
        let wrong = compile(&[(variable, "lpu=loudly")]);
        let message = String::from_utf8_lossy(&wrong.stderr);
        let named = message.starts_with(&format!("error: {variable}: "));
        assert!(wrong.status.code() == Some(2) && named, "{message}");
    }
}
