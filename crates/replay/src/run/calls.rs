//! Runs that are done together, and where their rows are read: where words are, or, of truncated words, where the
//! file has their first lanes.

use std::sync::Arc;

use lpu_num::dot::HalfWeights;

use super::ChipJob;
use crate::arena::Arena;
use crate::places::{At, StoredLanes};
use crate::plan::{ListRange, PassInput, Plan, RowRun, Task};

/// Runs that are done together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) kind: CallKind,
    pub(super) runs: ListRange,
    /// Rows of all runs; of those that share rows, of one.
    pub(super) rows: u16,
    pub(super) planes: StoredRows,
    /// Bytes of the rows of all runs, be they the same.
    pub(super) bytes: u32,
}

/// What runs of a [`Call`] have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallKind {
    /// A pass; each run is of one row again and again.
    Equal,
    /// Rows, each run being of another fp16 pass.
    Shared,
    /// A pass; their rows are one after another.
    StoredRows,
}

/// Where rows are: low bytes, high bytes, and bytes of each row that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StoredRows {
    pub(super) low: At,
    /// Where the low bytes are if there are none, or both alternate.
    pub(super) high: At,
    live: u16,
    /// Whether low and high bytes alternate.
    pub(super) paired: bool,
}

/// The most rows of runs of one pass that are done together.
pub(super) const TOGETHER: usize = 512;
/// The most passes through the same rows that are done together.
pub(super) const SHARED: usize = 12;

