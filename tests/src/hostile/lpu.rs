//! Program texts: disassembled containers and lines of the grammar's words, damaged.

use std::borrow::Cow;

use arbitrary::{Result, Unstructured};
use lpu_isa::{ChipRef, TABLE, assemble, disassemble};

const WORDS: &[&str] = &[
    ".chip",
    ".equ",
    ".image",
    ".zero",
    ".data",
    ".file",
    ".host",
    ".hex",
    ".program",
    ".cycles",
    ".interval",
    ".chips",
    ".at",
    ".values",
    ".fill",
    ".queue",
    ".block",
    ".rept",
    ".endr",
    ".include",
    "\n.endr\n",
    "\n.rept 3 i\n",
    ".include a.inc\n",
    "a.inc",
    "c.inc",
    "i",
    "{i}",
    "{base*i/3%2}",
    "e{i}:{base}x3",
    "{9223372036854775807+i}",
    "i/0",
    "0..7/mem.e4",
    "0..65534/mem.e{i}",
    "3..1/vxm.0",
    "0..7/e0..e3:5",
    "0..65535/e0..e65535:0",
    "0..15",
    "-3..9223372036854775807+2",
    "15..-4294967296",
    "l{i}:",
    "18446744073709551615",
    ".input",
    ".output",
    ".const",
    ".code",
    ".state",
    "small",
    "i.bin",
    "x",
    "y",
    "base",
    "loop:",
    "at",
    "e0:5",
    "w1:base+2",
    "e0:0x4294967295+4294967295",
    "65535/e1:0",
    "mem.e0",
    "vxm.3",
    "mxm.w0.lw",
    "sxm.e1",
    "c2c.0",
    "65535/mem.e0",
    "[",
    "]",
    "4294967295",
    "65535",
    "1",
    "0",
    "-1",
    "16",
    "f16",
    "f32",
    "i8",
    "#0.5",
    "#i-7",
    "#x7fc00000",
    "x7e00",
    "1e999",
    "&",
    "@7",
    "@262144",
    "@18446744073709551615",
    "@base+3",
    "e3",
    "w31",
    "a15",
    "_",
    "x+3",
    "base*base",
    "((((",
    "))",
    ",",
    ";",
    "\"",
    "\\",
    "00ff",
];

/// Files that texts include: each other, nothing that ends, lines of their own.
const FILES: &[(&str, &str)] = &[
    ("a.inc", ".rept 2, k\n.include b.inc\n.endr\n"),
    ("b.inc", "nop {k+1}\n.include c.inc\n.include a.inc\n.include no.inc\n"),
    ("c.inc", ".rept 99\nread 0, e0\n&write 1, e0\n.endr\n.rept 4\n"),
];

pub(super) fn make(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut text = if u.arbitrary()? {
        let container = super::lpb::container(u)?;
        disassemble(&container, u.choose(&[None, Some("i.bin")])?.as_deref()).0
    } else {
        ".chip small\n.equ base 5\n.program p\n.state x f32 [1 16] at e0:0 e0:1 e0:2 e0:3\n\
        .code y i8 [2 16] at e1:0x2\n.queue mem.e0\n"
            .to_owned()
    };
    for _ in 0..u.int_in_range(0..=12)? {
        for _ in 0..u.int_in_range(1..=6)? {
            let row = u.choose(TABLE)?;
            text += if u.ratio(1, 6)? { row.mnemonic } else { u.choose(WORDS)? };
            text += " ";
        }
        text += "\n";
    }
    let mut file = text.into_bytes();
    super::damage(u, &mut file)?;
    Ok(file)
}

pub(super) fn read(file: &[u8]) {
    let Ok(text) = std::str::from_utf8(file) else { return };
    let image = [0; 256];
    let mut load = |name: &str| match name {
        "i.bin" => Ok(Cow::Borrowed(&image[..])),
        "no.inc" => Ok(Cow::Borrowed(&b"\xff\xfe"[..])),
        _ => FILES
            .iter()
            .find(|(file, _)| *file == name)
            .map(|(_, text)| Cow::Borrowed(text.as_bytes()))
            .ok_or("no such file".to_owned()),
    };
    let mut chip = |name: &str| (name == "small").then(|| (ChipRef { name: name.into(), fingerprint: [7; 32] }, 16));
    match assemble(text, &mut load, &mut chip) {
        Ok((container, _)) => assert!(container.validate().is_ok(), "what is assembled has a binary form"),
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in errors {
                let text = error.file.as_ref().map_or(text, |file| &file.text);
                assert!(text.get(error.span.start..error.span.start + error.span.length).is_some(), "{error}");
                assert!(!error.message.is_empty() && !error.help.is_empty());
            }
        }
    }
}
