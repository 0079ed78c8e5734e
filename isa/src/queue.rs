//! Instruction queues: their names, their order, and what is in them.

use std::fmt;

use crate::table::{Instruction, TableRow};
pub use crate::unit::Unit;

/// Side of the chip, seen from the VXM in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hemisphere {
    /// Positive positions.
    East,
    /// Negative positions.
    West,
}

impl Hemisphere {
    /// Both sides in order.
    pub const BOTH: [Hemisphere; 2] = [Hemisphere::East, Hemisphere::West];

    /// The letter in queue and slice names.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Hemisphere::East => 'e',
            Hemisphere::West => 'w',
        }
    }
}

/// The four queues of a plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PlanePort {
    /// Holds `lw`.
    Load,
    /// Holds `iw`.
    Install,
    /// Holds `abc`.
    Activate,
    /// Holds `acc`.
    Accumulate,
}

impl PlanePort {
    /// All ports in order.
    pub const ALL: [PlanePort; 4] = [PlanePort::Load, PlanePort::Install, PlanePort::Activate, PlanePort::Accumulate];

    /// The port's name in text, which is the mnemonic it holds.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            PlanePort::Load => "lw",
            PlanePort::Install => "iw",
            PlanePort::Activate => "abc",
            PlanePort::Accumulate => "acc",
        }
    }
}

/// One instruction queue of a chip. The derived order is the order of queues in a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Queue {
    /// A memory slice, counted outward from the VXM: `mem.e0`.
    Mem(Hemisphere, u16),
    /// An ALU of the VXM: `vxm.0`.
    Vxm(u16),
    /// A port of a plane: `mxm.e0.lw`.
    Mxm(Hemisphere, u16, PlanePort),
    /// A switch unit: `sxm.e0`; units 0 and 1 of a hemisphere hold the transposers.
    Sxm(Hemisphere, u16),
    /// A chip-to-chip link: `c2c.0`.
    C2c(u16),
}

impl Queue {
    /// The unit that the queue feeds.
    #[must_use]
    pub const fn unit(self) -> Unit {
        match self {
            Queue::Mem(..) => Unit::Mem,
            Queue::Vxm(_) => Unit::Vxm,
            Queue::Mxm(..) => Unit::Mxm,
            Queue::Sxm(..) => Unit::Sxm,
            Queue::C2c(_) => Unit::C2c,
        }
    }

    /// Whether the queue can hold the instruction: the unit fits, and on a plane also the port.
    #[must_use]
    pub fn accepts(self, instruction: &Instruction) -> bool {
        self.holds(instruction.row())
    }

    /// Whether the queue can hold instructions of a row of the table.
    #[must_use]
    pub fn holds(self, row: &TableRow) -> bool {
        match self {
            _ if row.unit == Unit::Icu => true,
            Queue::Mxm(_, _, port) => row.unit == Unit::Mxm && row.mnemonic == port.name(),
            _ => row.unit == self.unit(),
        }
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Queue::Mem(side, slice) => write!(f, "mem.{}{slice}", side.letter()),
            Queue::Vxm(alu) => write!(f, "vxm.{alu}"),
            Queue::Mxm(side, plane, port) => write!(f, "mxm.{}{plane}.{}", side.letter(), port.name()),
            Queue::Sxm(side, unit) => write!(f, "sxm.{}{unit}", side.letter()),
            Queue::C2c(link) => write!(f, "c2c.{link}"),
        }
    }
}

/// What is in a queue: an instruction, and whether it issues in the same cycle as the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Item {
    /// The instruction.
    pub instruction: Instruction,
    /// Issues together with the item before it; only a Write or Scatter after a Read or Gather, or the reverse.
    pub paired: bool,
}

impl From<Instruction> for Item {
    fn from(instruction: Instruction) -> Self {
        Self { instruction, paired: false }
    }
}
