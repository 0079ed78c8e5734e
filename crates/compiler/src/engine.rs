//! The list scheduler: tasks whose inputs are placed wait in order of the earliest cycle in which they could start; the
//! first of them is placed for good, which gives its outputs their places and may make other tasks ready.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use lpu_chip::Chip;
use lpu_isa::{DelayClass, Hemisphere, Instruction, Queue};

use crate::attend::{Append, Mix, Scores};
use crate::chain::{Carried, Chain, Split};
use crate::error::CompileError;
use crate::planes::{PlaneSet, Planes};
use crate::record::{Cause, Record};
use crate::scheduler::Scheduler;
use crate::tile::{Job, Tile};
use crate::vectors::{Parked, Vectors};

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

/// The ways in which a chain is tried, in this order, before it is split in two. A rigid chain can stand in its own way:
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

/// A vector that one task makes and others read, or a mere moment (rows appended) that others wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(u32);

impl Slot {
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// An output of a task: `bytes` a lane, on a side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out {
    pub(crate) slot: Slot,
    pub(crate) bytes: u8,
    pub(crate) side: Hemisphere,
}

/// What a task does.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    Chain(Chain),
    Tile(Tile),
    Append(Append),
    Scores(Scores),
    Mix(Mix),
}

/// What came of trying a chain in one way.
enum Round {
    Done(Delay),
    /// It could start after everything that is taken.
    Later,
    /// It stands in its own way.
    Never,
}

/// One placeable piece of work.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// Index of the graph's node.
    pub(crate) node: usize,
    pub(crate) what: &'static str,
    /// Among tasks that could start in one cycle the least rank goes first.
    pub(crate) rank: u64,
    pub(crate) inputs: Vec<Slot>,
    pub(crate) outputs: Vec<Out>,
    pub(crate) work: Work,
}

#[derive(Clone, Debug, Default)]
struct SlotState {
    place: Option<Parked>,
    /// First cycle in which it may be read, once known.
    ready: Option<u64>,
    /// Whether its place is given back after the last reader.
    scratch: bool,
    /// Where it will lie, if that is settled before it is made.
    settled: Option<Parked>,
    readers: u32,
    /// Last cycle in which something reads it, so far.
    busy: u64,
    waiting: Vec<usize>,
    /// Index of the record of the task that made it.
    maker: Option<usize>,
}

