//! The disassembly says which word of which region an instruction of a memory queue accesses.

use lpu_isa::{ChipRef, assemble, disassemble};

#[test]
fn words_are_counted_over_the_runs_of_a_slice() {
    let text = ".chip small\n.program p\n.state x i8 [5, 16] at e0:10x2, e1:0, e0:20x2+4\n.queue mem.e0\n\
                read 10, e0\nread 11, e0\nread 20, e0\nread 22, e0\nread 24, e0\nread 12, e0\n.queue mem.e1\nread 0, \
                e0\n";
    let chip = ChipRef { name: "small".into(), fingerprint: [0; 32] };
    let (container, _) = assemble(text, &mut |_| Err("no files".into()), &mut |_| Some((chip.clone(), 16))).unwrap();
    let (shown, _) = disassemble(&container, None);
    let comment = |read: &str| {
        let line = shown.lines().find(|line| line.contains(read)).unwrap_or_else(|| panic!("{shown}"));
        line.split_once(';').map(|(_, comment)| comment.trim().to_owned())
    };
    let expected = [
        ("read 10,", Some("x")),
        ("read 11,", Some("x+1")),
        ("read 20,", Some("x+2")),
        ("read 22,", None),
        ("read 24,", Some("x+3")),
    ];
    for (read, name) in expected {
        assert_eq!(comment(read).as_deref(), name, "{read}");
    }
    assert_eq!((comment("read 12,"), comment("read 0,").as_deref()), (None, Some("x")));
}
