//! Chains in time: the ways in which a chain is tried, from the ones that cost least, and the split of one that
//! collides with itself.

use lpu_isa::{DelayClass, Hemisphere};

use crate::chain::{Carried, Chain, Pace, Split};
use crate::engine::{Delay, Engine};
use crate::error::CompileError;
use crate::record::Cause;
use crate::scheduler::Scheduler;
use crate::task::{Out, Task, Work};
use crate::vectors::Stored;

/// One way of trying a chain.
struct Attempt {
    /// Sides on which a word is left out, so that all results go to the other bank.
    skipped: &'static [Hemisphere],
    /// Cycles between accesses of memory; `None` keeps the chain as it is.
    spacing: Option<u64>,
}

impl Attempt {
    fn pace(&self) -> Pace {
        self.spacing.map_or_else(Pace::default, |spacing| Pace { spacing, in_time: true, ..Pace::default() })
    }
}

/// The ways in which a chain is tried, in this order, before it is split in two. A rigid chain can collide with itself:
/// what it reads and writes may meet in a bank whatever its start. Other banks for its results, and then more cycles
/// between its accesses, resolve that.
const ATTEMPTS: [Attempt; 8] = {
    use Hemisphere::{East, West};
    [
        Attempt { skipped: &[], spacing: None },
        Attempt { skipped: &[East], spacing: None },
        Attempt { skipped: &[West], spacing: None },
        Attempt { skipped: &[East, West], spacing: None },
        Attempt { skipped: &[], spacing: Some(1) },
        Attempt { skipped: &[East], spacing: Some(2) },
        Attempt { skipped: &[West], spacing: Some(3) },
        Attempt { skipped: &[East, West], spacing: Some(4) },
    ]
};
/// Starts at which each way is tried.
const STARTS: u64 = 128;

/// What came of trying a chain in one way.
enum Round {
    Done(Delay),
    /// It could start after everything that is taken.
    Later,
    /// It collides with itself.
    Never,
}

impl Engine<'_> {
    pub(crate) fn schedule_chain(&mut self, task: &Task, chain: &Chain) -> Result<Delay, CompileError> {
        let mut later = None;
        for attempt in &ATTEMPTS {
            match self.schedule_attempt(task, chain, attempt, false)? {
                Round::Done(delay) => return Ok(delay),
                Round::Later => later = later.or(Some(attempt)),
                Round::Never => {}
            }
        }
        if let Some(attempt) = later
            && let Round::Done(delay) = self.schedule_attempt(task, chain, attempt, true)?
        {
            return Ok(delay);
        }
        self.schedule_split(task, chain)
    }

    /// Tries a chain in one way: at the first starts, or with `whole` at all of them.
    fn schedule_attempt(
        &mut self,
        task: &Task,
        chain: &Chain,
        way: &Attempt,
        whole: bool,
    ) -> Result<Round, CompileError> {
        let inputs: Vec<Stored> = task.inputs.iter().map(|&input| self.storage(input)).collect();
        let operands: Vec<&Stored> = inputs.iter().collect();
        let chain = chain.timed(&way.pace());
        let at_vxm = |(index, input): (usize, &Stored)| self.at_vxm(input).saturating_sub(chain.first_use(index));
        let from =
            inputs.iter().enumerate().map(at_vxm).max().unwrap_or(0).max(self.scheduler.delay(DelayClass::MemRead) + 4);
        // Words are taken from the banks in turn.
        let skipped: Vec<Stored> = way.skipped.iter().filter_map(|&side| self.vectors.scratch(4, side).ok()).collect();
        let outputs: Vec<Stored> = task.outputs.iter().map(|out| self.scratch(out)).collect::<Result<_, _>>()?;
        for place in &skipped {
            self.vectors.give_back(place);
        }
        let attempt = |scheduler: &mut Scheduler<'_>, start: u64| {
            let mut outputs = outputs.clone();
            chain.attempt(scheduler, start, &operands, &[], &mut outputs).map(|()| (start - from, outputs))
        };
        let end = self.scheduler.end(from);
        let found = self.scheduler.schedule_within(from, if whole { end - from } else { STARTS }, attempt);
        if let Some((late, places)) = found {
            for (out, place) in task.outputs.iter().zip(places) {
                self.define(out.vreg, place.ready, Some(place));
            }
            return Ok(Round::Done((Cause::Ports, late)));
        }
        let later = self.scheduler.would(end, attempt);
        for place in &outputs {
            self.vectors.give_back(place);
        }
        Ok(if later { Round::Later } else { Round::Never })
    }

    /// Places the first part of a chain, and makes a task of the second.
    fn schedule_split(&mut self, task: &Task, chain: &Chain) -> Result<Delay, CompileError> {
        let none = || CompileError::NoPlace { what: task.what.to_owned(), searched: ATTEMPTS.len() as u64 * STARTS };
        let Split { first, second, outputs, inputs, .. } = chain.split().ok_or_else(none)?;
        let [firsts, seconds] = outputs;
        let firsts: Vec<Out> = firsts
            .into_iter()
            .enumerate()
            .map(|(output, whole)| match whole {
                Some(whole) => task.outputs[whole],
                None => Out { vreg: self.vreg(), bytes: 4, side: Hemisphere::BOTH[output % 2] },
            })
            .collect();
        let seconds = seconds.into_iter().flatten().map(|whole| task.outputs[whole]).collect();
        let inputs = inputs.into_iter().map(|input| match input {
            Carried::Input(index) => task.inputs[index],
            Carried::Output(index) => firsts[index].vreg,
        });
        let (node, what, priority) = (task.node, task.what, task.priority);
        let rest = Task { node, what, priority, inputs: inputs.collect(), outputs: seconds, work: Work::Chain(second) };
        // Its uses are known before anything it reads is made.
        self.task(rest);
        let first_task = Task {
            node,
            what,
            priority,
            inputs: task.inputs.clone(),
            outputs: firsts,
            work: Work::Chain(first.clone()),
        };
        self.schedule_chain(&first_task, &first)
    }
}
