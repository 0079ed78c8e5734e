//! The run loop. In every cycle: effects land, queues dispatch, values are put on streams.

mod alu;
mod pass;

use std::collections::VecDeque;

use lpu_isa::{
    ChipId, Fault, Flow, Hemisphere, Instruction, LoadFormat, PlanePort, Queue, Site, SliceId, Stream, Violation, WindowBits, Word,
};
use lpu_lanes::switch;

use crate::machine::Machine;
use crate::observer::Observer;
use crate::planes::{Held, Plane, widen};
use crate::prepare::{Prepared, Step};
use crate::streams::Streams;

/// What is due in a cycle, with the step that caused it.
enum Effect {
    /// Into a word of SRAM.
    Word { slice: usize, word: u32, value: Vec<u8>, scatter: bool },
    /// Sixteen rows into a plane's buffer.
    Rows { plane: usize, value: Vec<u8> },
    /// A sampled buffer into a plane's array.
    Array { plane: usize, array: std::sync::Arc<crate::planes::Array> },
    /// Into an ALU's latch.
    Latch { alu: usize, value: Vec<u32> },
    /// A result to a plane's port.
    Port { plane: usize, held: Held },
    /// A result into an accumulator.
    Accumulate { plane: usize, held: Held },
    /// A gather's access.
    Gather { slice: usize, word: u32, dst: Stream },
}

/// Values due on consecutive streams.
struct Feed {
    step: usize,
    first: Stream,
    value: Vec<u8>,
}

/// The accesses of a slice in one cycle: cycle, bank, dispatch and item.
#[derive(Clone, Copy, Default)]
struct Access {
    cycle: Option<u64>,
    bank: u32,
    order: (u64, u32),
    step: usize,
}

struct ChipState {
    streams: Streams,
    latches: Vec<Option<Vec<u32>>>,
    /// Last landing of each ALU: cycle, dispatch, step.
    landed: Vec<Option<(u64, usize)>>,
    planes: Vec<Plane>,
    accesses: [Vec<Access>; 2],
}

/// A run in progress.
pub(crate) struct Stepper<'a> {
    machine: &'a mut Machine,
    prepared: &'a Prepared,
    states: Vec<ChipState>,
    lanes: usize,
    cycle: u64,
    last: u64,
    most: usize,
    effects: VecDeque<Vec<(usize, Effect)>>,
    feeds: VecDeque<Vec<Feed>>,
    ports: Vec<(u16, usize)>,
    spare: Vec<Vec<u8>>,
    pub(crate) violations: Vec<Violation>,
}

impl<'a> Stepper<'a> {
    pub(crate) fn new(machine: &'a mut Machine, prepared: &'a Prepared, most: usize) -> Self {
        let values = machine.chip.values();
        let state = || ChipState {
            streams: Streams::new(&machine.chip),
            latches: vec![None; values.alus as usize],
            landed: vec![None; values.alus as usize],
            planes: (0..2 * values.planes_per_side).map(|_| Plane::default()).collect(),
            accesses: [0, 1].map(|_| vec![Access::default(); 2 * values.slices_per_side as usize]),
        };
        let states = machine.chips.iter().map(|_| state()).collect();
        let horizon = machine.chip.longest_delay() as usize + 1;
        Self {
            lanes: machine.chip.lanes(),
            states,
            cycle: 0,
            last: 0,
            most,
            effects: (0..horizon).map(|_| Vec::new()).collect(),
            feeds: (0..horizon).map(|_| Vec::new()).collect(),
            ports: Vec::new(),
            spare: Vec::new(),
            violations: Vec::new(),
            machine,
            prepared,
        }
    }

