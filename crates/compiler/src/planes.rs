//! Planes in time: loading tiles, installing them, and passing activations through them.

use lpu_chip::Chip;
use lpu_isa::{
    Accumulator, DelayClass, Direction, Hemisphere, Instruction, LoadFormat, Mode, Orientation, PassFormat, PlanePort, Queue, Row, Stream,
    Target, Word,
};
use smallvec::SmallVec;

use crate::error::CompileError;
use crate::rows::Rows;
use crate::scheduler::Scheduler;
use crate::vectors::{Parked, index};

/// What stands in the planes of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Content {
    /// int8 weights in each plane.
    Bytes,
    /// fp16 weights over a pair of planes, from low and high bytes in SRAM.
    Halves,
    /// fp16 weights over a pair of planes, from int8 in SRAM.
    Widened,
}

/// The planes that one tile occupies: an int8 tile one plane, two of them that share their activations both planes of a pair, an
/// fp16 tile a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PlaneSet {
    pub(crate) side: Hemisphere,
    pub(crate) plane: u16,
    pub(crate) count: u16,
    pub(crate) content: Content,
}

impl PlaneSet {
    /// A pair of planes for fp16.
    pub(crate) fn pair(side: Hemisphere, content: Content) -> Self {
        Self { side, plane: 0, count: 2, content }
    }

    pub(crate) fn planes(self) -> std::ops::Range<u16> {
        self.plane..self.plane + self.count
    }

    /// Planes that pass an activation, each with results of its own.
    fn passing(self) -> std::ops::Range<u16> {
        match self.content {
            Content::Bytes => self.planes(),
            Content::Halves | Content::Widened => self.plane..self.plane + 1,
        }
    }

    fn pass_format(self) -> PassFormat {
        match self.content {
            Content::Bytes => PassFormat::I8,
            Content::Halves | Content::Widened => PassFormat::F16,
        }
    }
}

/// The rows of a tile in one plane's share of slices.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) places: Rows,
    /// Rows of the whole tile.
    pub(crate) rows: usize,
    /// Words from the rows of one load to those of the next: 1, or 0 where all rows are alike.
    pub(crate) step: u32,
}

/// What a plane is doing.
#[derive(Clone, Copy, Debug, Default)]
struct PlaneState {
    /// First cycle in which a load for the next tile may dispatch.
    buffer_free: u64,
    /// First cycle after the last pass through the installed tile.
    passes_end: u64,
    /// Accumulators that hold sums to come back to.
    open: u16,
}

/// All planes of a chip.
#[derive(Clone, Debug)]
pub(crate) struct Planes {
    states: Vec<PlaneState>,
    planes_a_side: u16,
    accumulators: u16,
}

/// A tile to load.
pub(crate) struct Load<'a> {
    pub(crate) set: PlaneSet,
    pub(crate) parts: &'a [Part],
    pub(crate) orientation: Orientation,
    /// First cycle in which its words may be read.
    pub(crate) readable: u64,
}

impl Planes {
    pub(crate) fn new(chip: &Chip) -> Self {
        let planes_a_side = chip.values().planes_per_side as u16;
        let states = vec![PlaneState::default(); 2 * usize::from(planes_a_side)];
        Self { states, planes_a_side, accumulators: chip.values().accumulators as u16 }
    }

    fn state(&mut self, side: Hemisphere, plane: u16) -> &mut PlaneState {
        &mut self.states[index(side) * usize::from(self.planes_a_side) + usize::from(plane)]
    }

    /// First cycle in which a load into the set may dispatch.
    pub(crate) fn free(&self, set: PlaneSet) -> u64 {
        let first = index(set.side) * usize::from(self.planes_a_side);
        set.planes().map(|plane| self.states[first + usize::from(plane)].buffer_free).max().unwrap_or(0)
    }

