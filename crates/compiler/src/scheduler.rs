//! Rigid blocks in time: a block is tried at one start cycle after another until all its reservations hold.
//!
//! Method: an attempt is a function of the start that takes reservations from the tables until one fails; then all that
//! it took is given back and the next start is tried. Values travel between memory and units on streams, which are
//! chosen here: the first group whose segment is free, from a rotation that moves with every block.
//!
//! Invariants:
//! - An instruction is emitted together with the reservations of all that it occupies, or not at all.
//! - A failed attempt leaves neither reservation nor instruction, and moves no rotation.
//! - Cycles are those of dispatch, counted from 0; a vector at position p in cycle t is at p + 1 in t + 1.
//!
//! Not claimed: that the first start that holds is the best for later blocks, or that there is a start at all; how far
//! to search is the caller's.

use std::collections::BTreeMap;

use lpu_chip::Chip;
use lpu_isa::{DelayClass, Direction, Instruction, Queue, Stream, Unit, Word};

use crate::error::CompileError;
use crate::tables::Tables;
use crate::vectors::{InFlight, Stored};

/// Starts after everything that is taken at which a block is tried: more than a block is long, so that one that fails
/// there collides with itself.
const BEYOND: u64 = 1 << 12;

/// The reservations and instructions so far.
pub(crate) struct Scheduler<'a> {
    pub(crate) chip: &'a Chip,
    pub(crate) tables: Tables,
    issued: Vec<(Queue, u64, Instruction)>,
    rotation: u8,
    /// Instructions before the last block.
    before_last: usize,
}

impl<'a> Scheduler<'a> {
    pub(crate) fn new(chip: &'a Chip) -> Self {
        Self { chip, tables: Tables::new(chip), issued: Vec::new(), rotation: 0, before_last: 0 }
    }

    /// A scheduler of a chip on which something is scheduled already.
    pub(crate) fn over(chip: &'a Chip, tables: Tables) -> Self {
        Self { tables, ..Self::new(chip) }
    }

    /// Schedules a block at the earliest start from `from` on at which `attempt` succeeds.
    pub(crate) fn schedule<R>(
        &mut self,
        what: &str,
        from: u64,
        attempt: impl FnMut(&mut Self, u64) -> Option<R>,
    ) -> Result<R, CompileError> {
        let searched = self.end(from) - from;
        self.schedule_within(from, searched, attempt)
            .ok_or_else(|| CompileError::NoPlace { what: what.to_owned(), searched })
    }

    /// A start after everything that is taken, for a block that starts at `from` at the earliest.
    pub(crate) fn end(&self, from: u64) -> u64 {
        self.tables.horizon().max(from) + BEYOND
    }

    /// Whether `attempt` would succeed at a start; nothing is taken.
    pub(crate) fn would<R>(&mut self, start: u64, mut attempt: impl FnMut(&mut Self, u64) -> Option<R>) -> bool {
        let (issued, horizon) = (self.issued.len(), self.tables.horizon());
        self.tables.commit();
        let mark = self.tables.mark();
        let would = attempt(self, start).is_some();
        self.tables.undo(mark);
        self.tables.recede(horizon);
        self.issued.truncate(issued);
        would
    }

    /// Schedules a block at the earliest of `within` starts from `from` on at which `attempt` succeeds.
    pub(crate) fn schedule_within<R>(
        &mut self,
        from: u64,
        within: u64,
        mut attempt: impl FnMut(&mut Self, u64) -> Option<R>,
    ) -> Option<R> {
        let issued = self.issued.len();
        self.before_last = issued;
        self.tables.commit();
        let mark = self.tables.mark();
        let horizon = self.tables.horizon();
        for start in from..from + within {
            if let Some(result) = attempt(self, start) {
                self.rotation = self.rotation.wrapping_add(1);
                return Some(result);
            }
            self.tables.undo(mark);
            self.tables.recede(horizon);
            self.issued.truncate(issued);
        }
        None
    }

    pub(crate) fn delay(&self, class: DelayClass) -> u64 {
        u64::from(self.chip.delay(class))
    }

    /// Number of instructions so far.
    pub(crate) fn count(&self) -> usize {
        self.issued.len()
    }

    /// First and last dispatch of the instructions from number `from` on.
    pub(crate) fn span(&self, from: usize) -> Option<(u64, u64)> {
        let cycles = || self.issued[from..].iter().map(|&(_, cycle, _)| cycle);
        Some((cycles().min()?, cycles().max()?))
    }

