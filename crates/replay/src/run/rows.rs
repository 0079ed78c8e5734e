//! Where the rows of runs are read: where words lie, or, of words that are short, where the file has their first lanes.

use std::borrow::Cow;

use super::Job;
use crate::arena::Arena;
use crate::places::At;
use crate::plan::{Activation, Plan, Run, Span};

/// The rows of a run: low bytes, high bytes, and bytes of each row that are there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    pub(super) low: At,
    pub(super) high: At,
    live: u16,
    /// Whether the two planes have rows of different lengths, so that the shorter has to be filled up.
    uneven: bool,
    /// Whether they lie behind those of the run before, which is of the same pass.
    follows: bool,
}

/// The most rows of runs that are done together.
pub(super) const TOGETHER: usize = 512;

impl Rows {
    /// Rows as they lie now.
    pub(super) fn of(plan: &Plan<At>, arena: &Arena, run: &Run<At>) -> Self {
        let place = |at: At| arena.short(at, run.stored()).unwrap_or((at, plan.lanes));
        let (low, live) = place(run.low);
        let (high, other) = if plan.passes[run.pass as usize].activation.planes() == 2 { place(run.high) } else { (low, live) };
        if live == other {
            Self { low, high, live: live as u16, uneven: false, follows: false }
        } else {
            Self { low: run.low, high: run.high, live: plan.lanes as u16, uneven: true, follows: false }
        }
    }

    /// The rows of all runs of a plan.
    pub(super) fn all(plan: &Plan<At>, arena: &Arena) -> Vec<Self> {
        let mut all: Vec<Self> = plan.runs.iter().map(|run| Self::of(plan, arena, run)).collect();
        for (number, runs) in plan.runs.windows(2).enumerate() {
            let (before, rows) = (all[number], all[number + 1]);
            let bytes = usize::from(runs[0].rows) * before.live();
            let behind =
                [(before.low, rows.low), (before.high, rows.high)].into_iter().all(|(before, at)| before.bytes() + bytes == at.bytes());
            let alike = runs[0].pass == runs[1].pass && !runs[0].same && !runs[1].same && before.live == rows.live;
            all[number + 1].follows = behind && alike && !before.uneven && !rows.uneven;
        }
        all
    }

    /// Bytes of each row.
    pub(super) fn live(&self) -> usize {
        usize::from(self.live)
    }
}

/// Gives whole words to all short ones that a plan touches other than as rows of runs.
pub(super) fn make_whole(plan: &Plan<At>, arena: &Arena) {
    let word = |at: At| arena.make_whole(at, plan.lanes);
    for op in &plan.ops {
        let _ = op.map(|at| {
            word(at);
            at
        });
    }
    plan.terms.iter().for_each(|&at| word(at));
    plan.operands.iter().for_each(|bytes| word(bytes.of()));
    plan.windows.iter().for_each(|&at| word(at));
    plan.weights.iter().flat_map(|weights| &weights.rows).for_each(|row| word(row.0));
    for pass in &plan.passes {
        word(pass.dst);
        if let Activation::I8(x) = pass.activation {
            word(x);
        }
    }
    for run in &plan.runs {
        for at in [run.low, run.high] {
            if run.same || arena.short(at, run.stored()).is_none() {
                arena.make_whole(at, run.stored() * plan.lanes);
            }
        }
    }
}

impl Job {
    /// How many runs from number `number` on, up to number `end`, have rows that lie one after another and are done together; and their rows.
    pub(super) fn together(&self, number: usize, end: usize) -> (Span, usize) {
        let mut rows = usize::from(self.plan.runs[number].rows);
        let mut last = number + 1;
        while last < end && self.rows[last].follows && self.arena.wholes() == self.wholes {
            let more = rows + usize::from(self.plan.runs[last].rows);
            if more > TOGETHER {
                break;
            }
            (rows, last) = (more, last + 1);
        }
        (Span { start: number as u32, end: last as u32 }, rows)
    }

    /// The low and the high bytes of the rows, `count` in all, of runs that are done [together](Job::together), the first of them number `number`:
    /// as many of each row; what is behind them is zero.
    pub(super) fn weights(&self, number: usize, count: usize) -> [Cow<'_, [u8]>; 2] {
        let rows = self.rows[number];
        if self.arena.wholes() != self.wholes || rows.uneven {
            return self.weights_now(&self.plan.runs[number]);
        }
        [rows.low, rows.high].map(|at| self.rows_of(at, count * rows.live()).into())
    }

    /// [`Job::weights`], where some words have become whole.
    #[cold]
    fn weights_now(&self, run: &Run<At>) -> [Cow<'_, [u8]>; 2] {
        let (lanes, count) = (self.plan.lanes, usize::from(run.rows));
        let rows = Rows::of(&self.plan, &self.arena, run);
        if !rows.uneven {
            return [rows.low, rows.high].map(|at| self.rows_of(at, count * rows.live()).into());
        }
        [run.low, run.high].map(|at| match self.arena.short(at, count) {
            None => self.rows_of(at, count * lanes).into(),
            Some((at, live)) => {
                let mut padded = vec![0; count * lanes];
                for (row, bytes) in padded.chunks_exact_mut(lanes).zip(self.rows_of(at, count * live).chunks_exact(live)) {
                    row[..live].copy_from_slice(bytes);
                }
                padded.into()
            }
        })
    }

    /// Bytes that lie in a run's rows.
    pub(super) fn rows_of(&self, at: At, bytes: usize) -> &[u8] {
        // SAFETY: a run's rows lie one after another; `elaborate` lets nobody write them in this phase.
        unsafe { self.arena.bytes(at, bytes) }
    }
}
