//! Generators that follow the table: random bits, shaped so that many fit, kept where the table accepts them.
//! Each is a function of a seed, so that property tests draw a seed and a size.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::NonZeroU64;

use lpu_isa::timeline::{Clock, validate_item};
use lpu_isa::{
    ChipId, ChipRef, Container, Extent, Fill, Format, Hemisphere, Image, Instruction, Item, PlanePort, Program, Queue,
    QueueSet, Region, RegionKind, SliceId, TABLE, TableRow, WordRun,
};

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    pub fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

/// Bits of a width: all random, or few low ones under random top ones, often with low zeros.
fn bits(random: &mut Random, width: usize) -> u64 {
    let mask = (1u64 << width) - 1;
    let low = random.next() & (mask >> random.below(width as u64).min(width as u64 - 1));
    let small = random.next() & 0xff;
    let top = if width > 2 { random.below(4) << (width - 2) } else { 0 };
    let value = match random.below(4) {
        0 => random.next(),
        1 => low,
        _ => top | small,
    };
    let clear = random.pick(&[0, 0, 3, 15]);
    let value = value & mask;
    if width > 7 { value & !clear } else { value }
}

/// An instruction of this row whose operands fit one another.
pub fn instruction(random: &mut Random, row: &TableRow) -> Instruction {
    for _ in 0..1_000_000 {
        let operands: Vec<u64> = row.operands.iter().map(|operand| bits(random, operand.kind.width())).collect();
        if let Some(found) = Instruction::from_bits(row.opcode, &operands).filter(|found| found.validate().is_ok()) {
            return found;
        }
    }
    panic!("no valid `{}` found", row.mnemonic)
}

/// An instruction of any row.
pub fn any_instruction(random: &mut Random) -> Instruction {
    let row = &TABLE[random.below(TABLE.len() as u64) as usize];
    instruction(random, row)
}

/// A valid queue of up to `size` items, at least one.
pub fn items(random: &mut Random, queue: Queue, size: u64) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    let wanted = 1 + random.below(size) as usize;
    while items.len() < wanted {
        let item = Item { instruction: any_instruction(random), paired: random.chance(3) };
        if validate_item(queue, items.last(), Clock::default(), &item).is_ok() {
            items.push(item);
        }
    }
    items
}

pub fn queue(random: &mut Random) -> Queue {
    let side = random.pick(&Hemisphere::BOTH);
    let number = if random.chance(8) { random.next() as u16 } else { random.below(4) as u16 };
    match random.below(4) {
        0 => Queue::Mem(side, number),
        1 => Queue::Vxm(number),
        2 => Queue::Mxm(side, number, random.pick(&PlanePort::ALL)),
        _ => Queue::Sxm(side, number),
    }
}

pub fn name(random: &mut Random) -> String {
    let letters: Vec<char> = "abcXYZ019_.-/ ;\"\\\n\r\t@#é\u{2028}\0".chars().collect();
    (0..=random.below(6)).map(|_| random.pick(&letters)).collect()
}

fn slice(random: &mut Random) -> SliceId {
    SliceId { side: random.pick(&Hemisphere::BOTH), index: random.below(3) as u16 }
}

fn region(random: &mut Random, index: usize, lanes: u32, chips: u64) -> Region {
    let format = random.pick(Format::ALL);
    let vectors = 1 + random.below(40) as u32;
    let mut left = vectors * u32::from(format.bytes());
    let mut runs = Vec::new();
    while left > 0 {
        let count = 1 + random.below(u64::from(left)) as u32;
        let stride = 1 + random.below(3) as u32;
        let word = random.below(1 << 23) as u32;
        let mut run = WordRun { chip: ChipId(random.below(chips) as u16), slice: slice(random), word, count, stride };
        runs.push(run);
        left -= count;
        // The same words of further slices and chips, as ranges are written.
        while left >= count && random.chance(2) {
            match (run.slice.index < 3, u64::from(run.chip.0) + 1 < chips) {
                (false, true) => {
                    (run.chip.0, run.slice.index) = (run.chip.0 + 1, runs[runs.len() - 1].slice.index.saturating_sub(1))
                }
                _ => run.slice.index = (run.slice.index + 1) % 8,
            }
            runs.push(run);
            left -= count;
        }
    }
    let name = format!("{}{index}", name(random));
    let lanes = 1 + random.below(u64::from(lanes)) as u32;
    Region { name, kind: random.pick(RegionKind::ALL), format, vectors, lanes, runs }
}

