//! One small change of a program, in any of its parts: an operand, a time, an item, a pair, a queue, a region, the
//! image, the stated cycles.

use std::borrow::Cow;

use lpu::isa::timeline::wait;
use lpu::isa::{
    Arithmetic, ChipId, ChipProgram, Clock, Count, DelayClass, Fill, Image, Instruction, Item, Kind, PassFormat,
    Program, Queue, QueueSet, RegionKind, Source, Stream, Stride, Unit, Word, validate,
};

use crate::dice::Dice;
use crate::scenes::CODE;

/// What was changed, for messages and counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nothing.
    Nothing,
    /// An operand of an instruction.
    Operand,
    /// The cycle of an instruction and of all behind it in its queue.
    Time,
    /// An item left out.
    Removed,
    /// An item once more.
    Doubled,
    /// A repeat behind an item.
    Repeated,
    /// An instruction in a free cycle, where it is likely to meet another.
    Added,
    /// A queue under another number.
    Moved,
    /// The kind or place of a region.
    Region,
    /// A word of the image that is no longer there, or bytes of one.
    Image,
    /// The stated cycles.
    Cycles,
    /// More items than a queue holds.
    Depth,
    /// The start, a link or the queue set of a chip.
    Chip,
}

/// A changed copy, and what was changed. Programs keep a meaning: units, operands, pairs and repeats stay valid.
#[must_use]
pub fn mutate(
    image: &Image<'static>,
    program: &Program,
    depth: usize,
    dice: &mut Dice,
) -> (Image<'static>, Program, Change) {
    let (mut image, mut changed) = (image.clone(), program.clone());
    for _ in 0..50 {
        let done = match dice.below(100) {
            0..12 => Some(Change::Nothing),
            12..46 => item(&mut changed, dice),
            46..58 => time(&mut changed, dice),
            58..62 => removed(&mut changed, dice),
            62..66 => doubled(&mut changed, dice),
            66..84 => added(&mut changed, dice),
            84..87 => moved(&mut changed, dice),
            87..92 => region(&mut changed, dice),
            92..97 => words(&mut image, dice),
            97..98 if dice.below(2) == 0 => Some(stated(&mut changed, dice)),
            97..98 => chip(&mut changed, dice),
            98..99 => deep(&mut changed, depth, dice),
            _ => repeated(&mut changed, dice),
        };
        if let Some(change) = done {
            changed.normalise();
            return (image, changed, change);
        }
        changed.clone_from(program);
    }
    (image, changed, Change::Nothing)
}

fn is_wait(instruction: &Instruction) -> bool {
    matches!(instruction, Instruction::Nop { .. } | Instruction::Repeat { .. })
}

/// A queue of the program and the number of one of its items.
fn place(program: &Program, dice: &mut Dice) -> (ChipId, Queue, usize) {
    let chips = program.each_chip().map(|(chip, _)| chip);
    let all = chips.flat_map(|chip| program.queues(chip).into_iter().map(move |(queue, items)| (chip, queue, items)));
    let all: Vec<(ChipId, Queue, &[Item])> = all.collect();
    let rare = |items: &[Item]| {
        items.iter().any(|item| {
            matches!(item.instruction.row().unit, Unit::Icu | Unit::Mxm | Unit::C2c) && !is_wait(&item.instruction)
        })
    };
    let length = |(chip, queue, items): (ChipId, Queue, &[Item])| (chip, queue, items.len());
    // Every third change is where barriers, fetches, planes and links are.
    let special = dice.below(3) == 0;
    let mut queues: Vec<(ChipId, Queue, usize)> =
        all.iter().copied().filter(|(_, _, items)| !special || rare(items)).map(length).collect();
    if queues.is_empty() {
        queues = all.into_iter().map(length).collect();
    }
    let (chip, queue, length) = queues[dice.below(queues.len())];
    (chip, queue, dice.below(length))
}

fn items(program: &mut Program, chip: ChipId, queue: Queue) -> &mut Vec<Item> {
    own(program, chip).get_mut(&queue).expect("the queue was found there")
}

/// The queues of a chip, apart from those of other chips.
fn own(program: &mut Program, chip: ChipId) -> &mut QueueSet {
    program.queues_mut(chip).expect("the chip was found there")
}

