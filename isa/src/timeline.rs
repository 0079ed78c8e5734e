//! Time in a queue: expansion of items into timed issues, and its inverse.
//!
//! A queue's clock starts at 0. An instruction issues at the clock and moves it on by one; a paired item
//! issues in the cycle of the item before it; `nop n` moves the clock on by n; `repeat n, d, s` issues the
//! instruction before it again at d, 2d, .. nd cycles after it and leaves the clock one past the last; `ifetch`
//! issues at the clock and leaves it. `sync` and `deskew` stop the queue at the clock; a caller that knows when they
//! end resumes it there. Items that an `ifetch` brings are held until they have arrived.

use std::collections::VecDeque;

use thiserror::Error;

use crate::operand::{Count, Stride};
use crate::queue::{Item, Queue, Unit};
use crate::table::{Instruction, Malformed};

/// One issue of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Cycle of dispatch.
    pub cycle: u64,
    /// Index of the item that holds the instruction (not of the Repeat).
    pub item: u32,
    /// The instruction, its strided operand moved.
    pub instruction: Instruction,
}

/// A queue whose items have no meaning, whatever the chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum QueueError {
    /// An instruction of another unit.
    #[error("queue {queue} cycle {cycle}: `{mnemonic}` does not belong in this queue")]
    WrongUnit {
        /// The queue.
        queue: Queue,
        /// The cycle in which it would issue, counted as [`Clock`] does.
        cycle: u64,
        /// The instruction's mnemonic.
        mnemonic: &'static str,
    },
    /// Operands that do not fit one another.
    #[error("queue {queue} cycle {cycle}: {malformed}")]
    Malformed {
        /// The queue.
        queue: Queue,
        /// The cycle in which it would issue, counted as [`Clock`] does.
        cycle: u64,
        /// What does not fit.
        malformed: Malformed,
    },
    /// A Repeat that does not follow an unpaired instruction.
    #[error("queue {queue} cycle {cycle}: a repeat must follow an unpaired instruction that is no nop and no repeat")]
    NothingToRepeat {
        /// The queue.
        queue: Queue,
        /// The cycle in which it would issue, counted as [`Clock`] does.
        cycle: u64,
    },
    /// A pair other than one read or gather with one write or scatter.
    #[error(
        "queue {queue} cycle {cycle}: only one read or gather and one write or scatter of a memory slice issue together"
    )]
    BadPair {
        /// The queue.
        queue: Queue,
        /// The cycle of the pair, counted as [`Clock`] does.
        cycle: u64,
    },
}

fn accesses_memory(instruction: &Instruction) -> Option<bool> {
    match instruction {
        Instruction::Read { .. } | Instruction::Gather { .. } => Some(false),
        Instruction::Write { .. } | Instruction::Scatter { .. } => Some(true),
        _ => None,
    }
}

/// The most cycles that a queue may run; keeps every sum of cycles and delays far from overflow (assumed).
pub const MAX_CYCLES: u64 = 1 << 40;

/// The clock of one queue, for callers that need times but no issues. After a sync or a deskew it counts from the cycle
/// in which that ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    next: u64,
    issued: u64,
}

/// The cycles in which one item issues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// First cycle; the clock itself when nothing issues.
    pub first: u64,
    /// Number of issues.
    pub count: u32,
    /// Cycles from one to the next.
    pub distance: u64,
}

impl Slots {
    /// The last cycle; the first when nothing issues.
    #[must_use]
    pub fn last(self) -> u64 {
        self.first + u64::from(self.count.saturating_sub(1)) * self.distance
    }
}

impl Clock {
    /// The cycle in which the next unpaired instruction would issue.
    #[must_use]
    pub const fn now(self) -> u64 {
        self.next
    }

