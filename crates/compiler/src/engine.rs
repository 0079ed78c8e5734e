//! The list scheduler.
//!
//! Method: a task becomes ready once its operands are scheduled. The ready task with the earliest feasible start is
//! scheduled next and never moved; ties go by priority, then by number. So weight loads of later matrices fill idle
//! planes, whatever the order of the graph. The storage of an intermediate vector is freed after its last use.
//!
//! Invariants:
//! - A task is scheduled once, after every task that defines an operand of it.
//! - What a scheduled task has taken (stream segments, ports, banks, queue cycles, latches, planes) is taken for good;
//!   words and accumulators are freed with the cycle of their last use.
//! - The same tasks give the same schedule: no choice depends on values, addresses of the host or hash order.
//!
//! Not claimed: that a schedule is the shortest, that an earlier ready task makes a shorter one, or that it is legal,
//! which the checker proves of the program.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use lpu_chip::Chip;
use lpu_isa::{DelayClass, Hemisphere, Instruction, Queue};

use crate::attend::{Append, PvProduct, QkProduct};
use crate::chain::{Carried, Chain, Split};
use crate::error::CompileError;
use crate::planes::{PlaneSet, Planes};
use crate::record::{Cause, Record};
use crate::scheduler::Scheduler;
use crate::tile::{Accumulation, Tile};
use crate::vectors::{Stored, Vectors};

/// Everything issued, by queue, in order of cycles.
pub(crate) type Issues = BTreeMap<Queue, Vec<(u64, Instruction)>>;

/// What held a task up once its inputs were there, and for how many cycles.
pub(crate) type Delay = (Cause, u64);

/// One way of trying a chain.
struct Attempt {
    /// Sides on which a word is left out, so that all results go to the other bank.
    skipped: &'static [Hemisphere],
    /// Cycles between accesses of memory; `None` keeps the chain as it is.
    spacing: Option<u64>,
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

/// A vector that one task makes and others read, or an ordering token (rows were appended) that others wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct VReg(u32);

impl VReg {
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// An output of a task: `bytes` a lane, on a side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out {
    pub(crate) vreg: VReg,
    pub(crate) bytes: u8,
    pub(crate) side: Hemisphere,
}

/// What a task does.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    Chain(Chain),
    Tile(Tile),
    Append(Append),
    Qk(QkProduct),
    Pv(PvProduct),
}

/// What came of trying a chain in one way.
enum Round {
    Done(Delay),
    /// It could start after everything that is taken.
    Later,
    /// It collides with itself.
    Never,
}

/// One piece of work to schedule.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// Index of the graph's node.
    pub(crate) node: usize,
    pub(crate) what: &'static str,
    /// Among tasks that could start in one cycle the one with the least number goes first.
    pub(crate) priority: u64,
    pub(crate) inputs: Vec<VReg>,
    pub(crate) outputs: Vec<Out>,
    pub(crate) work: Work,
}

#[derive(Clone, Debug, Default)]
struct VRegState {
    place: Option<Stored>,
    /// First cycle in which it may be read, once known.
    ready: Option<u64>,
    /// Whether its place is given back after its last use.
    scratch: bool,
    /// Where it will be, if that is settled before it is made.
    settled: Option<Stored>,
    uses: u32,
    /// Last cycle in which something reads it, so far.
    last_use: u64,
    waiting: Vec<usize>,
    /// Index of the record of the task that made it.
    producer: Option<usize>,
}

/// All tasks, what they have made so far, and the reservations.
pub(crate) struct Engine<'a> {
    pub(crate) scheduler: Scheduler<'a>,
    pub(crate) planes: Planes,
    pub(crate) vectors: Vectors,
    pub(crate) accumulations: Vec<Accumulation>,
    vregs: Vec<VRegState>,
    constants: BTreeMap<usize, VReg>,
    tasks: Vec<Option<Task>>,
    missing: Vec<usize>,
    heap: BinaryHeap<Reverse<(u64, u64, usize)>>,
    blocked: Vec<usize>,
    records: Vec<Record>,
}

impl<'a> Engine<'a> {
    pub(crate) fn new(chip: &'a Chip, vectors: Vectors) -> Self {
        Self {
            scheduler: Scheduler::new(chip),
            planes: Planes::new(chip),
            vectors,
            accumulations: Vec::new(),
            vregs: Vec::new(),
            constants: BTreeMap::new(),
            tasks: Vec::new(),
            missing: Vec::new(),
            heap: BinaryHeap::new(),
            blocked: Vec::new(),
            records: Vec::new(),
        }
    }

