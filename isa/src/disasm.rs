//! The disassembler: a container to its one canonical text, which assembles back to the same bytes.

use std::fmt::Write;

use crate::program::{Container, Fill, Program, Region};
use crate::queue::Item;
use crate::text::operand;
use crate::text::place::print_name;
use crate::timeline::Clock;

/// Image and host bytes up to this many stand in the text; more go to a file beside it (assumed).
pub const INLINE_LIMIT: usize = 4096;

/// Bytes on a `.hex` line.
const HEX_BYTES: usize = 32;
/// Runs on a line of a region.
const RUNS: usize = 8;
/// Column of the comment behind an instruction.
const COMMENT: usize = 40;

/// The canonical text, and the bytes of the file beside it if there is one. `image_file` is the name that the
/// text gives that file; without a name everything stands in the text.
#[must_use]
pub fn disassemble(container: &Container<'_>, image_file: Option<&str>) -> (String, Option<Vec<u8>>) {
    let mut text = String::new();
    let large = bytes(container) > INLINE_LIMIT;
    let mut side = image_file.filter(|_| large).map(|_| Vec::with_capacity(bytes(container)));
    text.push_str(".chip ");
    print_name(&container.chip.name, &mut text);
    put(&mut text, format_args!(" {} ", container.image.vector_bytes));
    hex(&container.chip.fingerprint, &mut text);
    text.push('\n');
    if let Some(name) = image_file.filter(|_| side.is_some()) {
        text.push_str(".image ");
        print_name(name, &mut text);
        text.push('\n');
    }
    for extent in &container.image.extents {
        match (&extent.fill, &mut side) {
            (Fill::Zero, _) => put(&mut text, format_args!(".zero {}\n", extent.place)),
            (Fill::Bytes(bytes), Some(side)) => {
                put(&mut text, format_args!(".file {} {}\n", extent.place, side.len()));
                side.extend_from_slice(bytes);
            }
            (Fill::Bytes(bytes), None) => {
                put(&mut text, format_args!(".data {}\n", extent.place));
                hex_lines(bytes, &mut text);
            }
        }
    }
    match &mut side {
        _ if container.host.is_empty() => {}
        Some(side) => {
            put(&mut text, format_args!(".host {} {}\n", side.len(), container.host.len()));
            side.extend_from_slice(&container.host);
        }
        None => {
            text.push_str(".host\n");
            hex_lines(&container.host, &mut text);
        }
    }
    for each in &container.programs {
        program(each, &mut text);
    }
    (text, side)
}

/// Bytes of image and host section.
fn bytes(container: &Container<'_>) -> usize {
    let extents = container.image.extents.iter().map(|extent| match &extent.fill {
        Fill::Zero => 0,
        Fill::Bytes(bytes) => bytes.len(),
    });
    extents.sum::<usize>() + container.host.len()
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a String takes all text");
}

fn hex(bytes: &[u8], text: &mut String) {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    for byte in bytes {
        text.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

fn hex_lines(bytes: &[u8], text: &mut String) {
    for line in bytes.chunks(HEX_BYTES) {
        text.push_str("    .hex ");
        hex(line, text);
        text.push('\n');
    }
}

fn program(program: &Program, text: &mut String) {
    text.push_str("\n.program ");
    print_name(&program.name, text);
    put(text, format_args!("\n.cycles {}\n", program.cycles));
    let queues = program.queues.iter().rposition(|queues| !queues.is_empty());
    let regions = program.regions.iter().flat_map(|region| region.runs.iter().map(|run| usize::from(run.chip.0))).max();
    if program.queues.len() != queues.max(regions).map_or(1, |chip| chip + 1) {
        put(text, format_args!(".chips {}\n", program.queues.len()));
    }
    for each in &program.regions {
        region(each, text);
    }
    for (chip, queues) in program.queues.iter().enumerate() {
        for (queue, items) in queues {
            text.push_str("\n.queue ");
            if chip != 0 {
                put(text, format_args!("{chip}/"));
            }
            put(text, format_args!("{queue}\n"));
            instructions(items, text);
        }
    }
}

fn region(region: &Region, text: &mut String) {
    put(text, format_args!(".{} ", region.kind.text()));
    print_name(&region.name, text);
    put(text, format_args!(" {} [{}, {}] at", region.format, region.vectors, region.lanes));
    for (index, run) in region.runs.iter().enumerate() {
        match index {
            0 => text.push(' '),
            _ if index % RUNS == 0 => text.push_str("\n    .at "),
            _ => text.push_str(", "),
        }
        put(text, format_args!("{run}"));
    }
    text.push('\n');
}

/// The written form of one item.
#[must_use]
pub fn item_text(item: &Item) -> String {
    let mut text = String::new();
    instruction(item, &mut text);
    text
}

fn instruction(item: &Item, text: &mut String) {
    if item.paired {
        text.push_str("& ");
    }
    let row = item.instruction.row();
    text.push_str(row.mnemonic);
    for (index, (operand, bits)) in row.operands.iter().zip(item.instruction.operand_bits()).enumerate() {
        text.push_str(if index == 0 { " " } else { ", " });
        operand::print(operand.kind, bits, text);
    }
}

/// Lines of a queue, each with the cycles in which it issues.
fn instructions(items: &[Item], text: &mut String) {
    let mut clock = Clock::default();
    for item in items {
        text.push_str("    ");
        let start = text.len();
        instruction(item, text);
        let blanks = COMMENT.saturating_sub(text.len() - start).max(1);
        text.extend(std::iter::repeat_n(' ', blanks));
        let slots = clock.step(item);
        put(text, format_args!("; @{}", slots.first));
        if slots.count > 1 {
            put(text, format_args!("..@{}", slots.last()));
        }
        text.push('\n');
    }
}
