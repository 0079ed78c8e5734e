//! Dispatch of ALU operations: operands in, one operation a lane, result to latch and streams.

use lpu_isa::{Fault, Instruction, Queue, Source, Target};
use lpu_num::fp32;

use super::{Effect, Stepper};
use crate::prepare::Step;
use crate::vxm;

impl Stepper<'_> {
    pub(super) fn operate(&mut self, index: usize, step: &Step, queue: Queue, delay: u64) {
        let mut out = vec![0u32; self.lanes];
        let mut source = |source| self.source(index, step.chip, source, 4);
        let (dst, streams): (Target, u8) = match step.instruction {
            Instruction::Add { arithmetic, dst, a, b } => {
                vxm::add(arithmetic, &source(a), &source(b), &mut out);
                (dst, 4)
            }
            Instruction::Sub { arithmetic, dst, a, b } => {
                vxm::sub(arithmetic, &source(a), &source(b), &mut out);
                (dst, 4)
            }
            Instruction::Mul { arithmetic, dst, a, b } => {
                vxm::mul(arithmetic, &source(a), &source(b), &mut out);
                (dst, 4)
            }
            Instruction::Max { number, dst, a, b } => {
                vxm::max(number, &source(a), &source(b), &mut out);
                (dst, 4)
            }
            Instruction::Min { number, dst, a, b } => {
                vxm::min(number, &source(a), &source(b), &mut out);
                (dst, 4)
            }
            Instruction::Negate { arithmetic, dst, a } => {
                vxm::negate(arithmetic, &source(a), &mut out);
                (dst, 4)
            }
            Instruction::Abs { arithmetic, dst, a } => {
                vxm::abs(arithmetic, &source(a), &mut out);
                (dst, 4)
            }
            Instruction::Relu { number, dst, a } => {
                vxm::relu(number, &source(a), &mut out);
                (dst, 4)
            }
            Instruction::Greater { number, dst, a, b } => {
                vxm::greater(number, &source(a), &source(b), &mut out);
                (dst, 4)
            }
            Instruction::Equal { number, dst, a, b } => {
                vxm::equal(number, &source(a), &source(b), &mut out);
                (dst, 4)
            }
            Instruction::Mask { dst, condition, a } => {
                let (condition, a) = (source(condition), source(a));
                let zero = vec![0; a.len()];
                vxm::select(&condition, &a, &zero, &mut out);
                (dst, 4)
            }
            Instruction::Select { dst, condition, a, b } => {
                vxm::select(&source(condition), &source(a), &source(b), &mut out);
                (dst, 4)
            }
            Instruction::Convert { from, to, dst, a } => {
                let a = self.source(index, step.chip, a, from.bytes());
                vxm::convert(from, to, &a, &mut out);
                (dst, to.bytes())
            }
            Instruction::Exp { dst, a } => {
                vxm::function(&source(a), &mut out, fp32::exp);
                (dst, 4)
            }
            Instruction::Tanh { dst, a } => {
                vxm::function(&source(a), &mut out, fp32::tanh);
                (dst, 4)
            }
            Instruction::Rsqrt { dst, a } => {
                vxm::function(&source(a), &mut out, fp32::rsqrt);
                (dst, 4)
            }
            Instruction::Reciprocal { dst, a } => {
                vxm::function(&source(a), &mut out, fp32::recip);
                (dst, 4)
            }
            _ => unreachable!("dispatch sends only ALU operations here"),
        };
        if let Some(first) = dst {
            let bytes = self.split(&out, streams);
            self.feed(index, delay, first, bytes);
        }
        let Queue::Vxm(alu) = queue else { unreachable!("validated") };
        self.plan(index, delay, Effect::Latch { alu: usize::from(alu), value: out });
    }

    /// The 32 bits of every lane of a source whose stream group has `width` streams.
    fn source(&mut self, step: usize, chip: u16, source: Source, width: u8) -> Vec<u32> {
        match source {
            Source::Stream(first) => {
                let bytes = self.take(step, chip, first, width, 0);
                let value = Self::join(&bytes, self.lanes);
                self.spare.push(bytes);
                value
            }
            Source::Latch(alu) => match &self.states[usize::from(chip)].latches[usize::from(alu)] {
                Some(value) => value.clone(),
                None => {
                    self.fault(step, Fault::LatchEmpty { alu: u16::from(alu) });
                    vec![0; self.lanes]
                }
            },
            Source::Immediate(value) => vec![value; self.lanes],
        }
    }
}