    /// A virtual register that some task will make.
    pub(crate) fn vreg(&mut self) -> VReg {
        self.vregs.push(VRegState { scratch: true, ..VRegState::default() });
        VReg(self.vregs.len() as u32 - 1)
    }

    /// A virtual register that some task will make in a place of its own in the outermost slices of a side.
    pub(crate) fn outermost(&mut self, side: Hemisphere) -> VReg {
        let settled = Some(self.vectors.outermost(side));
        self.vregs.push(VRegState { settled, ..VRegState::default() });
        VReg(self.vregs.len() as u32 - 1)
    }

    /// A virtual register of a vector that is in memory from the start.
    pub(crate) fn fixed(&mut self, place: Stored) -> VReg {
        self.vregs.push(VRegState { ready: Some(place.ready), place: Some(place), ..VRegState::default() });
        VReg(self.vregs.len() as u32 - 1)
    }

    /// The virtual register of a constant.
    pub(crate) fn constant(&mut self, constant: usize) -> VReg {
        if let Some(&vreg) = self.constants.get(&constant) {
            return vreg;
        }
        let vreg = self.fixed(self.vectors.constant_place(constant));
        self.constants.insert(constant, vreg);
        vreg
    }

    /// Keeps a virtual register's place for good.
    pub(crate) fn keep(&mut self, vreg: VReg) {
        self.vregs[vreg.index()].scratch = false;
    }

    /// Where a virtual register's vector is; it must have been made.
    pub(crate) fn storage(&self, vreg: VReg) -> Stored {
        self.vregs[vreg.index()].place.clone().expect("a task's inputs are made before it is placed")
    }

    /// First cycle in which a virtual register may be read, once known.
    pub(crate) fn ready(&self, vreg: VReg) -> Option<u64> {
        self.vregs[vreg.index()].ready
    }

    /// Notes one more use of a virtual register.
    pub(crate) fn add_use(&mut self, vreg: VReg) {
        self.vregs[vreg.index()].uses += 1;
    }

    /// Notes that a use of a virtual register is scheduled and reads nothing of it after cycle `last`.
    pub(crate) fn drop_use(&mut self, vreg: VReg, last: u64) {
        let state = &mut self.vregs[vreg.index()];
        state.last_use = state.last_use.max(last);
        state.uses -= 1;
        if state.uses == 0
            && state.scratch
            && let Some(place) = &state.place
        {
            self.vectors.release(place, state.last_use);
        }
    }

    /// Adds a task.
    pub(crate) fn task(&mut self, task: Task) -> usize {
        let number = self.tasks.len();
        let mut missing = 0;
        for &input in &task.inputs {
            let state = &mut self.vregs[input.index()];
            state.uses += 1;
            if state.ready.is_none() {
                missing += 1;
                state.waiting.push(number);
            }
        }
        if let Work::Tile(tile) = &task.work
            && missing > 0
        {
            for &accumulation in &tile.accumulations {
                self.accumulations[accumulation].unready += 1;
            }
        }
        self.tasks.push(Some(task));
        self.missing.push(missing);
        if missing == 0 {
            self.push(number);
        }
        number
    }

    fn key(&self, task: &Task) -> u64 {
        let ready = task.inputs.iter().filter_map(|&input| self.ready(input)).max().unwrap_or(0);
        let on_planes = |sets: &[PlaneSet]| {
            let edge = u64::from(self.scheduler.chip.mxm_position(Hemisphere::East).unsigned_abs());
            // Work on planes of both sides comes up when the first of them is free; else work on one side would always
            // go first.
            let free = sets.iter().map(|&set| self.planes.free(set)).min().unwrap_or(0);
            free.max(ready + self.scheduler.delay(DelayClass::MemRead) + edge)
        };
        match &task.work {
            Work::Chain(_) => ready,
            Work::Append(append) => ready + append.patience,
            Work::Tile(tile) => on_planes(&[tile.set]),
            Work::Qk(_) => on_planes(&QkProduct::sets()),
            Work::Pv(mix) => on_planes(&[mix.set]),
        }
    }

    fn push(&mut self, number: usize) {
        let task = self.tasks[number].as_ref().expect("a pushed task is not placed");
        let entry = (self.key(task), task.priority, number);
        self.heap.push(Reverse(entry));
    }

