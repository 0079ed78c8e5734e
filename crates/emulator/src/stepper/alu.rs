//! Dispatch of ALU operations: operands in, one operation a lane, result to latch and streams.

use lpu_isa::{ChipId, Fault, Flow, Queue, Source};
use lpu_lanes::{operate, sources};

use super::{Effect, Stepper};
use crate::dispatch::Dispatch;
use crate::observer::{Computation, Observer};

impl Stepper<'_> {
    pub(super) fn operate<O: Observer>(&mut self, step: Dispatch, queue: Queue, delay: u64, observer: &mut O) {
        let sources = sources(&step.instruction).expect("dispatch sends only ALU operations here");
        let values =
            sources.map(|source| source.map(|(source, width)| self.source(step, source, width)).unwrap_or_default());
        let mut out = vec![0u32; self.lanes];
        operate(&step.instruction, [&values[0], &values[1], &values[2]], &mut out);
        if let Some(fed) = step.instruction.streams().into_iter().find(|used| used.flow == Flow::Out) {
            let bytes = self.split(&out, fed.width);
            self.feed(step, delay, fed.first, bytes);
        }
        let Queue::Vxm(alu) = queue else { unreachable!("validated") };
        self.cut(step, &mut out);
        if O::COMPUTES {
            let from = values.each_ref().map(Vec::as_slice);
            let (cycle, chip, by) = (step.cycle, ChipId(step.chip), &step.instruction);
            observer.compute(Computation { cycle, chip, queue, by, from: &from, result: &out });
        }
        self.plan(step, delay, Effect::Latch { alu: usize::from(alu), value: out });
    }

    /// The 32 bits of every lane of a source whose stream group has `width` streams.
    fn source(&mut self, step: Dispatch, source: Source, width: u8) -> Vec<u32> {
        match source {
            Source::Stream(first) => {
                let bytes = self.take(step, first, width, 0);
                let value = Self::join(&bytes, self.lanes);
                self.spare.push(bytes);
                value
            }
            Source::Latch(alu) => match &self.states[usize::from(step.chip)].latches[usize::from(alu)] {
                Some(value) => value.clone(),
                None => {
                    self.fault(step, Fault::LatchEmpty { alu: u16::from(alu), lands: None });
                    vec![0; self.lanes]
                }
            },
            Source::Immediate(value) => vec![value; self.lanes],
        }
    }
}
