//! Links: their ends, and the classes of links that a system has.

use lpu_isa::ChipId;

use crate::figure::{Field, Figure};

/// One end of a link: a C2C queue of a chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkEnd {
    /// The chip.
    pub chip: ChipId,
    /// Number of its C2C queue.
    pub link: u16,
}

impl std::fmt::Display for LinkEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.chip.0, self.link)
    }
}

/// What a description says of a class of links.
pub const LINK_FIELDS: &[Field] = &[
    Field {
        name: "latency",
        unit: "cycles",
        least: 1,
        most: 100_000,
        meaning: "Send to the earliest receive at the other end.",
    },
    Field { name: "interval", unit: "cycles", least: 1, most: 1000, meaning: "Cycles that a vector occupies a link." },
];

/// Links of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkClass {
    /// The class's name in the description.
    pub name: String,
    /// Cycles from a send to the earliest receive at the other end.
    pub latency: Figure,
    /// Cycles that a vector occupies a link.
    pub interval: Figure,
}
