//! The run loop. In every cycle: effects land, queues dispatch, values are put on streams.

mod alu;
mod dispatch;
mod fetch;
mod pass;
mod transfer;

use std::collections::VecDeque;

use lpu_isa::{ChipId, Fault, Instruction, LoadFormat, PassFormat, Producer, Queue, Site, SliceId, Stream, Violation};

use crate::control::Control;
use crate::dispatch::Dispatch;
use crate::links::Links;
use crate::machine::Machine;
use crate::observer::{BankAccess, Computation, Observer, StreamWrite};
use crate::planes::{Plane, PortResult, widen};
use crate::prepare::{Fixed, Prepared};
use crate::streams::{StreamRegister, Streams};

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
    Port { plane: usize, held: PortResult },
    /// A result into an accumulator.
    Accumulate { plane: usize, held: PortResult },
    /// A gather's access.
    Gather { slice: usize, word: u32, dst: Stream },
}

/// Values due on consecutive streams.
struct StreamWrites {
    step: Dispatch,
    first: Stream,
    value: Vec<u8>,
}

/// The accesses of a slice in one cycle: cycle, bank, dispatch and item.
#[derive(Clone, Copy, Default)]
struct SlicePort {
    cycle: Option<u64>,
    bank: u32,
    order: (u64, u32),
    step: Option<Dispatch>,
}

struct ChipState {
    streams: Streams,
    latches: Vec<Option<Vec<u32>>>,
    /// Last landing of each ALU: cycle, step.
    landed: Vec<Option<(u64, Dispatch)>>,
    planes: Vec<Plane>,
    accesses: [Vec<SlicePort>; 2],
}

/// A run in progress.
pub(crate) struct Stepper<'a> {
    machine: &'a mut Machine,
    prepared: &'a Prepared,
    states: Vec<ChipState>,
    control: Control<'a>,
    links: Links,
    lanes: usize,
    cycle: u64,
    last: u64,
    most: usize,
    effects: VecDeque<Vec<(Dispatch, Effect)>>,
    feeds: VecDeque<Vec<StreamWrites>>,
    ports: Vec<(u16, usize)>,
    spare: Vec<Vec<u8>>,
    pub(crate) violations: Vec<Violation>,
}

