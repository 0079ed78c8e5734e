//! Runs of a machine.

use lpu_isa::Violation;

use crate::error::RunError;
use crate::machine::Machine;
use crate::observer::Observer;
use crate::prepare::Prepared;
use crate::stepper::Stepper;

/// What a run measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Cycles from the first to the last landing of an effect in any tile.
    pub cycles: u64,
    /// Items that came to their queues by instruction fetch; the others were preloaded.
    pub fetched: u64,
}

impl Machine {
    /// Runs a program to its end.
    ///
    /// # Errors
    /// [`RunError::Fault`] with the first fault; what had landed by then stays in SRAM.
    pub fn run<O: Observer>(&mut self, prepared: &Prepared, observer: &mut O) -> Result<Run, RunError> {
        let mut stepper = Stepper::new(self, prepared, 1);
        let cycles = stepper.run(observer);
        let fetched = stepper.fetched();
        match stepper.violations.into_iter().min_by_key(Violation::key) {
            Some(first) => Err(RunError::Fault(first)),
            None => Ok(Run { cycles, fetched }),
        }
    }

    /// Runs a program on past its faults and gives back the first of them, at most `most`, in order.
    pub fn violations(&mut self, prepared: &Prepared, most: usize) -> Vec<Violation> {
        let mut stepper = Stepper::new(self, prepared, most);
        stepper.run(&mut ());
        let mut violations = stepper.violations;
        violations.sort_by_key(Violation::key);
        violations.truncate(most);
        violations
    }
}
