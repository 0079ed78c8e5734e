//! What the tests of the command share.
#![allow(dead_code, reason = "each test program uses some of these")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A path in the repository.
pub(crate) fn root(path: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path).display().to_string()
}

/// Runs the command.
pub(crate) fn lpu(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lpu")).args(arguments).output().unwrap()
}

/// An empty folder of this name.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The object that a command printed, which has to succeed.
pub(crate) fn json(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