impl<'a> Stepper<'a> {
    pub(crate) fn new(machine: &'a mut Machine, prepared: &'a Prepared, most: usize) -> Self {
        let values = machine.chip().values();
        let state = || ChipState {
            streams: Streams::new(machine.chip()),
            latches: vec![None; values.alus as usize],
            landed: vec![None; values.alus as usize],
            planes: (0..2 * values.planes_per_side).map(|_| Plane::default()).collect(),
            accesses: [0, 1].map(|_| vec![SlicePort::default(); 2 * values.slices_per_side as usize]),
        };
        let states = machine.chips.iter().map(|_| state()).collect();
        let horizon = machine.chip().longest_delay() as usize + 1;
        Self {
            lanes: machine.chip().lanes(),
            states,
            control: Control::new(prepared, machine.chip().lanes()),
            links: Links::default(),
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

    /// Steps to the end, or to the end of the cycle in which as many faults as asked for are found. Returns the cycles
    /// of the run.
    pub(crate) fn run<O: Observer>(&mut self, observer: &mut O) -> u64 {
        let prepared = self.prepared;
        for (sram, inputs) in self.machine.chips.iter_mut().zip(&prepared.inputs) {
            sram.start_run();
            for &(slice, word) in inputs {
                sram.mark(slice, word);
            }
        }
        let mut unfit = prepared.unfit.iter().peekable();
        loop {
            let next = self.control.next_cycle();
            match next {
                None if self.cycle > self.last && unfit.peek().is_none() => break,
                Some(next) if self.cycle > self.last && unfit.peek().is_none() => self.cycle = self.cycle.max(next),
                _ => {}
            }
            self.control.barriers(self.cycle);
            let mut effects = self.take_effects();
            effects.sort_by_key(|(_, effect)| matches!(effect, Effect::Gather { .. }));
            for (step, effect) in effects {
                self.land(step, effect, observer);
            }
            while let Some(violation) = unfit.next_if(|violation| violation.cycle <= self.cycle) {
                self.violations.push(*violation);
            }
            while let Some((line, step)) = self.control.pop(self.cycle) {
                self.dispatch(line, step, observer);
                self.control.done(line);
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
        let derived = self.machine.chip().run_cycles(self.control.dispatched.then_some(self.last));
        if derived != prepared.stated {
            let fault = Fault::CyclesMismatch { stated: prepared.stated, derived };
            self.violations.push(Violation {
                cycle: self.control.end.max(derived),
                chip: ChipId(0),
                chips: prepared.chips,
                site: None,
                fault,
            });
        }
        self.violations.extend(self.control.stuck(prepared, self.control.end.max(derived)));
        derived
    }

    /// Items that came by instruction fetch.
    pub(crate) fn fetched(&self) -> u64 {
        self.control.fetched
    }

    fn take_effects(&mut self) -> Vec<(Dispatch, Effect)> {
        let due = self.effects.pop_front().unwrap_or_default();
        self.effects.push_back(Vec::new());
        due
    }

    fn fault(&mut self, step: Dispatch, fault: Fault) {
        let Dispatch { chip, queue, item, instruction, .. } = step;
        let queue = self.prepared.queues[usize::from(queue)];
        let site = Some(Site { queue, item, instruction });
        let chips = self.prepared.chips;
        self.violations.push(Violation { cycle: self.cycle, chip: ChipId(chip), chips, site, fault });
    }

    /// A step as faults name it.
    fn producer(&self, step: Dispatch) -> Producer {
        let queue = self.prepared.queues[usize::from(step.queue)];
        Producer { chip: ChipId(step.chip), queue, item: step.item, cycle: step.cycle }
    }

    /// Plans an effect `delay` cycles ahead. The effects of the current cycle were taken, so index 0 is the next cycle.
    fn plan(&mut self, step: Dispatch, delay: u64, effect: Effect) {
        self.last = self.last.max(self.cycle + delay);
        match delay {
            0 => unreachable!("every delay is at least one cycle"),
            _ => self.effects[delay as usize - 1].push((step, effect)),
        }
    }

    /// Puts a value on streams `delay` cycles ahead, zero in lanes without power.
    fn feed(&mut self, step: Dispatch, delay: u64, first: Stream, mut value: Vec<u8>) {
        self.power(step, &mut value);
        self.last = self.last.max(self.cycle + delay);
        self.feeds[delay as usize].push(StreamWrites { step, first, value });
    }

    /// Zeroes the lanes of vectors that are without power.
    fn power(&self, step: Dispatch, value: &mut [u8]) {
        if (step.live as usize) < self.lanes {
            value.chunks_exact_mut(self.lanes).for_each(|cells| cells[step.live as usize..].fill(0));
        }
    }

    /// Zeroes the lanes of a result that are without power.
    fn cut(&self, step: Dispatch, value: &mut [u32]) {
        value[(step.live as usize).min(self.lanes)..].fill(0);
    }

    fn buffer(&mut self, streams: usize) -> Vec<u8> {
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.resize(streams * self.lanes, 0);
        bytes
    }

    /// Takes a stream group at a position; what has no producer is zero and a fault, what has no power is zero.
    fn take(&mut self, step: Dispatch, first: Stream, width: u8, position: i32) -> Vec<u8> {
        let mut bytes = self.buffer(usize::from(width));
        let mut empty = None;
        for (stream, cells) in (0..width).map(|index| first.plus(index)).zip(bytes.chunks_exact_mut(self.lanes)) {
            match self.states[usize::from(step.chip)].streams.get(StreamRegister {
                stream,
                position,
                cycle: self.cycle,
            }) {
                Some(value) => cells.copy_from_slice(value),
                None => {
                    cells.fill(0);
                    empty.get_or_insert(stream);
                }
            }
        }
        if let Some(stream) = empty {
            self.fault(step, Fault::RegisterEmpty { stream, position, near: None });
        }
        self.power(step, &mut bytes);
        bytes
    }

    /// Notes an access of a slice and its conflicts with the other accesses of this cycle.
    fn access<O: Observer>(&mut self, step: Dispatch, slice: usize, word: u32, write: bool, observer: &mut O) {
        let Dispatch { cycle: dispatch, chip, queue, item, .. } = step;
        let bank = self.machine.chip().bank(word);
        let place = match self.prepared.queues[usize::from(queue)] {
            Queue::Mem(side, index) => SliceId { side, index },
            _ => unreachable!("only memory queues access memory"),
        };
        let access = BankAccess { cycle: self.cycle, chip: ChipId(chip), slice: place, bank, word, write };
        observer.bank_access(access);
        let accesses = &mut self.states[usize::from(chip)].accesses;
        let mine = SlicePort { cycle: Some(self.cycle), bank, order: (dispatch, item), step: Some(step) };
        let same = accesses[usize::from(write)][slice];
        let other = accesses[usize::from(!write)][slice];
        accesses[usize::from(write)][slice] = mine;
        let later = |other: SlicePort| other.step.filter(|_| other.order > mine.order).unwrap_or(step);
        if same.cycle == Some(self.cycle) {
            let kind = if write { "write" } else { "read" };
            self.fault(later(same), Fault::PortConflict { slice: place, kind, word });
        }
        if other.cycle == Some(self.cycle) && other.bank == bank {
            self.fault(later(other), Fault::BankConflict { slice: place, bank });
        }
    }

    fn land<O: Observer>(&mut self, step: Dispatch, effect: Effect, observer: &mut O) {
        let chip = usize::from(step.chip);
        match effect {
            Effect::Word { slice, word, value, scatter } => {
                self.access(step, slice, word, true, observer);
                self.machine.chips[chip].write(slice, word, &value, !scatter);
                self.spare.push(value);
            }
            Effect::Rows { plane, value } => {
                let Instruction::Lw { row, orientation, format, .. } = step.instruction else {
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
                    let plane = (plane % self.machine.chip().values().planes_per_side as usize) as u16;
                    self.fault(step, Fault::PlaneBusy { plane, until });
                }
            }
            Effect::Latch { alu, value } => {
                let landed = self.states[chip].landed[alu].replace((self.cycle, step));
                self.states[chip].latches[alu] = Some(value);
                if let Some((cycle, other)) = landed
                    && cycle == self.cycle
                {
                    let later = if (other.cycle, other.item) > (step.cycle, step.item) { other } else { step };
                    self.fault(later, Fault::AluBookedTwice { alu: alu as u16 });
                }
            }
            Effect::Port { plane, held } => {
                self.states[chip].planes[plane].port = Some((held, step));
                self.ports.push((chip as u16, plane));
            }
            Effect::Accumulate { plane, held } => {
                let Instruction::Acc { accumulator, mode, dst } = step.instruction else {
                    unreachable!("only acc accumulates")
                };
                let index = usize::from(accumulator.0);
                let added = (O::COMPUTES && held.format == PassFormat::F16).then(|| held.value.clone());
                let missing = self.states[chip].planes[plane].accumulate(index, mode, held).err();
                if let Some(what) = missing {
                    self.fault(step, Fault::AccumulatorMisuse { what });
                }
                if let Some(added) = added
                    && let Some(sum) = self.states[chip].planes[plane].accumulator(index)
                {
                    observer.compute(Computation {
                        cycle: step.cycle,
                        chip: ChipId(step.chip),
                        queue: self.prepared.queues[usize::from(step.queue)],
                        by: &step.instruction,
                        from: &[&added],
                        result: &sum.value,
                    });
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

    /// Whether a step reads a whole word of code.
    fn reads_code(&self, step: Dispatch, queue: Queue) -> bool {
        let (Instruction::Read { word, .. }, Queue::Mem(side, index)) = (step.instruction, queue) else { return false };
        let slice = self.machine.chips[usize::from(step.chip)].index(SliceId { side, index });
        let word = self.prepared.fixed[usize::from(step.chip)][slice].get(word.0 as usize);
        step.live as usize == self.lanes && word == Some(&Fixed::Code)
    }

    /// A gather's access of its word.
    fn gather<O: Observer>(&mut self, step: Dispatch, slice: usize, word: u32, dst: Stream, observer: &mut O) {
        let Dispatch { chip, queue, instruction, .. } = step;
        self.access(step, slice, word, false, observer);
        let sram = &self.machine.chips[usize::from(chip)];
        if let Instruction::Gather { base, bits, .. } = instruction
            && let Some(word) = (base.0..base.0 + (1 << bits.0)).find(|&word| !sram.initialised(slice, word))
            && let Queue::Mem(side, index) = self.prepared.queues[usize::from(queue)]
        {
            self.fault(step, Fault::WordUninitialised { slice: SliceId { side, index }, word });
        }
        let mut value = self.buffer(1);
        value.copy_from_slice(&self.machine.chips[usize::from(chip)].word(slice, word));
        let values = self.machine.chip().values();
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
        due.sort_by_key(|feed| (feed.step.queue, feed.step.item, feed.step.cycle));
        for StreamWrites { step, first, value } in due {
            let Dispatch { chip, queue, .. } = step;
            let name = self.prepared.queues[usize::from(queue)];
            let position = self.machine.chip().position(name);
            let code = self.reads_code(step, name);
            let from = self.producer(step);
            let mut clash = None;
            for (index, cells) in value.chunks_exact(self.lanes).enumerate() {
                let stream = first.plus(index as u8);
                let cycle = self.cycle;
                let write = StreamWrite { cycle, chip: ChipId(chip), queue: name, stream, position, value: cells };
                observer.stream_write(write);
                let register = StreamRegister { stream, position, cycle };
                if let Some(other) = self.states[usize::from(chip)].streams.put(register, code, from, cells) {
                    clash.get_or_insert((stream, other));
                }
            }
            if let Some((stream, other)) = clash {
                self.fault(step, Fault::TwoProducers { stream, position, other });
            }
            self.spare.push(value);
        }
    }
}
