//! Instruction fetch: a block comes off a stream pair into the queue that fetches.

use lpu_isa::{Fault, Queue, Stream, block_items};

use super::Stepper;
use crate::dispatch::Dispatch;
use crate::streams::StreamRegister;

impl Stepper<'_> {
    /// Takes a block off a stream pair and appends its instructions to the queue that fetches.
    pub(super) fn fetch(&mut self, line: usize, step: Dispatch, queue: Queue, src: Stream, delay: u64) {
        let position = self.machine.chip().position(queue);
        let mut block = Vec::with_capacity(2 * self.lanes);
        let (mut empty, mut other) = (None, None);
        for stream in [src, src.plus(1)] {
            let streams = &self.states[usize::from(step.chip)].streams;
            let register = StreamRegister { stream, position, cycle: self.cycle };
            match streams.get(register) {
                Some(value) => block.extend_from_slice(value),
                None => empty = empty.or(Some(stream)),
            }
            if !streams.is_code(register) {
                other = other.or(Some(stream));
            }
        }
        if let Some(stream) = empty {
            return self.fault(step, Fault::RegisterEmpty { stream, position, near: None });
        }
        if let Some(stream) = other {
            return self.fault(step, Fault::FetchNotCode { stream, position });
        }
        match block_items(queue, &block) {
            Err(byte) => self.fault(step, Fault::FetchInvalid { byte: byte as u32 }),
            Ok(items) => {
                let waiting = self.control.append(line, &items, self.cycle + delay);
                let depth = u64::from(self.machine.chip().values().queue_depth);
                if waiting as u64 > depth {
                    self.fault(step, Fault::QueueOverflow { items: waiting as u64, depth });
                }
            }
        }
    }
}
