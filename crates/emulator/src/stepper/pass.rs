//! Dispatch of passes through planes.

use lpu_isa::{ChipId, Fault, PassFormat, Queue, Stream, Target};

use super::{Effect, Stepper};
use crate::dispatch::Dispatch;
use crate::observer::{Computation, Observer};
use crate::planes::PortResult;

impl Stepper<'_> {
    pub(super) fn pass<O: Observer>(
        &mut self,
        step: Dispatch,
        queue: Queue,
        (format, src, dst): (PassFormat, Stream, Target),
        delay: u64,
        observer: &mut O,
    ) {
        let chip = step.chip;
        let Queue::Mxm(side, number, _) = queue else { unreachable!("validated") };
        let position = self.machine.chip().position(queue);
        let occupied = self.machine.chip().occupancy(format);
        let activation = self.take(step, src, occupied.planes, position);
        let plane = self.plane(side, number);
        let lanes = self.lanes;
        let planes = &mut self.states[usize::from(chip)].planes;
        let taken = &mut planes[plane..plane + usize::from(occupied.planes)];
        let missing = taken.iter().position(|plane| plane.array.is_none());
        let busy = taken.iter().map(|plane| plane.busy_until).enumerate().find(|&(_, until)| until > self.cycle);
        for plane in taken.iter_mut() {
            plane.busy_until = self.cycle + occupied.cycles;
        }
        let mut value = match format {
            PassFormat::I8 => taken[0].pass_i8(&activation, lanes),
            PassFormat::F16 => {
                let widen = &self.machine.widen;
                let number =
                    |lane: usize| widen[usize::from(activation[lane]) | usize::from(activation[lanes + lane]) << 8];
                let numbers: Vec<f32> = (0..lanes).map(number).collect();
                let (low, high) = taken.split_at_mut(1);
                low[0].pass_f16(high[0].array.as_ref(), &numbers, lanes, widen)
            }
        };
        self.cut(step, &mut value);
        if O::COMPUTES && format == PassFormat::F16 {
            let widen = &self.machine.widen;
            let number = |lane: usize| {
                widen[usize::from(activation[lane]) | usize::from(activation[lanes + lane]) << 8].to_bits()
            };
            let from: Vec<u32> = (0..lanes).map(number).collect();
            let (cycle, chip, by) = (step.cycle, ChipId(chip), &step.instruction);
            observer.compute(Computation { cycle, chip, queue, by, from: &[&from], result: &value });
        }
        self.spare.push(activation);
        if let Some(offset) = missing {
            self.fault(step, Fault::WeightsMissing { plane: number + offset as u16 });
        }
        if let Some((offset, until)) = busy {
            self.fault(step, Fault::PlaneBusy { plane: number + offset as u16, until });
        }
        match dst {
            Some(first) => {
                let bytes = self.split(&value, 4);
                self.feed(step, delay, first, bytes);
            }
            None => self.plan(step, delay, Effect::Port { plane, held: PortResult { format, value } }),
        }
    }
}
