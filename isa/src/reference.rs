//! The reference page of the instruction set (`docs/isa.md`), written from the table.

use std::fmt::Write;

use crate::asm::{REGION_USAGE, USAGE, usage};
use crate::operand::Kind;
use crate::queue::Unit;
use crate::rule::Rule;
use crate::table::{TABLE, TableRow};
use crate::text::operand::expected;

const UNITS: [(Unit, &str); 6] = [
    (Unit::Icu, "Instruction control.\nAny queue may hold these."),
    (
        Unit::Mem,
        "Memory slices.\nQueues `mem.e0`, `mem.w0`, ..; one read or gather may pair with one write or scatter.",
    ),
    (Unit::Vxm, "Vector ALUs.\nQueues `vxm.0`, ..; operands and results are aligned groups of streams."),
    (
        Unit::Mxm,
        "Matrix planes.\nFour queues a plane, `mxm.e0.lw`, `.iw`, `.abc`, `.acc`, each for the instruction of its \
        name.",
    ),
    (Unit::Sxm, "Switch units.\nQueues `sxm.e0`, ..; units 0 and 1 of a hemisphere hold the transposers."),
    (Unit::C2c, "Chip-to-chip links.\nQueues `c2c.0`, .."),
];

/// The kinds that the table uses, each once, in order of first use.
fn kinds() -> Vec<Kind> {
    let mut kinds = Vec::new();
    for operand in TABLE.iter().flat_map(|row| row.operands) {
        if !kinds.contains(&operand.kind) {
            kinds.push(operand.kind);
        }
    }
    kinds
}

/// How an operand's bits are read.
fn encoding(kind: Kind) -> &'static str {
    match kind {
        Kind::Stream => "bit 7: 0 east, 1 west; bits 6 to 0: number",
        Kind::Target => "0: none; bit 8 set: a stream in bits 7 to 0",
        Kind::Source => "bits 33 and 32: 0 stream, 1 latch, 2 immediate; bits 31 to 0: its value",
        Kind::Word | Kind::WindowBits | Kind::Row | Kind::Count | Kind::Accumulator | Kind::Superlanes => "unsigned",
        Kind::Stride | Kind::Shift => "two's complement",
        Kind::Format
        | Kind::Arithmetic
        | Kind::Number
        | Kind::Orientation
        | Kind::LoadFormat
        | Kind::PassFormat
        | Kind::Mode
        | Kind::GroupWidth
        | Kind::Edge
        | Kind::BlockSide => "numbered from 0 in the order written here",
    }
}

/// The whole page.
#[must_use]
pub fn reference() -> String {
    let mut page = String::new();
    head(&mut page);
    for (unit, text) in UNITS {
        let rows: Vec<&TableRow> = TABLE.iter().filter(|row| row.unit == unit).collect();
        put(&mut page, format_args!("\n## {}\n\n{text}\n", unit.name().to_uppercase()));
        if rows.is_empty() {
            page.push_str("\nNo instructions yet.\n");
        }
        for row in rows {
            instruction(row, &mut page);
        }
    }
    tail(&mut page);
    page
}

fn put(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text).expect("a String takes all text");
}

fn head(page: &mut String) {
    page.push_str(
        "# Instruction set

<!-- Written from the instruction table by the tests of lpu-isa; BLESS=1 rewrites it. Do not edit. -->

Opcodes and bit layouts are assumed: none are published.
What the delays mean is in [timing](timing.md), what the arithmetic does in [numerics](numerics.md), how files look \
in [program-format](program-format.md).
Delay classes name figures of the chip description.

## Encoding

An item of a queue is opcode (8 bits), pair flag (1 bit), then the operands in written order, each in its kind's \
width, most significant bit first; zero bits fill the last byte.
Bits are numbered from the item's first bit.
The pair flag says that the item issues in the cycle of the item before it.

Groups of streams start at a multiple of their width (a group of 9 at a multiple of 16).
An operand value that the tables below do not give is refused.

## Operands

| Kind | Bits | Written as | Encoding |
|---|---|---|---|
",
    );
    for kind in kinds() {
        put(page, format_args!("| {kind:?} | {} | {} | {} |\n", kind.width(), expected(kind), encoding(kind)));
    }
    page.push_str(
        "\n## Overview\n\n| Opcode | Instruction | Unit | Delay class | Bits | Bytes |\n|---|---|---|---|---|---|\n",
    );
    for row in TABLE {
        let TableRow { opcode, unit, delay, .. } = row;
        let (usage, unit, delay) = (usage(row), unit.name(), delay.name());
        put(
            page,
            format_args!("| {opcode:#04x} | `{usage}` | {unit} | {delay} | {} | {} |\n", row.bits(), row.bytes()),
        );
    }
}

