//! Runs that are done together, and where their rows are read: where words lie, or, of words that are short, where the
//! file has their first lanes.

use std::sync::Arc;

use lpu_num::dot::HalfWeights;

use super::ChipJob;
use crate::arena::Arena;
use crate::places::{At, Lanes};
use crate::plan::{Activation, Plan, Run, Span, Task};

/// Runs that are done together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) kind: Kind,
    pub(super) runs: Span,
    /// Rows of all runs; of those that share rows, of one.
    pub(super) rows: u16,
    pub(super) planes: Rows,
    /// Bytes of the rows of all runs, be they the same.
    pub(super) bytes: u32,
}

/// What runs of a [`Call`] have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A pass; each run is of one row again and again.
    Equal,
    /// Rows, each run being of another fp16 pass.
    Shared,
    /// A pass; their rows lie one after another.
    Rows,
}

/// Where rows lie: low bytes, high bytes, and bytes of each row that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) low: At,
    /// Where the low bytes are if there are none, or both lie in turn.
    pub(super) high: At,
    live: u16,
    /// Whether low and high bytes lie in turn.
    pub(super) paired: bool,
}

/// The most rows of runs of one pass that are done together.
pub(super) const TOGETHER: usize = 512;
/// The most passes through the same rows that are done together.
pub(super) const SHARED: usize = 12;

impl Rows {
    /// The rows of a run as they lie now, if both planes lie in the same way.
    fn of(plan: &Plan<At>, arena: &Arena, run: &Run<At>) -> Option<Self> {
        let lanes = |at: At| arena.short(at, run.stored()).unwrap_or(Lanes { at, live: plan.lanes, turn: None });
        let low = lanes(run.low);
        let high = if planes(plan, run) == 1 { low } else { lanes(run.high) };
        let paired = match (low.turn, high.turn) {
            (None, None) => false,
            (Some(0), Some(1)) if low.at == high.at => true,
            _ => return None,
        };
        (low.live == high.live).then_some(Self { low: low.at, high: high.at, live: low.live as u16, paired })
    }

    /// Bytes from one row to the next.
    pub(super) fn each(&self) -> usize {
        usize::from(self.live) * if self.paired { 2 } else { 1 }
    }

    /// The rows behind so many of these.
    fn after(self, rows: usize) -> Self {
        let bytes = rows * self.each();
        Self { low: self.low.plus(bytes), high: self.high.plus(bytes), ..self }
    }
}

/// Byte planes of a run.
fn planes(plan: &Plan<At>, run: &Run<At>) -> usize {
    plan.passes[run.pass as usize].activation.planes()
}

/// The calls of a plan over a chip's words.
#[derive(Debug)]
pub(super) struct Calls {
    /// In order of tasks.
    pub(super) list: Vec<Call>,
    /// By task.
    pub(super) of_task: Vec<Span>,
}

/// The calls of a plan over words of which these extents are whole.
struct Known {
    plan: *const Plan<At>,
    whole: Vec<bool>,
    calls: Arc<Calls>,
}

/// The calls of chips: those over equal words share them.
#[derive(Default)]
pub(super) struct Shared {
    known: Vec<Known>,
}

impl Shared {
    /// The calls of a plan, and how many extents of short words are whole: the rows of the calls are where they say as
    /// long as there are no more.
    pub(super) fn settled(&mut self, plan: &Arc<Plan<At>>, arena: &Arena) -> (Arc<Calls>, u32) {
        loop {
            make_whole(plan, arena);
            let (wholes, whole) = (arena.wholes(), arena.whole());
            let same = |known: &&Known| known.plan == Arc::as_ptr(plan) && known.whole == whole;
            if let Some(known) = self.known.iter().find(same) {
                return (Arc::clone(&known.calls), wholes);
            }
            // An extent that becomes whole for one run, or for a plan made at the same time, may leave another run with
            // one plane whole and one short. Every round makes that run's words whole, and whole words stay so.
            if let Some((list, of_task)) = calls(plan, arena) {
                let calls = Arc::new(Calls { list, of_task });
                self.known.push(Known { plan: Arc::as_ptr(plan), whole, calls: Arc::clone(&calls) });
                return (calls, wholes);
            }
        }
    }
}

/// The calls of a plan and those of each task, unless the planes of some run are stored in two ways.
fn calls(plan: &Plan<At>, arena: &Arena) -> Option<(Vec<Call>, Vec<Span>)> {
    let (mut calls, mut tasks) = (Vec::new(), Vec::new());
    for task in &plan.tasks {
        let start = calls.len() as u32;
        if let Task::Runs(Span { mut start, end }) = *task {
            while start < end {
                let call = Call::first(plan, arena, Span { start, end })?;
                start = call.runs.end;
                calls.push(call);
            }
        }
        tasks.push(Span { start, end: calls.len() as u32 });
    }
    Some((calls, tasks))
}

