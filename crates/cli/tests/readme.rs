//! The README is true: every console block is run as it is.
//!
//! Blocks run in order in one folder that holds the repository's `examples`, `tests/checkpoints` and
//! `tests/conformance`. In shown output a line `...` matches any lines, and `...` at the end of a line for any rest
//! of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target)
        } else {
            fs::copy(entry.path(), target).map(drop).unwrap()
        }
    }
}

/// Commands of a console block, each with the output shown.
fn commands(block: &str) -> Vec<(&str, Vec<&str>)> {
    let mut commands: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command, Vec::new())),
            (None, Some((_, shown))) => shown.push(line),
            (None, None) => panic!("output before the first command: {line}"),
        }
    }
    commands
}

/// The words of a command line; double quotes keep blanks.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('"').enumerate();
    parts
        .flat_map(|(index, part)| {
            if index % 2 == 1 { vec![part.to_owned()] } else { part.split_whitespace().map(str::to_owned).collect() }
        })
        .collect()
}

fn agree(shown: &[&str], found: &[&str]) -> bool {
    match (shown.split_first(), found.split_first()) {
        (None, None) => true,
        (Some((&"...", rest)), _) => agree(rest, found) || (!found.is_empty() && agree(shown, &found[1..])),
        (Some((shown, more)), Some((found, rest))) => {
            let same = shown.strip_suffix("...").map_or(shown == found, |start| found.starts_with(start.trim_end()));
            same && agree(more, rest)
        }
        _ => false,
    }
}

#[test]
fn every_command_gives_what_the_readme_shows() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("readme");
    let _ = fs::remove_dir_all(&folder);
    for part in ["examples", "tests/checkpoints", "tests/conformance"] {
        copy(&root().join(part), &folder.join(part));
    }
    let text = readme();
    let mut run = Vec::new();
    for block in text.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap()) {
        for (command, shown) in commands(block) {
            let arguments = match command {
                // This very run is what it does.
                "cargo test --workspace" => continue,
                _ => command
                    .strip_prefix("cargo run --release -- ")
                    .or(command.strip_prefix("lpu "))
                    .expect("a command of the README"),
            };
            let output =
                Command::new(env!("CARGO_BIN_EXE_lpu")).args(words(arguments)).current_dir(&folder).output().unwrap();
            let found = String::from_utf8(output.stdout).unwrap();
            let message = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{command}: {message}");
            assert!(
                agree(&shown, &found.lines().collect::<Vec<_>>()),
                "{command} printed\n{found}but the README shows\n{}",
                shown.join("\n")
            );
            run.push(words(arguments)[0].clone());
        }
    }
    for subcommand in ["generate", "compile", "asm", "disasm", "check", "run", "inspect", "chips", "conformance"] {
        assert!(run.iter().any(|each| each == subcommand), "the README does not show `lpu {subcommand}`");
    }
}
