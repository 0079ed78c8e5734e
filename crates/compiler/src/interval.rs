//! The least distance at which runs of a program may follow one another: the longest time that a chip is in use in a
//! run, and the time that a link is, its interval after the last send included. The checker proves it without this.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use lpu_chip::{Chip, LinkEnd, System};
use lpu_isa::{ChipId, Instruction, Program, Queue, QueueSet, expand};

/// When a chip that runs a queue set is in use, in cycles from its start: first dispatch and end, and by link its first
/// send and its last.
struct SetUse {
    first: u64,
    end: u64,
    sends: BTreeMap<u16, (u64, u64)>,
}

impl SetUse {
    fn of(chip: &Chip, issues: impl Iterator<Item = (Queue, u64, Instruction)>) -> Option<Self> {
        let mut found: Option<Self> = None;
        for (queue, cycle, instruction) in issues {
            let (sends, landed) = match (queue, instruction) {
                (_, Instruction::Nop { .. }) => continue,
                (Queue::C2c(link), Instruction::Send { .. }) => (Some(link), cycle),
                _ => (None, chip.landing(cycle, instruction.row().delay)),
            };
            let end = chip.run_cycles(Some(landed));
            let used = found.get_or_insert(Self { first: cycle, end, sends: BTreeMap::new() });
            (used.first, used.end) = (used.first.min(cycle), used.end.max(end));
            if let Some(link) = sends {
                used.sends.entry(link).or_insert((cycle, cycle)).1 = cycle;
            }
        }
        found
    }

    /// The distance at which runs do not meet on a chip, whose links are busy for so long after a send.
    fn distance(&self, interval: impl Fn(u16) -> u64) -> u64 {
        let of_links = self.sends.iter().map(|(&link, &(first, last))| last - first + interval(link));
        of_links.max().unwrap_or(0).max(self.end - self.first)
    }
}

/// [`interval`] of the program of one chip, of what its queues dispatch in order of cycles.
pub(crate) fn of_chip(chip: &Chip, issues: &BTreeMap<Queue, Vec<(u64, Instruction)>>) -> Option<NonZeroU64> {
    let all =
        issues.iter().flat_map(|(&queue, of)| of.iter().map(move |&(cycle, instruction)| (queue, cycle, instruction)));
    NonZeroU64::new(SetUse::of(chip, all)?.distance(|_| chip.values().c2c_interval.into()))
}

/// The least distance at which runs of a compiled program may follow one another.
pub(crate) fn interval(system: &System, program: &Program) -> Option<NonZeroU64> {
    let sets: Vec<Option<SetUse>> = program.sets.iter().map(|set| of_set(system.chip(), set)).collect();
    let of_chips = (0..=u16::MAX).map(ChipId).zip(&program.chips).filter_map(|(chip, run)| {
        let used = sets.get(usize::from(run.set))?.as_ref()?;
        Some(used.distance(|link| {
            let link = run.links.get(&link).copied().unwrap_or(link);
            system.interval(LinkEnd { chip, link })
        }))
    });
    of_chips.max().and_then(NonZeroU64::new)
}

fn of_set(chip: &Chip, set: &QueueSet) -> Option<SetUse> {
    let issues =
        set.iter().flat_map(|(&queue, items)| expand(items).map(move |issue| (queue, issue.cycle, issue.instruction)));
    SetUse::of(chip, issues)
}
