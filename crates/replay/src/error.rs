//! Why a program cannot be replayed.

use lpu_checker::CheckError;
use lpu_isa::{Queue, RegionError, Violation};
use thiserror::Error;

/// A program, image or input that does not belong to this engine, or a program that is not legal.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReplayError {
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
    /// The program or the image needs a chip that the system does not have.
    #[error("{0}")]
    ChipAbsent(Violation),
    /// A program that cannot be checked.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// The first broken rule, as the checker finds it.
    #[error("{0}; `lpu check` lists every broken rule with its source line")]
    Fault(Violation),
    /// A program that was prepared on another platform.
    #[error("the program was prepared on another platform; prepare it on an engine of the one that runs it")]
    OtherEngine,
    /// The dataflow of a program that the checker found legal lacks something.
    #[error(
        "the checked dataflow has no {what} for {queue} in cycle {cycle}; run the program with --engine reference, and \
        report it"
    )]
    Dataflow {
        /// What is missing.
        what: &'static str,
        /// The queue of the issue that needs it.
        queue: Queue,
        /// Cycle of its dispatch.
        cycle: u64,
    },
    /// Plans of chips that wait for one another's vectors.
    #[error(
        "in the plan of the program, chip {chip} waits for a vector that depends on one of its own that it has not \
        sent yet; run the program with --engine reference, and report it"
    )]
    LinkOrder {
        /// The first chip that waits.
        chip: u16,
    },
    /// A program file that is shorter than its outline.
    #[error("the program file has {found} bytes, its image ends at byte {needed}; open the whole file")]
    CutFile {
        /// Where the image's bytes end.
        needed: u64,
        /// Bytes of the file.
        found: usize,
    },
    /// An earlier run ended in a panic.
    #[error("an earlier run of this engine panicked and left its memory half changed; make a new engine")]
    Broken,
    /// The system refused threads.
    #[error("cannot start {threads} threads: {error}; take fewer")]
    Threads {
        /// Threads asked for, the caller's included.
        threads: usize,
        /// The system's reason.
        error: std::io::Error,
    },
    /// More SRAM and intermediate values of one chip than addresses of its plan reach.
    #[error(
        "a chip's words and its intermediate values take {bytes} bytes, more than 64 GiB; use a chip with less SRAM"
    )]
    TooLarge {
        /// Bytes needed.
        bytes: u64,
    },
    /// The system refused memory.
    #[error("cannot map {bytes} bytes of memory: {error}; free some memory")]
    Memory {
        /// Bytes asked for.
        bytes: usize,
        /// The system's reason.
        error: std::io::Error,
    },
}
