//! The state of scheduling: all tasks, the virtual registers that they have defined so far, planes, vectors and
//! reservations.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use lpu_isa::{DelayClass, Hemisphere, Instruction, Queue};

use crate::error::CompileError;
use crate::planes::{PlaneSet, Planes};
use crate::record::{Cause, Record};
use crate::scheduler::Scheduler;
use crate::target::{Group, Target};
use crate::task::{Accumulation, Out, Pass, QkProduct, Task, VReg, Work};
use crate::vectors::{Stored, Vectors};

/// Everything issued, by queue, in order of cycles.
pub(crate) type Issues = BTreeMap<Queue, Vec<(u64, Instruction)>>;

/// What held a task up once its inputs were there, and for how many cycles.
pub(crate) type Delay = (Cause, u64);

#[derive(Clone, Debug, Default)]
struct VRegState {
    storage: Option<Stored>,
    /// First cycle in which it may be read, once known.
    ready: Option<u64>,
    /// Whether its storage is freed after its last use.
    scratch: bool,
    /// Where it will be, if that is assigned before it is defined.
    assigned: Option<Stored>,
    uses: u32,
    /// Last cycle in which something reads it, so far.
    last_use: u64,
    waiting: Vec<usize>,
    /// Index of the record of the task that defined it.
    producer: Option<usize>,
}

/// All tasks, what they have made so far, and the reservations.
pub(crate) struct Engine<'a> {
    pub(crate) group: &'a Group,
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
    pub(crate) fn new(target: &'a Target, vectors: Vectors) -> Self {
        let chip = &target.chip;
        Self {
            group: &target.group,
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

    /// A virtual register that some task will define.
    pub(crate) fn vreg(&mut self) -> VReg {
        self.vregs.push(VRegState { scratch: true, ..VRegState::default() });
        VReg::new(self.vregs.len() - 1)
    }

    /// A virtual register that some task will define in storage of its own in the outermost slices of a side.
    pub(crate) fn outermost(&mut self, side: Hemisphere) -> VReg {
        let assigned = Some(self.vectors.outermost(side));
        self.vregs.push(VRegState { assigned, ..VRegState::default() });
        VReg::new(self.vregs.len() - 1)
    }

    /// A virtual register of a vector that is in memory from the start.
    pub(crate) fn fixed(&mut self, place: Stored) -> VReg {
        self.vregs.push(VRegState { ready: Some(place.ready), storage: Some(place), ..VRegState::default() });
        VReg::new(self.vregs.len() - 1)
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

    /// Keeps a virtual register's storage for good.
    pub(crate) fn keep(&mut self, vreg: VReg) {
        self.vregs[vreg.index()].scratch = false;
    }

    /// Where a virtual register's vector is; it must have been defined.
    pub(crate) fn storage(&self, vreg: VReg) -> Stored {
        self.vregs[vreg.index()].storage.clone().expect("a task's inputs are defined before it is scheduled")
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
            && let Some(place) = &state.storage
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
            for accumulation in tile.accumulations() {
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
            Work::Chain(_) | Work::Exchange(_) => ready,
            Work::Append(append) => ready + append.patience,
            Work::Tile(tile) => on_planes(&[tile.set]),
            Work::Qk(_) => on_planes(&QkProduct::sets()),
            Work::Pv(mix) => on_planes(&[mix.set]),
        }
    }

    fn push(&mut self, number: usize) {
        let task = self.tasks[number].as_ref().expect("a pushed task is not scheduled");
        let entry = (self.key(task), task.priority, number);
        self.heap.push(Reverse(entry));
    }

    /// Takes the ready task with the earliest feasible start; nothing when none is ready.
    pub(crate) fn take(&mut self) -> Option<(usize, Task)> {
        while let Some(Reverse((key, priority, number))) = self.heap.pop() {
            let task = self.tasks[number].take().expect("a task is scheduled once");
            let now = self.key(&task);
            if now <= key {
                return Some((number, task));
            }
            self.heap.push(Reverse((now, priority, number)));
            self.tasks[number] = Some(task);
        }
        None
    }

    /// Puts a task back until an accumulator is free.
    pub(crate) fn block(&mut self, number: usize, task: Task) {
        self.tasks[number] = Some(task);
        self.blocked.push(number);
    }

    /// A task that is not scheduled.
    pub(crate) fn unscheduled(&self) -> Option<&Task> {
        self.tasks.iter().flatten().next()
    }

    /// First cycle in which all inputs may be read, and the record of the task that defined the last of them.
    pub(crate) fn last_input(&self, inputs: &[VReg]) -> (u64, Option<usize>) {
        let last = inputs.iter().copied().max_by_key(|&input| self.ready(input));
        let ready = last.and_then(|vreg| self.ready(vreg)).unwrap_or(0);
        (ready, last.and_then(|vreg| self.vregs[vreg.index()].producer))
    }

    /// Notes that a task is scheduled: its record, and a use less of each of its inputs.
    pub(crate) fn finish_task(&mut self, record: Record, inputs: &[VReg]) {
        let end = record.end;
        self.records.push(record);
        for &input in inputs {
            self.drop_use(input, end);
        }
    }

    /// Gives a virtual register its vector, or an ordering token its cycle.
    pub(crate) fn define(&mut self, vreg: VReg, ready: u64, place: Option<Stored>) {
        let producer = self.records.len();
        let state = &mut self.vregs[vreg.index()];
        state.ready = Some(ready);
        state.storage = place;
        state.producer = Some(producer);
        if state.uses == 0
            && state.scratch
            && let Some(place) = &state.storage
        {
            self.vectors.release(place, ready);
        }
        for number in std::mem::take(&mut self.vregs[vreg.index()].waiting) {
            self.missing[number] -= 1;
            if self.missing[number] > 0 {
                continue;
            }
            if let Some(Task { work: Work::Tile(tile), .. }) = &self.tasks[number] {
                for accumulation in tile.accumulations().collect::<Pass>() {
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
        if let Some(place) = &self.vregs[out.vreg.index()].assigned {
            return Ok(place.clone());
        }
        self.vectors.scratch(out.bytes, out.side)
    }

    /// Earliest cycle in which a vector can be at the VXM.
    pub(crate) fn at_vxm(&self, place: &Stored) -> u64 {
        let read = self.scheduler.delay(DelayClass::MemRead);
        let hops = |quad: u8| u64::from(self.scheduler.chip.slice_position(place.slice(quad, 0)).unsigned_abs());
        place.quads.iter().map(|&quad| place.readable(quad) + read + hops(quad)).min().unwrap_or(0)
    }

    /// Everything issued, by queue; the vector slices with their outputs named; a record a task.
    pub(crate) fn finish(self) -> (Issues, Vectors, Vec<Record>) {
        (self.scheduler.into_queues(), self.vectors, self.records)
    }
}