    /// Queue and cycle of the instructions from number `from` on that compute numbers.
    pub(crate) fn computed(&self, from: usize) -> Vec<(Queue, u64)> {
        let computes = |instruction: &Instruction| match instruction {
            Instruction::Abc { .. } | Instruction::Acc { .. } => true,
            other => other.row().unit == Unit::Vxm,
        };
        self.issued[from..]
            .iter()
            .filter(|(_, _, issued)| computes(issued))
            .map(|&(queue, cycle, _)| (queue, cycle))
            .collect()
    }

    /// Adds an instruction whose reservations hold.
    pub(crate) fn emit(&mut self, queue: Queue, cycle: u64, instruction: Instruction) {
        self.issued.push((queue, cycle, instruction));
    }

    /// Takes a cycle of a queue and adds the instruction.
    pub(crate) fn issue(&mut self, queue: Queue, cycle: u64, instruction: Instruction) -> Option<()> {
        self.tables.issue(queue, cycle).then(|| self.emit(queue, cycle, instruction))
    }

    /// Takes an aligned group of streams from `from`, fed in `cycle`, to its last consumer at `to`.
    pub(crate) fn route(&mut self, bytes: u8, cycle: u64, from: i32, to: i32) -> Option<Stream> {
        let direction = if to > from { Direction::East } else { Direction::West };
        let groups = self.chip.streams() / bytes;
        for index in 0..groups {
            let first = (index + self.rotation % groups) % groups * bytes;
            let mark = self.tables.mark();
            let stream = Stream::new(direction, first);
            if (0..bytes).all(|byte| self.tables.segment(stream.plus(byte), cycle, from, to)) {
                return Some(stream);
            }
            self.tables.undo(mark);
        }
        None
    }

    /// Reads a stored vector so that it arrives at position `to` in cycle `at`.
    pub(crate) fn fetch(&mut self, value: &Stored, to: i32, at: u64) -> Option<Stream> {
        if let Some(stream) = self.forward(value, to, at) {
            return Some(stream);
        }
        let delay = self.delay(DelayClass::MemRead);
        for &quad in value.quads {
            let mark = self.tables.mark();
            let reads = (0..value.bytes).all(|byte| {
                let slice = value.slice(quad, byte);
                let hops = u64::from(self.chip.slice_position(slice).abs_diff(to));
                let issue = at.checked_sub(hops + delay).filter(|&issue| issue >= value.readable(quad));
                issue.is_some_and(|issue| self.tables.read(slice, issue, value.word))
            });
            if !reads {
                self.tables.undo(mark);
                continue;
            }
            if let Some(stream) = self.route_group(value, quad, to, at) {
                for byte in 0..value.bytes {
                    let slice = value.slice(quad, byte);
                    let hops = u64::from(self.chip.slice_position(slice).abs_diff(to));
                    let read = Instruction::Read { word: Word(value.word), dst: stream.plus(byte) };
                    self.emit(slice.queue(), at - hops - delay, read);
                }
                return Some(stream);
            }
            self.tables.undo(mark);
        }
        None
    }

    /// Earliest cycle in which all bytes of a stored vector can be at a position.
    pub(crate) fn at_position(&self, value: &Stored, to: i32) -> u64 {
        let read = self.delay(DelayClass::MemRead);
        let hops = |quad: u8| u64::from(self.chip.slice_position(value.slice(quad, 0)).abs_diff(to));
        value.quads.iter().map(|&quad| value.readable(quad) + read + hops(quad)).min().unwrap_or(0)
    }

    /// Takes a vector at position `to` in cycle `at` while it still flows outward after the slices that it is written
    /// into.
    fn forward(&mut self, value: &Stored, to: i32, at: u64) -> Option<Stream> {
        let InFlight { stream, cycle, taken } = value.in_flight?;
        if at != cycle + u64::from(to.unsigned_abs()) || to.signum() != taken.signum() || to.abs() <= taken.abs() {
            return None;
        }
        let mark = self.tables.mark();
        let from = cycle + u64::from(taken.unsigned_abs());
        if (0..value.bytes).all(|byte| self.tables.segment(stream.plus(byte), from, taken, to)) {
            return Some(stream);
        }
        self.tables.undo(mark);
        None
    }

