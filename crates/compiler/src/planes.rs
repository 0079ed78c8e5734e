//! Planes in time: loading tiles, installing them, and passing activations through them.

use std::collections::BTreeMap;

use lpu_chip::Chip;
use lpu_isa::{
    Accumulator, DelayClass, Direction, Hemisphere, Instruction, LoadFormat, Mode, Orientation, PassFormat, PlanePort,
    Queue, Row, SliceId, Stream, Target, WindowBits, Word,
};
use smallvec::SmallVec;

use crate::error::CompileError;
use crate::rows::Rows;
use crate::scheduler::Scheduler;
use crate::vectors::{Stored, VECTOR_SLICES, index};

/// What is in the planes of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Content {
    /// int8 weights in each plane.
    Bytes,
    /// fp16 weights over a pair of planes, from low and high bytes in SRAM.
    Halves,
    /// fp16 weights over a pair of planes, from int8 in SRAM.
    Widened,
}

/// The planes that one tile occupies: an int8 tile one plane, two of them that share their activations both planes of a
/// pair, an fp16 tile a pair.
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

/// The rows of a tile in the slices that serve one plane.
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
    /// Accumulators that hold sums to come back to, one bit each.
    open: [u64; 4],
}

/// All planes of a chip.
#[derive(Clone, Debug)]
pub(crate) struct Planes {
    states: Vec<PlaneState>,
    planes_a_side: u16,
    accumulators: u16,
    maps: Maps,
}

/// Streams of maps on their way inwards, by the slice and the word that they were read from and the cycle in which they
/// leave it. Loads that need one at the same time share it.
type Maps = BTreeMap<(SliceId, u32, u64), Stream>;

/// A tile to load.
pub(crate) struct Load<'a> {
    pub(crate) set: PlaneSet,
    pub(crate) parts: &'a [Part],
    pub(crate) orientation: Orientation,
    /// First cycle in which its words may be read.
    pub(crate) readable: u64,
    /// Where the words of an expert begin is only known on the chip: a vector in the outermost slices, to be added to
    /// each address.
    pub(crate) choice: Option<(&'a Stored, WindowBits)>,
}

impl Planes {
    pub(crate) fn new(chip: &Chip) -> Self {
        let planes_a_side = chip.values().planes_per_side as u16;
        let states = vec![PlaneState::default(); 2 * usize::from(planes_a_side)];
        Self { states, planes_a_side, accumulators: chip.values().accumulators as u16, maps: Maps::new() }
    }

    fn state(&mut self, side: Hemisphere, plane: u16) -> &mut PlaneState {
        &mut self.states[index(side) * usize::from(self.planes_a_side) + usize::from(plane)]
    }

    /// First cycle in which a load into the set may dispatch.
    pub(crate) fn free(&self, set: PlaneSet) -> u64 {
        let first = index(set.side) * usize::from(self.planes_a_side);
        set.planes().map(|plane| self.states[first + usize::from(plane)].buffer_free).max().unwrap_or(0)
    }

    /// Takes an accumulator of a plane other than the last `spare`.
    pub(crate) fn open(&mut self, side: Hemisphere, plane: u16, spare: u16) -> Option<u8> {
        let most = self.accumulators.saturating_sub(spare);
        let state = self.state(side, plane);
        let free =
            (0..most).find(|&accumulator| state.open[usize::from(accumulator / 64)] >> (accumulator % 64) & 1 == 0)?;
        state.open[usize::from(free / 64)] |= 1 << (free % 64);
        Some(free as u8)
    }

    /// Gives an accumulator back.
    pub(crate) fn close(&mut self, side: Hemisphere, plane: u16, accumulator: u8) {
        self.state(side, plane).open[usize::from(accumulator / 64)] &= !(1 << (accumulator % 64));
    }

