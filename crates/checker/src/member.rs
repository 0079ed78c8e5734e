//! A chip of a class.

use std::collections::BTreeMap;

use lpu_isa::{ChipId, Queue};

use crate::issue::Issue;

/// A chip of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Number of the class.
    pub class: usize,
    /// Cycles that the chip is later than the first chip of its class.
    pub later: u64,
    /// Links of the class's first chip that are other links here.
    pub links: BTreeMap<u16, u16>,
}

impl Member {
    /// An issue of the class's first chip as it is on this chip.
    #[must_use]
    pub fn issue(&self, chip: ChipId, issue: &Issue) -> Issue {
        Issue { cycle: self.cycle(issue.cycle), chip, queue: self.queue(issue.queue), ..*issue }
    }

    /// A cycle of the class's first chip as it is on this chip.
    #[must_use]
    pub fn cycle(&self, cycle: u64) -> u64 {
        cycle + self.later
    }

    fn queue(&self, queue: Queue) -> Queue {
        match queue {
            Queue::C2c(link) => Queue::C2c(self.links.get(&link).copied().unwrap_or(link)),
            queue => queue,
        }
    }
}
