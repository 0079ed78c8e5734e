//! Kinds of functional units.

/// Kind of functional unit that a queue feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// Instruction control: instructions that any queue may hold.
    Icu,
    /// A memory slice.
    Mem,
    /// A vector ALU.
    Vxm,
    /// A port of a matrix plane.
    Mxm,
    /// A switch unit.
    Sxm,
    /// A chip-to-chip link.
    C2c,
}

impl Unit {
    /// The unit's name in text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Unit::Icu => "icu",
            Unit::Mem => "mem",
            Unit::Vxm => "vxm",
            Unit::Mxm => "mxm",
            Unit::Sxm => "sxm",
            Unit::C2c => "c2c",
        }
    }
}
