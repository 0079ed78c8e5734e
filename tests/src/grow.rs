//! Legal programs grown at random: an issue is drawn so that it meets values on their way, and stays if the checker
//! still finds the program legal. Instructions and operands come from the instruction table, so a new row takes part at
//! once.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use lpu::chip::{Chip, System};
use lpu::isa::{
    ChipId, Count, Direction, Extent, Fill, Flow, Format, Hemisphere, Image, Instruction, Kind, Operand, Orientation,
    PlanePort, Program, Queue, Region, RegionKind, Row, SliceId, Stream, Superlanes, TABLE, Unit, Word, WordRun,
    compress, validate,
};

use crate::dice::Dice;
use crate::memory::pair;

type Issues = Vec<(Queue, u64, Instruction)>;

/// Words that the image initialises in every slice, by bank.
const WORDS: [u32; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 256, 257, 258, 259];

struct Grower<'a> {
    chip: &'a Chip,
    dice: Dice,
    issues: Issues,
    taken: BTreeSet<(Queue, u64)>,
    /// Values put on streams: stream, position, cycle.
    puts: Vec<(Stream, i32, u64)>,
    image: Image<'static>,
}

/// An image of random words and a legal program over it, of about `size` issues beside reads and loads.
#[must_use]
pub fn grow(chip: &Chip, seed: u64, size: usize) -> (Image<'static>, Program) {
    let mut dice = Dice(seed);
    let mut plain = Vec::new();
    for slice in chip.slices() {
        for words in WORDS.chunks(4) {
            let place = WordRun { chip: ChipId(0), slice, word: words[0], count: words.len() as u32, stride: 1 };
            // High bytes of moderate fp16 numbers are frequent, so that sums are often finite.
            let byte = |dice: &mut Dice| {
                if dice.below(4) == 0 { dice.roll() as u8 } else { dice.pick(&[0x34, 0xb4, 0x30, 0x38, 0xb8, 0, 1]) }
            };
            // Of some words only the first lanes are given.
            let live = if dice.below(2) == 0 { chip.lanes() } else { 1 + dice.below(chip.lanes()) };
            let live = if dice.below(3) == 0 { live } else { live.next_multiple_of(16) };
            let bytes: Vec<u8> = (0..words.len() * live).map(|_| byte(&mut dice)).collect();
            plain.push(Extent { place, fill: Fill::Bytes(Cow::Owned(bytes)) });
        }
    }
    // Some stand in turn with others, of the same slice more often than not.
    let mut extents = Vec::new();
    while let Some(mut extent) = plain.pop() {
        if dice.below(2) == 0 && !plain.is_empty() {
            let other = if dice.below(3) > 0 { plain.len() - 1 } else { dice.below(plain.len()) };
            assert!(pair(&mut extent, &plain.remove(other)), "all have four words");
        }
        extents.insert(dice.below(extents.len() + 1), extent);
    }
    let image = Image { vector_bytes: chip.lanes() as u32, extents };
    let mut grower = Grower { chip, dice, issues: Vec::new(), taken: BTreeSet::new(), puts: Vec::new(), image };
    let mut tries = 0;
    let counts =
        |issue: &&(Queue, u64, Instruction)| !matches!(issue.2, Instruction::Read { .. } | Instruction::Lw { .. });
    while grower.issues.iter().filter(counts).count() < size && tries < 12 * size {
        grower.step();
        tries += 1;
    }
    let program = grower.program(&grower.issues);
    (grower.image, program)
}

/// The program with one bit of one operand of one instruction flipped, legal or not; nothing where that has no meaning.
#[must_use]
pub fn damage(system: &System, image: &Image<'_>, program: &Program, dice: &mut Dice) -> Option<Program> {
    let mut damaged = program.clone();
    let queues = program.each_chip().flat_map(|(chip, _)| program.queues(chip).into_iter().map(move |of| (chip, of.0)));
    let (chip, queue) = dice.pick(&queues.collect::<Vec<_>>());
    let items = damaged.queues_mut(chip)?.get_mut(&queue)?;
    let index = dice.below(items.len());
    let item = &mut items[index];
    let row = item.instruction.row();
    let mut bits = item.instruction.operand_bits();
    if bits.is_empty() {
        return None;
    }
    let operand = dice.below(bits.len());
    bits[operand] ^= 1 << dice.below(row.operands[operand].kind.width().min(10));
    item.instruction = Instruction::from_bits(row.opcode, &bits)?;
    validate(queue, items).ok()?;
    damaged.normalise();
    damaged.cycles = lpu::checker::cycles(system, image, &damaged).unwrap_or(0);
    Some(damaged)
}