    /// Steps to the end, or to the end of the cycle in which as many faults as asked for are found. Returns the cycles of the run.
    pub(crate) fn run<O: Observer>(&mut self, observer: &mut O) -> u64 {
        let prepared = self.prepared;
        for (sram, inputs) in self.machine.chips.iter_mut().zip(&prepared.inputs) {
            sram.start_run();
            for &(slice, word) in inputs {
                sram.mark(slice, word);
            }
        }
        let mut next = 0;
        let mut unfit = prepared.unfit.iter().peekable();
        while next < prepared.steps.len() || self.cycle <= self.last || unfit.peek().is_some() {
            let mut effects = self.take_effects();
            effects.sort_by_key(|(_, effect)| matches!(effect, Effect::Gather { .. }));
            for (step, effect) in effects {
                self.land(step, effect, observer);
            }
            while let Some(violation) = unfit.next_if(|violation| violation.cycle <= self.cycle) {
                self.violations.push(*violation);
            }
            while next < prepared.steps.len() && prepared.steps[next].cycle == self.cycle {
                let step = &prepared.steps[next];
                let queue = prepared.queues[usize::from(step.queue)];
                observer.dispatch(self.cycle, ChipId(step.chip), queue, step.item, &step.instruction);
                self.dispatch(next, step, queue, observer);
                next += 1;
            }
            for (chip, plane) in std::mem::take(&mut self.ports) {
                if let Some((_, step)) = self.states[usize::from(chip)].planes[plane].port.take() {
                    self.fault(step, Fault::AccumulatorMisuse { what: "a result at the port is not taken" });
                }
            }
            self.put_values(observer);
            if self.violations.len() >= self.most {
                return 0;
            }
            self.cycle += 1;
        }
        let derived = if prepared.steps.is_empty() { 0 } else { self.last + self.machine.chip.superlanes() as u64 };
        if derived != prepared.stated && self.violations.is_empty() {
            let fault = Fault::CyclesMismatch { stated: prepared.stated, derived };
            self.violations.push(Violation { cycle: derived, chip: ChipId(0), site: None, fault });
        }
        derived
    }

    fn take_effects(&mut self) -> Vec<(usize, Effect)> {
        let due = self.effects.pop_front().unwrap_or_default();
        self.effects.push_back(Vec::new());
        due
    }

    fn fault(&mut self, step: usize, fault: Fault) {
        let Step { chip, queue, item, instruction, .. } = self.prepared.steps[step];
        let queue = self.prepared.queues[usize::from(queue)];
        let site = Some(Site { queue, item, instruction });
        self.violations.push(Violation { cycle: self.cycle, chip: ChipId(chip), site, fault });
    }

    /// Plans an effect `delay` cycles ahead. The effects of the current cycle were taken, so index 0 is the next cycle.
    fn plan(&mut self, step: usize, delay: u64, effect: Effect) {
        self.last = self.last.max(self.cycle + delay);
        match delay {
            0 => unreachable!("every delay is at least one cycle"),
            _ => self.effects[delay as usize - 1].push((step, effect)),
        }
    }

    fn feed(&mut self, step: usize, delay: u64, first: Stream, value: Vec<u8>) {
        self.last = self.last.max(self.cycle + delay);
        self.feeds[delay as usize].push(Feed { step, first, value });
    }

    fn buffer(&mut self, streams: usize) -> Vec<u8> {
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.resize(streams * self.lanes, 0);
        bytes
    }

    /// Takes a stream group at a position; what nobody fed is zero and a fault.
    fn take(&mut self, step: usize, chip: u16, first: Stream, width: u8, position: i32) -> Vec<u8> {
        let mut bytes = self.buffer(usize::from(width));
        let mut empty = None;
        for (stream, cells) in (0..width).map(|index| first.plus(index)).zip(bytes.chunks_exact_mut(self.lanes)) {
            match self.states[usize::from(chip)].streams.get(stream, position, self.cycle) {
                Some(value) => cells.copy_from_slice(value),
                None => {
                    cells.fill(0);
                    empty.get_or_insert(stream);
                }
            }
        }
        if let Some(stream) = empty {
            self.fault(step, Fault::RegisterEmpty { stream, position });
        }
        bytes
    }

