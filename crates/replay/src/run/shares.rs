//! Who does what first: each member of the team has a share of every phase, and helps with the others' when it is done.
//!
//! Shares are cut at the same points in every run, so that a member finds in its caches what it fetched ahead. Results
//! do not depend on them.

use std::sync::atomic::{AtomicU32, Ordering};

use super::calls::Call;
use crate::places::At;
use crate::plan::{Plan, Span, Task};

/// What an operation costs, in bytes of weights that are read in the same time.
const OP: u64 = 600;

/// The shares of a plan for a team.
pub(crate) struct Shares {
    members: usize,
    /// By phase and member: tasks.
    tasks: Vec<Span>,
    /// By phase and member: the calls of these tasks.
    pub(super) calls: Vec<Span>,
    /// By phase and member: bytes of the member's calls in earlier phases.
    pub(super) before: Vec<u64>,
    /// By member and phase: tasks of the share that are taken.
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

impl Shares {
    pub(super) fn new(plan: &Plan<At>, calls: &[Call], calls_of: &[Span], members: usize) -> Self {
        let mut shares = Self { members, tasks: Vec::new(), calls: Vec::new(), before: Vec::new(), taken: Vec::new() };
        let mut before = vec![0; members];
        for phase in &plan.phases {
            let cost = |task: usize| cost(plan, &calls[calls_of[task].range()], &plan.tasks[task]);
            let costs: Vec<u64> = phase.range().map(cost).collect();
            let total: u64 = costs.iter().sum();
            let (mut task, mut sum) = (0, 0);
            for (member, before) in before.iter_mut().enumerate() {
                let first = task;
                // A task goes to the member in whose part of the whole its middle lies.
                while task < costs.len()
                    && (member + 1 == members
                        || (2 * sum + costs[task]) * (members as u64) < 2 * total * (member as u64 + 1))
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
                shares.tasks.push(span);
                shares.calls.push(span_of);
                shares.before.push(*before);
                *before += bytes(&calls[span_of.range()]);
            }
        }
        shares.taken = (0..members).map(|_| plan.phases.iter().map(|_| AtomicU32::new(0)).collect()).collect();
        shares
    }

    /// Index of a phase and member in the lists.
    pub(super) fn index(&self, phase: usize, member: usize) -> usize {
        phase * self.members + member
    }

    /// The next task of a phase for a member: one of its own share, or else of somebody else's.
    pub(super) fn next(&self, phase: usize, member: usize) -> Option<usize> {
        (0..self.members).map(|other| (member + other) % self.members).find_map(|owner| {
            let share = self.tasks[self.index(phase, owner)].range();
            let taken = &self.taken[owner][phase];
            if taken.load(Ordering::Relaxed) as usize >= share.len() {
                return None;
            }
            let task = share.start + taken.fetch_add(1, Ordering::Relaxed) as usize;
            (task < share.end).then_some(task)
        })
    }

    /// Makes a phase ready for the next run.
    pub(super) fn renew(&self, phase: usize) {
        self.taken.iter().for_each(|taken| taken[phase].store(0, Ordering::Relaxed));
    }
}
