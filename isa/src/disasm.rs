//! The disassembler: a container to its one canonical text, which assembles back to the same bytes.

mod code;
mod names;
mod queue;

use std::fmt;

use crate::asm::FOLDED;
use crate::image::Fill;
use crate::program::{ChipId, ChipProgram, Container, Program, QueueSet, Region};
use crate::text::place::{print_name, print_runs};
use crate::text::put;
use code::CodeImage;
use names::RegionNames;
use queue::instructions;
pub use queue::item_text;

/// Image and host bytes up to this many are in the text; more go to a file alongside it (assumed).
pub const INLINE_LIMIT: usize = 4096;

/// Bytes on a `.hex` line.
const HEX_BYTES: usize = 32;
/// Runs on a line of a region.
const RUNS: usize = 8;

/// The canonical text, and the bytes of the file alongside it if there is one. `image_file` is the name that the
/// text gives that file; without a name everything is in the text.
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
    let lanes = container.image.vector_bytes;
    for extent in &container.image.extents {
        let zero = extent.fill == Fill::Zero;
        text.push_str(match &side {
            _ if zero => ".zero",
            Some(_) => ".file",
            None => ".data",
        });
        extent.places().for_each(|place| put(&mut text, format_args!(" {place}")));
        if let Some(side) = side.as_ref().filter(|_| !zero) {
            put(&mut text, format_args!(" {}", side.len()));
        }
        if !zero && extent.live() != lanes as usize {
            put(&mut text, format_args!(" {}", extent.live()));
        }
        text.push('\n');
        match &mut side {
            Some(side) => side.extend_from_slice(extent.bytes()),
            None => hex_lines(extent.bytes(), &mut text),
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
    let mut code = CodeImage::new(&container.image);
    for each in &container.programs {
        program(each, &mut code, &mut text);
    }
    (text, side)
}

/// Bytes of image and host section.
fn bytes(container: &Container<'_>) -> usize {
    container.image.extents.iter().map(|extent| extent.bytes().len()).sum::<usize>() + container.host.len()
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

fn program(program: &Program, code: &mut CodeImage<'_>, text: &mut String) {
    text.push_str("\n.program ");
    print_name(&program.name, text);
    put(text, format_args!("\n.cycles {}\n", program.cycles));
    if let Some(interval) = program.interval {
        put(text, format_args!(".interval {interval}\n"));
    }
    let empty = |run: &ChipProgram| program.sets.get(usize::from(run.set)).is_none_or(QueueSet::is_empty);
    let queues = program.chips.iter().rposition(|run| !empty(run) || run.start != 0);
    let regions = program.regions.iter().flat_map(|region| region.runs.iter().map(|run| usize::from(run.chip.0))).max();
    if program.chips.len() != queues.max(regions).map_or(1, |chip| chip + 1) {
        put(text, format_args!(".chips {}\n", program.chips.len()));
    }
    let firsts = first_chips(program);
    let mut chip = 0;
    let alike = program.chips.chunk_by(|one, other| (one.set, &one.links) == (other.set, &other.links));
    for alike in alike.flat_map(|alike| alike.chunks(if alike[0].links.is_empty() { usize::MAX } else { FOLDED })) {
        let of = firsts.get(usize::from(alike[0].set)).copied().unwrap_or(chip);
        let shared = usize::from(chip == of);
        if alike.len() > shared && !empty(&alike[0]) {
            put(text, format_args!(".like {} {of}", ChipRange(chip + shared, chip + alike.len() - 1)));
            alike[0].links.iter().for_each(|(of_set, here)| put(text, format_args!(" {of_set}={here}")));
            text.push('\n');
        }
        chip += alike.len();
    }
    let mut chip = 0;
    for together in program.chips.chunk_by(|one, other| one.start == other.start) {
        if together[0].start != 0 {
            let last = chip + together.len() - 1;
            put(text, format_args!(".start {} {}\n", ChipRange(chip, last), together[0].start));
        }
        chip += together.len();
    }
    for each in &program.regions {
        region(each, text);
        code.comment(each, text);
    }
    for (set, &chip) in program.sets.iter().zip(&firsts) {
        let names = RegionNames::new(program, ChipId(chip as u16));
        for (queue, items) in set {
            text.push_str("\n.queue ");
            if chip != 0 {
                put(text, format_args!("{chip}/"));
            }
            put(text, format_args!("{queue}\n"));
            instructions(*queue, items, &names, text);
        }
    }
}

/// The first chip of each set.
fn first_chips(program: &Program) -> Vec<usize> {
    let mut firsts = Vec::with_capacity(program.sets.len());
    for (chip, run) in program.chips.iter().enumerate() {
        if usize::from(run.set) == firsts.len() {
            firsts.push(chip);
        }
    }
    firsts
}

/// Chips from a first to a last.
struct ChipRange(usize, usize);

impl fmt::Display for ChipRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(first, last) = self;
        if first == last { write!(f, "{first}") } else { write!(f, "{first}..{last}") }
    }
}

fn region(region: &Region, text: &mut String) {
    put(text, format_args!(".{} ", region.kind.text()));
    print_name(&region.name, text);
    put(text, format_args!(" {} [{}, {}] at", region.format, region.vectors, region.lanes));
    let (mut left, mut written) = (&region.runs[..], 0);
    while !left.is_empty() {
        match written {
            0 => text.push(' '),
            _ if written % RUNS == 0 => text.push_str("\n    .at "),
            _ => text.push_str(", "),
        }
        left = &left[print_runs(left, text)..];
        written += 1;
    }
    text.push('\n');
}