impl StoredRows {
    /// The rows of a run as they are now, if both planes are in one form.
    fn of(plan: &Plan<At>, arena: &Arena, run: &RowRun<At>) -> Option<Self> {
        let lanes =
            |at: At| arena.truncated(at, run.stored()).unwrap_or(StoredLanes { at, live: plan.lanes, turn: None });
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

    /// The rows after so many of these.
    fn after(self, rows: usize) -> Self {
        let bytes = rows * self.each();
        Self { low: self.low.plus(bytes), high: self.high.plus(bytes), ..self }
    }
}

/// Byte planes of a run.
fn planes(plan: &Plan<At>, run: &RowRun<At>) -> usize {
    plan.passes[run.pass as usize].activation.planes()
}

/// The calls of a plan over a chip's words.
#[derive(Debug)]
pub(super) struct Calls {
    /// In order of tasks.
    pub(super) list: Vec<Call>,
    /// By task.
    pub(super) of_task: Vec<ListRange>,
}

/// The calls of a plan over words of which these truncated extents are materialised.
struct Resolved {
    plan: *const Plan<At>,
    materialised: Vec<bool>,
    calls: Arc<Calls>,
}

/// The calls of chips: those over equal words share them.
#[derive(Default)]
pub(super) struct SharedCalls {
    resolved: Vec<Resolved>,
}

impl SharedCalls {
    /// The calls of a plan, and how many extents of truncated words are materialised: the rows of the calls are where
    /// they say as long as there are no more.
    pub(super) fn of_plan(&mut self, plan: &Arc<Plan<At>>, arena: &Arena) -> (Arc<Calls>, u32) {
        loop {
            materialise(plan, arena);
            let (count, materialised) = (arena.materialised_count(), arena.materialised());
            let same =
                |resolved: &&Resolved| resolved.plan == Arc::as_ptr(plan) && resolved.materialised == materialised;
            if let Some(resolved) = self.resolved.iter().find(same) {
                return (Arc::clone(&resolved.calls), count);
            }
            // An extent that is materialised for one run, or for a plan made at the same time, may leave another run
            // with one plane full and one truncated. Every round materialises that run's words, for good.
            if let Some((list, of_task)) = calls(plan, arena) {
                let calls = Arc::new(Calls { list, of_task });
                self.resolved.push(Resolved { plan: Arc::as_ptr(plan), materialised, calls: Arc::clone(&calls) });
                return (calls, count);
            }
        }
    }
}

/// The calls of a plan and those of each task, unless the planes of some run are stored in two ways.
fn calls(plan: &Plan<At>, arena: &Arena) -> Option<(Vec<Call>, Vec<ListRange>)> {
    let (mut calls, mut tasks) = (Vec::new(), Vec::new());
    for task in &plan.tasks {
        let start = calls.len() as u32;
        if let Task::Runs(ListRange { mut start, end }) = *task {
            while start < end {
                let call = Call::first(plan, arena, ListRange { start, end })?;
                start = call.runs.end;
                calls.push(call);
            }
        }
        tasks.push(ListRange { start, end: calls.len() as u32 });
    }
    Some((calls, tasks))
}

impl Call {
    /// The first of some runs, as many as can be done together, if the planes of the first are in one form.
    fn first(plan: &Plan<At>, arena: &Arena, span: ListRange) -> Option<Self> {
        let runs = &plan.runs[span.range()];
        let (first, of) = (runs.first()?, |run| StoredRows::of(plan, arena, run));
        let place = |run: &RowRun<At>| (run.low, run.high, run.rows);
        let share = |one: &RowRun<At>, other: &RowRun<At>| {
            place(one) == place(other) && [one, other].into_iter().all(|run| !run.same && planes(plan, run) == 2)
        };
        let same = runs.iter().take_while(|run| run.same && run.pass == first.pass).count();
        let shared = runs.iter().take(SHARED).take_while(|run| share(first, run)).count();
        let (start, mut rows) = (of(first)?, usize::from(first.rows));
        let (kind, count) = match (same, shared) {
            (1.., _) => (CallKind::Equal, same),
            (_, 2..) => (CallKind::Shared, shared),
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
                (CallKind::StoredRows, 1 + (1..runs.len()).take_while(together).count())
            }
        };
        let bytes = |run: &RowRun<At>| planes(plan, run) * run.stored() * usize::from(start.live);
        let bytes = runs[..count].iter().map(bytes).sum::<usize>() as u32;
        Some(Self {
            kind,
            runs: ListRange { start: span.start, end: span.start + count as u32 },
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

/// Materialises all truncated words that a plan touches other than as rows of runs.
fn materialise(plan: &Plan<At>, arena: &Arena) {
    let word = |at: At| arena.materialise(at, plan.lanes);
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
        if let PassInput::I8(x) = pass.activation {
            word(x);
        }
    }
    for run in &plan.runs {
        let one_by_one = [run.low, run.high].into_iter().any(|at| arena.truncated(at, run.stored()).is_none());
        if run.same || one_by_one || StoredRows::of(plan, arena, run).is_none() {
            [run.low, run.high].into_iter().for_each(|at| arena.materialise(at, run.stored() * plan.lanes));
        }
    }
}

impl ChipJob {
    /// The runs of a call.
    pub(super) fn runs_of(&self, call: &Call) -> &[RowRun<At>] {
        &self.plan.runs[call.runs.range()]
    }

    /// The fp16 weights of a call's rows: as many of each; what is after them is zero.
    pub(super) fn halves_of<'a>(&'a self, call: &Call, room: &'a mut Vec<u8>) -> HalfWeights<'a> {
        if self.arena.materialised_count() != self.materialised_count {
            let [low, high] =
                [|run: &RowRun<At>| run.low, |run: &RowRun<At>| run.high].map(|at| self.words_now(call, at));
            room.extend(low.iter().zip(&high).flat_map(|(&low, &high)| [low, high]));
            return HalfWeights::Pairs(room);
        }
        let StoredRows { low, high, paired, .. } = call.planes;
        let bytes = |at: At| self.rows_of(at, call.rows() * call.planes.each());
        if paired { HalfWeights::Pairs(bytes(low)) } else { HalfWeights::Apart(bytes(low), bytes(high)) }
    }

    /// [`ChipJob::halves_of`] of int8 weights.
    pub(super) fn bytes_of<'a>(&'a self, call: &Call, room: &'a mut Vec<u8>) -> &'a [u8] {
        if self.arena.materialised_count() != self.materialised_count {
            *room = self.words_now(call, |run| run.low);
            return room;
        }
        self.rows_of(call.planes.low, call.rows() * call.planes.each())
    }

    /// Full words of a plane, where some were materialised since the job was made.
    #[cold]
    fn words_now(&self, call: &Call, at: fn(&RowRun<At>) -> At) -> Vec<u8> {
        let runs = if call.kind == CallKind::Shared { &self.runs_of(call)[..1] } else { self.runs_of(call) };
        let places =
            runs.iter().flat_map(|run| (0..usize::from(run.rows)).map(move |row| at(run).plus(row * self.plan.lanes)));
        // SAFETY: `elaborate` lets nothing write a run's rows in this phase.
        places.flat_map(|at| unsafe { self.arena.word(at) }.into_owned()).collect()
    }

    /// Bytes of a call's rows.
    fn rows_of(&self, at: At, bytes: usize) -> &[u8] {
        // SAFETY: a call's rows are one after another; `elaborate` lets nothing write them in this phase.
        unsafe { self.arena.bytes(at, bytes) }
    }
}