fn instruction(row: &TableRow, page: &mut String) {
    put(page, format_args!("\n### `{}`\n\n{}\n\n", usage(row), row.meaning));
    put(
        page,
        format_args!(
            "Opcode {:#04x}, delay class `{}`, {} bytes.\nSource: {}.",
            row.opcode,
            row.delay.name(),
            row.bytes(),
            row.origin.name()
        ),
    );
    if let Some(operand) = row.strided.and_then(|index| row.operands.get(index)) {
        put(page, format_args!("\nA repeat strides over `{}`.", operand.name));
    }
    let rules: Vec<&str> = row.rules().into_iter().map(Rule::name).collect();
    put(page, format_args!("\n\nCan break: {}.\n\n", rules.join(", ")));
    diagram(row, page);
    page.push_str("\n| Field | Bits | Kind |\n|---|---|---|\n");
    put(page, format_args!("| opcode | 0..7 | {:#010b} |\n| paired | 8 | flag |\n", row.opcode));
    let mut at = row.bits() - row.operands.iter().map(|operand| operand.kind.width()).sum::<usize>();
    for operand in row.operands {
        let width = operand.kind.width();
        let place = if width == 1 { at.to_string() } else { format!("{at}..{}", at + width - 1) };
        put(page, format_args!("| {} | {place} | {:?} |\n", operand.name, operand.kind));
        at += width;
    }
    if at < row.bytes() * 8 {
        let last = row.bytes() * 8 - 1;
        let place = if at == last { at.to_string() } else { format!("{at}..{last}") };
        put(page, format_args!("| padding | {place} | zero |\n"));
    }
}

/// The encoding as a picture: fields from the first bit on, with the numbers of their bits above.
fn diagram(row: &TableRow, page: &mut String) {
    let mut fields = vec![("opcode".to_owned(), 8), ("p".to_owned(), 1)];
    fields.extend(row.operands.iter().map(|operand| (operand.name.to_owned(), operand.kind.width())));
    let padding = row.bytes() * 8 - row.bits();
    if padding > 0 {
        fields.push(("0".to_owned(), padding));
    }
    let (mut above, mut below, mut at) = (String::new(), String::from("|"), 0);
    for (name, width) in fields {
        let last = at + width - 1;
        let numbers = if width == 1 { at.to_string() } else { format!("{at}-{last}") };
        let room = name.len().max(numbers.len()) + 2;
        put(&mut above, format_args!(" {numbers:^room$}"));
        put(&mut below, format_args!("{name:^room$}|"));
        at += width;
    }
    put(page, format_args!("```text\n{}\n{below}\n```\n", above.trim_end()));
}

fn tail(page: &mut String) {
    page.push_str(
        "\n## Rules of a legal program\n\nNumbers order faults that are observed in the same cycle at the \
        same queue.\n\n| Number | Rule | Forbids |\n|---|---|---|\n",
    );
    for rule in Rule::ALL {
        put(page, format_args!("| {} | {} | {} |\n", rule.number(), rule.name(), rule.text()));
    }
    page.push_str("\n## Directives of the text form\n\n");
    for (_, usage) in USAGE {
        put(page, format_args!("- `{usage}`\n"));
    }
    put(page, format_args!("- `{REGION_USAGE}`\n"));
}