    /// Loads and installs a tile as early as buffers, arrays, streams and memory allow. Returns the first cycle in
    /// which a pass may dispatch.
    pub(crate) fn load(&mut self, scheduler: &mut Scheduler<'_>, load: &Load<'_>) -> Result<u64, CompileError> {
        let set = load.set;
        let delay = scheduler.delay(DelayClass::MxmInstall);
        let mut landed: SmallVec<[u64; 2]> = SmallVec::new();
        match load.choice {
            Some((map, bits)) => {
                let (found, maps) = gathered(scheduler, load, (map, bits), &self.maps, self.free(set))?;
                landed = found;
                self.maps.extend(maps);
            }
            None => {
                for number in 0..load.parts.len() as u16 {
                    let from = match set.content {
                        Content::Bytes => self.state(set.side, set.plane + number).buffer_free,
                        Content::Halves | Content::Widened => self.free(set),
                    };
                    landed.push(self.rows(scheduler, load, number, from)?);
                }
            }
        }
        let all = landed.iter().copied().max().unwrap_or(0);
        let mut ready = 0;
        for (part, plane) in load.parts.iter().zip(set.planes()) {
            let (at_least, rows) = match set.content {
                Content::Bytes => (landed[usize::from(plane - set.plane)], part.rows),
                Content::Halves | Content::Widened => (all, load.parts[0].rows),
            };
            let passes_end = self.state(set.side, plane).passes_end;
            let install =
                scheduler.schedule("an install", at_least.max(passes_end.saturating_sub(delay)), |scheduler, at| {
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
    fn rows(
        &mut self,
        scheduler: &mut Scheduler<'_>,
        load: &Load<'_>,
        number: u16,
        from: u64,
    ) -> Result<u64, CompileError> {
        let reach =
            scheduler.delay(DelayClass::MemRead) + u64::from(scheduler.chip.mxm_position(load.set.side).unsigned_abs());
        let loads = PartLoads::new(scheduler.chip, load, usize::from(number));
        let mut next = from.max(load.readable + reach).max(reach);
        for (index, row) in loads.first_rows().enumerate() {
            next = scheduler.schedule("a weight load", next, |scheduler, at| {
                loads.load_rows(scheduler, (index, row), at, &Addresses::Fixed).map(|()| at + 1)
            })?;
        }
        Ok(next - 1 + scheduler.delay(DelayClass::MxmLoad))
    }

    /// Notes that a pass through the installed tile dispatched in cycle `at`.
    pub(crate) fn passed(&mut self, scheduler: &Scheduler<'_>, set: PlaneSet, at: u64) {
        let occupied = scheduler.chip.occupancy(set.pass_format()).cycles;
        for plane in set.planes() {
            let state = self.state(set.side, plane);
            state.passes_end = state.passes_end.max(at + occupied);
        }
    }
}

/// From where the sixteen rows of a load are read.
enum Addresses<'a> {
    /// The places of the part.
    Fixed,
    /// Those plus a map that passes: its stream at a position in a cycle of loading, and its bits.
    Gathered(&'a dyn Fn(u64, i32) -> Stream, WindowBits),
}

/// How one part of a tile is loaded into its plane: sixteen rows a cycle, on one group of streams.
struct PartLoads<'a> {
    part: &'a Part,
    side: Hemisphere,
    plane: u16,
    group: Stream,
    orientation: Orientation,
    format: LoadFormat,
    /// First row, and rows from one load to the next.
    offset: usize,
    step: usize,
}

impl<'a> PartLoads<'a> {
    fn new(chip: &Chip, load: &Load<'a>, number: usize) -> Self {
        let &Load { set: PlaneSet { side, plane, content, .. }, parts, orientation, .. } = load;
        let direction = if side == Hemisphere::East { Direction::East } else { Direction::West };
        let groups = u16::from(chip.streams() / 16);
        let plane = plane + number as u16;
        let group = Stream::new(direction, (plane % groups * 16) as u8);
        let (step, offset, format) = match content {
            Content::Bytes | Content::Halves => (16, 0, LoadFormat::Bytes),
            Content::Widened => (32, 16 * number, LoadFormat::Widen),
        };
        Self { part: &parts[number], side, plane, group, orientation, format, offset, step }
    }

    /// The first row of each load.
    fn first_rows(&self) -> impl Iterator<Item = usize> + use<> {
        (self.offset..self.part.rows).step_by(self.step)
    }

    /// Load number `index`, of the rows from `row` on, into the plane in cycle `at`.
    fn load_rows(
        &self,
        scheduler: &mut Scheduler<'_>,
        (index, row): (usize, usize),
        at: u64,
        addresses: &Addresses<'_>,
    ) -> Option<()> {
        let chip = scheduler.chip;
        let edge = chip.mxm_position(self.side);
        let access = u64::from(chip.values().mem_gather_access);
        for (lane, &(slice, word)) in self.part.places.iter().enumerate() {
            let position = chip.slice_position(slice);
            let fed = at - u64::from(position.abs_diff(edge));
            let dst = self.group.plus(lane as u8);
            let word = word + index as u32 * self.part.step;
            if !scheduler.tables.segment(dst, fed, position, edge) {
                return None;
            }
            let (taken, dispatch, instruction) = match addresses {
                Addresses::Fixed => {
                    let dispatch = fed - scheduler.delay(DelayClass::MemRead);
                    let read = Instruction::Read { word: Word(word), dst };
                    (scheduler.tables.read(slice, dispatch, word), dispatch, read)
                }
                &Addresses::Gathered(map, bits) => {
                    let dispatch = fed - scheduler.delay(DelayClass::MemGather);
                    let gather = Instruction::Gather { dst, map: map(at, position), base: Word(word), bits };
                    (scheduler.tables.gather(slice, dispatch, dispatch + access, word), dispatch, gather)
                }
            };
            if !taken {
                return None;
            }
            scheduler.emit(slice.queue(), dispatch, instruction);
        }
        let (orientation, format) = (self.orientation, self.format);
        let lw = Instruction::Lw { src: self.group, row: Row(row as u16), orientation, format };
        scheduler.issue(Queue::Mxm(self.side, self.plane, PlanePort::Load), at, lw)
    }
}

/// Loads the rows of all parts, each from an address that is only known on the chip, without a pause; returns the
/// cycles in which the last of each have landed. The map flows inwards from the outermost slices while the rows flow
/// outwards, so it is read anew in every cycle of the load, and a little longer. Returned besides are the maps that
/// were put on streams.
fn gathered(
    scheduler: &mut Scheduler<'_>,
    load: &Load<'_>,
    (map, bits): (&Stored, WindowBits),
    maps: &Maps,
    from: u64,
) -> Result<(SmallVec<[u64; 2]>, Maps), CompileError> {
    let chip = scheduler.chip;
    let &Load { set, parts, .. } = load;
    let edge = chip.mxm_position(set.side);
    let distance = |position: i32| u64::from(position.unsigned_abs());
    let (read, gather) = (scheduler.delay(DelayClass::MemRead), scheduler.delay(DelayClass::MemGather));
    // Both bytes pass the position of the inner one of their slices in one cycle.
    let slices = [0, 1].map(|byte| map.slice(map.quads[0], byte));
    let [source, other] = if slices[0].index < slices[1].index { slices } else { [slices[1], slices[0]] };
    let outer = chip.slice_position(source);
    let apart = distance(chip.slice_position(other)) - distance(outer);
    // Every map flows as far as any load may want it.
    let inner = chip.slice_position(SliceId { side: set.side, index: VECTOR_SLICES });
    let places = || parts.iter().flat_map(|part| part.places.iter().map(|&(slice, _)| chip.slice_position(slice)));
    let nearest = places().min_by_key(|&position| distance(position)).expect("a tile has slices");
    let farthest = places().map(distance).max().expect("a tile has slices");
    let groups = u16::from(chip.streams() / 16);
    let of_part = |number: usize| PartLoads::new(chip, load, number);
    let loads = |number: usize| of_part(number).first_rows().count() as u64;
    // Parts whose rows are in the same slices, or travel on the same streams, are loaded one after the other.
    let slices = |part: &Part| part.places.map(|(slice, _)| slice);
    let shared = groups == 1
        || parts.iter().skip(1).any(|part| slices(part).iter().any(|slice| slices(&parts[0]).contains(slice)));
    let start = |number: usize| {
        if shared { (0..number).map(loads).sum() } else { 0 }
    };
    let most = (0..parts.len()).map(|number| start(number) + loads(number)).max().unwrap_or(0);
    // A row that is loaded in cycle c is asked for where it is when the map passes that was put on its stream in
    // cycle c - lead + 2 distance.
    let lead = distance(edge) + gather + distance(outer);
    let from = from.max(map.ready + read + apart + lead - 2 * distance(nearest));
    scheduler.schedule("a load of an expert's weights", from, |scheduler, at| {
        let first = at - lead + 2 * distance(nearest);
        let last = at + most.saturating_sub(1) - lead + 2 * farthest;
        let mut streams = Vec::new();
        let mut fresh = Maps::new();
        for cycle in first..=last {
            let key = (source, map.word, cycle);
            if let Some(&stream) = maps.get(&key) {
                streams.push(stream);
                continue;
            }
            let stream = scheduler.route_group(map, map.quads[0], inner, cycle + distance(outer) - distance(inner))?;
            fresh.insert(key, stream);
            for byte in 0..2 {
                let slice = map.slice(map.quads[0], byte);
                let fed = cycle + distance(outer) - distance(chip.slice_position(slice));
                if !scheduler.tables.read(slice, fed - read, map.word) {
                    return None;
                }
                scheduler.emit(
                    slice.queue(),
                    fed - read,
                    Instruction::Read { word: Word(map.word), dst: stream.plus(byte) },
                );
            }
            streams.push(stream);
        }
        let mut landed = SmallVec::new();
        let passing = |at: u64, position: i32| streams[(at - lead + 2 * distance(position) - first) as usize];
        let addresses = Addresses::Gathered(&passing, bits);
        for number in 0..parts.len() {
            let loads = of_part(number);
            let mut end = at;
            for (index, row) in loads.first_rows().enumerate() {
                end = at + start(number) + index as u64;
                loads.load_rows(scheduler, (index, row), end, &addresses)?;
            }
            landed.push(end + scheduler.delay(DelayClass::MxmLoad));
        }
        Some((landed, fresh))
    })
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
pub(crate) fn pass_from(scheduler: &Scheduler<'_>, side: Hemisphere, activation: &Stored) -> u64 {
    let hops = u64::from(scheduler.chip.mxm_position(side).unsigned_abs());
    let read = activation.ready + scheduler.delay(DelayClass::MemRead) + hops - 2;
    activation.in_flight.map_or(read, |passing| read.min(passing.cycle + hops))
}

/// Takes a pass at `at` through every passing plane of the set, with one result each. `route` takes the streams of a
/// result that is emitted and says where they start.
pub(crate) fn pass(
    scheduler: &mut Scheduler<'_>,
    set: PlaneSet,
    activation: &Stored,
    at: u64,
    results: &[Result32],
    mut route: impl FnMut(&mut Scheduler<'_>, Emission) -> Option<Stream>,
) -> Option<()> {
    let position = scheduler.chip.mxm_position(set.side);
    let src = scheduler.fetch(activation, position, at)?;
    for cycle in at..at + scheduler.chip.occupancy(set.pass_format()).cycles {
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
