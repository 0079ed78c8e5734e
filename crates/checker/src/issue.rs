//! One issue of an instruction.

use std::ops::Range;

use lpu_isa::{ChipId, Fault, Instruction, Producer, Queue, Site, SliceId, Violation};

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
        Violation { cycle, chip: self.chip, chips: 1, site, fault }
    }

    /// The issue as faults name it.
    pub(crate) fn producer(&self) -> Producer {
        Producer { chip: self.chip, queue: self.queue, item: self.item, cycle: self.cycle }
    }

    /// What orders two instructions of one queue: the later one is to blame.
    pub(crate) fn order(&self) -> (u64, u32) {
        (self.cycle, self.item)
    }

    /// The slice that a memory instruction accesses and the words that it may touch: one word, or the window of its
    /// addresses. Nothing for other instructions.
    #[must_use]
    pub fn words(&self) -> Option<(SliceId, Range<u32>)> {
        let Queue::Mem(side, index) = self.queue else { return None };
        let words = match self.instruction {
            Instruction::Read { word, .. } | Instruction::Write { word, .. } => word.0..word.0 + 1,
            Instruction::Gather { base, bits, .. } | Instruction::Scatter { base, bits, .. } => {
                base.0..base.0 + (1 << bits.0)
            }
            _ => return None,
        };
        Some((SliceId { side, index }, words))
    }
}
