//! Planes in time: loading tiles, installing them, and passing activations through them.

use lpu_isa::{
    Accumulator, DelayClass, Direction, Hemisphere, Instruction, LoadFormat, Mode, Orientation, PassFormat, PlanePort, Queue, Row, Stream,
    Target, Word,
};

use crate::error::CompileError;
use crate::memory::Rows;
use crate::scheduler::{Parked, Scheduler};

/// One plane for int8, or a pair of planes for fp16, named by its even plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PlaneSet {
    pub(crate) side: Hemisphere,
    pub(crate) plane: u16,
    pub(crate) format: PassFormat,
}

impl PlaneSet {
    fn planes(self) -> impl Iterator<Item = u16> {
        let count = if self.format == PassFormat::F16 { 2 } else { 1 };
        self.plane..self.plane + count
    }

    fn queue(self, port: PlanePort) -> Queue {
        Queue::Mxm(self.side, self.plane, port)
    }
}

/// What a plane is doing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PlaneState {
    /// First cycle in which a load for the next tile may dispatch.
    buffer_free: u64,
    /// First cycle after the last pass through the installed tile.
    passes_end: u64,
}

/// All planes of a chip.
#[derive(Clone, Debug)]
pub(crate) struct Planes {
    states: Vec<PlaneState>,
    planes_a_side: u16,
}

impl Planes {
    pub(crate) fn new(scheduler: &Scheduler<'_>) -> Self {
        let planes_a_side = scheduler.chip.values().planes_per_side as u16;
        Self { states: vec![PlaneState::default(); 2 * usize::from(planes_a_side)], planes_a_side }
    }

    fn state(&mut self, side: Hemisphere, plane: u16) -> &mut PlaneState {
        let west = if side == Hemisphere::West { self.planes_a_side } else { 0 };
        &mut self.states[usize::from(west + plane)]
    }

    /// Loads and installs a tile as early as buffer, array, streams and memory allow, reading no word before cycle
    /// `readable`. Returns the first cycle in which a pass may dispatch.
    pub(crate) fn load(
        &mut self,
        scheduler: &mut Scheduler<'_>,
        set: PlaneSet,
        parts: &[Rows],
        rows: usize,
        orientation: Orientation,
        readable: u64,
    ) -> Result<u64, CompileError> {
        let chip = scheduler.chip;
        let edge = chip.mxm_position(set.side);
        let read = scheduler.delay(DelayClass::MemRead);
        let reach = read + u64::from(edge.unsigned_abs());
        let loads = (rows / 16) as u64;
        let planes: Vec<u16> = set.planes().collect();
        let buffer_free = planes.iter().map(|&plane| self.state(set.side, plane).buffer_free).max().unwrap_or(0);
        let direction = if set.side == Hemisphere::East { Direction::East } else { Direction::West };
        let groups = u16::from(chip.streams() / 16);
        let start = scheduler.place("a weight load", buffer_free.max(readable + reach).max(reach), |scheduler, start| {
            for (part, &plane) in parts.iter().zip(&planes) {
                let first = Stream::new(direction, (plane % groups * 16) as u8);
                for load in 0..loads {
                    let at = start + load;
                    for (row, &(slice, word)) in part.iter().enumerate() {
                        let position = chip.slice_position(slice);
                        let fed = at - u64::from(position.abs_diff(edge));
                        let dst = first.plus(row as u8);
                        let word = word + load as u32;
                        if !scheduler.tables.segment(dst, fed, position, edge) || !scheduler.tables.read(slice, fed - read, word) {
                            return None;
                        }
                        scheduler.emit(slice.queue(), fed - read, Instruction::Read { word: Word(word), dst });
                    }
                    let lw = Instruction::Lw { src: first, row: Row(16 * load as u16), orientation, format: LoadFormat::Bytes };
                    scheduler.issue(Queue::Mxm(set.side, plane, PlanePort::Load), at, lw)?;
                }
            }
            Some(start)
        })?;
        let landed = start + loads - 1 + scheduler.delay(DelayClass::MxmLoad);
        let delay = scheduler.delay(DelayClass::MxmInstall);
        let passes_end = planes.iter().map(|&plane| self.state(set.side, plane).passes_end).max().unwrap_or(0);
        let install = scheduler.place("an install", landed.max(passes_end.saturating_sub(delay)), |scheduler, at| {
            for &plane in &planes {
                scheduler.issue(Queue::Mxm(set.side, plane, PlanePort::Install), at, Instruction::Iw { rows: Row(rows as u16) })?;
            }
            Some(at)
        })?;
        for plane in planes {
            let state = self.state(set.side, plane);
            state.buffer_free = install + 1 - scheduler.delay(DelayClass::MxmLoad).min(1);
        }
        Ok(install + delay)
    }

    /// Notes that a pass through the installed tile dispatched in cycle `at`.
    pub(crate) fn passed(&mut self, scheduler: &Scheduler<'_>, set: PlaneSet, at: u64) {
        let occupied = occupied(scheduler, set.format);
        for plane in set.planes() {
            let state = self.state(set.side, plane);
            state.passes_end = state.passes_end.max(at + occupied);
        }
    }
}

fn occupied(scheduler: &Scheduler<'_>, format: PassFormat) -> u64 {
    match format {
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

/// Cycles from a pass's dispatch to its result on the streams.
pub(crate) fn result_after(scheduler: &Scheduler<'_>, result: Result32) -> u64 {
    let pass = scheduler.delay(DelayClass::MxmPass);
    match result {
        Result32::Emit => pass,
        Result32::Hold(..) | Result32::Sum(..) => pass + scheduler.delay(DelayClass::MxmAccumulate),
    }
}

/// Earliest dispatch of a pass of this activation.
pub(crate) fn pass_from(scheduler: &Scheduler<'_>, set: PlaneSet, activation: &Parked) -> u64 {
    activation.ready + scheduler.delay(DelayClass::MemRead) + u64::from(scheduler.chip.mxm_position(set.side).unsigned_abs()) - 2
}

/// Takes a pass at `at`. `route` takes the streams of the result, if it is emitted, and says where they start.
pub(crate) fn pass(
    scheduler: &mut Scheduler<'_>,
    set: PlaneSet,
    activation: &Parked,
    at: u64,
    result: Result32,
    route: impl FnOnce(&mut Scheduler<'_>, Emission) -> Option<Stream>,
) -> Option<()> {
    let position = scheduler.chip.mxm_position(set.side);
    let src = scheduler.fetch(activation, position, at)?;
    for cycle in at..at + occupied(scheduler, set.format) {
        for plane in set.planes() {
            if !scheduler.tables.issue(Queue::Mxm(set.side, plane, PlanePort::Activate), cycle) {
                return None;
            }
        }
    }
    let cycle = at + result_after(scheduler, result);
    let out: Target = match result {
        Result32::Hold(..) => None,
        _ => Some(route(scheduler, Emission { position, cycle })?),
    };
    let emitted = if result == Result32::Emit { out } else { None };
    scheduler.emit(set.queue(PlanePort::Activate), at, Instruction::Abc { format: set.format, src, dst: emitted });
    if let Result32::Hold(accumulator, mode) | Result32::Sum(accumulator, mode) = result {
        let acc = Instruction::Acc { accumulator: Accumulator(accumulator), mode, dst: out };
        let landed = at + scheduler.delay(DelayClass::MxmPass);
        scheduler.issue(set.queue(PlanePort::Accumulate), landed, acc)?;
    }
    Some(())
}
