//! The plans of all chips of a program, and the order of their phases.

use std::sync::Arc;

use crate::error::ReplayError;
use crate::places::At;
use crate::plan::{ChipPlan, Plan};
use crate::steps::Steps;

/// What all chips of a program do.
#[derive(Debug)]
pub(crate) struct SystemPlan {
    /// A plan a class of chips: over equal places, with equal operations.
    pub(crate) plans: Vec<Arc<Plan<At>>>,
    pub(crate) chips: Vec<ChipPlan>,
    /// Which phases are done when.
    pub(crate) steps: Steps,
}

impl SystemPlan {
    /// The plans of classes and those of chips, ordered in time.
    pub(crate) fn new(plans: Vec<Arc<Plan<At>>>, chips: Vec<ChipPlan>) -> Result<Self, ReplayError> {
        let steps = Steps::new(&plans, &chips)?;
        Ok(Self { plans, chips, steps })
    }

    /// The plan of a chip.
    pub(crate) fn of(&self, chip: usize) -> &Arc<Plan<At>> {
        &self.plans[self.chips[chip].plan as usize]
    }
}
