//! Queue sets: chips that do the same share one set of queues, with their links renamed and their start shifted.

use std::collections::BTreeMap;

use crate::queue::{Item, Queue};

/// The queues that a chip runs, with their items. A queue that is not there is empty.
pub type QueueSet = BTreeMap<Queue, Vec<Item>>;

/// What one chip of a program runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChipProgram {
    /// Number of its queue set in [`sets`](crate::Program::sets).
    pub set: u16,
    /// Links of the set that are other links of this chip: the set's number, the chip's number. A link that is not
    /// there keeps its number.
    pub links: BTreeMap<u16, u16>,
    /// Cycle in which the clocks of its queues start.
    pub start: u64,
}

impl ChipProgram {
    /// The chip's queue that has the items of a queue of its set.
    #[must_use]
    pub fn queue(&self, of_set: Queue) -> Queue {
        match of_set {
            Queue::C2c(link) => Queue::C2c(self.links.get(&link).copied().unwrap_or(link)),
            queue => queue,
        }
    }
}