    /// Takes an accumulator of a plane while fewer than `most` are taken.
    pub(crate) fn open(&mut self, side: Hemisphere, plane: u16, spare: u16) -> Option<u8> {
        let most = self.accumulators.saturating_sub(spare);
        let state = self.state(side, plane);
        let free = (0..most).find(|accumulator| state.open & 1 << accumulator == 0)?;
        state.open |= 1 << free;
        Some(free as u8)
    }

    /// Gives an accumulator back.
    pub(crate) fn close(&mut self, side: Hemisphere, plane: u16, accumulator: u8) {
        self.state(side, plane).open &= !(1 << accumulator);
    }

    /// Loads and installs a tile as early as buffers, arrays, streams and memory allow. Returns the first cycle in which a pass
    /// may dispatch.
    pub(crate) fn load(&mut self, scheduler: &mut Scheduler<'_>, load: &Load<'_>) -> Result<u64, CompileError> {
        let set = load.set;
        let delay = scheduler.delay(DelayClass::MxmInstall);
        let mut landed: SmallVec<[u64; 2]> = SmallVec::new();
        for (number, part) in load.parts.iter().enumerate() {
            let from = match set.content {
                Content::Bytes => self.state(set.side, set.plane + number as u16).buffer_free,
                Content::Halves | Content::Widened => self.free(set),
            };
            landed.push(self.rows(scheduler, load, number as u16, part, from)?);
        }
        let all = landed.iter().copied().max().unwrap_or(0);
        let mut ready = 0;
        for (part, plane) in load.parts.iter().zip(set.planes()) {
            let (at_least, rows) = match set.content {
                Content::Bytes => (landed[usize::from(plane - set.plane)], part.rows),
                Content::Halves | Content::Widened => (all, load.parts[0].rows),
            };
            let passes_end = self.state(set.side, plane).passes_end;
            let install = scheduler.place("an install", at_least.max(passes_end.saturating_sub(delay)), |scheduler, at| {
                let queue = Queue::Mxm(set.side, plane, PlanePort::Install);
                scheduler.issue(queue, at, Instruction::Iw { rows: Row(rows as u16) })?;
                Some(at)
            })?;
            self.state(set.side, plane).buffer_free = install + 1 - scheduler.delay(DelayClass::MxmLoad).min(1);
            ready = ready.max(install + delay);
        }
        Ok(ready)
    }

    /// Loads the rows of one part, sixteen a cycle; returns the cycle in which the last have landed.
    fn rows(&mut self, scheduler: &mut Scheduler<'_>, load: &Load<'_>, number: u16, part: &Part, from: u64) -> Result<u64, CompileError> {
        let chip = scheduler.chip;
        let &Load { set, orientation, readable, .. } = load;
        let plane = set.plane + number;
        let edge = chip.mxm_position(set.side);
        let read = scheduler.delay(DelayClass::MemRead);
        let reach = read + u64::from(edge.unsigned_abs());
        let direction = if set.side == Hemisphere::East { Direction::East } else { Direction::West };
        let groups = u16::from(chip.streams() / 16);
        let first = Stream::new(direction, (plane % groups * 16) as u8);
        let (step, offset, format) = match set.content {
            Content::Bytes | Content::Halves => (16, 0, LoadFormat::Bytes),
            Content::Widened => (32, 16 * usize::from(number), LoadFormat::Widen),
        };
        let mut next = from.max(readable + reach).max(reach);
        for (load, row) in (offset..part.rows).step_by(step).enumerate() {
            next = scheduler.place("a weight load", next, |scheduler, at| {
                for (row, &(slice, word)) in part.places.iter().enumerate() {
                    let position = chip.slice_position(slice);
                    let fed = at - u64::from(position.abs_diff(edge));
                    let dst = first.plus(row as u8);
                    let word = word + load as u32 * part.step;
                    if !scheduler.tables.segment(dst, fed, position, edge) || !scheduler.tables.read(slice, fed - read, word) {
                        return None;
                    }
                    scheduler.emit(slice.queue(), fed - read, Instruction::Read { word: Word(word), dst });
                }
                let lw = Instruction::Lw { src: first, row: Row(row as u16), orientation, format };
                scheduler.issue(Queue::Mxm(set.side, plane, PlanePort::Load), at, lw)?;
                Some(at + 1)
            })?;
        }
        Ok(next - 1 + scheduler.delay(DelayClass::MxmLoad))
    }