/// An operand moved to a value near it, or to any other.
fn item(program: &mut Program, dice: &mut Dice) -> Option<Change> {
    let (chip, queue, index) = place(program, dice);
    let items = items(program, chip, queue);
    let row = items[index].instruction.row();
    let mut bits = items[index].instruction.operand_bits();
    if bits.is_empty() || matches!(items[index].instruction, Instruction::Nop { .. }) {
        return None;
    }
    let operand = dice.below(bits.len());
    let kind = row.operands[operand].kind;
    let mask = (1u64 << kind.width()) - 1;
    let step = [1, 2, 4, 16, 1, 2][dice.below(6)];
    bits[operand] = match kind {
        Kind::Word if row.unit == Unit::Mem && row.delay != DelayClass::MemRead && dice.below(2) == 0 => {
            1 + dice.below(2) as u64
        }
        Kind::Word => [0, 1, 2, 8, 9, 256, 257, 264, 300, 511, 512][dice.below(11)],
        Kind::Row => 16 * dice.below(6) as u64,
        Kind::Stream if dice.below(3) > 0 => bits[operand] ^ step,
        Kind::Source if dice.below(3) > 0 => {
            [1 << 32, (1 << 32) | 1, (1 << 32) | 5, (2 << 32) | 7, (1 << 32) | 16][dice.below(5)]
        }
        _ if dice.below(2) == 0 => bits[operand].wrapping_add(step) & mask,
        _ => bits[operand] ^ (1 << dice.below(kind.width())),
    };
    items[index].instruction = Instruction::from_bits(row.opcode, &bits)?;
    validate(queue, items).ok().map(|()| Change::Operand)
}

/// Everything from an item on some cycles later or earlier.
fn time(program: &mut Program, dice: &mut Dice) -> Option<Change> {
    let (chip, queue, index) = place(program, dice);
    let items = items(program, chip, queue);
    let cycles = 1 + dice.below(4) as u16;
    match items[index].instruction {
        Instruction::Nop { count: Count(count) } if dice.below(2) == 0 && count > cycles => {
            items[index].instruction = Instruction::Nop { count: Count(count - cycles) };
        }
        Instruction::Nop { count: Count(count) } => {
            items[index].instruction = Instruction::Nop { count: Count(count + cycles) }
        }
        _ => items.insert(index, Instruction::Nop { count: Count(cycles) }.into()),
    }
    validate(queue, items).ok().map(|()| Change::Time)
}

fn removed(program: &mut Program, dice: &mut Dice) -> Option<Change> {
    let (chip, queue, index) = place(program, dice);
    let items = items(program, chip, queue);
    // A wait of the same length keeps the times of the others.
    items[index] = Instruction::Nop { count: Count(1) }.into();
    validate(queue, items).ok().map(|()| Change::Removed)
}

fn doubled(program: &mut Program, dice: &mut Dice) -> Option<Change> {
    let (chip, queue, index) = place(program, dice);
    let items = items(program, chip, queue);
    let again = items[index];
    // Where a wait stands behind it, times of the others stay.
    match items.get(index + 1).map(|item| item.instruction) {
        Some(Instruction::Nop { count: Count(count) }) if count > 1 => {
            items[index + 1].instruction = Instruction::Nop { count: Count(count - 1) };
        }
        _ => {}
    }
    items.insert(index + 1, again);
    validate(queue, items).ok().map(|()| Change::Doubled)
}

/// Puts an instruction into a cycle of a queue in which it waits, or behind its end; other times stay.
fn insert_at(items: &mut Vec<Item>, cycle: u64, instruction: Instruction) -> Option<()> {
    let mut clock = Clock::default();
    for index in 0..items.len() {
        let now = clock.now();
        clock.step(&items[index]);
        let Instruction::Nop { count: Count(count) } = items[index].instruction else { continue };
        if (now..now + u64::from(count)).contains(&cycle) {
            let wait = |cycles: u64| wait(cycles).collect::<Vec<Item>>();
            let around =
                [wait(cycle - now), vec![instruction.into()], wait(now + u64::from(count) - cycle - 1)].concat();
            items.splice(index..=index, around);
            return Some(());
        }
    }
    let gap = cycle.checked_sub(clock.now())?;
    items.extend(wait(gap));
    items.push(instruction.into());
    Some(())
}

/// Which instructions an added one is to meet.
type Target = fn(&Instruction) -> bool;

/// Targets in turn, so that rare conflicts are met as often as frequent ones.
const TARGETS: [Target; 7] = [
    |instruction| matches!(instruction, Instruction::Write { .. }),
    |instruction| matches!(instruction, Instruction::Gather { .. } | Instruction::Scatter { .. }),
    |instruction| instruction.row().delay == DelayClass::VxmSpecial,
    |instruction| matches!(instruction, Instruction::Abc { format: PassFormat::F16, .. }),
    |instruction| matches!(instruction, Instruction::Send { .. }),
    |instruction| matches!(instruction, Instruction::Lw { .. }),
    |instruction| !is_wait(instruction),
];

