//! Places in the SRAM of a system: chips, slices, words.

use std::fmt;

use crate::queue::{Hemisphere, Queue};

/// A chip of a system; one chip is a system of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChipId(pub u16);

/// A memory slice of a chip, counted outward from the VXM: `e0`, `w43`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SliceId {
    /// Side of the chip.
    pub side: Hemisphere,
    /// Number within the side, 0 nearest the VXM.
    pub index: u16,
}

impl SliceId {
    /// The queue that feeds the slice.
    #[must_use]
    pub const fn queue(self) -> Queue {
        Queue::Mem(self.side, self.index)
    }
}

impl fmt::Display for SliceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.side.letter(), self.index)
    }
}

/// Consecutive or strided words of one slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WordRun {
    /// The chip.
    pub chip: ChipId,
    /// The slice.
    pub slice: SliceId,
    /// First word.
    pub word: u32,
    /// Number of words, at least 1.
    pub count: u32,
    /// Distance from one word to the next, at least 1.
    pub stride: u32,
}

impl WordRun {
    /// One word.
    #[must_use]
    pub const fn one(chip: ChipId, slice: SliceId, word: u32) -> Self {
        Self { chip, slice, word, count: 1, stride: 1 }
    }

    /// The words' addresses, in order.
    pub fn words(self) -> impl Iterator<Item = u32> {
        (0..self.count).map(move |index| self.word.saturating_add(index.saturating_mul(self.stride)))
    }
}