fn program(random: &mut Random, index: usize, lanes: u32, size: u64) -> Program {
    let chips = 1 + random.below(3);
    let regions = (0..random.below(4) as usize).map(|index| region(random, index, lanes, chips)).collect();
    let mut queues: Vec<QueueSet> = (0..chips)
        .map(|_| {
            let names: Vec<Queue> = (0..random.below(5)).map(|_| queue(random)).collect();
            names.into_iter().map(|name| (name, items(random, name, size))).collect::<QueueSet>()
        })
        .collect();
    // Queues that are the same on several chips, as one line opens them.
    for chip in 1..queues.len() {
        for (queue, items) in queues[chip - 1].clone() {
            if random.chance(2) {
                queues[chip].insert(queue, items);
            }
        }
    }
    let head =
        Program { name: format!("{}{index}", name(random)), cycles: random.below(1 << 40), ..Program::default() };
    let interval = NonZeroU64::new(random.below(2) * random.below(1 << 40));
    let mut program = Program { interval, regions, ..head }.with_queues(queues);
    share(random, &mut program);
    program
}

/// Gives chips the queue set of another, other links and another start.
fn share(random: &mut Random, program: &mut Program) {
    for chip in 0..program.chips.len() {
        if random.chance(2) {
            program.chips[chip].start = random.below(1 << 30);
        }
        if random.chance(2) {
            let of = random.below(program.chips.len() as u64) as usize;
            let set = program.chips[of].set;
            let links = program.sets[usize::from(set)].keys().filter_map(|queue| match queue {
                Queue::C2c(link) => Some((*link, 100 + *link)),
                _ => None,
            });
            let run = &mut program.chips[chip];
            (run.links, run.set) = (links.collect(), set);
        }
    }
    program.normalise();
}

fn image(random: &mut Random, chips: u64) -> Image<'static> {
    let vector_bytes = random.pick(&[1, 16, 20, 64]);
    // Where the words of each slice that are taken end.
    let mut ends: BTreeMap<(u64, usize), u32> = BTreeMap::new();
    let mut place = |random: &mut Random, count: u32| {
        let (chip, side) = (random.below(chips), random.below(2) as usize);
        let end = ends.entry((chip, side)).or_default();
        let word = *end + random.below(3) as u32;
        *end = word + count;
        WordRun {
            chip: ChipId(chip as u16),
            slice: SliceId { side: Hemisphere::BOTH[side], index: 7 },
            word,
            count,
            stride: 1,
        }
    };
    let mut extents = Vec::new();
    while !random.chance(6) {
        let count = 1 + random.below(5) as u32;
        let live = if random.chance(2) { vector_bytes } else { 1 + random.below(vector_bytes.into()) as u32 };
        let mut bytes = |width: u32| Cow::Owned((0..width * count * live).map(|_| random.next() as u8).collect());
        let (single, double) = (bytes(1), bytes(2));
        let mut first = place(random, count);
        let fill = match random.below(3) {
            0 => Fill::Zero,
            1 => Fill::Bytes(single),
            _ => {
                let mut other = place(random, count);
                if random.chance(2) {
                    std::mem::swap(&mut first, &mut other);
                }
                Fill::Pairs(double, other)
            }
        };
        extents.insert(random.below(extents.len() as u64 + 1) as usize, Extent { place: first, fill });
    }
    Image { vector_bytes, extents }
}

/// A container whose queues have up to `size` items.
pub fn container(seed: u64, size: u64) -> Container<'static> {
    let random = &mut Random(seed);
    let count = 1 + random.below(3) as usize;
    let mut image = image(random, 2);
    let programs: Vec<Program> = (0..count).map(|index| program(random, index, image.vector_bytes, size)).collect();
    let chips = programs.iter().map(|program| program.chips.len()).max().unwrap_or(0);
    image.extents.retain(|extent| extent.places().all(|place| usize::from(place.chip.0) < chips));
    let host =
        if random.chance(2) { Vec::new() } else { (0..random.below(300)).map(|_| random.next() as u8).collect() };
    let mut fingerprint = [0; 32];
    fingerprint.iter_mut().for_each(|byte| *byte = random.next() as u8);
    let chip = ChipRef { name: name(random), fingerprint };
    Container { chip, image, programs, host: Cow::Owned(host) }
}
