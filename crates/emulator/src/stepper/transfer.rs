//! Dispatch of sends and receives.

use lpu_chip::LinkEnd;
use lpu_isa::{Arrival, ChipId, Fault, Queue, Stream};

use super::Stepper;
use crate::dispatch::Dispatch;

fn end(step: &Dispatch, queue: Queue) -> LinkEnd {
    let Queue::C2c(link) = queue else { unreachable!("validated") };
    LinkEnd { chip: ChipId(step.chip), link }
}

impl Stepper<'_> {
    pub(super) fn send(&mut self, step: Dispatch, queue: Queue, src: Stream) {
        let value = self.take(step, src, 1, self.machine.chip().position(queue));
        let near = end(&step, queue);
        let until = self.links.occupy(near, self.cycle + self.machine.system.interval(near));
        if until > self.cycle {
            self.fault(step, Fault::LinkBusy { link: near.link, until });
        }
        let far = self.machine.system.peer(near).expect("a send on an unconnected link is out of range");
        let arrives = self.cycle + self.machine.system.latency(near);
        self.last = self.last.max(arrives);
        let arrival = Arrival { cycle: arrives, from: self.producer(step) };
        self.links.send(far, arrival, value);
    }

    pub(super) fn receive(&mut self, step: Dispatch, queue: Queue, dst: Stream, delay: u64) {
        let near = end(&step, queue);
        let value = self.links.receive(near, self.cycle).unwrap_or_else(|next| {
            self.fault(step, Fault::ReceiveEarly { link: near.link, next });
            vec![0; self.lanes]
        });
        self.feed(step, delay, dst, value);
    }
}
