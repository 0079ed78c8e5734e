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
    let including = file.with_file_name("including.lpu");
    fs::write(&including, ".include marked.lpu\n").unwrap();
    for file in [file, including] {
        let checked = lpu(&["check", &file.display().to_string()]);
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
}

/// The exit status of a command whose standard output has no reader from the start.
fn unread(arguments: &[&str]) -> Option<i32> {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    Command::new(env!("CARGO_BIN_EXE_lpu")).args(arguments).stdout(writer).status().unwrap().code()
}

#[test]
fn a_verdict_stays_what_it_is_without_a_reader() {
    let folder = scratch("unread");
    let reads = |count: usize| format!(".chip test-small\n.program p\n.queue mem.e0\n{}", "read 3, e0\n".repeat(count));
    // Few messages, and more than any buffer on the way holds.
    for (name, count) in [("few.lpu", 1), ("many.lpu", 900)] {
        let file = folder.join(name);
        fs::write(&file, reads(count)).unwrap();
        let file = file.display().to_string();
        assert_eq!(lpu(&["check", &file]).status.code(), Some(1), "{name}");
        assert_eq!(unread(&["check", &file]), Some(1), "{name}");
        assert_eq!(unread(&["run", &file]), Some(1), "{name}");
        assert_eq!(unread(&["run", &file, "--trace", "-"]), Some(1), "{name}");
    }
    assert_eq!(unread(&["check", &root("examples/kernels/vector-add.lpu")]), Some(0));
    assert_eq!(unread(&["chips"]), Some(0));
    fs::write(folder.join("system.toml"), fs::read(root("tests/conformance/system.toml")).unwrap()).unwrap();
    fs::write(folder.join("chip.toml"), fs::read(root("tests/conformance/chip.toml")).unwrap()).unwrap();
    fs::create_dir(folder.join("vectors")).unwrap();
    let vectors = fs::read_to_string(root("tests/conformance/vectors/memory.json")).unwrap();
    fs::write(folder.join("vectors/memory.json"), vectors.replace("\"cycles\": ", "\"cycles\": 1")).unwrap();
    assert_eq!(unread(&["conformance", "run", &folder.display().to_string()]), Some(1));
    assert_eq!(unread(&["conformance", "coverage", &folder.display().to_string()]), Some(1));
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