    /// Moves past an item and says when it issues.
    pub fn step(&mut self, item: &Item) -> Slots {
        match item.instruction {
            Instruction::Nop { count } => {
                let first = self.next;
                self.next += u64::from(count.0);
                Slots { first, count: 0, distance: 1 }
            }
            Instruction::Repeat { count, distance, .. } => {
                let distance = u64::from(distance.0);
                let slots = Slots { first: self.issued + distance, count: u32::from(count.0), distance };
                self.next = slots.last() + 1;
                slots
            }
            Instruction::Ifetch { .. } => Slots { first: self.next, count: 1, distance: 1 },
            Instruction::Sync {} | Instruction::Deskew {} => {
                let first = std::mem::take(self).next;
                Slots { first, count: 1, distance: 1 }
            }
            _ => {
                if !item.paired {
                    self.issued = self.next;
                    self.next += 1;
                }
                Slots { first: self.issued, count: 1, distance: 1 }
            }
        }
    }
}

/// The items that move a clock on by `cycles` and issue nothing.
pub fn wait(cycles: u64) -> impl Iterator<Item = Item> {
    let longest = u64::from(u16::MAX);
    (0..cycles.div_ceil(longest)).map(move |index| {
        let count = (cycles - index * longest).min(longest) as u16;
        Instruction::Nop { count: Count(count) }.into()
    })
}

/// Whether the items of a queue have a meaning: units, operands, pairs and repeats.
///
/// # Errors
/// [`QueueError`] names the first item that has none.
pub fn validate(queue: Queue, items: &[Item]) -> Result<(), QueueError> {
    let (mut before, mut clock) = (None, Clock::default());
    for item in items {
        validate_item(queue, before, clock, item)?;
        clock.step(item);
        before = Some(item);
    }
    Ok(())
}

/// Whether an item of a queue has a meaning after the item `before` it, at which the clock is.
///
/// # Errors
/// [`QueueError`] says why it has none.
pub fn validate_item(queue: Queue, before: Option<&Item>, mut clock: Clock, item: &Item) -> Result<(), QueueError> {
    let Item { instruction, paired } = item;
    let cycle = clock.step(item).first;
    if !queue.accepts(instruction) {
        return Err(QueueError::WrongUnit { queue, cycle, mnemonic: instruction.row().mnemonic });
    }
    let malformed = |malformed| QueueError::Malformed { queue, cycle, malformed };
    instruction.validate().map_err(malformed)?;
    if *paired {
        let first = before.filter(|before| !before.paired).and_then(|before| accesses_memory(&before.instruction));
        if first.is_none() || accesses_memory(instruction) != first.map(|writes| !writes) {
            return Err(QueueError::BadPair { queue, cycle });
        }
    }
    if let Instruction::Repeat { stride, .. } = *instruction {
        let repeated = before.filter(|before| !before.paired && before.instruction.row().unit != Unit::Icu);
        let repeated = repeated.ok_or(QueueError::NothingToRepeat { queue, cycle })?;
        repeated.instruction.strided(stride, 1).validate().map_err(malformed)?;
    }
    Ok(())
}

/// Walks the items of a queue, which must be valid, and gives their issues in order of their cycles.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    at: usize,
    clock: Clock,
    /// What is left of a Repeat: its slots and the step that comes next.
    repeating: Option<(Slots, Stride, u32)>,
    stopped: bool,
    /// Items from this index on do not issue before this cycle.
    holds: VecDeque<(usize, u64)>,
}

impl Cursor {
    /// The next issue; none while a sync or deskew stops the queue, or at the end of the items.
    pub fn next(&mut self, items: &[Item]) -> Option<Issue> {
        while !self.stopped {
            if let Some((slots, stride, step)) = self.repeating.take() {
                if step + 1 < slots.count {
                    self.repeating = Some((slots, stride, step + 1));
                }
                let of = self.at.checked_sub(2)?;
                let instruction = items.get(of)?.instruction.strided(stride, step + 1);
                return Some(Issue {
                    cycle: slots.first + u64::from(step) * slots.distance,
                    item: of as u32,
                    instruction,
                });
            }
            let index = self.at;
            let item = items.get(index)?;
            while let Some(&(_, cycle)) = self.holds.front().filter(|(first, _)| *first <= index) {
                self.clock.next = self.clock.next.max(cycle);
                self.holds.pop_front();
            }
            self.at += 1;
            let slots = self.clock.step(item);
            match item.instruction {
                Instruction::Nop { .. } => {}
                Instruction::Repeat { stride, .. } => self.repeating = Some((slots, stride, 0)),
                instruction => {
                    self.stopped = matches!(instruction, Instruction::Sync {} | Instruction::Deskew {});
                    return Some(Issue { cycle: slots.first, item: index as u32, instruction });
                }
            }
        }
        None
    }

