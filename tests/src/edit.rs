//! Edits of a compiled program that keep it legal more often than not: operands exchanged between issues that are
//! alike, words replaced by others that some issue names, operations by others of the same delay, issues moved to free
//! cycles.

use std::collections::{BTreeMap, BTreeSet};

use lpu::chip::Chip;
use lpu::isa::{
    Arithmetic, Format, Image, Instruction, Kind, Number, Operand, PassFormat, PlanePort, Program, Queue, Region,
    RegionKind, Source, TABLE, Unit, compress, expand, validate,
};

use crate::dice::Dice;
use crate::extents::{CONTENTS, LAYOUTS};

type Issues = Vec<(u64, Instruction)>;

/// A compiled program with its queues unrolled.
pub struct Base {
    image: Image<'static>,
    program: Program,
    queues: BTreeMap<Queue, Issues>,
}

/// An edited program.
pub struct Edited {
    /// The image.
    pub image: Image<'static>,
    /// The program.
    pub program: Program,
    /// What was edited.
    pub edits: Vec<&'static str>,
}

struct Draft<'a> {
    chip: &'a Chip,
    base: &'a Base,
    dice: &'a mut Dice,
    image: Image<'static>,
    program: Program,
    /// Queues that differ from the base's.
    queues: BTreeMap<Queue, Issues>,
}

