//! What the scenes of a composed program draw from and write into.

use lpu::chip::Chip;
use lpu::isa::{Hemisphere, Instruction, PlanePort, Queue, SliceId, Stream};

use crate::dice::Dice;
use crate::memory::KNOWN;

/// One issue of a program under construction.
#[derive(Clone, Copy)]
pub(crate) struct Cue {
    pub(crate) chip: u16,
    pub(crate) queue: Queue,
    pub(crate) cycle: u64,
    pub(crate) instruction: Instruction,
}

/// What scenes draw from and write into.
pub(crate) struct Stage<'a> {
    pub(crate) chip: &'a Chip,
    pub(crate) dice: &'a mut Dice,
    pub(crate) cues: Vec<Cue>,
    /// Earliest cycle at which the scene's main unit dispatches.
    pub(crate) start: u64,
    /// The chip that the scene plays on.
    pub(crate) at: u16,
}

/// Words that scenes write.
pub(crate) const FRESH: [u32; 8] = [8, 9, 10, 11, 264, 265, 266, 267];

impl Stage<'_> {
    pub(crate) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.dice.below(all.len())]
    }

    pub(crate) fn cue(&mut self, queue: Queue, cycle: u64, instruction: Instruction) {
        self.cues.push(Cue { chip: self.at, queue, cycle, instruction });
    }

    /// A side, with the direction outward from the VXM and the one inward.
    pub(crate) fn side(&mut self) -> (Hemisphere, Outward) {
        let side = self.pick(&Hemisphere::BOTH);
        (side, Outward(side))
    }

    /// Slices of a side within a range of their numbers, distinct.
    pub(crate) fn slices(&mut self, side: Hemisphere, range: std::ops::Range<usize>, count: usize) -> Vec<SliceId> {
        let mut left: Vec<u16> = range.map(|index| index as u16).collect();
        (0..count).map(|_| SliceId { side, index: left.swap_remove(self.dice.below(left.len())) }).collect()
    }

    /// A group of `width` streams aligned as groups are.
    pub(crate) fn group(&mut self, out: Outward, outward: bool, width: u8) -> Stream {
        let groups = usize::from(self.chip.streams() / width);
        out.stream(outward, self.dice.below(groups) as u8 * width)
    }

    /// Reads words so that they arrive on consecutive streams at a position in a cycle.
    pub(crate) fn read(&mut self, slices: &[SliceId], first: Stream, position: i32, cycle: u64) {
        for (index, slice) in slices.iter().enumerate() {
            let distance = u64::from(self.chip.slice_position(*slice).abs_diff(position));
            let word = lpu::isa::Word(self.pick(&KNOWN));
            let dispatch = cycle - distance - u64::from(self.chip.values().mem_read);
            self.cue(slice.queue(), dispatch, Instruction::Read { word, dst: first.plus(index as u8) });
        }
    }

    /// Writes what was put on consecutive streams at a position in a cycle, as it passes slices.
    pub(crate) fn write(&mut self, slices: &[SliceId], first: Stream, position: i32, cycle: u64) {
        for (index, slice) in slices.iter().enumerate() {
            let distance = u64::from(self.chip.slice_position(*slice).abs_diff(position));
            let word = lpu::isa::Word(self.pick(&FRESH));
            self.cue(slice.queue(), cycle + distance, Instruction::Write { word, src: first.plus(index as u8) });
        }
    }

    pub(crate) fn delay(&self, instruction: &Instruction) -> u64 {
        u64::from(self.chip.delay(instruction.row().delay))
    }
}

/// Directions as one side sees them.
#[derive(Clone, Copy)]
pub(crate) struct Outward(Hemisphere);

impl Outward {
    pub(crate) fn of(side: Hemisphere) -> Self {
        Self(side)
    }

    /// A stream flowing away from the VXM on this side, or towards it.
    pub(crate) fn stream(self, outward: bool, number: u8) -> Stream {
        if (self.0 == Hemisphere::East) == outward { Stream::east(number) } else { Stream::west(number) }
    }
}

/// The load queue of a plane, and the others.
pub(crate) fn plane(side: Hemisphere, number: u16, port: PlanePort) -> Queue {
    Queue::Mxm(side, number, port)
}
