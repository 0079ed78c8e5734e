//! All issues of a program with their times, and what is out of range.

use lpu_chip::{Chip, out_of_range};
use lpu_isa::{ChipId, Fault, Instruction, Program, Queue, Site, Unit, Violation, expand, validate};

use crate::CheckError;

/// One issue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Cycle of dispatch.
    pub cycle: u64,
    /// The chip.
    pub chip: ChipId,
    /// The queue.
    pub queue: Queue,
    /// Index of the item in the queue.
    pub item: u32,
    /// The instruction, its strided operand moved.
    pub instruction: Instruction,
}

impl Issue {
    pub(crate) fn violation(&self, cycle: u64, fault: Fault) -> Violation {
        let site = Some(Site { queue: self.queue, item: self.item, instruction: self.instruction });
        Violation { cycle, chip: self.chip, site, fault }
    }

    /// What orders two instructions of one queue: the later one is to blame.
    pub(crate) fn order(&self) -> (u64, u32) {
        (self.cycle, self.item)
    }
}

/// The issues of a program.
pub(crate) struct Issues {
    /// Within the chip's ranges, in order of cycle, chip, queue, item.
    pub(crate) list: Vec<Issue>,
    /// Out of range, or beyond a queue's depth.
    pub(crate) unfit: Vec<Violation>,
}

impl Issues {
    pub(crate) fn new(chip: &Chip, program: &Program) -> Result<Self, CheckError> {
        let mut issues = Self { list: Vec::new(), unfit: Vec::new() };
        for (number, queues) in program.queues.iter().enumerate() {
            for (&queue, items) in queues {
                validate(queue, items)?;
                let issue = |cycle, item, instruction| Issue { cycle, chip: ChipId(number as u16), queue, item, instruction };
                let Some(first) = items.first() else { continue };
                if !chip.has_queue(queue) {
                    let fault = Fault::RangeOverflow { what: "queue", value: 0, limit: 0 };
                    issues.unfit.push(issue(0, 0, first.instruction).violation(0, fault));
                    continue;
                }
                let depth = chip.values().queue_depth;
                if let Some(item) = items.get(depth as usize) {
                    let fault = Fault::QueueOverflow { items: items.len() as u64, depth: u64::from(depth) };
                    issues.unfit.push(issue(0, depth, item.instruction).violation(0, fault));
                }
                for one in expand(items) {
                    let found = issue(one.cycle, one.item, one.instruction);
                    match out_of_range(chip, queue, &one.instruction) {
                        Some(fault) => issues.unfit.push(found.violation(one.cycle, fault)),
                        None => issues.list.push(found),
                    }
                }
            }
        }
        issues.list.sort_unstable_by_key(|issue| (issue.cycle, issue.chip, issue.queue, issue.item));
        Ok(issues)
    }
}

/// Cycles of a run: the last cycle in which an effect lands in any tile, plus one.
#[must_use]
pub fn derived_cycles(chip: &Chip, program: &Program) -> u64 {
    let queues = program.queues.iter().flatten().filter(|(queue, _)| chip.has_queue(**queue));
    let landings = queues.flat_map(|(&queue, items)| {
        expand(items)
            .filter(move |issue| issue.instruction.row().unit != Unit::Icu && out_of_range(chip, queue, &issue.instruction).is_none())
            .map(|issue| issue.cycle + u64::from(chip.delay(issue.instruction.row().delay)))
    });
    landings.max().map_or(0, |last| last + chip.superlanes() as u64)
}
