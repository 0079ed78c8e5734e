//! Superlanes without power: what an instruction takes and puts there is zero.

use std::collections::HashMap;

use lpu_checker::Flow;
use lpu_chip::Chip;
use lpu_isa::{ChipId, Instruction, Queue};

use super::builder::{Builder, Need};
use crate::plan::{Bytes, Op, Ref};

/// Lanes with power of each issue that does not have all.
pub(super) fn live(chip: &Chip, flow: &Flow) -> HashMap<u32, u16> {
    let mut queues: HashMap<(ChipId, Queue), u16> = HashMap::new();
    let mut live = HashMap::new();
    for (index, issue) in flow.issues.iter().enumerate() {
        let queue = (issue.chip, issue.queue);
        if let Instruction::Config { superlanes } = issue.instruction {
            let lanes = u32::from(superlanes.0) * chip.values().lanes_per_superlane;
            if lanes as usize == chip.lanes() {
                queues.remove(&queue);
            } else {
                queues.insert(queue, lanes as u16);
            }
        } else if let Some(&lanes) = queues.get(&queue) {
            live.insert(index as u32, lanes);
        }
    }
    live
}

impl Builder<'_> {
    /// A slot with the same 32-bit lanes, and zero from lane `live` on.
    pub(super) fn powered(&mut self, slot: u32, live: u16) -> u32 {
        let dst = self.duplicate(slot);
        let mut need = Need::default();
        self.need(&mut need, Ref::Slot(dst));
        self.emit(Op::Zero { dst: Ref::Slot(dst), from: live }, &need, &[], &[dst], &[]);
        dst
    }

    /// The same bytes, and zero from lane `live` on.
    pub(super) fn powered_bytes(&mut self, bytes: Bytes<Ref>, live: u16) -> Bytes<Ref> {
        let wide = self.wide(&[bytes]);
        let slot = self.settle(wide, 0);
        Bytes::Lane(Ref::Slot(self.powered(slot, live)), 0)
    }
}
