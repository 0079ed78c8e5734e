//! Proves a Program legal by reasoning over intervals, without running it.
//!
//! Every issue is placed on the lines that it touches (a stream's diagonal, a slice, a plane, an ALU), each line is put in order of
//! time once, and neighbours on it are held to the rules of `docs/timing.md`. No cycle is stepped and no value computed.

mod code;
mod flow;
mod issues;
mod links;
mod memory;
mod near;
mod planes;
mod streams;
mod warnings;

use lpu_chip::{Chip, System};
use lpu_isa::{ChipId, Fault, Image, Program, QueueError, SliceId, Violation};
use thiserror::Error;

pub use flow::{Feed, Flow};
use issues::Issues;
pub use issues::{Issue, cycles, derived_cycles, issues};
pub use warnings::{At, Warning};

/// The most issues that are checked (assumed): some gigabytes. Keeps a short file of repeats from taking all memory.
pub const MOST_ISSUES: u64 = 1 << 26;

/// A program that cannot be checked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CheckError {
    /// A queue whose items have no meaning.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A region or extent outside SRAM.
    #[error("{what} lies at word {word} of slice {slice}, outside the chip; use the chip that the program names")]
    OutsideSram {
        /// The extent or region.
        what: String,
        /// The slice.
        slice: SliceId,
        /// The first word outside.
        word: u32,
    },
    /// More issues than are held in memory at once.
    #[error(
        "the program issues {issues} instructions, repeats counted, and at most {most} are checked; shorten its repeats, or run it unchecked with --engine reference"
    )]
    TooManyIssues {
        /// Issues of the program.
        issues: u64,
        /// The most that are checked.
        most: u64,
    },
}

/// What the checker found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Every violation, the verdict first; empty for a legal program.
    pub violations: Vec<Violation>,
    /// Cycles of a run.
    pub cycles: u64,
    /// Items that come to their queues by instruction fetch; the others are preloaded.
    pub fetched: u64,
    /// Who feeds whom; whole only for a legal program.
    pub flow: Flow,
}

impl Report {
    /// Of a program that needs chips which the system does not have: only that is said, of its image first.
    fn made_for_another(violations: Vec<Violation>) -> Self {
        Self { violations, cycles: 0, fetched: 0, flow: Flow::default() }
    }
}

/// Checks one program over its image, on one chip.
///
/// # Errors
/// [`CheckError`] when queues have no meaning or regions do not fit the chip.
pub fn check(chip: &Chip, image: &Image<'_>, program: &Program) -> Result<Report, CheckError> {
    check_system(&System::single(chip), image, program)
}

/// Checks one program over its image, on a system of chips.
///
/// # Errors
/// [`CheckError`] when queues have no meaning or regions do not fit the chips.
pub fn check_system(system: &System, image: &Image<'_>, program: &Program) -> Result<Report, CheckError> {
    let chip = system.chip();
    let absent = [system.absent_of_image(image), system.absent_of_program(program)].concat();
    if !absent.is_empty() {
        return Ok(Report::made_for_another(absent));
    }
    let issues = Issues::new(system, image, program)?;
    let mut violations = issues.unfit.clone();
    let ((starts, feeds, on_streams), rest) = std::thread::scope(|scope| {
        let streams = scope.spawn(|| {
            let mut violations = Vec::new();
            let (starts, feeds) = streams::check(chip, &issues, &mut violations);
            (starts, feeds, violations)
        });
        let mut violations = Vec::new();
        let rest = memory::check(chip, image, program, &issues, &mut violations).map(|()| {
            let ties = planes::check(chip, &issues, &mut violations);
            links::check(system, &issues, &mut violations);
            (ties, violations)
        });
        (streams.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), rest)
    });
    let (ties, elsewhere) = rest?;
    violations.extend(on_streams);
    violations.extend(elsewhere);
    let Issues { list, cycles, end, fetched, .. } = issues;
    if cycles != program.cycles {
        let fault = Fault::CyclesMismatch { stated: program.cycles, derived: cycles };
        violations.push(Violation { cycle: end, chip: ChipId(0), chips: 1, site: None, fault });
    }
    violations.iter_mut().for_each(|violation| violation.chips = system.chips());
    violations.sort_by_key(Violation::key);
    Ok(Report { violations, cycles, fetched, flow: Flow { issues: list, starts, feeds, ties } })
}