    /// Takes a group of streams that carries a stored vector from the slices of a quad to position `to`, where all
    /// bytes arrive in cycle `at`.
    pub(crate) fn route_group(&mut self, value: &Stored, quad: u8, to: i32, at: u64) -> Option<Stream> {
        let from = self.chip.slice_position(value.slice(quad, 0));
        let direction = if to > from { Direction::East } else { Direction::West };
        let groups = self.chip.streams() / value.bytes;
        'groups: for index in 0..groups {
            let first = Stream::new(direction, (index + self.rotation % groups) % groups * value.bytes);
            let mark = self.tables.mark();
            for byte in 0..value.bytes {
                let position = self.chip.slice_position(value.slice(quad, byte));
                let cycle = at - u64::from(position.abs_diff(to));
                if !self.tables.segment(first.plus(byte), cycle, position, to) {
                    self.tables.undo(mark);
                    continue 'groups;
                }
            }
            return Some(first);
        }
        None
    }

    /// Writes what is put on a stream group at position `from` in cycle `at` into the words of `value`, whose `ready`
    /// is set. The group flows to the value's side of `from`, or towards the VXM when `from` is outside the value's
    /// slices.
    pub(crate) fn store(&mut self, value: &mut Stored, from: i32, at: u64) -> Option<Stream> {
        let farthest = self.farthest(value, from)?;
        let stream = self.route(value.bytes, at, from, farthest)?;
        self.write(value, from, at, stream)?;
        Some(stream)
    }

    /// [`Scheduler::store`] into places on both sides, all of as many bytes, that one group passes.
    pub(crate) fn store_all(&mut self, values: &mut [Stored], from: i32, at: u64) -> Option<Stream> {
        let farthest = values.iter().filter_map(|value| self.farthest(value, from));
        let farthest = farthest.max_by_key(|position| position.abs_diff(from))?;
        let stream = self.route(values[0].bytes, at, from, farthest)?;
        for value in values {
            self.write(value, from, at, stream)?;
        }
        Some(stream)
    }

    /// The position of a stored vector that is farthest from another.
    fn farthest(&self, value: &Stored, from: i32) -> Option<i32> {
        let positions = value.quads.iter().flat_map(|&quad| (0..value.bytes).map(move |byte| (quad, byte)));
        let positions = positions.map(|(quad, byte)| self.chip.slice_position(value.slice(quad, byte)));
        positions.max_by_key(|position| position.abs_diff(from))
    }

    /// Writes what a stream group that is fed at `from` in cycle `at` brings to the words of a value.
    fn write(&mut self, value: &mut Stored, from: i32, at: u64, stream: Stream) -> Option<()> {
        let delay = self.delay(DelayClass::MemWrite);
        let farthest = self.farthest(value, from)?;
        for (quad, byte) in value.quads.iter().flat_map(|&quad| (0..value.bytes).map(move |byte| (quad, byte))) {
            let slice = value.slice(quad, byte);
            let issue = at + u64::from(self.chip.slice_position(slice).abs_diff(from));
            if issue + delay < value.ready || !self.tables.write(slice, issue, issue + delay, value.word) {
                return None;
            }
            self.emit(slice.queue(), issue, Instruction::Write { word: Word(value.word), src: stream.plus(byte) });
        }
        value.ready = at + u64::from(farthest.abs_diff(from)) + delay + 1;
        let landed = |quad: u8| {
            let last =
                (0..value.bytes).map(|byte| self.chip.slice_position(value.slice(quad, byte)).abs_diff(from)).max();
            at + u64::from(last.unwrap_or(0)) + delay + 1
        };
        value.by_quad = (value.quads.len() == 2).then(|| [0, 1].map(landed));
        value.in_flight = (from == 0).then_some(InFlight { stream, cycle: at, taken: farthest });
        Some(())
    }

    /// Everything issued, in the order of scheduling.
    pub(crate) fn into_issues(self) -> Vec<(Queue, u64, Instruction)> {
        self.issued
    }

    /// Gives back what the last block that was scheduled took, and its instructions.
    pub(crate) fn give_back(&mut self) {
        self.tables.undo_all();
        self.issued.truncate(self.before_last);
    }

    /// What is taken.
    pub(crate) fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Everything issued, by queue, in order of cycles; reads are before writes of the same cycle.
    pub(crate) fn into_queues(self) -> BTreeMap<Queue, Vec<(u64, Instruction)>> {
        let mut queues: BTreeMap<Queue, Vec<(u64, Instruction)>> = BTreeMap::new();
        for (queue, cycle, instruction) in self.issued {
            queues.entry(queue).or_default().push((cycle, instruction));
        }
        for issues in queues.values_mut() {
            issues.sort_by_key(|(cycle, instruction)| (*cycle, instruction.row().opcode));
        }
        queues
    }
}
