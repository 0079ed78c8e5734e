//! Which worker does what first: each worker of the pool has a part of every step, and helps with the others' when it
//! is done.
//!
//! Parts are cut at the same points in every run, so that a worker finds in its caches what it fetched ahead. Results
//! do not depend on them.

use std::sync::atomic::{AtomicU32, Ordering};

use super::ChipJob;
use super::calls::Call;
use crate::places::At;
use crate::plan::{ListRange, Plan, Task};
use crate::steps::Steps;

/// What an operation costs, in bytes of weights that are read in the same time.
const OP: u64 = 600;

/// Tasks of one chip that a worker has in a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct WorkerTasks {
    pub(super) chip: u32,
    tasks: ListRange,
    /// The calls of these tasks.
    pub(super) calls: ListRange,
    /// Tasks of the worker's earlier parts of the step.
    first: u32,
}

/// What a worker has in a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// Its parts.
    pub(super) parts: ListRange,
    /// Tasks in all of them.
    tasks: u32,
    /// Bytes of the worker's calls in earlier steps.
    pub(super) before: u64,
}

/// The parts of a worker.
#[derive(Default)]
pub(super) struct Worker {
    /// In order of steps, then chips.
    pub(super) parts: Vec<WorkerTasks>,
    /// By step.
    pub(super) steps: Vec<Share>,
    /// By step: tasks that are taken.
    taken: Vec<AtomicU32>,
}

/// The parts of a plan for a pool.
pub(crate) struct Partition {
    pub(super) workers: Vec<Worker>,
    steps: usize,
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
    pub(super) fn new(steps: &Steps, chips: &[ChipJob], workers: usize) -> Self {
        let mut partition = Self { workers: (0..workers).map(|_| Worker::default()).collect(), steps: 0 };
        let mut before = vec![0; workers];
        let mut tasks: Vec<(u32, u32, u64)> = Vec::new();
        for step in steps.iter() {
            tasks.clear();
            for of in step {
                let ChipJob { plan, calls, .. } = &chips[of.chip as usize];
                let cost = |task: u32| {
                    let calls = &calls.list[calls.of_task[task as usize].range()];
                    (of.chip, task, cost(plan, calls, &plan.tasks[task as usize]))
                };
                let ListRange { start, end } = plan.phases[of.phase as usize];
                tasks.extend((start..end).map(cost));
            }
            let total: u64 = tasks.iter().map(|task| task.2).sum();
            let (mut task, mut sum) = (0, 0);
            for (number, (worker, before)) in partition.workers.iter_mut().zip(&mut before).enumerate() {
                let first = task;
                // A task goes to the worker in whose part of the whole its middle is.
                while task < tasks.len()
                    && (number + 1 == workers
                        || (2 * sum + tasks[task].2) * (workers as u64) < 2 * total * (number as u64 + 1))
                {
                    sum += tasks[task].2;
                    task += 1;
                }
                worker.add(&tasks[first..task], chips, before);
            }
            partition.steps += 1;
        }
        partition
    }

    /// Steps of a run.
    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// The next task of a step for a worker, with its chip: one of its own part, or else of another's.
    pub(super) fn next(&self, step: usize, worker: usize) -> Option<(usize, usize)> {
        let workers = self.workers.len();
        (0..workers).find_map(|other| self.workers[(worker + other) % workers].next(step))
    }

    /// Makes a step ready for the next run.
    pub(super) fn renew(&self, step: usize) {
        self.workers.iter().for_each(|worker| worker.taken[step].store(0, Ordering::Relaxed));
    }
}

impl Worker {
    /// Adds its tasks of one more step, each with its chip; `before` are the bytes of its calls so far.
    fn add(&mut self, tasks: &[(u32, u32, u64)], chips: &[ChipJob], before: &mut u64) {
        let start = self.parts.len() as u32;
        let share_before = *before;
        let mut first = 0;
        for of_chip in tasks.chunk_by(|one, other| one.0 == other.0) {
            let (chip, from) = (of_chip[0].0, of_chip[0].1);
            let span = ListRange { start: from, end: from + of_chip.len() as u32 };
            let calls = &chips[chip as usize].calls;
            // Tasks have their calls in order, one task after the other.
            let of = &calls.of_task[span.range()];
            let ends = of.first().zip(of.last());
            let calls_of =
                ends.map(|(first, last)| ListRange { start: first.start, end: last.end }).unwrap_or_default();
            *before += bytes(&calls.list[calls_of.range()]);
            self.parts.push(WorkerTasks { chip, tasks: span, calls: calls_of, first });
            first += of_chip.len() as u32;
        }
        let parts = ListRange { start, end: self.parts.len() as u32 };
        self.steps.push(Share { parts, tasks: first, before: share_before });
        self.taken.push(AtomicU32::new(0));
    }

    /// One of its tasks of a step, with its chip.
    fn next(&self, step: usize) -> Option<(usize, usize)> {
        let (share, taken) = (&self.steps[step], &self.taken[step]);
        if taken.load(Ordering::Relaxed) >= share.tasks {
            return None;
        }
        let number = taken.fetch_add(1, Ordering::Relaxed);
        if number >= share.tasks {
            return None;
        }
        let parts = &self.parts[share.parts.range()];
        let part = parts[parts.partition_point(|part| part.first <= number) - 1];
        Some((part.chip as usize, (part.tasks.start + number - part.first) as usize))
    }
}
