//! The disassembler: a container to its one canonical text, which assembles back to the same bytes.

mod code;

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::asm::{FOLDED, FURTHEST};
use crate::image::Fill;
use crate::operand::Kind;
use crate::program::{ChipId, Container, Program, Region, SliceId, WordRun};
use crate::queue::{Item, Queue};
use crate::table::Instruction;
use crate::text::operand;
use crate::text::place::{print_name, print_runs};
use crate::timeline::{Clock, Slots, wait};
use code::Code;

/// Image and host bytes up to this many are in the text; more go to a file alongside it (assumed).
pub const INLINE_LIMIT: usize = 4096;

/// Bytes on a `.hex` line.
const HEX_BYTES: usize = 32;
/// Runs on a line of a region.
const RUNS: usize = 8;
/// Width of the margin in which the cycles are.
const MARGIN: usize = 10;
/// Column of the comment after an instruction.
const COMMENT: usize = 50;

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
    let mut code = Code::new(&container.image);
    for each in &container.programs {
        program(each, &mut code, &mut text);
    }
    (text, side)
}

/// Bytes of image and host section.
fn bytes(container: &Container<'_>) -> usize {
    container.image.extents.iter().map(|extent| extent.bytes().len()).sum::<usize>() + container.host.len()
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

fn program(program: &Program, code: &mut Code<'_>, text: &mut String) {
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
        code.comment(each, text);
    }
    // Chips that have been written, for queues that are the same on several.
    let mut written: BTreeMap<Queue, usize> = BTreeMap::new();
    for (chip, queues) in program.queues.iter().enumerate() {
        let names = RegionNames::new(program, ChipId(chip as u16));
        for (queue, items) in queues {
            if written.get(queue).is_some_and(|&next| chip < next) {
                continue;
            }
            let same = |other: &BTreeMap<Queue, Vec<Item>>| other.get(queue) == Some(items);
            let next =
                chip + program.queues[chip..].iter().take(usize::from(FOLDED)).take_while(|other| same(other)).count();
            written.insert(*queue, next);
            text.push_str("\n.queue ");
            match (chip, next - 1) {
                (0, 0) => {}
                (first, last) if first == last => put(text, format_args!("{first}/")),
                (first, last) => put(text, format_args!("{first}..{last}/")),
            }
            put(text, format_args!("{queue}\n"));
            instructions(*queue, items, &names, text);
        }
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
    bare_instruction(item, text);
}

fn bare_instruction(item: &Item, text: &mut String) {
    let row = item.instruction.row();
    text.push_str(row.mnemonic);
    for (index, (operand, bits)) in row.operands.iter().zip(item.instruction.operand_bits()).enumerate() {
        text.push_str(if index == 0 { " " } else { ", " });
        operand::print(operand.kind, bits, text);
    }
}

/// Lines of a queue, each with the cycle in which it issues in the margin. Waits that `@` makes again are left out.
fn instructions(queue: Queue, items: &[Item], names: &RegionNames<'_>, text: &mut String) {
    let mut clock = Clock::default();
    let mut waits: Vec<(u64, &Item)> = Vec::new();
    let mut before = None;
    for item in items {
        let now = clock.now();
        let slots = clock.step(item);
        if matches!(item.instruction, Instruction::Nop { .. }) {
            waits.push((now, item));
            continue;
        }
        let start = waits.first().map_or(now, |&(start, _)| start);
        if now - start > FURTHEST || !wait(now - start).eq(waits.iter().map(|(_, item)| **item)) {
            waits.iter().for_each(|&(cycle, item)| line(Some(cycle), item, "", text));
        }
        waits.clear();
        let cycle = (!item.paired && !matches!(item.instruction, Instruction::Repeat { .. })).then_some(slots.first);
        line(cycle, item, &comment(queue, before, item, slots, names), text);
        before = Some(item);
    }
    waits.iter().for_each(|&(cycle, item)| line(Some(cycle), item, "", text));
}

fn line(cycle: Option<u64>, item: &Item, comment: &str, text: &mut String) {
    let start = text.len();
    match cycle {
        Some(cycle) => put(text, format_args!("@{cycle:<width$} ", width = MARGIN - 2)),
        None if item.paired => put(text, format_args!("{:<MARGIN$}", "&")),
        None => put(text, format_args!("{:MARGIN$}", "")),
    }
    bare_instruction(item, text);
    if !comment.is_empty() {
        let width = text.len() - start;
        put(text, format_args!("{:width$}; {comment}", "", width = COMMENT.saturating_sub(width).max(1)));
    }
    text.push('\n');
}

/// The cycles of a repeat, and the names of the words that are accessed.
fn comment(queue: Queue, before: Option<&Item>, item: &Item, slots: Slots, names: &RegionNames<'_>) -> String {
    let Instruction::Repeat { stride, count, .. } = item.instruction else {
        return names.word(queue, &item.instruction).unwrap_or_default();
    };
    let mut comment = format!("@{}..@{}", slots.first, slots.last());
    let name = |step| before.and_then(|before| names.word(queue, &before.instruction.strided(stride, step)));
    if let (Some(first), Some(last)) = (name(1), name(u32::from(count.0))) {
        put(&mut comment, format_args!(" {first}..{last}"));
    }
    comment
}

/// The longest name that is in a comment, and the most runs that are looked through for one, in bytes and runs
/// (assumed): a short file may have a long name for each of many instructions, and many runs that all begin before a
/// word.
const LONGEST: usize = 64;
const MOST_RUNS: usize = 64;

/// The regions' words in each slice of one chip, to name addresses.
struct RegionNames<'p> {
    /// In order of their first words.
    slices: BTreeMap<SliceId, Vec<NamedRun<'p>>>,
}

