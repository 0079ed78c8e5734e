//! Why a program cannot be checked.

use lpu_isa::{ContentError, QueueError, RegionError};
use thiserror::Error;

/// The most issues that are checked, of all classes of chips together (assumed): some gigabytes. Keeps a short file of
/// repeats from taking all memory.
pub const MOST_ISSUES: u64 = 1 << 26;

/// A program that cannot be checked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CheckError {
    /// A queue whose items have no meaning.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// Chips that contradict their queue sets.
    #[error(transparent)]
    Chips(#[from] ContentError),
    /// A region or extent outside SRAM.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// More issues than are held in memory at once.
    #[error(
        "the program issues {issues} instructions, repeats counted, and at most {most} are checked; shorten its \
        repeats, or run it unchecked with --engine reference"
    )]
    TooManyIssues {
        /// Issues of the program.
        issues: u64,
        /// The most that are checked.
        most: u64,
    },
}