    /// Notes an access of a slice and its conflicts with the other accesses of this cycle.
    fn access<O: Observer>(&mut self, step: usize, slice: usize, word: u32, write: bool, observer: &mut O) {
        let Step { cycle: dispatch, chip, queue, item, .. } = self.prepared.steps[step];
        let bank = self.machine.chip.bank(word);
        let place = match self.prepared.queues[usize::from(queue)] {
            Queue::Mem(side, index) => SliceId { side, index },
            _ => unreachable!("only memory queues access memory"),
        };
        observer.bank_access(self.cycle, ChipId(chip), place, bank, word, write);
        let accesses = &mut self.states[usize::from(chip)].accesses;
        let mine = Access { cycle: Some(self.cycle), bank, order: (dispatch, item), step };
        let same = accesses[usize::from(write)][slice];
        let other = accesses[usize::from(!write)][slice];
        accesses[usize::from(write)][slice] = mine;
        let later = |other: Access| if other.order > mine.order { other.step } else { step };
        if same.cycle == Some(self.cycle) {
            let kind = if write { "write" } else { "read" };
            self.fault(later(same), Fault::PortConflict { slice: place, kind, word });
        }
        if other.cycle == Some(self.cycle) && other.bank == bank {
            self.fault(later(other), Fault::BankConflict { slice: place, bank });
        }
    }

    fn land<O: Observer>(&mut self, step: usize, effect: Effect, observer: &mut O) {
        let chip = usize::from(self.prepared.steps[step].chip);
        match effect {
            Effect::Word { slice, word, value, scatter } => {
                self.access(step, slice, word, true, observer);
                self.machine.chips[chip].write(slice, word, &value, !scatter);
                self.spare.push(value);
            }
            Effect::Rows { plane, value } => {
                let Instruction::Lw { row, orientation, format, .. } = self.prepared.steps[step].instruction else {
                    unreachable!("rows come from lw")
                };
                let (lanes, row16) = (self.lanes, usize::from(row.0));
                let planes = &mut self.states[chip].planes;
                let legal = match format {
                    LoadFormat::Bytes => planes[plane].load(row16, &value, orientation, lanes),
                    LoadFormat::Widen => {
                        let [low, high] = widen(&value);
                        let even = planes[plane & !1].load(row16, &low, orientation, lanes);
                        let odd = planes[plane | 1].load(row16, &high, orientation, lanes);
                        even && odd
                    }
                };
                if !legal {
                    self.fault(step, Fault::BufferOverwritten { row: row.0 });
                }
                self.spare.push(value);
            }
            Effect::Array { plane, array } => {
                let target = &mut self.states[chip].planes[plane];
                target.install(array);
                let until = target.busy_until;
                if until > self.cycle {
                    let plane = (plane % self.machine.chip.values().planes_per_side as usize) as u16;
                    self.fault(step, Fault::PlaneBusy { plane, until });
                }
            }
            Effect::Latch { alu, value } => {
                let landed = self.states[chip].landed[alu].replace((self.cycle, step));
                self.states[chip].latches[alu] = Some(value);
                if let Some((cycle, other)) = landed
                    && cycle == self.cycle
                {
                    let dispatch = |step: usize| (self.prepared.steps[step].cycle, self.prepared.steps[step].item);
                    let later = if dispatch(other) > dispatch(step) { other } else { step };
                    self.fault(later, Fault::AluBookedTwice { alu: alu as u16 });
                }
            }
            Effect::Port { plane, held } => {
                self.states[chip].planes[plane].port = Some((held, step));
                self.ports.push((chip as u16, plane));
            }
            Effect::Accumulate { plane, held } => {
                let Instruction::Acc { accumulator, mode, dst } = self.prepared.steps[step].instruction else {
                    unreachable!("only acc accumulates")
                };
                let index = usize::from(accumulator.0);
                let missing = self.states[chip].planes[plane].accumulate(index, mode, held).err();
                if let Some(what) = missing {
                    self.fault(step, Fault::AccumulatorMisuse { what });
                }
                if let Some(first) = dst {
                    let value = self.states[chip].planes[plane].accumulator(index).map(|held| held.value.clone());
                    let bytes = self.split(&value.unwrap_or_default(), 4);
                    self.feed(step, 0, first, bytes);
                }
            }
            Effect::Gather { slice, word, dst } => self.gather(step, slice, word, dst, observer),
        }
    }

    /// A gather's access of its word.
    fn gather<O: Observer>(&mut self, step: usize, slice: usize, word: u32, dst: Stream, observer: &mut O) {
        let Step { chip, queue, instruction, .. } = self.prepared.steps[step];
        self.access(step, slice, word, false, observer);
        let sram = &self.machine.chips[usize::from(chip)];
        if let Instruction::Gather { base, bits, .. } = instruction
            && let Some(word) = (base.0..base.0 + (1 << bits.0)).find(|&word| !sram.initialised(slice, word))
            && let Queue::Mem(side, index) = self.prepared.queues[usize::from(queue)]
        {
            self.fault(step, Fault::WordUninitialised { slice: SliceId { side, index }, word });
        }
        let mut value = self.buffer(1);
        self.machine.chips[usize::from(chip)].read(slice, word, &mut value);
        let values = self.machine.chip.values();
        self.feed(step, u64::from(values.mem_gather - values.mem_gather_access), dst, value);
    }

