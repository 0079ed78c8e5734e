//! The command needs no other file: model, vectors and chips are inside.

mod common;

use std::process::Command;

use common::scratch;

#[test]
fn the_command_works_in_an_empty_folder() {
    let folder = scratch("anywhere");
    for (arguments, shown) in [
        (&["generate", "--max-tokens", "2", "--no-cache"][..], " tokens"),
        (&["conformance", "run", "--engine", "checker"], " met, 0 not met, 0 not run"),
        (&["conformance", "coverage"], "read"),
        (&["chips", "tsp-v1"], "lanes"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_lpu")).args(arguments).current_dir(&folder).output().unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        assert!(output.status.success() && text.contains(shown), "{arguments:?}: {text}");
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "the command left a file");
}
