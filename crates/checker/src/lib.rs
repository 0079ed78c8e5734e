//! Proves a Program legal by reasoning over intervals, without running it.
//!
//! # Method
//!
//! 1. `class` finds the chips whose proofs are the same but for a shift of time and the names of links. Steps 2 to 5
//!    are done once a class, for its first chip; only where that chip breaks a rule, for each chip of the class.
//! 2. `issues` unrolls a chip's queues into one list in order of time. Barriers, shared counters and instruction fetch
//!    are resolved here, because they alone decide when an instruction is dispatched; what is fetched is known from the
//!    image, since nothing may write code.
//! 3. Each issue is placed on the lines that it touches: the diagonals of the streams that it feeds and takes
//!    (`streams`), its slice (`memory`), its planes (`planes`), the latch of its ALU (`streams`).
//!    When its effect lands there is [`Chip::landing`].
//! 4. Each line is put in order of time once, and neighbours on it are held to the rules of `docs/timing.md`.
//! 5. What each consumer was tied to on the way is the [`ChipFlow`].
//! 6. `links` holds what the classes send and receive together, each chip with its own links and start; the flows and
//!    the links are the [`Flow`].
//!
//! No cycle is stepped and no value computed. The cost grows with the number of issues of all classes and of
//! transfers of all chips, not with that of chips, cycles, lanes or streams.
//!
//! # Invariants
//!
//! - Every fault names the issue and cycle that the reference engine observes it at. An issue that breaks a rule still
//!   takes its effect as far as it has one, so one mistake does not hide the next; only what is out of range takes part
//!   in nothing.
//! - The list of issues of a chip is sorted by cycle, queue, item, and never changes once the lines are built; the flow
//!   names issues by their place in it.
//! - Violations are sorted by cycle, chip, queue, rule and item, whatever the order in which the parts found them;
//!   parts run in parallel.
//! - The flow of a program without violations is complete: each stream and latch taken has a producer, each `iw`,
//!   `abc` and `acc` what it takes, each link that receives the link that sends, each access of memory its
//!   place in time. Producers come before consumers in [`ChipFlow::order`].
//!
//! # What is not claimed
//!
//! - Nothing about values: overflow, NaN and what an address in a map selects are no concern of a proof. A gather or
//!   scatter is held to the rules for its whole window.
//! - Legality is judged from the initial image. Words that an earlier run wrote do not count as initialised.
//! - A proof holds for one program on one system with one image's outline (which words it has, and the content of its
//!   code regions), not for another chip.
//! - Nothing about runs that overlap; [`prove_interval`] proves these from the [`Report`].
//! - Nothing about whether a program computes what its author meant; [`Report::warnings`] points at what is legal and
//!   probably a mistake.
//! - The flow of a program that breaks a rule may lack producers. It serves warnings and reports, not execution.

mod class;
mod code;
mod error;
mod flow;
mod issue;
mod issues;
mod lines;
mod links;
mod member;
mod memory;
mod near;
mod overlay;
mod planes;
mod report;
mod streams;
mod warnings;

use lpu_chip::{Chip, System};
use lpu_isa::{ChipId, Fault, Image, Program, Violation};

use class::{ChipWords, Classes};
use code::CodeWords;
pub use error::{CheckError, MOST_ISSUES};
pub use flow::{Access, ChipFlow, Feed, Flow};
pub use issue::Issue;
use issues::ChipIssues;
pub use issues::{Issues, cycles, derived_cycles, issues};
pub use member::Member;
pub use overlay::{OverlayError, PortWindow, Window, Windows, prove_interval};
pub use report::Report;
use streams::Feeds;
pub use warnings::{Warning, WarningSite};