struct NamedRun<'p> {
    run: WordRun,
    name: &'p str,
    /// Number of the region in its program.
    region: usize,
    /// Words of the region in this slice before the run.
    before: u64,
}

impl<'p> RegionNames<'p> {
    fn new(program: &'p Program, chip: ChipId) -> Self {
        let mut slices: BTreeMap<SliceId, Vec<NamedRun<'p>>> = BTreeMap::new();
        for (number, region) in program.regions.iter().enumerate().filter(|(_, region)| region.name.len() <= LONGEST) {
            let mut counted: BTreeMap<SliceId, u64> = BTreeMap::new();
            for run in region.runs.iter().filter(|run| run.chip == chip) {
                let words = counted.entry(run.slice).or_default();
                slices.entry(run.slice).or_default().push(NamedRun {
                    run: *run,
                    name: &region.name,
                    region: number,
                    before: *words,
                });
                *words += u64::from(run.count);
            }
        }
        slices.values_mut().for_each(|runs| runs.sort_by_key(|named| named.run.word));
        Self { slices }
    }

    /// `x+3`: the region of the word that an instruction of a memory queue accesses, and which of its words there.
    fn word(&self, queue: Queue, instruction: &Instruction) -> Option<String> {
        let Queue::Mem(side, slice) = queue else { return None };
        let operands = instruction.row().operands.iter().zip(instruction.operand_bits());
        let word = operands.filter(|(operand, _)| operand.kind == Kind::Word).map(|(_, bits)| bits).next()?;
        // Which word of a run it is.
        let index = |run: &WordRun| {
            let (distance, stride) = (word.checked_sub(u64::from(run.word))?, u64::from(run.stride.max(1)));
            (distance % stride == 0).then_some(distance / stride).filter(|index| *index < u64::from(run.count))
        };
        let runs = self.slices.get(&SliceId { side, index: slice })?;
        let begun = &runs[..runs.partition_point(|named| u64::from(named.run.word) <= word)];
        let holding = begun
            .iter()
            .rev()
            .take(MOST_RUNS)
            .filter_map(|named| Some((named.region, named.before + index(&named.run)?, named.name)));
        let (_, offset, name) = holding.min()?;
        let mut text = String::new();
        print_name(name, &mut text);
        match offset {
            0 => {}
            offset => put(&mut text, format_args!("+{offset}")),
        }
        // A line end in a name would end the comment.
        (!text.contains(['\n', '\r'])).then_some(text)
    }
}
