//! Written forms that assembler and disassembler share: operands by their kind, places, names and queues.

use std::fmt::Write;

pub(crate) mod immediate;
pub(crate) mod operand;
pub(crate) mod place;

/// Appends formatted text.
pub(crate) fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a String takes all text");
}
