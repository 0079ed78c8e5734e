//! Dispatch: one arm an instruction, which takes what it takes and plans what it does.

use lpu_isa::{ChipId, Fault, Flow, Hemisphere, Instruction, PlanePort, Queue, SliceId, Stream, WindowBits, Word};
use lpu_lanes::switch;

use super::{Effect, Stepper};
use crate::dispatch::Dispatch;
use crate::observer::Observer;
use crate::prepare::Fixed;

impl Stepper<'_> {
    pub(super) fn plane(&self, side: Hemisphere, plane: u16) -> usize {
        usize::from(plane)
            + if side == Hemisphere::West { self.machine.chip().values().planes_per_side as usize } else { 0 }
    }

    fn address(&mut self, step: Dispatch, map: Stream, position: i32, base: Word, bits: WindowBits) -> u32 {
        let bytes = self.take(step, map, 2, position);
        let address = u32::from(bytes[0]) | u32::from(bytes[self.lanes]) << 8;
        self.spare.push(bytes);
        base.0 + (address & ((1 << bits.0) - 1))
    }

    fn protected(&self, chip: u16, slice: usize, from: u32, to: u32) -> Option<u32> {
        let words = &self.prepared.fixed[usize::from(chip)][slice];
        (from..to).find(|&word| words.get(word as usize).is_some_and(|&fixed| fixed != Fixed::Free))
    }

    pub(super) fn dispatch<O: Observer>(&mut self, line: usize, step: Dispatch, observer: &mut O) {
        let chip = step.chip;
        let queue = self.prepared.queues[usize::from(step.queue)];
        if let Some(fault) = self.machine.system.out_of_range(ChipId(chip), queue, &step.instruction) {
            return self.fault(step, fault);
        }
        observer.dispatch(self.cycle, ChipId(chip), queue, step.item, &step.instruction);
        self.control.dispatched |= self.machine.chip().effect(self.cycle, step.instruction.row()).is_some();
        let position = self.machine.chip().position(queue);
        let delay = u64::from(self.machine.chip().delay(step.instruction.row().delay));
        let slice = match queue {
            Queue::Mem(side, slice) => self.machine.chips[usize::from(chip)].index(SliceId { side, index: slice }),
            _ => 0,
        };
        let place = || match queue {
            Queue::Mem(side, index) => SliceId { side, index },
            _ => unreachable!("only memory queues access memory"),
        };
        match step.instruction {
            Instruction::Nop { .. } | Instruction::Repeat { .. } => {}
            Instruction::Ifetch { src } => self.fetch(line, step, queue, src, delay),
            Instruction::Sync {} => self.control.park(line),
            Instruction::Notify {} => self.control.notify(chip, self.cycle + delay),
            Instruction::Config { superlanes } => {
                self.control.power(line, u32::from(superlanes.0) * self.machine.chip().values().lanes_per_superlane);
            }
            Instruction::Deskew {} => {
                let period = u64::from(self.machine.chip().values().c2c_period);
                self.control.resume(line, (self.cycle / period + 1) * period);
            }
            Instruction::Send { src } => self.send(step, queue, src),
            Instruction::Receive { dst } => self.receive(step, queue, dst, delay),
            Instruction::Read { word: Word(word), dst } => {
                self.access(step, slice, word, false, observer);
                if !self.machine.chips[usize::from(chip)].initialised(slice, word) {
                    self.fault(step, Fault::WordUninitialised { slice: place(), word });
                }
                let mut value = self.buffer(1);
                value.copy_from_slice(&self.machine.chips[usize::from(chip)].word(slice, word));
                self.feed(step, delay, dst, value);
            }
            Instruction::Write { word: Word(word), src } => {
                let value = self.take(step, src, 1, position);
                if let Some(word) = self.protected(chip, slice, word, word + 1) {
                    self.fault(step, Fault::ProtectedWrite { slice: place(), word });
                }
                self.plan(step, delay, Effect::Word { slice, word, value, scatter: false });
            }
            Instruction::Gather { dst, map, base, bits } => {
                let word = self.address(step, map, position, base, bits);
                self.last = self.last.max(self.cycle + delay);
                match u64::from(self.machine.chip().values().mem_gather_access) {
                    0 => self.gather(step, slice, word, dst, observer),
                    access => self.plan(step, access, Effect::Gather { slice, word, dst }),
                }
            }
            Instruction::Scatter { src, map, base, bits } => {
                let value = self.take(step, src, 1, position);
                let word = self.address(step, map, position, base, bits);
                if let Some(word) = self.protected(chip, slice, base.0, base.0 + (1 << bits.0)) {
                    self.fault(step, Fault::ProtectedWrite { slice: place(), word });
                }
                self.plan(step, delay, Effect::Word { slice, word, value, scatter: true });
            }
            Instruction::Lw { src, .. } => {
                let Queue::Mxm(side, plane, PlanePort::Load) = queue else { unreachable!("validated") };
                let value = self.take(step, src, 16, position);
                let plane = self.plane(side, plane);
                self.plan(step, delay, Effect::Rows { plane, value });
            }
            Instruction::Iw { rows } => {
                let Queue::Mxm(side, plane, _) = queue else { unreachable!("validated") };
                let plane = self.plane(side, plane);
                let sampled = self.states[usize::from(chip)].planes[plane].sample(usize::from(rows.0), self.lanes);
                if sampled.found != rows.0 || sampled.beyond != 0 {
                    self.fault(
                        step,
                        Fault::BufferNotFull { rows: rows.0, found: sampled.found, beyond: sampled.beyond },
                    );
                }
                self.plan(step, delay, Effect::Array { plane, array: sampled.array });
            }
            Instruction::Abc { format, src, dst } => self.pass(step, queue, (format, src, dst), delay, observer),
            Instruction::Acc { .. } => {
                let Queue::Mxm(side, plane, _) = queue else { unreachable!("validated") };
                let plane = self.plane(side, plane);
                match self.states[usize::from(chip)].planes[plane].port.take() {
                    Some((held, _)) => self.plan(step, delay, Effect::Accumulate { plane, held }),
                    None => {
                        self.last = self.last.max(self.cycle + delay);
                        self.fault(step, Fault::AccumulatorMisuse { what: "no result stands at the port" });
                    }
                }
            }
            Instruction::ShiftLanes { .. }
            | Instruction::ShiftSuperlanes { .. }
            | Instruction::Transpose { .. }
            | Instruction::Permute { .. }
            | Instruction::Distribute { .. }
            | Instruction::Rotate { .. }
            | Instruction::SelectLanes { .. } => {
                let mut value = Vec::new();
                for used in step.instruction.streams() {
                    if used.flow == Flow::In {
                        let bytes = self.take(step, used.first, used.width, position);
                        value.extend_from_slice(&bytes);
                        self.spare.push(bytes);
                        continue;
                    }
                    let mut out = self.buffer(usize::from(used.width));
                    switch(&step.instruction, &value, &mut out, self.lanes);
                    self.feed(step, delay, used.first, out);
                }
            }
            Instruction::Add { .. }
            | Instruction::Sub { .. }
            | Instruction::Mul { .. }
            | Instruction::Max { .. }
            | Instruction::Min { .. }
            | Instruction::Negate { .. }
            | Instruction::Abs { .. }
            | Instruction::Relu { .. }
            | Instruction::Greater { .. }
            | Instruction::Equal { .. }
            | Instruction::Mask { .. }
            | Instruction::Select { .. }
            | Instruction::Convert { .. }
            | Instruction::Exp { .. }
            | Instruction::Tanh { .. }
            | Instruction::Rsqrt { .. }
            | Instruction::Reciprocal { .. } => self.operate(step, queue, delay, observer),
        }
    }
}
