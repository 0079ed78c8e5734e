//! Doing a plan: phases in order, the tasks of a phase by whichever thread comes first.
//!
//! A task's result does not depend on who does it, nor when within its phase, so neither do the bits.

mod any;
mod dots;
mod ops;

use std::cell::{RefCell, UnsafeCell};
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

/// The most streams that an instruction takes or feeds.
const MOST_STREAMS: usize = 32;

/// Room for what a thread works on between taking and putting vectors.
pub(crate) struct Scratch {
    /// Bytes of streams taken and fed.
    bytes: [Vec<u8>; 2],
    wide: [Vec<u32>; 2],
    floats: [Vec<f32>; 2],
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        bytes: std::array::from_fn(|_| vec![0; MOST_STREAMS * MAX_LANES]),
        wide: std::array::from_fn(|_| vec![0; MAX_LANES]),
        floats: std::array::from_fn(|_| vec![0.0; MAX_LANES]),
    });
}

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

    fn task(&self, task: Task, scratch: &mut Scratch) {
        match task {
            Task::Ops(span) => self.plan.ops[span.range()].iter().for_each(|op| self.op(op, scratch)),
            Task::Runs(span) => self.plan.runs[span.range()].iter().for_each(|run| self.rows(run, scratch)),
            Task::Columns { columns, lane, lanes } => {
                self.columns(&self.plan.columns[columns as usize], usize::from(lane), usize::from(lanes), scratch);
            }
        }
    }
}

impl Work for Job {
    fn share(&self, barrier: &Barrier) {
        SCRATCH.with_borrow_mut(|scratch| {
            for (phase, taken) in self.plan.phases.iter().zip(&self.taken) {
                let tasks = &self.plan.tasks[phase.range()];
                while let Some(&task) = tasks.get(taken.fetch_add(1, Ordering::Relaxed) as usize) {
                    self.task(task, scratch);
                }
                barrier.meet(|| taken.store(0, Ordering::Relaxed));
            }
        });
    }
}