/// The program with superlanes powered down and up here and there, where its queues wait anyway.
#[must_use]
pub fn power(chip: &Chip, program: &Program, dice: &mut Dice) -> Program {
    let mut powered = program.clone();
    for items in powered.sets.iter_mut().flat_map(BTreeMap::values_mut) {
        let mut out = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let repeated =
                matches!(items.get(index + 1).map(|item| item.instruction), Some(Instruction::Repeat { .. }));
            match item.instruction {
                Instruction::Nop { count: Count(count) }
                    if count > 0 && !item.paired && !repeated && dice.below(2) == 0 =>
                {
                    let superlanes = Superlanes(1 + dice.below(chip.superlanes()) as u16);
                    out.push(Instruction::Config { superlanes }.into());
                    if count > 1 {
                        out.push(Instruction::Nop { count: Count(count - 1) }.into());
                    }
                }
                _ => out.push(*item),
            }
        }
        *items = out;
    }
    powered
}

impl Grower<'_> {
    fn program(&self, issues: &Issues) -> Program {
        let mut by_queue: BTreeMap<Queue, Vec<(u64, Instruction)>> = BTreeMap::new();
        for &(queue, cycle, instruction) in issues {
            by_queue.entry(queue).or_default().push((cycle, instruction));
        }
        let mut queues = BTreeMap::new();
        for (queue, mut issues) in by_queue {
            issues.sort_by_key(|issue| issue.0);
            let items = compress(&issues);
            debug_assert!(validate(queue, &items).is_ok(), "only valid instructions are drawn");
            queues.insert(queue, items);
        }
        let region = |name: &str, kind, side, index, word| {
            let runs = vec![WordRun::one(ChipId(0), SliceId { side, index }, word)];
            Region { name: name.into(), kind, format: Format::I8, vectors: 1, lanes: 16, runs }
        };
        let regions = vec![
            region("in", RegionKind::Input, Hemisphere::East, 0, 0),
            region("more", RegionKind::Input, Hemisphere::West, 5, 12),
            region("fixed", RegionKind::Const, Hemisphere::East, 2, 1),
        ];
        let mut program = Program { name: "grown".into(), regions, ..Program::default() }.with_queues(vec![queues]);
        program.cycles = lpu::checker::derived_cycles(self.chip, &program);
        program
    }

    /// Draws issues and keeps them if the program stays legal.
    fn step(&mut self) {
        let kind = self.dice.below(40);
        let drawn = match kind {
            0 => self.weights(),
            1 => self.transposed(),
            2..9 => self.reads(),
            9..15 => self.passes(),
            15..18 => self.held(),
            _ => self.any().into_iter().collect(),
        };
        if drawn.is_empty() || drawn.iter().any(|&(queue, cycle, _)| self.taken.contains(&(queue, cycle))) {
            return;
        }
        let mut issues = self.issues.clone();
        issues.extend(&drawn);
        let program = self.program(&issues);
        let legal =
            lpu::checker::check(self.chip, &self.image, &program).is_ok_and(|report| report.violations.is_empty());
        if !legal {
            return;
        }
        self.issues = issues;
        for (queue, cycle, instruction) in drawn {
            self.taken.insert((queue, cycle));
            let landed = cycle + u64::from(self.chip.delay(instruction.row().delay));
            if kind == 0 {
                continue;
            }
            for used in instruction.streams().into_iter().filter(|used| used.flow == Flow::Out) {
                let position = self.chip.position(queue);
                self.puts.extend((0..used.width).map(|index| (used.first.plus(index), position, landed)));
            }
        }
    }

    fn stream(&mut self, width: u8) -> Stream {
        let groups = usize::from(self.chip.streams() / width);
        let direction = self.dice.pick(&[Direction::East, Direction::West]);
        Stream::new(direction, self.dice.below(groups) as u8 * width)
    }

    /// Reads that together feed an aligned group of streams.
    fn reads(&mut self) -> Issues {
        let width = self.dice.pick(&[1u8, 2, 4, 4]);
        let (first, cycle) = (self.stream(width), self.dice.below(60) as u64);
        let side = self.dice.pick(&Hemisphere::BOTH);
        let slice = 4 * self.dice.below(6) as u16;
        (0..width)
            .map(|index| {
                let read = Instruction::Read { word: Word(self.dice.pick(&WORDS)), dst: first.plus(index) };
                (Queue::Mem(side, slice + u16::from(index)), cycle, read)
            })
            .collect()
    }

    /// Sixteen rows or more into a plane or a pair, and their install.
    fn weights(&mut self) -> Issues {
        let side = self.dice.pick(&Hemisphere::BOTH);
        let loads = 1 + self.dice.below(self.chip.lanes() / 16);
        let start = 20 + self.dice.below(60) as u64;
        let orientation = self.dice.pick(&[Orientation::Out, Orientation::In]);
        let mode = self.dice.below(4);
        let direction = if side == Hemisphere::East { Direction::East } else { Direction::West };
        let edge = self.chip.mxm_position(side);
        let read = u64::from(self.chip.values().mem_read);
        let mut issues = Vec::new();
        let planes: &[u16] = [&[0u16][..], &[1], &[0, 1], &[0]][mode];
        for (number, &plane) in planes.iter().enumerate() {
            for load in 0..loads as u64 {
                let at = start + load;
                let word = self.dice.pick(&WORDS);
                let first = Stream::new(direction, 16 * plane as u8);
                for row in 0..16u8 {
                    let slice = SliceId { side, index: u16::from(row) };
                    let fed = at - u64::from(self.chip.slice_position(slice).abs_diff(edge));
                    let dst = first.plus(row);
                    // Two planes at once need other slices, which there are not; their loads follow one another.
                    let late = number as u64 * loads as u64;
                    issues.push((slice.queue(), fed - read + late, Instruction::Read { word: Word(word), dst }));
                }
                let at = at + number as u64 * loads as u64;
                let format = if mode == 3 { lpu::isa::LoadFormat::Widen } else { lpu::isa::LoadFormat::Bytes };
                let lw = Instruction::Lw { src: first, row: Row(16 * load as u16), orientation, format };
                issues.push((Queue::Mxm(side, plane, PlanePort::Load), at, lw));
            }
        }
        let installed: &[u16] = if mode >= 2 { &[0, 1] } else { planes };
        for &plane in installed {
            let at = start
                + (planes.len() * loads) as u64
                + u64::from(self.chip.values().mxm_load)
                + self.dice.below(2) as u64;
            issues.push((
                Queue::Mxm(side, plane, PlanePort::Install),
                at,
                Instruction::Iw { rows: Row(16 * loads as u16) },
            ));
        }
        issues
    }

    /// An activation from memory into a plane that has weights by then, with or without an accumulator.
    fn passes(&mut self) -> Issues {
        let installs = self.issues.iter().filter_map(|&(queue, cycle, instruction)| match (queue, instruction) {
            (Queue::Mxm(side, plane, _), Instruction::Iw { .. }) => Some((side, plane, cycle)),
            _ => None,
        });
        let installs: Vec<(Hemisphere, u16, u64)> = installs.collect();
        if installs.is_empty() {
            return Vec::new();
        }
        let (side, plane, install) = self.dice.pick(&installs);
        let at = install + u64::from(self.chip.values().mxm_install) + self.dice.below(20) as u64;
        let direction = if side == Hemisphere::East { Direction::East } else { Direction::West };
        let src = Stream::new(direction, 2 * self.dice.below(16) as u8);
        let format = self.dice.pick(lpu::isa::PassFormat::ALL);
        let mut issues = Vec::new();
        for index in 0..2u16 {
            let slice = SliceId { side, index: 16 + 4 * self.dice.below(2) as u16 + index };
            let distance = u64::from(self.chip.slice_position(slice).abs_diff(self.chip.mxm_position(side)));
            let Some(cycle) = at.checked_sub(distance + u64::from(self.chip.values().mem_read)) else {
                return Vec::new();
            };
            issues.push((
                slice.queue(),
                cycle,
                Instruction::Read { word: Word(self.dice.pick(&WORDS)), dst: src.plus(index as u8) },
            ));
        }
        let held = self.dice.below(3) > 0;
        let dst = if held { None } else { Some(self.stream(4)) };
        issues.push((Queue::Mxm(side, plane, PlanePort::Activate), at, Instruction::Abc { format, src, dst }));
        if held {
            let queue = Queue::Mxm(side, plane, PlanePort::Accumulate);
            let landed = at + u64::from(self.chip.values().mxm_pass);
            issues.extend(self.draw(queue, landed).map(|acc| (queue, landed, acc)));
        }
        issues
    }

    /// Sixteen vectors through a transposer.
    fn transposed(&mut self) -> Issues {
        let side = self.dice.pick(&Hemisphere::BOTH);
        let direction = if side == Hemisphere::East { Direction::East } else { Direction::West };
        let at = 20 + self.dice.below(80) as u64;
        let src = Stream::new(direction, 16 * self.dice.below(2) as u8);
        let read = |dice: &mut Dice, index: u8| {
            let slice = SliceId { side, index: u16::from(index) };
            let distance = u64::from(self.chip.slice_position(slice).abs_diff(self.chip.sxm_position(side)));
            let word = Word(dice.pick(&WORDS));
            (
                slice.queue(),
                at - distance - u64::from(self.chip.values().mem_read),
                Instruction::Read { word, dst: src.plus(index) },
            )
        };
        let mut issues: Issues = (0..16).map(|index| read(&mut self.dice, index)).collect();
        let dst = self.stream(16);
        issues.push((Queue::Sxm(side, self.dice.below(2) as u16), at, Instruction::Transpose { src, dst }));
        issues
    }

    /// A pass whose result an accumulator takes.
    fn held(&mut self) -> Issues {
        let side = self.dice.pick(&Hemisphere::BOTH);
        let plane = self.dice.below(2) as u16;
        let Some((queue, cycle, pass)) = self.meeting(Queue::Mxm(side, plane, PlanePort::Activate)) else {
            return Vec::new();
        };
        let Instruction::Abc { format, src, .. } = pass else { return Vec::new() };
        let landed = cycle + u64::from(self.chip.values().mxm_pass);
        let target = Queue::Mxm(side, plane, PlanePort::Accumulate);
        let Some(acc) = self.draw(target, landed) else { return Vec::new() };
        vec![(queue, cycle, Instruction::Abc { format, src, dst: None }), (target, landed, acc)]
    }

    /// Any instruction of any queue that meets a value.
    fn any(&mut self) -> Option<(Queue, u64, Instruction)> {
        let queues = self.chip.queues();
        let units = [Unit::Mem, Unit::Vxm, Unit::Vxm, Unit::Vxm, Unit::Sxm, Unit::Mxm, Unit::Mxm];
        let unit = self.dice.pick(&units);
        let of_unit: Vec<Queue> = queues.into_iter().filter(|queue| queue.unit() == unit).collect();
        let queue = self.dice.pick(&of_unit);
        self.meeting(queue)
    }

    /// An instruction of a queue in a cycle in which some value passes.
    fn meeting(&mut self, queue: Queue) -> Option<(Queue, u64, Instruction)> {
        if self.puts.is_empty() {
            return None;
        }
        let position = self.chip.position(queue);
        let recent = self.puts.len().min(64);
        let (stream, from, put) = self.puts[self.puts.len() - 1 - self.dice.below(recent)];
        let downstream = if stream.direction() == Direction::East { position - from } else { from - position };
        let cycle = put + u64::try_from(downstream).ok()?;
        let instruction = self.draw(queue, cycle)?;
        Some((queue, cycle, instruction))
    }

    /// Streams that pass a position in a cycle.
    fn passing(&self, position: i32, cycle: u64) -> Vec<Stream> {
        let arrives = |&(stream, from, put): &(Stream, i32, u64)| {
            let downstream = if stream.direction() == Direction::East { position - from } else { from - position };
            (downstream > 0 && put + downstream as u64 == cycle).then_some(stream)
        };
        self.puts.iter().filter_map(arrives).collect()
    }

    fn draw(&mut self, queue: Queue, cycle: u64) -> Option<Instruction> {
        let rows: Vec<_> = TABLE
            .iter()
            .filter(|row| {
                row.unit == queue.unit() && !matches!(queue, Queue::Mxm(_, _, port) if port.name() != row.mnemonic)
            })
            .collect();
        if rows.is_empty() {
            return None;
        }
        let row = self.dice.pick(&rows);
        let passing = self.passing(self.chip.position(queue), cycle);
        let mut bits = Vec::new();
        for operand in row.operands {
            let group = self.dice.pick(&[1u8, 2, 4, 4, 16]);
            bits.push(match operand.kind {
                // A result's place is free, a source meets what passes.
                Kind::Stream if passing.is_empty() || operand.name == "dst" => self.stream(group).to_bits(),
                Kind::Stream => {
                    let stream = self.dice.pick(&passing);
                    Stream::new(stream.direction(), stream.number() / group * group).to_bits()
                }
                Kind::Target if self.dice.below(4) == 0 => 0,
                Kind::Target => Some(self.stream(4)).to_bits(),
                Kind::Source => match self.dice.below(4) {
                    0 => (1 << 32) | (self.dice.roll() % 16),
                    1 => (2 << 32) | self.dice.pick(&[0u64, 1, 0x3f80_0000, 0xc020_0000, 0x7fc0_0000, 0x8000_0000]),
                    _ => {
                        let whole = |stream: &&Stream| (0..4).all(|index| passing.contains(&stream.plus(index)));
                        let groups: Vec<Stream> =
                            passing.iter().filter(|stream| stream.number() % 4 == 0).filter(whole).copied().collect();
                        if groups.is_empty() {
                            (1 << 32) | (self.dice.roll() % 16)
                        } else {
                            self.dice.pick(&groups).to_bits()
                        }
                    }
                },
                Kind::Word => u64::from(self.dice.pick(&WORDS)),
                Kind::WindowBits => self.dice.roll() % 3,
                Kind::Row => 16 * (1 + self.dice.roll() % 4),
                Kind::Accumulator => self.dice.roll() % 2,
                Kind::Shift => (self.dice.roll() % 7).wrapping_sub(3) & 0xffff,
                kind => self.dice.roll() & ((1 << kind.width()) - 1),
            });
        }
        Instruction::from_bits(row.opcode, &bits).filter(|instruction| instruction.validate().is_ok())
    }
}
