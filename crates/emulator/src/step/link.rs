//! Links between chips: vectors under way and vectors that wait at the other end.

use std::collections::{BTreeMap, VecDeque};

use lpu_chip::LinkEnd;
use lpu_isa::{Arrival, ChipId, Fault, Queue, Stream};

use super::{Step, Stepper};

/// All links of a system, by the end that receives or sends.
#[derive(Default)]
pub(super) struct Links {
    /// Vectors on their way to an end or waiting there, with their arrivals.
    arriving: BTreeMap<LinkEnd, VecDeque<(Arrival, Vec<u8>)>>,
    busy_until: BTreeMap<LinkEnd, u64>,
}

fn end(step: &Step, queue: Queue) -> LinkEnd {
    let Queue::C2c(link) = queue else { unreachable!("validated") };
    LinkEnd { chip: ChipId(step.chip), link }
}

impl Stepper<'_> {
    pub(super) fn send(&mut self, step: Step, queue: Queue, src: Stream, delay: u64) {
        let value = self.take(step, src, 1, self.machine.chip().position(queue));
        let near = end(&step, queue);
        let free = self.cycle + u64::from(self.machine.chip().values().c2c_interval);
        let until = self.links.busy_until.insert(near, free).unwrap_or(0);
        if until > self.cycle {
            self.fault(step, Fault::LinkBusy { link: near.link, until });
        }
        let far = self.machine.system.peer(near).expect("a send on an unconnected link is out of range");
        self.last = self.last.max(self.cycle + delay);
        let arrival = Arrival { cycle: self.cycle + delay, from: self.producer(step) };
        self.links.arriving.entry(far).or_default().push_back((arrival, value));
    }

    pub(super) fn receive(&mut self, step: Step, queue: Queue, dst: Stream, delay: u64) {
        let near = end(&step, queue);
        let waiting = self.links.arriving.entry(near).or_default();
        let next = waiting.front().map(|(arrival, _)| *arrival);
        let arrived = next.is_some_and(|next| next.cycle <= self.cycle);
        let value = match arrived.then(|| waiting.pop_front()).flatten() {
            Some((_, value)) => value,
            None => {
                self.fault(step, Fault::ReceiveEarly { link: near.link, next });
                vec![0; self.lanes]
            }
        };
        self.feed(step, delay, dst, value);
    }
}