    /// The low `streams` bytes of each lane, one vector a byte.
    fn split(&mut self, value: &[u32], streams: u8) -> Vec<u8> {
        let mut bytes = self.buffer(usize::from(streams));
        for (byte, cells) in bytes.chunks_exact_mut(self.lanes).enumerate() {
            for (cell, lane) in cells.iter_mut().zip(value) {
                *cell = (lane >> (8 * byte)) as u8;
            }
        }
        bytes
    }

    fn join(bytes: &[u8], lanes: usize) -> Vec<u32> {
        let mut value = vec![0u32; lanes];
        for (byte, cells) in bytes.chunks_exact(lanes).enumerate() {
            for (lane, &cell) in value.iter_mut().zip(cells) {
                *lane |= u32::from(cell) << (8 * byte);
            }
        }
        value
    }

    fn put_values<O: Observer>(&mut self, observer: &mut O) {
        let mut due = self.feeds.pop_front().unwrap_or_default();
        self.feeds.push_back(Vec::new());
        due.sort_by_key(|feed| (self.prepared.steps[feed.step].queue, self.prepared.steps[feed.step].item));
        for Feed { step, first, value } in due {
            let Step { chip, queue, item, .. } = self.prepared.steps[step];
            let name = self.prepared.queues[usize::from(queue)];
            let position = self.machine.chip.position(name);
            let mut clash = None;
            for (index, cells) in value.chunks_exact(self.lanes).enumerate() {
                let stream = first.plus(index as u8);
                observer.stream_write(self.cycle, ChipId(chip), name, stream, position, cells);
                let streams = &mut self.states[usize::from(chip)].streams;
                if streams.put(stream, position, self.cycle, (step, item), cells).is_some() {
                    clash.get_or_insert(stream);
                }
            }
            if let Some(stream) = clash {
                self.fault(step, Fault::TwoProducers { stream, position });
            }
            self.spare.push(value);
        }
    }

    fn plane(&self, side: Hemisphere, plane: u16) -> usize {
        usize::from(plane) + if side == Hemisphere::West { self.machine.chip.values().planes_per_side as usize } else { 0 }
    }

    fn address(&mut self, step: usize, chip: u16, map: Stream, position: i32, base: Word, bits: WindowBits) -> u32 {
        let bytes = self.take(step, chip, map, 2, position);
        let address = u32::from(bytes[0]) | u32::from(bytes[self.lanes]) << 8;
        self.spare.push(bytes);
        base.0 + (address & ((1 << bits.0) - 1))
    }

    fn protected(&self, chip: u16, slice: usize, from: u32, to: u32) -> Option<u32> {
        let words = &self.prepared.protected[usize::from(chip)][slice];
        (from..to).find(|&word| words.get(word as usize) == Some(&true))
    }