/// All tasks, what they have made so far, and the reservations.
pub(crate) struct Engine<'a> {
    pub(crate) scheduler: Scheduler<'a>,
    pub(crate) planes: Planes,
    pub(crate) vectors: Vectors,
    pub(crate) jobs: Vec<Job>,
    slots: Vec<SlotState>,
    constants: BTreeMap<usize, Slot>,
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
            jobs: Vec::new(),
            slots: Vec::new(),
            constants: BTreeMap::new(),
            tasks: Vec::new(),
            missing: Vec::new(),
            heap: BinaryHeap::new(),
            blocked: Vec::new(),
            records: Vec::new(),
        }
    }

    /// A slot that some task will make.
    pub(crate) fn slot(&mut self) -> Slot {
        self.slots.push(SlotState { scratch: true, ..SlotState::default() });
        Slot(self.slots.len() as u32 - 1)
    }

    /// A slot that some task will make in a place of its own in the outermost slices of a side.
    pub(crate) fn outermost(&mut self, side: Hemisphere) -> Slot {
        let settled = Some(self.vectors.outermost(side));
        self.slots.push(SlotState { settled, ..SlotState::default() });
        Slot(self.slots.len() as u32 - 1)
    }

    /// A slot of a vector that stands in memory from the start.
    pub(crate) fn fixed(&mut self, place: Parked) -> Slot {
        self.slots.push(SlotState { ready: Some(place.ready), place: Some(place), ..SlotState::default() });
        Slot(self.slots.len() as u32 - 1)
    }

    /// The slot of a constant.
    pub(crate) fn constant(&mut self, constant: usize) -> Slot {
        if let Some(&slot) = self.constants.get(&constant) {
            return slot;
        }
        let slot = self.fixed(self.vectors.constant_place(constant));
        self.constants.insert(constant, slot);
        slot
    }

    /// Keeps a slot's place for good.
    pub(crate) fn keep(&mut self, slot: Slot) {
        self.slots[slot.index()].scratch = false;
    }

    /// Where a slot's vector lies; it must have been made.
    pub(crate) fn place(&self, slot: Slot) -> Parked {
        self.slots[slot.index()].place.clone().expect("a task's inputs are made before it is placed")
    }

    /// First cycle in which a slot may be read, once known.
    pub(crate) fn ready(&self, slot: Slot) -> Option<u64> {
        self.slots[slot.index()].ready
    }

    /// Notes one more reader of a slot.
    pub(crate) fn hold(&mut self, slot: Slot) {
        self.slots[slot.index()].readers += 1;
    }

    /// Notes that a reader of a slot is placed and reads nothing of it after cycle `last`.
    pub(crate) fn drop_reader(&mut self, slot: Slot, last: u64) {
        let state = &mut self.slots[slot.index()];
        state.busy = state.busy.max(last);
        state.readers -= 1;
        if state.readers == 0
            && state.scratch
            && let Some(place) = &state.place
        {
            self.vectors.release(place, state.busy);
        }
    }

    /// Adds a task.
    pub(crate) fn task(&mut self, task: Task) -> usize {
        let number = self.tasks.len();
        let mut missing = 0;
        for &input in &task.inputs {
            let state = &mut self.slots[input.index()];
            state.readers += 1;
            if state.ready.is_none() {
                missing += 1;
                state.waiting.push(number);
            }
        }
        if let Work::Tile(tile) = &task.work
            && missing > 0
        {
            for &job in &tile.jobs {
                self.jobs[job].unready += 1;
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
            Work::Scores(_) => on_planes(&Scores::sets()),
            Work::Mix(mix) => on_planes(&[mix.set]),
        }
    }

    fn push(&mut self, number: usize) {
        let task = self.tasks[number].as_ref().expect("a pushed task is not placed");
        let entry = (self.key(task), task.rank, number);
        self.heap.push(Reverse(entry));
    }

    /// Gives a slot its vector, or its moment.
    pub(crate) fn made(&mut self, slot: Slot, ready: u64, place: Option<Parked>) {
        let maker = self.records.len();
        let state = &mut self.slots[slot.index()];
        state.ready = Some(ready);
        state.place = place;
        state.maker = Some(maker);
        if state.readers == 0
            && state.scratch
            && let Some(place) = &state.place
        {
            self.vectors.release(place, ready);
        }
        for number in std::mem::take(&mut self.slots[slot.index()].waiting) {
            self.missing[number] -= 1;
            if self.missing[number] > 0 {
                continue;
            }
            if let Some(Task { work: Work::Tile(tile), .. }) = &self.tasks[number] {
                for job in tile.jobs.clone() {
                    self.jobs[job].unready -= 1;
                    if self.jobs[job].unready == 0 {
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
    pub(crate) fn scratch(&mut self, out: &Out) -> Result<Parked, CompileError> {
        if let Some(place) = &self.slots[out.slot.index()].settled {
            return Ok(place.clone());
        }
        self.vectors.scratch(out.bytes, out.side)
    }

    /// Places every task.
    pub(crate) fn run(&mut self) -> Result<(), CompileError> {
        while let Some(Reverse((key, rank, number))) = self.heap.pop() {
            let task = self.tasks[number].take().expect("a task is placed once");
            let now = self.key(&task);
            if now > key {
                self.heap.push(Reverse((now, rank, number)));
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
            self.put(task)?;
        }
        match self.tasks.iter().flatten().next() {
            None => Ok(()),
            Some(task) => {
                Err(CompileError::NoPlace { what: format!("{} (it waits for ever)", task.what), searched: 0 })
            }
        }
    }

    fn put(&mut self, task: Task) -> Result<(), CompileError> {
        let from = self.scheduler.count();
        let limiting = task.inputs.iter().copied().max_by_key(|&input| self.ready(input));
        let waited = limiting.and_then(|slot| self.slots[slot.index()].maker);
        let ready = limiting.and_then(|slot| self.ready(slot)).unwrap_or(0);
        let record = self.records.len();
        let (cause, lost) = match &task.work {
            Work::Chain(chain) => self.put_chain(&task, chain)?,
            Work::Tile(tile) => self.put_tile(&task, tile)?,
            Work::Append(append) => self.put_append(&task, append)?,
            Work::Scores(scores) => self.put_scores(&task, scores)?,
            Work::Mix(mix) => self.put_mix(&task, mix)?,
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
            self.drop_reader(input, end);
        }
        Ok(())
    }

    /// Earliest cycle in which a vector can be at the VXM.
    pub(crate) fn at_vxm(&self, place: &Parked) -> u64 {
        let read = self.scheduler.delay(DelayClass::MemRead);
        let hops = |quad: u8| u64::from(self.scheduler.chip.slice_position(place.slice(quad, 0)).unsigned_abs());
        place.quads.iter().map(|&quad| place.readable(quad) + read + hops(quad)).min().unwrap_or(0)
    }

    fn put_chain(&mut self, task: &Task, chain: &Chain) -> Result<Delay, CompileError> {
        let mut later = None;
        for attempt in &ATTEMPTS {
            match self.put_attempt(task, chain, attempt, false)? {
                Round::Done(delay) => return Ok(delay),
                Round::Later => later = later.or(Some(attempt)),
                Round::Never => {}
            }
        }
        if let Some(attempt) = later
            && let Round::Done(delay) = self.put_attempt(task, chain, attempt, true)?
        {
            return Ok(delay);
        }
        self.put_split(task, chain)
    }

    /// Tries a chain in one way: at the first starts, or with `whole` at all of them.
    fn put_attempt(&mut self, task: &Task, chain: &Chain, way: &Attempt, whole: bool) -> Result<Round, CompileError> {
        let inputs: Vec<Parked> = task.inputs.iter().map(|&input| self.place(input)).collect();
        let operands: Vec<&Parked> = inputs.iter().collect();
        let spaced = way.spacing.map(|spacing| chain.spaced(spacing));
        let chain = spaced.as_ref().unwrap_or(chain);
        let at_vxm = |(index, input): (usize, &Parked)| self.at_vxm(input).saturating_sub(chain.first_use(index));
        let from =
            inputs.iter().enumerate().map(at_vxm).max().unwrap_or(0).max(self.scheduler.delay(DelayClass::MemRead) + 4);
        // Words are taken from the banks in turn.
        let skipped: Vec<Parked> = way.skipped.iter().filter_map(|&side| self.vectors.scratch(4, side).ok()).collect();
        let outputs: Vec<Parked> = task.outputs.iter().map(|out| self.scratch(out)).collect::<Result<_, _>>()?;
        for place in &skipped {
            self.vectors.give_back(place);
        }
        let attempt = |scheduler: &mut Scheduler<'_>, start: u64| {
            let mut outputs = outputs.clone();
            chain.attempt(scheduler, start, &operands, &[], &mut outputs).map(|()| (start - from, outputs))
        };
        let end = self.scheduler.end(from);
        let found = self.scheduler.place_within(from, if whole { end - from } else { STARTS }, attempt);
        if let Some((late, places)) = found {
            for (out, place) in task.outputs.iter().zip(places) {
                self.made(out.slot, place.ready, Some(place));
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
    fn put_split(&mut self, task: &Task, chain: &Chain) -> Result<Delay, CompileError> {
        let none = || CompileError::NoPlace { what: task.what.to_owned(), searched: ATTEMPTS.len() as u64 * STARTS };
        let Split { first, second, outputs, inputs, .. } = chain.split().ok_or_else(none)?;
        let [firsts, seconds] = outputs;
        let firsts: Vec<Out> = firsts
            .into_iter()
            .enumerate()
            .map(|(output, whole)| match whole {
                Some(whole) => task.outputs[whole],
                None => Out { slot: self.slot(), bytes: 4, side: Hemisphere::BOTH[output % 2] },
            })
            .collect();
        let seconds = seconds.into_iter().flatten().map(|whole| task.outputs[whole]).collect();
        let inputs = inputs.into_iter().map(|input| match input {
            Carried::Input(index) => task.inputs[index],
            Carried::Output(index) => firsts[index].slot,
        });
        let (node, what, rank) = (task.node, task.what, task.rank);
        let rest = Task { node, what, rank, inputs: inputs.collect(), outputs: seconds, work: Work::Chain(second) };
        // Its readers are known before anything it reads is made.
        self.task(rest);
        let first_task =
            Task { node, what, rank, inputs: task.inputs.clone(), outputs: firsts, work: Work::Chain(first.clone()) };
        self.put_chain(&first_task, &first)
    }

    /// Everything issued, by queue; the vector slices with their outputs named; a record a task.
    pub(crate) fn finish(self) -> (Issues, Vectors, Vec<Record>) {
        (self.scheduler.into_queues(), self.vectors, self.records)
    }
}