fn added(program: &mut Program, dice: &mut Dice) -> Option<Change> {
    let target = TARGETS[dice.below(TARGETS.len())];
    let mut places = Vec::new();
    for (chip, _) in program.each_chip() {
        for (queue, items) in program.queues(chip) {
            places.extend(
                (0..items.len()).filter(|&index| target(&items[index].instruction)).map(|index| (chip, queue, index)),
            );
        }
    }
    if places.is_empty() {
        return None;
    }
    let (chip, queue, index) = places[dice.below(places.len())];
    let items = items(program, chip, queue);
    let mut clock = Clock::default();
    let mut issued = 0;
    for item in &items[..=index] {
        issued = clock.step(item).first;
    }
    let own = items[index].instruction;
    let read = Instruction::Read { word: Word(dice.below(2) as u32 * 256), dst: Stream::east(dice.below(32) as u8) };
    let b = Source::Immediate(1);
    let (cycle, instruction) = match own {
        _ if dice.below(8) == 0 => (clock.now() + 60, Instruction::Sync {}),
        // A read in the cycle of another access.
        Instruction::Write { .. } | Instruction::Gather { .. } => (issued + 2, read),
        Instruction::Scatter { .. } => (issued + 4, read),
        // A short operation that ends with a long one.
        own if own.row().delay == DelayClass::VxmSpecial => {
            (issued + 4, Instruction::Add { arithmetic: Arithmetic::Mod, dst: None, a: b, b })
        }
        // The same once more, shortly after or before.
        own if dice.below(4) == 0 => (issued.checked_sub(1)?, own),
        own => (issued + 1 + dice.below(3) as u64, own),
    };
    insert_at(items, cycle, instruction)?;
    validate(queue, items).ok().map(|()| Change::Added)
}

fn repeated(program: &mut Program, dice: &mut Dice) -> Option<Change> {
    let (chip, queue, index) = place(program, dice);
    let items = items(program, chip, queue);
    let (count, distance) = (1 + dice.below(3) as u16, 1 + dice.below(3) as u16);
    let repeat = Instruction::Repeat {
        count: Count(count),
        distance: Count(distance),
        stride: Stride(dice.below(3) as i16 * 16),
    };
    items.insert(index + 1, repeat.into());
    validate(queue, items).ok().map(|()| Change::Repeated)
}

/// A whole queue under another number or on the other side.
fn moved(program: &mut Program, dice: &mut Dice) -> Option<Change> {
    let (chip, queue, _) = place(program, dice);
    let step = 1 + dice.below(9) as u16;
    let number = |number: u16| if number >= step && step.is_multiple_of(2) { number - step } else { number + step };
    let to = match queue {
        Queue::Mem(side, index) => Queue::Mem(side, number(index)),
        Queue::Vxm(alu) => Queue::Vxm(number(alu)),
        Queue::Mxm(side, plane, port) => Queue::Mxm(side, plane ^ 1, port),
        Queue::Sxm(side, unit) => Queue::Sxm(side, number(unit)),
        Queue::C2c(link) => Queue::C2c(number(link)),
    };
    let queues = own(program, chip);
    if queues.contains_key(&to) {
        return None;
    }
    let items = queues.remove(&queue)?;
    queues.insert(to, items);
    Some(Change::Moved)
}

fn region(program: &mut Program, dice: &mut Dice) -> Option<Change> {
    // Code regions, if there are any, are the last.
    let last = program.regions.len() - 1;
    let index = if dice.below(2) == 0 { last } else { dice.below(program.regions.len()) };
    let region = &mut program.regions[index];
    match dice.below(3) {
        0 => region.kind = RegionKind::ALL[dice.below(5)],
        1 => region.runs[0].word += 1 + dice.below(10) as u32,
        _ => region.runs[0].slice.index = dice.below(24) as u16,
    }
    Some(Change::Region)
}