    /// Gives a virtual register its vector, or an ordering token its cycle.
    pub(crate) fn define(&mut self, vreg: VReg, ready: u64, place: Option<Stored>) {
        let producer = self.records.len();
        let state = &mut self.vregs[vreg.index()];
        state.ready = Some(ready);
        state.place = place;
        state.producer = Some(producer);
        if state.uses == 0
            && state.scratch
            && let Some(place) = &state.place
        {
            self.vectors.release(place, ready);
        }
        for number in std::mem::take(&mut self.vregs[vreg.index()].waiting) {
            self.missing[number] -= 1;
            if self.missing[number] > 0 {
                continue;
            }
            if let Some(Task { work: Work::Tile(tile), .. }) = &self.tasks[number] {
                for accumulation in tile.accumulations.clone() {
                    self.accumulations[accumulation].unready -= 1;
                    if self.accumulations[accumulation].unready == 0 {
                        self.unblock();
                    }
                }
            }
            self.push(number);
        }
    }

    /// Lets tasks that waited for an accumulator try again.
    pub(crate) fn unblock(&mut self) {
        for number in std::mem::take(&mut self.blocked) {
            self.push(number);
        }
    }

    /// A place for an output.
    pub(crate) fn scratch(&mut self, out: &Out) -> Result<Stored, CompileError> {
        if let Some(place) = &self.vregs[out.vreg.index()].settled {
            return Ok(place.clone());
        }
        self.vectors.scratch(out.bytes, out.side)
    }

    /// Schedules every task.
    pub(crate) fn run(&mut self) -> Result<(), CompileError> {
        while let Some(Reverse((key, priority, number))) = self.heap.pop() {
            let task = self.tasks[number].take().expect("a task is placed once");
            let now = self.key(&task);
            if now > key {
                self.heap.push(Reverse((now, priority, number)));
                self.tasks[number] = Some(task);
                continue;
            }
            if let Work::Tile(tile) = &task.work
                && !self.open(tile)
            {
                self.tasks[number] = Some(task);
                self.blocked.push(number);
                continue;
            }
            self.schedule_task(task)?;
        }
        match self.tasks.iter().flatten().next() {
            None => Ok(()),
            Some(task) => {
                Err(CompileError::NoPlace { what: format!("{} (it waits for ever)", task.what), searched: 0 })
            }
        }
    }

    fn schedule_task(&mut self, task: Task) -> Result<(), CompileError> {
        let from = self.scheduler.count();
        let limiting = task.inputs.iter().copied().max_by_key(|&input| self.ready(input));
        let waited = limiting.and_then(|vreg| self.vregs[vreg.index()].producer);
        let ready = limiting.and_then(|vreg| self.ready(vreg)).unwrap_or(0);
        let record = self.records.len();
        let (cause, lost) = match &task.work {
            Work::Chain(chain) => self.schedule_chain(&task, chain)?,
            Work::Tile(tile) => self.schedule_tile(&task, tile)?,
            Work::Append(append) => self.schedule_append(&task, append)?,
            Work::Qk(scores) => self.schedule_qk(&task, scores)?,
            Work::Pv(mix) => self.schedule_pv(&task, mix)?,
        };
        let cause = if lost == 0 { Cause::Inputs } else { cause };
        let (start, end) = self.scheduler.span(from).unwrap_or((ready, ready));
        debug_assert_eq!(record, self.records.len());
        let computed = self.scheduler.computed(from);
        self.records.push(Record {
            node: task.node,
            what: task.what,
            ready,
            start,
            end,
            waited,
            cause,
            lost,
            computed,
        });
        for &input in &task.inputs {
            self.drop_use(input, end);
        }
        Ok(())
    }

    /// Earliest cycle in which a vector can be at the VXM.
    pub(crate) fn at_vxm(&self, place: &Stored) -> u64 {
        let read = self.scheduler.delay(DelayClass::MemRead);
        let hops = |quad: u8| u64::from(self.scheduler.chip.slice_position(place.slice(quad, 0)).unsigned_abs());
        place.quads.iter().map(|&quad| place.readable(quad) + read + hops(quad)).min().unwrap_or(0)
    }

    fn schedule_chain(&mut self, task: &Task, chain: &Chain) -> Result<Delay, CompileError> {
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
        let spaced = way.spacing.map(|spacing| chain.spaced(spacing));
        let chain = spaced.as_ref().unwrap_or(chain);
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

    /// Everything issued, by queue; the vector slices with their outputs named; a record a task.
    pub(crate) fn finish(self) -> (Issues, Vectors, Vec<Record>) {
        (self.scheduler.into_queues(), self.vectors, self.records)
    }
}
