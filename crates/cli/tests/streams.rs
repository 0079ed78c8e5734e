//! The command between pipes and files of other people.

mod common;

use std::fs;
use std::process::{Command, Stdio};

use common::{lpu, root, scratch};

#[test]
fn a_mark_of_byte_order_before_a_text_is_no_text() {
    let file = scratch("mark").join("marked.lpu");
    let text = fs::read_to_string(root("examples/kernels/vector-add.lpu")).unwrap();
    fs::write(&file, format!("\u{feff}{text}")).unwrap();
    let checked = lpu(&["check", &file.display().to_string()]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn an_error_that_no_reader_takes_is_still_a_refusal() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_lpu"))
        .args(["check", "there is no such file.lpu"])
        .stderr(Stdio::piped())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
}
