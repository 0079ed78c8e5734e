//! Why a program cannot be run, or stopped.

use lpu_isa::{QueueError, SliceId, Violation};
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
    /// Words that the chip does not have.
    #[error("{what} lies at word {word} of slice {slice}, outside the chip; use the chip that the program names")]
    OutsideSram {
        /// The extent or region.
        what: String,
        /// The slice.
        slice: SliceId,
        /// The first word outside.
        word: u32,
    },
    /// A region whose runs do not hold its words.
    #[error("region `{region}` needs {needed} words, its runs hold {found}; make its runs match its shape")]
    RegionWords {
        /// The region.
        region: String,
        /// Words that the shape needs.
        needed: u64,
        /// Words in the runs.
        found: u64,
    },
    /// A region of that name does not exist.
    #[error("the program has no {kind} `{name}`; it has {known}; name one of these")]
    UnknownRegion {
        /// `input` or `region`.
        kind: &'static str,
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// Bytes that do not fill a region.
    #[error("region `{region}` takes {expected} bytes, found {found}; give every element of its [vectors, lanes]")]
    RegionBytes {
        /// The region.
        region: String,
        /// Bytes that the shape needs.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// A queue whose items have no meaning.
    #[error(transparent)]
    Queue(#[from] QueueError),
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