    /// Ends the sync or deskew that stops the queue: its next instruction issues in `cycle`.
    pub fn resume(&mut self, cycle: u64) {
        self.stopped = false;
        self.clock = Clock { next: cycle, issued: cycle };
    }

    /// Keeps items from index `first` on from issuing before `cycle`; calls come in ascending order.
    pub fn hold(&mut self, first: usize, cycle: u64) {
        self.holds.push_back((first, cycle));
    }

    /// Index of the first item that has not begun to issue.
    #[must_use]
    pub const fn at(&self) -> usize {
        self.at
    }
}

/// The issues of a queue in order of their cycles, as if no sync or deskew waited longer than a cycle; the items must
/// be valid.
pub fn expand(items: &[Item]) -> impl Iterator<Item = Issue> + '_ {
    let mut cursor = Cursor::default();
    std::iter::from_fn(move || {
        let issue = cursor.next(items)?;
        if cursor.stopped {
            cursor.resume(issue.cycle + 1);
        }
        Some(issue)
    })
}

/// The shortest items found for these issues, which are in order of their cycles, at most one a cycle except for
/// legal pairs, and none that stops a queue or shares a cycle as `ifetch` does: runs of one instruction at a constant
/// distance and stride become a Repeat. [`expand`] gives the issues back.
///
/// # Panics
/// When two issues that are no pair share a cycle, or cycles descend.
#[must_use]
pub fn compress(issues: &[(u64, Instruction)]) -> Vec<Item> {
    let mut items = Vec::new();
    let mut clock = 0u64;
    let mut at = 0;
    while at < issues.len() {
        let (cycle, instruction) = issues[at];
        let paired = at > 0 && issues[at - 1].0 == cycle;
        if paired {
            items.push(Item { instruction, paired });
            at += 1;
            continue;
        }
        items.extend(wait(cycle.checked_sub(clock).expect("issues are in order of their cycles")));
        items.push(instruction.into());
        clock = cycle + 1;
        if let Some((count, distance, stride)) = run_length(&issues[at..]) {
            items.push(Instruction::Repeat { count: Count(count), distance: Count(distance), stride }.into());
            clock = cycle + u64::from(count) * u64::from(distance) + 1;
            at += usize::from(count);
        }
        at += 1;
    }
    items
}

/// How often the first issue recurs at a constant distance and stride with nothing between; nothing when a Repeat
/// would not save an item.
fn run_length(issues: &[(u64, Instruction)]) -> Option<(u16, u16, Stride)> {
    let [(first, instruction), (second, next), ..] = issues else { return None };
    let distance = second - first;
    if instruction.row().unit == Unit::Icu || distance == 0 || distance > u64::from(u16::MAX) {
        return None;
    }
    let stride = stride_between(instruction, next)?;
    let shared = |index: usize| issues.get(index + 1).is_some_and(|after| after.0 == issues[index].0);
    let mut count = 0u16;
    for (index, (cycle, other)) in issues.iter().enumerate().skip(1).take(usize::from(u16::MAX) - 1) {
        let expected = *first + distance * index as u64;
        if *cycle != expected || shared(index) || instruction.strided(stride, index as u32) != *other {
            break;
        }
        count = index as u16;
    }
    let saves = if distance == 1 { 2 } else { 1 };
    (count >= saves).then_some((count, distance as u16, stride))
}

fn stride_between(instruction: &Instruction, next: &Instruction) -> Option<Stride> {
    if instruction.row().opcode != next.row().opcode {
        return None;
    }
    let step = match instruction.row().strided {
        Some(index) => next.operand_bits()[index] as i64 - instruction.operand_bits()[index] as i64,
        None => 0,
    };
    let stride = Stride(i16::try_from(step).ok()?);
    (instruction.strided(stride, 1) == *next).then_some(stride)
}