fn words(image: &mut Image<'static>, dice: &mut Dice) -> Option<Change> {
    if image.extents.is_empty() {
        return None;
    }
    let places = image.extents.iter().map(|extent| extent.place).enumerate();
    let code = places.filter(|(_, place)| place.word == CODE).min_by_key(|&(_, place)| place);
    let index = code.filter(|_| dice.below(3) > 0).map_or_else(|| dice.below(image.extents.len()), |(index, _)| index);
    let extent = &mut image.extents[index];
    if dice.below(2) == 0 && extent.place.count > 1 {
        let kept = extent.bytes().len() / extent.place.count as usize * (extent.place.count as usize - 1);
        *extent = extent.with(extent.bytes()[..kept].to_vec());
        extent.place.count -= 1;
        if let Fill::Pairs(_, other) = &mut extent.fill {
            other.count -= 1;
        }
    } else {
        // The byte may be one behind those that are given.
        let (count, width) = (extent.place.count as usize, extent.places().count());
        let mut bytes: Vec<u8> = Vec::new();
        for number in 0..count {
            let each = extent.live() * width;
            bytes.extend_from_slice(&extent.bytes()[number * each..][..each]);
            bytes.resize((number + 1) * width * image.vector_bytes as usize, 0);
        }
        let byte = dice.below(bytes.len().min(24));
        bytes[byte] ^= 1 << dice.below(8);
        if extent.fill == Fill::Zero {
            extent.fill = Fill::Bytes(Cow::Owned(bytes));
        } else {
            *extent = extent.with(bytes);
        }
    }
    Some(Change::Image)
}

fn stated(program: &mut Program, dice: &mut Dice) -> Change {
    program.cycles = if dice.below(2) == 0 { program.cycles + 1 } else { program.cycles - 1 };
    Change::Cycles
}

/// Puts something on a chip that a system of so many chips does not have: words of the image, a region, a queue, or the
/// chip alone.
pub fn strand(image: &mut Image<'static>, program: &mut Program, chips: u16, dice: &mut Dice) {
    let absent = ChipId(chips + [0, 1, 2, 900][dice.below(4)]);
    let count = image.extents.len();
    match dice.below(5) {
        0 if count > 0 => {
            let extent = &mut image.extents[dice.below(count)];
            match &mut extent.fill {
                Fill::Pairs(_, other) if dice.below(2) == 0 => other.chip = absent,
                _ => extent.place.chip = absent,
            }
        }
        1 => {
            let number = dice.below(program.regions.len());
            program.regions[number].runs[0].chip = absent;
        }
        kind @ 2..=3 => {
            let (chip, queue, _) = place(program, dice);
            idle(program, absent);
            let waits = vec![Instruction::Nop { count: Count(3) }.into()];
            let items = if kind == 2 { own(program, chip).remove(&queue).unwrap_or(waits) } else { waits };
            own(program, absent).insert(queue, items);
        }
        _ => idle(program, absent),
    }
    program.normalise();
}

/// Gives a program chips without queues up to this one.
fn idle(program: &mut Program, last: ChipId) {
    let set = program.sets.len() as u16;
    program.sets.push(QueueSet::new());
    program.chips.resize(usize::from(last.0) + 1, ChipProgram { set, ..ChipProgram::default() });
}

/// What a chip runs: another start, another link under the name of one, or what another chip runs.
fn chip(program: &mut Program, dice: &mut Dice) -> Option<Change> {
    let (chip, queue, _) = place(program, dice);
    let other = dice.below(program.chips.len());
    let set = &program.sets[usize::from(program.run(chip)?.0.set)];
    let links: Vec<u16> =
        set.keys().filter_map(|queue| if let Queue::C2c(link) = queue { Some(*link) } else { None }).collect();
    let run = &mut program.chips[usize::from(chip.0)];
    match dice.below(3) {
        0 => run.start += 1 + dice.below(40) as u64,
        1 if !links.is_empty() => {
            let (one, another) = (links[dice.below(links.len())], links[dice.below(links.len())]);
            let to =
                if one == another { dice.below(9) as u16 } else { run.links.get(&another).copied().unwrap_or(another) };
            let before = run.links.insert(one, to).unwrap_or(one);
            if one != another {
                run.links.insert(another, before);
            }
            if links.iter().any(|link| *link != one && run.queue(Queue::C2c(*link)) == Queue::C2c(to)) {
                return None;
            }
        }
        _ if queue.unit() == Unit::C2c => return None,
        _ => {
            program.chips[usize::from(chip.0)] =
                ChipProgram { start: program.chips[usize::from(chip.0)].start, ..program.chips[other].clone() }
        }
    }
    Some(Change::Chip)
}

/// A queue filled up with waits to its depth, or one beyond.
fn deep(program: &mut Program, depth: usize, dice: &mut Dice) -> Option<Change> {
    let (chip, queue, _) = place(program, dice);
    let items = items(program, chip, queue);
    let wait: Item = Instruction::Nop { count: Count(1) }.into();
    items.resize((depth + dice.below(2)).max(items.len()), wait);
    Some(Change::Depth)
}
