//! Time in a queue: expansion of items into timed issues, and its inverse.
//!
//! A queue's clock starts at 0. An instruction issues at the clock and moves it on by one; a paired item
//! issues in the cycle of the item before it; `nop n` moves the clock on by n; `repeat n, d, s` issues the
//! instruction before it again at d, 2d, .. nd cycles after it and leaves the clock one past the last.

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
    #[error("queue {queue} item {item}: `{mnemonic}` does not belong in this queue")]
    WrongUnit {
        /// The queue.
        queue: Queue,
        /// Index of the item.
        item: usize,
        /// The instruction's mnemonic.
        mnemonic: &'static str,
    },
    /// Operands that do not fit one another.
    #[error("queue {queue} item {item}: {malformed}")]
    Malformed {
        /// The queue.
        queue: Queue,
        /// Index of the item.
        item: usize,
        /// What does not fit.
        malformed: Malformed,
    },
    /// A Repeat that does not follow an unpaired instruction.
    #[error("queue {queue} item {item}: a repeat must follow an unpaired instruction that is no nop and no repeat")]
    NothingToRepeat {
        /// The queue.
        queue: Queue,
        /// Index of the item.
        item: usize,
    },
    /// A pair other than one read or gather with one write or scatter.
    #[error("queue {queue} item {item}: only one read or gather and one write or scatter of a memory slice issue together")]
    BadPair {
        /// The queue.
        queue: Queue,
        /// Index of the second item.
        item: usize,
    },
}

fn accesses_memory(instruction: &Instruction) -> Option<bool> {
    match instruction {
        Instruction::Read { .. } | Instruction::Gather { .. } => Some(false),
        Instruction::Write { .. } | Instruction::Scatter { .. } => Some(true),
        _ => None,
    }
}

/// Whether the items of a queue have a meaning: units, operands, pairs and repeats.
///
/// # Errors
/// [`QueueError`] names the first item that has none.
pub fn validate(queue: Queue, items: &[Item]) -> Result<(), QueueError> {
    for (item, Item { instruction, paired }) in items.iter().enumerate() {
        if !queue.accepts(instruction) {
            return Err(QueueError::WrongUnit { queue, item, mnemonic: instruction.row().mnemonic });
        }
        instruction.validate().map_err(|malformed| QueueError::Malformed { queue, item, malformed })?;
        let before = item.checked_sub(1).map(|index| items[index]);
        if *paired {
            let first = before.filter(|before| !before.paired).and_then(|before| accesses_memory(&before.instruction));
            if first.is_none() || accesses_memory(instruction) != first.map(|writes| !writes) {
                return Err(QueueError::BadPair { queue, item });
            }
        }
        if matches!(instruction, Instruction::Repeat { .. })
            && before.is_none_or(|before| before.paired || before.instruction.row().unit == Unit::Icu)
        {
            return Err(QueueError::NothingToRepeat { queue, item });
        }
    }
    Ok(())
}

/// The issues of a queue in order of their cycles; the items must be valid.
pub fn expand(items: &[Item]) -> impl Iterator<Item = Issue> + '_ {
    let mut clock = 0u64;
    let mut issued = 0u64;
    items.iter().enumerate().flat_map(move |(index, item)| {
        let issue = |cycle, item: usize, instruction| Issue { cycle, item: item as u32, instruction };
        let (first, base, count, distance, stride) = match item.instruction {
            Instruction::Nop { count: Count(count) } => {
                clock += u64::from(count);
                (None, None, 0, 0, Stride(0))
            }
            Instruction::Repeat { count: Count(count), distance: Count(distance), stride } => {
                clock = issued + u64::from(count) * u64::from(distance) + 1;
                let base = index.checked_sub(1).map(|before| (issued, before, items[before].instruction));
                (None, base, u32::from(count), u64::from(distance), stride)
            }
            instruction => {
                if !item.paired {
                    issued = clock;
                    clock += 1;
                }
                (Some(issue(issued, index, instruction)), None, 0, 0, Stride(0))
            }
        };
        let repeated = base.into_iter().flat_map(move |(cycle, before, instruction)| {
            (1..=count).map(move |times| Issue {
                cycle: cycle + u64::from(times) * distance,
                item: before as u32,
                instruction: instruction.strided(stride, times),
            })
        });
        first.into_iter().chain(repeated)
    })
}

/// The shortest items found for these issues, which are in order of their cycles, at most one a cycle except for
/// legal pairs: runs of one instruction at a constant distance and stride become a Repeat. [`expand`] gives
/// the issues back.
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
        let mut gap = cycle.checked_sub(clock).expect("issues are in order of their cycles");
        while gap > 0 {
            let count = gap.min(u64::from(u16::MAX)) as u16;
            items.push(Instruction::Nop { count: Count(count) }.into());
            gap -= u64::from(count);
        }
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
    if distance == 0 || distance > u64::from(u16::MAX) {
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