type Edit = fn(&mut Draft<'_>) -> Option<()>;

/// Edits of issues, each as often as the number says.
const EDITS: &[(usize, &str, Edit)] = &[
    (8, "word", |draft| draft.word()),
    (4, "exchanged words", |draft| draft.exchanged(|kind| kind == Kind::Word)),
    (3, "stream", |draft| draft.stream()),
    (5, "exchanged streams", |draft| draft.streams()),
    (2, "exchanged rows", |draft| draft.exchanged(|kind| kind == Kind::Row)),
    (2, "rows", |draft| {
        draft.set(
            |kind| kind == Kind::Row,
            |dice, bits| if dice.below(2) == 0 { bits ^ 16 } else { 16 * dice.below(8) as u64 },
        )
    }),
    (3, "orientation", |draft| draft.loads(|kind| kind == Kind::Orientation)),
    (2, "load format", |draft| draft.loads(|kind| kind == Kind::LoadFormat)),
    (3, "mode", |draft| draft.set(|kind| kind == Kind::Mode, |_, bits| bits ^ 1)),
    (2, "accumulators", |draft| draft.accumulators()),
    (2, "exchanged accumulators", |draft| draft.exchanged(|kind| kind == Kind::Accumulator)),
    (2, "pass format", |draft| draft.passes()),
    (3, "exchanged sources", |draft| draft.exchanged(|kind| kind == Kind::Source)),
    (3, "immediate", |draft| draft.immediate()),
    (3, "operation", |draft| draft.operation()),
    (2, "shift", |draft| draft.set(|kind| kind == Kind::Shift, |dice, _| dice.below(16) as u64)),
    (2, "window", |draft| {
        draft.set(|kind| kind == Kind::WindowBits, |dice, bits| (bits + 4 - dice.below(3) as u64).saturating_sub(3))
    }),
    (4, "cycle", |draft| draft.cycle()),
    (2, "exchanged cycles", |draft| draft.cycles()),
    (2, "dropped", |draft| draft.dropped()),
    (2, "doubled", |draft| draft.doubled()),
    (2, "repeat", |draft| draft.repeat()),
    (2, "any operand", |draft| draft.any_operand()),
    (2, "input", |draft| draft.input()),
];

impl Base {
    /// A base of the first program of a file.
    #[must_use]
    pub fn new(image: &Image<'_>, program: &Program) -> Self {
        let extents = image.extents.iter().map(|extent| extent.clone().into_owned()).collect();
        let flat = |items: &Vec<_>| expand(items).map(|issue| (issue.cycle, issue.instruction)).collect();
        let queues = program.sets.iter().flatten().map(|(&queue, items)| (queue, flat(items))).collect();
        Self { image: Image { vector_bytes: image.vector_bytes, extents }, program: program.clone(), queues }
    }

    /// The program with some edits: so many of issues, or fewer and some of the image.
    #[must_use]
    pub fn edit(&self, chip: &Chip, count: usize, dice: &mut Dice) -> Edited {
        let (image, program) = (self.image.clone(), self.program.clone());
        let mut draft = Draft { chip, base: self, dice, image, program, queues: BTreeMap::new() };
        let mut edits = Vec::new();
        for _ in 0..50 * count {
            if edits.len() == count {
                break;
            }
            let name = match draft.dice.below(10) {
                0..5 => draft.issue(),
                5..8 => draft.image(LAYOUTS),
                8 => draft.image(CONTENTS),
                // Many extents at once.
                _ => (0..1 + draft.dice.below(40)).filter_map(|_| draft.image(LAYOUTS)).last().map(|_| "layouts"),
            };
            edits.extend(name);
        }
        let Draft { image, mut program, queues, .. } = draft;
        for (queue, issues) in queues {
            program.sets[0].insert(queue, compress(&issues));
        }
        program.sets[0].retain(|_, items| !items.is_empty());
        // What queues cannot hold, such as a repeat whose operand leaves its range, is as before.
        if program.sets[0].iter().any(|(&queue, items)| validate(queue, items).is_err()) {
            program.sets.clone_from(&self.program.sets);
        }
        program.cycles = lpu::checker::derived_cycles(chip, &program);
        Edited { image, program, edits }
    }
}

impl Draft<'_> {
    fn image(&mut self, changes: &[(&'static str, crate::extents::Change)]) -> Option<&'static str> {
        let (name, change) = changes[self.dice.below(changes.len())];
        change(&mut self.image, self.dice).map(|()| name)
    }

    fn issue(&mut self) -> Option<&'static str> {
        let mut number = self.dice.below(EDITS.iter().map(|edit| edit.0).sum());
        let (_, name, edit) = EDITS.iter().find(|edit| {
            let found = number < edit.0;
            number = number.wrapping_sub(edit.0);
            found
        })?;
        edit(self).map(|()| *name)
    }

    fn issues(&self, queue: Queue) -> &Issues {
        self.queues.get(&queue).unwrap_or_else(|| &self.base.queues[&queue])
    }

    fn issues_mut(&mut self, queue: Queue) -> &mut Issues {
        let base = &self.base.queues[&queue];
        self.queues.entry(queue).or_insert_with(|| base.clone())
    }

    /// A queue that has an instruction of a kind, and the numbers of those issues.
    fn some(&mut self, fits: impl Fn(&Instruction) -> bool) -> Option<(Queue, Vec<usize>)> {
        let queues: Vec<Queue> = self.base.queues.keys().copied().collect();
        for _ in 0..20 {
            let queue = queues[self.dice.below(queues.len())];
            let found: Vec<usize> = self
                .issues(queue)
                .iter()
                .enumerate()
                .filter(|(_, issue)| fits(&issue.1))
                .map(|(index, _)| index)
                .collect();
            if !found.is_empty() {
                return Some((queue, found));
            }
        }
        None
    }

    fn one(&mut self, fits: impl Fn(&Instruction) -> bool) -> Option<(Queue, usize)> {
        let (queue, found) = self.some(fits)?;
        Some((queue, found[self.dice.below(found.len())]))
    }

    /// A word replaced by its neighbour, or by one that another issue of the queue names.
    fn word(&mut self) -> Option<()> {
        let (queue, found) = self.some(|instruction| operand(instruction, |kind| kind == Kind::Word).is_some())?;
        let index = found[self.dice.below(found.len())];
        let near = index.saturating_sub(self.dice.below(40)).max(found[0]);
        let other = if self.dice.below(2) == 0 { near } else { found[self.dice.below(found.len())] };
        let word = |instruction: &Instruction| operand(instruction, |kind| kind == Kind::Word).map(|(_, word)| word);
        let (own, other) = (word(&self.issues(queue)[index].1)?, word(&self.issues(queue)[other].1));
        let word = match self.dice.below(4) {
            0 => own.checked_sub(1)?,
            1 => own + 1,
            _ => other?,
        };
        let instruction = &mut self.issues_mut(queue)[index].1;
        *instruction = with(instruction, |kind| kind == Kind::Word, word)?;
        (word != own).then_some(())
    }

    /// The operands of a kind of two issues of a queue exchanged, more often than not of near ones.
    fn exchanged(&mut self, kind: fn(Kind) -> bool) -> Option<()> {
        let (queue, found) = self.some(|instruction| operand(instruction, kind).is_some())?;
        let place = self.dice.below(found.len());
        let other = if self.dice.below(3) > 0 {
            (place + 1 + self.dice.below(3)).min(found.len() - 1)
        } else {
            self.dice.below(found.len())
        };
        let issues = self.issues_mut(queue);
        let (one, other) = (issues[found[place]].1, issues[found[other]].1);
        let changed = [with(&one, kind, operand(&other, kind)?.1)?, with(&other, kind, operand(&one, kind)?.1)?];
        (one != changed[0]).then_some(())?;
        for (before, changed) in [one, other].into_iter().zip(changed) {
            issues.iter_mut().filter(|issue| issue.1 == before).take(1).for_each(|issue| issue.1 = changed);
        }
        Some(())
    }

    fn set(&mut self, kind: fn(Kind) -> bool, value: fn(&mut Dice, u64) -> u64) -> Option<()> {
        let (queue, index) = self.one(|instruction| operand(instruction, kind).is_some())?;
        let own = operand(&self.issues(queue)[index].1, kind)?.1;
        let value = value(self.dice, own);
        let instruction = &mut self.issues_mut(queue)[index].1;
        *instruction = with(instruction, kind, value)?;
        (value != own).then_some(())
    }

    fn stream(&mut self) -> Option<()> {
        self.set(
            |kind| kind == Kind::Stream,
            |dice, bits| if dice.below(2) == 0 { bits ^ 1 } else { bits ^ (1 << dice.below(6)) },
        )
    }

    /// The streams of two issues of one cycle exchanged, of instructions alike.
    fn streams(&mut self) -> Option<()> {
        let kind = |kind| kind == Kind::Stream;
        let (queue, index) = self.one(|instruction| operand(instruction, kind).is_some())?;
        let (cycle, own) = self.issues(queue)[index];
        let position = self.chip.position(queue);
        let alike =
            |other: &Queue| *other != queue && other.unit() == queue.unit() && self.chip.position(*other) == position;
        let at = |other: Queue| {
            let issues = self.issues(other);
            let first = issues.partition_point(|issue| issue.0 < cycle);
            let same = issues[first..]
                .iter()
                .take_while(|issue| issue.0 == cycle)
                .position(|issue| issue.1.row().opcode == own.row().opcode)?;
            Some((other, first + same))
        };
        let others: Vec<(Queue, usize)> = self.base.queues.keys().copied().filter(alike).filter_map(at).collect();
        let (other, place) = (!others.is_empty()).then(|| others[self.dice.below(others.len())])?;
        let second = self.issues(other)[place].1;
        self.issues_mut(queue)[index].1 = with(&own, kind, operand(&second, kind)?.1)?;
        self.issues_mut(other)[place].1 = with(&second, kind, operand(&own, kind)?.1)?;
        Some(())
    }

    /// A bit of all weight loads for one install, or of all of both planes of a pair.
    fn loads(&mut self, kind: fn(Kind) -> bool) -> Option<()> {
        let (queue, index) = self.one(|instruction| matches!(instruction, Instruction::Iw { .. }))?;
        let Queue::Mxm(side, plane, _) = queue else { return None };
        let cycle = self.issues(queue)[index].0;
        let before = index.checked_sub(1).map_or(0, |before| self.issues(queue)[before].0);
        let (planes, cycles) = if self.dice.below(2) == 0 {
            (plane & !1..=plane | 1, 0..u64::MAX)
        } else {
            (plane..=plane, before..cycle)
        };
        for plane in planes {
            let loads = Queue::Mxm(side, plane, PlanePort::Load);
            if !self.base.queues.contains_key(&loads) {
                continue;
            }
            for issue in self.issues_mut(loads).iter_mut().filter(|issue| cycles.contains(&issue.0)) {
                issue.1 = with(&issue.1, kind, operand(&issue.1, kind)?.1 ^ 1)?;
            }
        }
        Some(())
    }

    /// Two accumulators of a plane under each other's number.
    fn accumulators(&mut self) -> Option<()> {
        let kind = |kind| kind == Kind::Accumulator;
        let (queue, _) = self.one(|instruction| operand(instruction, kind).is_some())?;
        let number = self.chip.values().accumulators as usize;
        let (one, other) = (self.dice.below(number) as u64, self.dice.below(number) as u64);
        for issue in self.issues_mut(queue) {
            let own = operand(&issue.1, kind)?.1;
            let renamed =
                [(one, other), (other, one)].into_iter().find(|names| names.0 == own).map_or(own, |names| names.1);
            issue.1 = with(&issue.1, kind, renamed)?;
        }
        (one != other).then_some(())
    }

    /// One pass in the other format, or all passes of a plane from some cycle on in int8.
    fn passes(&mut self) -> Option<()> {
        let (queue, index) = self.one(|instruction| matches!(instruction, Instruction::Abc { .. }))?;
        if self.dice.below(2) == 0 {
            let instruction = &mut self.issues_mut(queue)[index].1;
            let own = operand(instruction, |kind| kind == Kind::PassFormat)?.1;
            *instruction = with(instruction, |kind| kind == Kind::PassFormat, own ^ 1)?;
        } else {
            for issue in &mut self.issues_mut(queue)[..=index] {
                issue.1 = with(&issue.1, |kind| kind == Kind::PassFormat, PassFormat::I8.to_bits())?;
            }
        }
        Some(())
    }

    fn immediate(&mut self) -> Option<()> {
        let immediate = |bits: u64| matches!(Source::from_bits(bits), Some(Source::Immediate(_)));
        let place = |instruction: &Instruction| {
            let operands = instruction.row().operands.iter().zip(instruction.operand_bits());
            operands
                .enumerate()
                .find(|(_, (operand, bits))| operand.kind == Kind::Source && immediate(*bits))
                .map(|(place, _)| place)
        };
        let (queue, index) = self.one(|instruction| place(instruction).is_some())?;
        let values =
            [0, 0x3f80_0000, 0xbf00_0000, 0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0x8000_0000, 1, 0x7f7f_ffff, 7];
        let value = values[self.dice.below(values.len())];
        let instruction = &mut self.issues_mut(queue)[index].1;
        let mut bits = instruction.operand_bits();
        bits[place(instruction)?] = Source::Immediate(value).to_bits();
        *instruction = Instruction::from_bits(instruction.row().opcode, &bits)?;
        Some(())
    }

    /// Another operation of the same unit, delay and operands, or the same of other numbers.
    fn operation(&mut self) -> Option<()> {
        let (queue, index) = self.one(|instruction| matches!(instruction.row().unit, Unit::Vxm | Unit::Sxm))?;
        let own = self.issues(queue)[index].1;
        let kinds = |row: &lpu::isa::TableRow| row.operands.iter().map(|operand| operand.kind).collect::<Vec<_>>();
        let alike: Vec<u8> = TABLE
            .iter()
            .filter(|row| (row.unit, row.delay) == (own.row().unit, own.row().delay) && kinds(row) == kinds(own.row()))
            .map(|row| row.opcode)
            .collect();
        let changed = match self.dice.below(3) {
            0 => with(&own, |kind| kind == Kind::Number, Number::I32.to_bits())
                .or_else(|| with(&own, |kind| kind == Kind::Arithmetic, Arithmetic::Mod.to_bits()))
                .or_else(|| with(&own, |kind| kind == Kind::Format, Format::I32.to_bits()))?,
            _ => Instruction::from_bits(alike[self.dice.below(alike.len())], &own.operand_bits())?,
        };
        self.issues_mut(queue)[index].1 = changed;
        (changed != own).then_some(())
    }

    /// An issue some cycles earlier or later, where its queue is free.
    fn cycle(&mut self) -> Option<()> {
        let (queue, index) = self.one(|_| true)?;
        let by = [1, 2, 3, 20, 400][self.dice.below(5)];
        let cycle = self.issues(queue)[index].0;
        let to = if self.dice.below(2) == 0 { cycle + by } else { cycle.checked_sub(by)? };
        self.put(queue, index, to)
    }

    /// Takes an issue from its cycle to another.
    fn put(&mut self, queue: Queue, index: usize, to: u64) -> Option<()> {
        let issues = self.issues_mut(queue);
        let (cycle, instruction) = issues[index];
        let shared = |cycle: u64| issues.iter().filter(|issue| issue.0 == cycle).count();
        (shared(cycle) == 1 && shared(to) == 0).then_some(())?;
        issues.remove(index);
        let place = issues.partition_point(|issue| issue.0 < to);
        issues.insert(place, (to, instruction));
        Some(())
    }

    /// Two issues of a queue in each other's cycle.
    fn cycles(&mut self) -> Option<()> {
        let (queue, index) = self.one(|_| true)?;
        let other = index.checked_sub(1 + self.dice.below(4))?;
        let issues = self.issues_mut(queue);
        let alone = |index: usize| issues.iter().filter(|issue| issue.0 == issues[index].0).count() == 1;
        (alone(index) && alone(other)).then_some(())?;
        let (one, second) = (issues[index].1, issues[other].1);
        (issues[index].1, issues[other].1) = (second, one);
        (one != second).then_some(())
    }

    fn dropped(&mut self) -> Option<()> {
        let writes = self.dice.below(2) == 0;
        let (queue, index) = self.one(|instruction| {
            !writes || matches!(instruction, Instruction::Write { .. } | Instruction::Scatter { .. })
        })?;
        self.issues_mut(queue).remove(index);
        Some(())
    }

    /// An issue once more, in a free cycle.
    fn doubled(&mut self) -> Option<()> {
        let (queue, index) = self.one(|_| true)?;
        let (cycle, instruction) = self.issues(queue)[index];
        let cycle = cycle + 1 + self.dice.below(4) as u64;
        let issues = self.issues_mut(queue);
        let place = issues.partition_point(|issue| issue.0 < cycle);
        issues.get(place).is_none_or(|issue| issue.0 > cycle).then(|| issues.insert(place, (cycle, instruction)))
    }

    /// A repeat that ends earlier or strides otherwise.
    fn repeat(&mut self) -> Option<()> {
        let (queue, found) = self.some(|instruction| operand(instruction, |kind| kind == Kind::Word).is_some())?;
        let index = found[self.dice.below(found.len())];
        let by = 1 + self.dice.below(3) as u64;
        let issues = self.issues_mut(queue);
        let opcode = issues[index].1.row().opcode;
        for (step, issue) in
            (0..).zip(issues[index..].iter_mut().take(8).take_while(|issue| issue.1.row().opcode == opcode))
        {
            let word = operand(&issue.1, |kind| kind == Kind::Word)?.1;
            issue.1 = with(&issue.1, |kind| kind == Kind::Word, word.checked_sub(step * by)?)?;
        }
        Some(())
    }

    fn any_operand(&mut self) -> Option<()> {
        let (queue, index) = self.one(|instruction| !instruction.row().operands.is_empty())?;
        let own = self.issues(queue)[index].1;
        let mut bits = own.operand_bits();
        let operand = self.dice.below(bits.len());
        bits[operand] ^= 1 << self.dice.below(own.row().operands[operand].kind.width().min(10));
        self.issues_mut(queue)[index].1 = Instruction::from_bits(own.row().opcode, &bits)?;
        Some(())
    }

    /// Words of the image that the host fills before every run.
    fn input(&mut self) -> Option<()> {
        let extent = &self.image.extents[self.dice.below(self.image.extents.len())];
        let places: Vec<_> = extent.places().collect();
        let mut place = places[self.dice.below(places.len())];
        let first = self.dice.below(place.count as usize) as u32;
        (place.word, place.count) = (place.word + first, (place.count - first).min(1 + self.dice.below(3) as u32));
        let taken: BTreeSet<&str> = self.program.regions.iter().map(|region| region.name.as_str()).collect();
        let name = ["edited.a", "edited.b", "edited.c"].into_iter().find(|name| !taken.contains(name))?;
        let lanes = 1 + self.dice.below(self.chip.lanes()) as u32;
        let (kind, format) = (RegionKind::Input, Format::I8);
        self.program.regions.push(Region {
            name: name.into(),
            kind,
            format,
            vectors: place.count,
            lanes,
            runs: vec![place],
        });
        Some(())
    }
}

/// The first operand of a kind: its place, and its bits.
fn operand(instruction: &Instruction, kind: impl Fn(Kind) -> bool) -> Option<(usize, u64)> {
    let place = instruction.row().operands.iter().position(|operand| kind(operand.kind))?;
    Some((place, instruction.operand_bits()[place]))
}

/// The instruction with another first operand of a kind.
fn with(instruction: &Instruction, kind: impl Fn(Kind) -> bool, value: u64) -> Option<Instruction> {
    let (place, _) = operand(instruction, kind)?;
    let mut bits = instruction.operand_bits();
    bits[place] = value;
    let changed = Instruction::from_bits(instruction.row().opcode, &bits)?;
    changed.validate().ok().map(|()| changed)
}