    fn dispatch<O: Observer>(&mut self, index: usize, step: &Step, queue: Queue, observer: &mut O) {
        let chip = step.chip;
        let position = self.machine.chip.position(queue);
        let delay = u64::from(self.machine.chip.delay(step.instruction.row().delay));
        let slice = match queue {
            Queue::Mem(side, slice) => self.machine.chips[usize::from(chip)].index(SliceId { side, index: slice }),
            _ => 0,
        };
        let place = || match queue {
            Queue::Mem(side, index) => SliceId { side, index },
            _ => unreachable!("only memory queues access memory"),
        };
        match step.instruction {
            Instruction::Nop { .. } | Instruction::Repeat { .. } => {}
            Instruction::Read { word: Word(word), dst } => {
                self.access(index, slice, word, false, observer);
                if !self.machine.chips[usize::from(chip)].initialised(slice, word) {
                    self.fault(index, Fault::WordUninitialised { slice: place(), word });
                }
                let mut value = self.buffer(1);
                self.machine.chips[usize::from(chip)].read(slice, word, &mut value);
                self.feed(index, delay, dst, value);
            }
            Instruction::Write { word: Word(word), src } => {
                let value = self.take(index, chip, src, 1, position);
                if let Some(word) = self.protected(chip, slice, word, word + 1) {
                    self.fault(index, Fault::ProtectedWrite { slice: place(), word });
                }
                self.plan(index, delay, Effect::Word { slice, word, value, scatter: false });
            }
            Instruction::Gather { dst, map, base, bits } => {
                let word = self.address(index, chip, map, position, base, bits);
                self.last = self.last.max(self.cycle + delay);
                match u64::from(self.machine.chip.values().mem_gather_access) {
                    0 => self.gather(index, slice, word, dst, observer),
                    access => self.plan(index, access, Effect::Gather { slice, word, dst }),
                }
            }
            Instruction::Scatter { src, map, base, bits } => {
                let value = self.take(index, chip, src, 1, position);
                let word = self.address(index, chip, map, position, base, bits);
                if let Some(word) = self.protected(chip, slice, base.0, base.0 + (1 << bits.0)) {
                    self.fault(index, Fault::ProtectedWrite { slice: place(), word });
                }
                self.plan(index, delay, Effect::Word { slice, word, value, scatter: true });
            }
            Instruction::Lw { src, .. } => {
                let Queue::Mxm(side, plane, PlanePort::Load) = queue else { unreachable!("validated") };
                let value = self.take(index, chip, src, 16, position);
                let plane = self.plane(side, plane);
                self.plan(index, delay, Effect::Rows { plane, value });
            }
            Instruction::Iw { rows } => {
                let Queue::Mxm(side, plane, _) = queue else { unreachable!("validated") };
                let plane = self.plane(side, plane);
                let sampled = self.states[usize::from(chip)].planes[plane].sample(usize::from(rows.0), self.lanes);
                if sampled.found != rows.0 || sampled.beyond != 0 {
                    self.fault(index, Fault::BufferNotFull { rows: rows.0, found: sampled.found, beyond: sampled.beyond });
                }
                self.plan(index, delay, Effect::Array { plane, array: sampled.array });
            }
            Instruction::Abc { format, src, dst } => self.pass(index, queue, format, src, dst, delay),
            Instruction::Acc { .. } => {
                let Queue::Mxm(side, plane, _) = queue else { unreachable!("validated") };
                let plane = self.plane(side, plane);
                match self.states[usize::from(chip)].planes[plane].port.take() {
                    Some((held, _)) => self.plan(index, delay, Effect::Accumulate { plane, held }),
                    None => {
                        self.last = self.last.max(self.cycle + delay);
                        self.fault(index, Fault::AccumulatorMisuse { what: "no result stands at the port" });
                    }
                }
            }
            Instruction::ShiftLanes { .. }
            | Instruction::ShiftSuperlanes { .. }
            | Instruction::Transpose { .. }
            | Instruction::Permute { .. }
            | Instruction::Distribute { .. }
            | Instruction::Rotate { .. }
            | Instruction::SelectLanes { .. } => {
                let mut value = Vec::new();
                for used in step.instruction.streams() {
                    if used.flow == Flow::In {
                        let bytes = self.take(index, chip, used.first, used.width, position);
                        value.extend_from_slice(&bytes);
                        self.spare.push(bytes);
                        continue;
                    }
                    let mut out = self.buffer(usize::from(used.width));
                    switch(&step.instruction, &value, &mut out, self.lanes);
                    self.feed(index, delay, used.first, out);
                }
            }
            Instruction::Add { .. }
            | Instruction::Sub { .. }
            | Instruction::Mul { .. }
            | Instruction::Max { .. }
            | Instruction::Min { .. }
            | Instruction::Negate { .. }
            | Instruction::Abs { .. }
            | Instruction::Relu { .. }
            | Instruction::Greater { .. }
            | Instruction::Equal { .. }
            | Instruction::Mask { .. }
            | Instruction::Select { .. }
            | Instruction::Convert { .. }
            | Instruction::Exp { .. }
            | Instruction::Tanh { .. }
            | Instruction::Rsqrt { .. }
            | Instruction::Reciprocal { .. } => self.operate(index, step, queue, delay),
        }
    }
}
