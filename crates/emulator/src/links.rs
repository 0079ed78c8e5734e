//! Links between chips: vectors under way and vectors that wait at the other end.

use std::collections::{BTreeMap, VecDeque};

use lpu_chip::LinkEnd;
use lpu_isa::Arrival;

/// All links of a system.
#[derive(Default)]
pub(crate) struct Links {
    /// Vectors on their way to an end or waiting there, with their arrivals.
    arriving: BTreeMap<LinkEnd, VecDeque<(Arrival, Vec<u8>)>>,
    /// By the end that sends.
    busy_until: BTreeMap<LinkEnd, u64>,
}

impl Links {
    /// Occupies a link up to a cycle; gives back up to which it was occupied before.
    pub(crate) fn occupy(&mut self, near: LinkEnd, until: u64) -> u64 {
        self.busy_until.insert(near, until).unwrap_or(0)
    }

    /// Puts a vector on its way to an end.
    pub(crate) fn send(&mut self, far: LinkEnd, arrival: Arrival, value: Vec<u8>) {
        self.arriving.entry(far).or_default().push_back((arrival, value));
    }

    /// Takes the vector that has waited longest at an end.
    ///
    /// # Errors
    /// The next arrival, if there is one, when no vector has arrived by this cycle.
    pub(crate) fn receive(&mut self, near: LinkEnd, cycle: u64) -> Result<Vec<u8>, Option<Arrival>> {
        let waiting = self.arriving.entry(near).or_default();
        match waiting.pop_front() {
            Some((arrival, value)) if arrival.cycle <= cycle => Ok(value),
            Some(early) => {
                let arrival = early.0;
                waiting.push_front(early);
                Err(Some(arrival))
            }
            None => Err(None),
        }
    }
}