impl Call {
    /// The first of some runs, as many as can be done together, if the planes of the first lie in the same way.
    fn first(plan: &Plan<At>, arena: &Arena, span: Span) -> Option<Self> {
        let runs = &plan.runs[span.range()];
        let (first, of) = (runs.first()?, |run| Rows::of(plan, arena, run));
        let place = |run: &Run<At>| (run.low, run.high, run.rows);
        let share = |one: &Run<At>, other: &Run<At>| {
            place(one) == place(other) && [one, other].into_iter().all(|run| !run.same && planes(plan, run) == 2)
        };
        let same = runs.iter().take_while(|run| run.same && run.pass == first.pass).count();
        let shared = runs.iter().take(SHARED).take_while(|run| share(first, run)).count();
        let (start, mut rows) = (of(first)?, usize::from(first.rows));
        let (kind, count) = match (same, shared) {
            (1.., _) => (Kind::Equal, same),
            (_, 2..) => (Kind::Shared, shared),
            _ => {
                let together = |number: &usize| {
                    let (run, more) = (&runs[*number], rows + usize::from(runs[*number].rows));
                    let alone = runs.get(number + 1).is_none_or(|next| !share(run, next));
                    let fits = run.pass == first.pass
                        && !run.same
                        && alone
                        && more <= TOGETHER
                        && of(run) == Some(start.after(rows));
                    rows = if fits { more } else { rows };
                    fits
                };
                (Kind::Rows, 1 + (1..runs.len()).take_while(together).count())
            }
        };
        let bytes = |run: &Run<At>| planes(plan, run) * run.stored() * usize::from(start.live);
        let bytes = runs[..count].iter().map(bytes).sum::<usize>() as u32;
        Some(Self {
            kind,
            runs: Span { start: span.start, end: span.start + count as u32 },
            rows: rows as u16,
            planes: start,
            bytes,
        })
    }

    /// Rows of all runs; of those that share rows, of one.
    pub(super) fn rows(&self) -> usize {
        usize::from(self.rows)
    }
}

/// Gives whole words to all short ones that a plan touches other than as rows of runs.
fn make_whole(plan: &Plan<At>, arena: &Arena) {
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
        let one_by_one = [run.low, run.high].into_iter().any(|at| arena.short(at, run.stored()).is_none());
        if run.same || one_by_one || Rows::of(plan, arena, run).is_none() {
            [run.low, run.high].into_iter().for_each(|at| arena.make_whole(at, run.stored() * plan.lanes));
        }
    }
}

impl ChipJob {
    /// The runs of a call.
    pub(super) fn runs_of(&self, call: &Call) -> &[Run<At>] {
        &self.plan.runs[call.runs.range()]
    }

    /// The fp16 weights of a call's rows: as many of each; what is behind them is zero.
    pub(super) fn halves_of<'a>(&'a self, call: &Call, room: &'a mut Vec<u8>) -> HalfWeights<'a> {
        if self.arena.wholes() != self.wholes {
            let [low, high] = [|run: &Run<At>| run.low, |run: &Run<At>| run.high].map(|at| self.words_now(call, at));
            room.extend(low.iter().zip(&high).flat_map(|(&low, &high)| [low, high]));
            return HalfWeights::Pairs(room);
        }
        let Rows { low, high, paired, .. } = call.planes;
        let bytes = |at: At| self.rows_of(at, call.rows() * call.planes.each());
        if paired { HalfWeights::Pairs(bytes(low)) } else { HalfWeights::Apart(bytes(low), bytes(high)) }
    }

    /// [`ChipJob::halves_of`] of int8 weights.
    pub(super) fn bytes_of<'a>(&'a self, call: &Call, room: &'a mut Vec<u8>) -> &'a [u8] {
        if self.arena.wholes() != self.wholes {
            *room = self.words_now(call, |run| run.low);
            return room;
        }
        self.rows_of(call.planes.low, call.rows() * call.planes.each())
    }

    /// Whole words of a plane, where some have become whole since the job was made.
    #[cold]
    fn words_now(&self, call: &Call, at: fn(&Run<At>) -> At) -> Vec<u8> {
        let runs = if call.kind == Kind::Shared { &self.runs_of(call)[..1] } else { self.runs_of(call) };
        let places =
            runs.iter().flat_map(|run| (0..usize::from(run.rows)).map(move |row| at(run).plus(row * self.plan.lanes)));
        // SAFETY: `elaborate` lets nobody write a run's rows in this phase.
        places.flat_map(|at| unsafe { self.arena.word(at) }.into_owned()).collect()
    }

    /// Bytes that lie in a call's rows.
    fn rows_of(&self, at: At, bytes: usize) -> &[u8] {
        // SAFETY: a call's rows lie one after another; `elaborate` lets nobody write them in this phase.
        unsafe { self.arena.bytes(at, bytes) }
    }
}
