//! What a graph is compiled for.

use lpu_chip::Chip;
use lpu_isa::{ChipId, SliceId, WordRun};

/// The chip that has everything: programs are compiled for one chip, so nothing else names a chip by number.
const CHIP: ChipId = ChipId(0);

/// Words of a slice of the chip, one after another.
pub(crate) const fn words(slice: SliceId, word: u32, count: u32) -> WordRun {
    WordRun { chip: CHIP, slice, word, count, stride: 1 }
}

/// Number of the chip that has the region of every port.
pub(crate) const fn port_chip() -> u16 {
    CHIP.0
}

/// Number formats of weights and activations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// fp16 weights and activations, fp32 sums.
    F16,
    /// int8 weights with a scale an output channel, int8 activations with a scale a vector; keys, values and queries in
    /// fp16.
    W8A8,
    /// int8 weights with a scale an output channel, widened to fp16 as they are loaded; fp16 activations, fp32 sums.
    #[default]
    W8A16,
}

impl Precision {
    /// The format of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::F16, Self::W8A8, Self::W8A16].into_iter().find(|precision| precision.name() == name)
    }

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::W8A8 => "w8a8",
            Self::W8A16 => "w8a16",
        }
    }
}

/// The machine and the number formats that a graph is compiled for: what every stage after the graph depends on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Target {
    /// Geometry and delays.
    pub chip: Chip,
    /// Number formats.
    pub precision: Precision,
}

impl Target {
    /// One chip with these number formats.
    #[must_use]
    pub fn new(chip: &Chip, precision: Precision) -> Self {
        Self { chip: chip.clone(), precision }
    }
}

/// What callers choose for a compilation: the formats of a [`Target`] and the context of its programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Number formats.
    pub precision: Precision,
    /// Tokens that the key-value rows hold; rounded up to a multiple of 16.
    pub context: usize,
}

impl Options {
    /// The target of these options on a chip.
    #[must_use]
    pub fn target(&self, chip: &Chip) -> Target {
        Target::new(chip, self.precision)
    }
}