    /// Notes that a pass through the installed tile dispatched in cycle `at`.
    pub(crate) fn passed(&mut self, scheduler: &Scheduler<'_>, set: PlaneSet, at: u64) {
        let occupied = occupied(scheduler, set);
        for plane in set.planes() {
            let state = self.state(set.side, plane);
            state.passes_end = state.passes_end.max(at + occupied);
        }
    }
}

fn occupied(scheduler: &Scheduler<'_>, set: PlaneSet) -> u64 {
    match set.pass_format() {
        PassFormat::I8 => 1,
        PassFormat::F16 => u64::from(scheduler.chip.values().mxm_f16_interval),
    }
}

/// Where the result of a pass goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Result32 {
    /// On the streams at once.
    Emit,
    /// Into an accumulator.
    Hold(u8, Mode),
    /// Into an accumulator, whose new value goes on the streams.
    Sum(u8, Mode),
}

/// Where and when a result is put on streams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Emission {
    pub(crate) position: i32,
    pub(crate) cycle: u64,
}

impl Emission {
    /// The cycle in which the result passes the VXM.
    pub(crate) fn at_vxm(self) -> u64 {
        self.cycle + u64::from(self.position.unsigned_abs())
    }
}

/// Cycles from a pass's dispatch to its result on the streams.
pub(crate) fn result_after(scheduler: &Scheduler<'_>, result: Result32) -> u64 {
    let pass = scheduler.delay(DelayClass::MxmPass);
    match result {
        Result32::Emit => pass,
        Result32::Hold(..) | Result32::Sum(..) => pass + scheduler.delay(DelayClass::MxmAccumulate),
    }
}

/// Earliest dispatch of a pass of this activation.
pub(crate) fn pass_from(scheduler: &Scheduler<'_>, side: Hemisphere, activation: &Parked) -> u64 {
    activation.ready + scheduler.delay(DelayClass::MemRead) + u64::from(scheduler.chip.mxm_position(side).unsigned_abs()) - 2
}

/// Takes a pass at `at` through every passing plane of the set, with one result each. `route` takes the streams of a result
/// that is emitted and says where they start.
pub(crate) fn pass(
    scheduler: &mut Scheduler<'_>,
    set: PlaneSet,
    activation: &Parked,
    at: u64,
    results: &[Result32],
    mut route: impl FnMut(&mut Scheduler<'_>, Emission) -> Option<Stream>,
) -> Option<()> {
    let position = scheduler.chip.mxm_position(set.side);
    let src = scheduler.fetch(activation, position, at)?;
    for cycle in at..at + occupied(scheduler, set) {
        for plane in set.planes() {
            if !scheduler.tables.issue(Queue::Mxm(set.side, plane, PlanePort::Activate), cycle) {
                return None;
            }
        }
    }
    for (plane, &result) in set.passing().zip(results) {
        let cycle = at + result_after(scheduler, result);
        let out: Target = match result {
            Result32::Hold(..) => None,
            _ => Some(route(scheduler, Emission { position, cycle })?),
        };
        let emitted = if result == Result32::Emit { out } else { None };
        let abc = Instruction::Abc { format: set.pass_format(), src, dst: emitted };
        scheduler.emit(Queue::Mxm(set.side, plane, PlanePort::Activate), at, abc);
        if let Result32::Hold(accumulator, mode) | Result32::Sum(accumulator, mode) = result {
            let acc = Instruction::Acc { accumulator: Accumulator(accumulator), mode, dst: out };
            let landed = at + scheduler.delay(DelayClass::MxmPass);
            scheduler.issue(Queue::Mxm(set.side, plane, PlanePort::Accumulate), landed, acc)?;
        }
    }
    Some(())
}
