//! Where the rows of runs are read: where words lie, or, of words that are short, where the file has their first lanes.

use lpu_num::dot::Planes;

use super::Job;
use crate::arena::Arena;
use crate::places::{At, Lanes};
use crate::plan::{Activation, Plan, Run, Span};

/// The rows of a run: low bytes, high bytes, and bytes of each row that are there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    pub(super) low: At,
    /// Where the low bytes are if there are none, or both lie in turn.
    pub(super) high: At,
    live: u16,
    /// Whether low and high bytes lie in turn.
    pub(super) paired: bool,
    /// Whether they lie behind those of the run before, which is of the same pass.
    follows: bool,
}

/// The most rows of runs that are done together.
pub(super) const TOGETHER: usize = 512;

impl Rows {
    /// Rows as they lie now, if both planes lie in the same way.
    fn of(plan: &Plan<At>, arena: &Arena, run: &Run<At>) -> Option<Self> {
        let lanes = |at: At| arena.short(at, run.stored()).unwrap_or(Lanes { at, live: plan.lanes, turn: None });
        let (low, single) = (lanes(run.low), plan.passes[run.pass as usize].activation.planes() == 1);
        let high = if single { low } else { lanes(run.high) };
        let paired = match (low.turn, high.turn) {
            (None, None) => false,
            (Some(0), Some(1)) if low.at == high.at => true,
            _ => return None,
        };
        (low.live == high.live).then_some(Self { low: low.at, high: high.at, live: low.live as u16, paired, follows: false })
    }

    /// The rows of all runs of a plan whose words were [made whole](make_whole).
    pub(super) fn all(plan: &Plan<At>, arena: &Arena) -> Vec<Self> {
        let of = |run: &Run<At>| Self::of(plan, arena, run).expect("planes that lie otherwise are whole");
        let mut all: Vec<Self> = plan.runs.iter().map(of).collect();
        for (number, runs) in plan.runs.windows(2).enumerate() {
            let (before, rows) = (all[number], all[number + 1]);
            let bytes = usize::from(runs[0].rows) * before.each();
            let behind =
                [(before.low, rows.low), (before.high, rows.high)].into_iter().all(|(before, at)| before.bytes() + bytes == at.bytes());
            let alike = (before.live, before.paired) == (rows.live, rows.paired);
            all[number + 1].follows = behind && alike && runs[0].pass == runs[1].pass && !runs[0].same && !runs[1].same;
        }
        all
    }

    /// Bytes of each row, of one plane.
    pub(super) fn live(&self) -> usize {
        usize::from(self.live)
    }

    /// Bytes from one row to the next.
    pub(super) fn each(&self) -> usize {
        self.live() * if self.paired { 2 } else { 1 }
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
        let one_by_one = [run.low, run.high].into_iter().any(|at| arena.short(at, run.stored()).is_none());
        if run.same || one_by_one || Rows::of(plan, arena, run).is_none() {
            [run.low, run.high].into_iter().for_each(|at| arena.make_whole(at, run.stored() * plan.lanes));
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

    /// The fp16 weights of the rows, `count` in all, of runs that are done [together](Job::together), the first of them number `number`: as many of
    /// each; what is behind them is zero.
    pub(super) fn halves_of<'a>(&'a self, number: usize, count: usize, room: &'a mut Vec<u8>) -> Planes<'a> {
        let rows = self.rows[number];
        if self.arena.wholes() != self.wholes {
            let run = &self.plan.runs[number];
            let [low, high] = [run.low, run.high].map(|at| self.words_now(at, count));
            room.extend(low.iter().zip(&high).flat_map(|(&low, &high)| [low, high]));
            return Planes::Pairs(room);
        }
        let bytes = |at: At| self.rows_of(at, count * rows.each());
        if rows.paired { Planes::Pairs(bytes(rows.low)) } else { Planes::Apart(bytes(rows.low), bytes(rows.high)) }
    }

    /// [`Job::halves_of`] of int8 weights.
    pub(super) fn bytes_of<'a>(&'a self, number: usize, count: usize, room: &'a mut Vec<u8>) -> &'a [u8] {
        let rows = self.rows[number];
        if self.arena.wholes() != self.wholes {
            *room = self.words_now(self.plan.runs[number].low, count);
            return room;
        }
        self.rows_of(rows.low, count * rows.live())
    }

    /// Whole words, where some have become whole since the job was made.
    #[cold]
    fn words_now(&self, at: At, count: usize) -> Vec<u8> {
        let lanes = self.plan.lanes;
        // SAFETY: `elaborate` lets nobody write a run's rows in this phase.
        (0..count).flat_map(|row| unsafe { self.arena.word(at.plus(row * lanes)) }.into_owned()).collect()
    }

    /// Bytes that lie in a run's rows.
    pub(super) fn rows_of(&self, at: At, bytes: usize) -> &[u8] {
        // SAFETY: a run's rows lie one after another; `elaborate` lets nobody write them in this phase.
        unsafe { self.arena.bytes(at, bytes) }
    }
}
