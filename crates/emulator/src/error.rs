//! Why a program cannot be run, or stopped.

use lpu_isa::{ContentError, QueueError, RegionError, Violation};
use thiserror::Error;

/// A program or input that does not belong to this machine.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MachineError {
    /// The image was made for vectors of another length.
    #[error("the image has vectors of {found} bytes, this chip's have {expected}; use the chip that the program names")]
    VectorBytes {
        /// Bytes of a vector in the image.
        found: u32,
        /// Bytes of a vector of the chip.
        expected: usize,
    },
    /// A region, word or extent that does not fit SRAM, or bytes that do not fill it.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// A queue whose items have no meaning.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// Chips that contradict their queue sets.
    #[error(transparent)]
    Chips(#[from] ContentError),
    /// The program or the image needs a chip that the system does not have.
    #[error("{0}")]
    ChipAbsent(Violation),
}

/// Why a run ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RunError {
    /// The first broken rule.
    #[error("{0}; `lpu check` lists every broken rule with its source line")]
    Fault(Violation),
}
