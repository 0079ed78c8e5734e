//! Who does what first: each worker of the pool has a part of every phase, and helps with the others' when it is done.
//!
//! Parts are cut at the same points in every run, so that a worker finds in its caches what it fetched ahead. Results
//! do not depend on them.

use std::sync::atomic::{AtomicU32, Ordering};

use super::calls::Call;
use crate::places::At;
use crate::plan::{Plan, Span, Task};

/// What an operation costs, in bytes of weights that are read in the same time.
const OP: u64 = 600;

/// The parts of a plan for a pool.
pub(crate) struct Partition {
    workers: usize,
    /// By phase and worker: tasks.
    tasks: Vec<Span>,
    /// By phase and worker: the calls of these tasks.
    pub(super) calls: Vec<Span>,
    /// By phase and worker: bytes of the worker's calls in earlier phases.
    pub(super) before: Vec<u64>,
    /// By worker and phase: tasks of the part that are taken.
    taken: Vec<Vec<AtomicU32>>,
}

/// Bytes of weights of some calls.
fn bytes(calls: &[Call]) -> u64 {
    calls.iter().map(|call| u64::from(call.bytes)).sum()
}

fn cost(plan: &Plan<At>, calls: &[Call], task: &Task) -> u64 {
    match *task {
        Task::Ops(span) => span.range().len() as u64 * OP,
        Task::Runs(_) => bytes(calls),
        Task::Columns { columns, lanes, .. } => plan.columns[columns.range()]
            .iter()
            .map(|columns| columns.rows.range().len() as u64 * u64::from(lanes) / 2)
            .sum(),
    }
}

impl Partition {
    pub(super) fn new(plan: &Plan<At>, calls: &[Call], calls_of: &[Span], workers: usize) -> Self {
        let mut partition =
            Self { workers, tasks: Vec::new(), calls: Vec::new(), before: Vec::new(), taken: Vec::new() };
        let mut before = vec![0; workers];
        for phase in &plan.phases {
            let cost = |task: usize| cost(plan, &calls[calls_of[task].range()], &plan.tasks[task]);
            let costs: Vec<u64> = phase.range().map(cost).collect();
            let total: u64 = costs.iter().sum();
            let (mut task, mut sum) = (0, 0);
            for (worker, before) in before.iter_mut().enumerate() {
                let first = task;
                // A task goes to the worker in whose part of the whole its middle lies.
                while task < costs.len()
                    && (worker + 1 == workers
                        || (2 * sum + costs[task]) * (workers as u64) < 2 * total * (worker as u64 + 1))
                {
                    sum += costs[task];
                    task += 1;
                }
                let span = Span { start: phase.start + first as u32, end: phase.start + task as u32 };
                // Tasks have their calls in order, one task behind the other.
                let of = &calls_of[span.range()];
                let span_of = of
                    .first()
                    .zip(of.last())
                    .map(|(first, last)| Span { start: first.start, end: last.end })
                    .unwrap_or_default();
                partition.tasks.push(span);
                partition.calls.push(span_of);
                partition.before.push(*before);
                *before += bytes(&calls[span_of.range()]);
            }
        }
        partition.taken = (0..workers).map(|_| plan.phases.iter().map(|_| AtomicU32::new(0)).collect()).collect();
        partition
    }

    /// Index of a phase and worker in the lists.
    pub(super) fn index(&self, phase: usize, worker: usize) -> usize {
        phase * self.workers + worker
    }

    /// The next task of a phase for a worker: one of its own part, or else of another's.
    pub(super) fn next(&self, phase: usize, worker: usize) -> Option<usize> {
        (0..self.workers).map(|other| (worker + other) % self.workers).find_map(|owner| {
            let part = self.tasks[self.index(phase, owner)].range();
            let taken = &self.taken[owner][phase];
            if taken.load(Ordering::Relaxed) as usize >= part.len() {
                return None;
            }
            let task = part.start + taken.fetch_add(1, Ordering::Relaxed) as usize;
            (task < part.end).then_some(task)
        })
    }

    /// Makes a phase ready for the next run.
    pub(super) fn renew(&self, phase: usize) {
        self.taken.iter().for_each(|taken| taken[phase].store(0, Ordering::Relaxed));
    }
}
