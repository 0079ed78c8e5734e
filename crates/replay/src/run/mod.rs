//! Doing a plan: phases in order, the tasks of a phase by whichever thread comes first.
//!
//! A task's result does not depend on who does it, nor when within its phase, so neither do the bits.

mod any;
mod dots;
mod ops;

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU32, Ordering};

use lpu_num::dot::PassF16;

use crate::arena::Arena;
use crate::places::At;
use crate::plan::{Plan, Task};
use crate::team::{Barrier, Work};

/// In a map of lanes: zero comes in.
pub(crate) const NOWHERE: u16 = u16::MAX;

/// The most lanes that a chip has.
pub(crate) const MAX_LANES: usize = 4096;

/// A plan with the memory that it runs over.
pub(crate) struct Job {
    pub(crate) plan: Plan<At>,
    pub(crate) arena: Arena,
    /// Tasks taken, by phase.
    taken: Vec<AtomicU32>,
    prepared: Vec<UnsafeCell<PassF16>>,
}

// SAFETY: prepared activations are written by one task of a phase and read only in later phases; the arena states its own rules.
unsafe impl Sync for Job {}

impl Job {
    pub(crate) fn new(plan: Plan<At>, arena: Arena) -> Self {
        let taken = plan.phases.iter().map(|_| AtomicU32::new(0)).collect();
        let prepared = (0..plan.prepared).map(|_| UnsafeCell::new(PassF16::default())).collect();
        Self { plan, arena, taken, prepared }
    }

    fn task(&self, task: Task) {
        match task {
            Task::Ops(span) => self.plan.ops[span.range()].iter().for_each(|op| self.op(op)),
            Task::Runs(span) => self.plan.runs[span.range()].iter().for_each(|run| self.rows(run)),
            Task::Columns { columns, lane, lanes } => {
                self.columns(&self.plan.columns[columns as usize], usize::from(lane), usize::from(lanes));
            }
        }
    }
}

impl Work for Job {
    fn share(&self, barrier: &Barrier) {
        for (phase, taken) in self.plan.phases.iter().zip(&self.taken) {
            let tasks = &self.plan.tasks[phase.range()];
            while let Some(&task) = tasks.get(taken.fetch_add(1, Ordering::Relaxed) as usize) {
                self.task(task);
            }
            barrier.meet(|| taken.store(0, Ordering::Relaxed));
        }
    }
}