/// Checks one program over its image, on one chip.
/// ```
/// // A word goes from slice e0 to slice e4, one position on: 4 cycles to read, one hop, 2 to write, 20 tiles.
/// let text = ".chip tsp-v1
/// .program copy
/// .cycles 27
/// .input a i8 [1 320] at e0:0
/// .output b i8 [1 320] at e4:0
/// .queue mem.e0
/// @0 read a, e0
/// .queue mem.e4
/// @5 write b, e0
/// ";
/// let chip = lpu_chip::preset("tsp-v1")?;
/// let mut known = |_: &str| Some((chip.reference(), chip.lanes() as u32));
/// let assembled = lpu_isa::assemble(text, &mut |_| Err("no files".into()), &mut known);
/// let (container, _) = assembled.map_err(|errors| errors[0].message.clone())?;
/// let report = lpu_checker::check(&chip, &container.image, &container.programs[0])?;
/// assert!(report.violations.is_empty());
/// assert_eq!(report.cycles, 27);
///
/// // A cycle early, the stream has not arrived.
/// let text = text.replace("@5", "@4");
/// let (container, _) = lpu_isa::assemble(&text, &mut |_| Err("no files".into()), &mut known).unwrap();
/// let report = lpu_checker::check(&chip, &container.image, &container.programs[0])?;
/// println!("{}", report.violations[0]);
/// assert_eq!(report.violations[0].cycle, 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
    let absent = [system.absent_of_image(image), system.absent_of_program(program)].concat();
    if !absent.is_empty() {
        return Ok(Report::made_for_another(absent));
    }
    program.validate_chips()?;
    let words = class::chip_words(system.chip(), image, program)?;
    let code = CodeWords::new(system.chip(), image, program);
    let Classes { members, firsts } = Classes::new(system, &code, program, words);
    let prove = |issues, words: &ChipWords| ChipProof::new(system.chip(), issues, words);
    let proofs = ChipIssues::of_classes(system, &code, program, &firsts, prove)?;
    let of_members = |wanted: fn(&ChipProof) -> Option<u64>| {
        members.iter().filter_map(|member| Some(member.cycle(wanted(&proofs[member.class])?))).max()
    };
    let cycles = system.chip().run_cycles(of_members(|proof| proof.last));
    let end = of_members(|proof| Some(proof.end).filter(|&end| end > 0)).unwrap_or(0).max(cycles);
    let fetched = members.iter().map(|member| proofs[member.class].fetched).sum();
    let (mut violations, mut again) = (Vec::new(), 0);
    for ((chip, _), member) in program.each_chip().zip(&members) {
        let (first, words) = &firsts[member.class];
        let proof = &proofs[member.class];
        match proof.is_legal() {
            true => {}
            false if chip == *first => violations.extend(proof.violations(end)),
            // Faults name cycles and queues, so they are found anew for each chip, as far as that is not too much: the
            // first chip has the class's first fault.
            false => {
                again += proof.flow.issues.len() as u64;
                if again > MOST_ISSUES {
                    continue;
                }
                if let Ok(issues) = ChipIssues::new(system, &code, program, chip, 0) {
                    violations.extend(ChipProof::new(system.chip(), issues, words).violations(end));
                }
            }
        }
    }
    let classes: Vec<ChipFlow> = proofs.into_iter().map(|proof| proof.flow).collect();
    let links = links::check(system, &classes, &members, &mut violations);
    if cycles != program.cycles {
        let fault = Fault::CyclesMismatch { stated: program.cycles, derived: cycles };
        violations.push(Violation { cycle: end, chip: ChipId(0), chips: 1, site: None, fault });
    }
    violations.iter_mut().for_each(|violation| violation.chips = system.chips());
    violations.sort_by_key(Violation::key);
    Ok(Report { violations, cycles, fetched, flow: Flow { classes, chips: members, links } })
}

/// What is found of one chip by itself.
struct ChipProof {
    violations: Vec<Violation>,
    parked: Vec<Issue>,
    last: Option<u64>,
    end: u64,
    fetched: u64,
    flow: ChipFlow,
}

impl ChipProof {
    fn new(chip: &Chip, issues: ChipIssues, words: &ChipWords) -> Self {
        let ((Feeds { starts, feeds }, on_streams), (deferred, ties, elsewhere)) = std::thread::scope(|scope| {
            let streams = scope.spawn(|| {
                let mut violations = Vec::new();
                (streams::check(chip, &issues, &mut violations), violations)
            });
            let mut violations = Vec::new();
            let deferred = memory::check(chip, words, &issues, &mut violations);
            let mut ties = planes::check(chip, &issues, &mut violations);
            ties.sort_by_key(|&(consumer, _)| consumer);
            let streams = streams.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (streams, (deferred, ties, violations))
        });
        let ChipIssues { list, unfit, parked, last, end, live, fetched, .. } = issues;
        let violations = [unfit, on_streams, elsewhere].concat();
        let flow = ChipFlow { issues: list, starts, feeds, ties, deferred, live };
        Self { violations, parked, last, end, fetched, flow }
    }

    fn is_legal(&self) -> bool {
        self.violations.is_empty() && self.parked.is_empty()
    }

    /// All violations, of a run that ends in cycle `end`.
    fn violations(&self, end: u64) -> Vec<Violation> {
        let missing = |sync: &Issue| sync.violation(end, Fault::BarrierMissing { since: sync.cycle });
        self.violations.iter().copied().chain(self.parked.iter().map(missing)).collect()
    }
}
