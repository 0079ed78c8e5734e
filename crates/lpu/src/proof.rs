//! Compiling with proof: what is stated of a program is stated after the checker has proven it. The compiler itself
//! knows no checker.

use lpu_checker::{CheckError, OverlayError, Report, Windows, check_system};
use lpu_chip::System;
use lpu_compiler::{CompileError, Compiled, Options};
use lpu_isa::{Program, Violation};
use lpu_model::{Checkpoint, Graph};
use thiserror::Error;
use tracing::{debug, debug_span};

use crate::activity::Activity;

/// Why there is no proven program.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The compiler refuses the model or the chip.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The checker cannot judge the program.
    #[error("the program for {context} tokens cannot be proven: {error}")]
    Unchecked {
        /// Name of the program's context bucket.
        context: String,
        /// Why.
        error: CheckError,
    },
    /// The compiled program is not legal.
    #[error(
        "the program compiled for {context} tokens breaks {count} rules, so nothing is stated of it; the first: \
        {first}; this is a mistake of the compiler: report it with the chip description and the model's config.json"
    )]
    Illegal {
        /// Name of the program's context bucket.
        context: String,
        /// Broken rules.
        count: usize,
        /// The verdict.
        first: Box<Violation>,
    },
    /// Runs of the program may not follow one another as soon as it states.
    #[error(
        "the interval of the program for {context} tokens cannot be proven: {error}; this is a mistake of the \
        compiler: report it with the chip description and the model's config.json"
    )]
    Interval {
        /// Name of the program's context bucket.
        context: String,
        /// Why.
        error: OverlayError,
    },
    /// A program uses chips and links in other cycles than that of sequence 0, so that nothing is proven of a run of one
    /// after a run of the other.
    #[error(
        "the program {program} uses chips in other cycles than that of sequence 0; this is a mistake of the compiler: \
        report it with the chip description and the model's config.json"
    )]
    Sequences {
        /// The program's name.
        program: String,
    },
    /// A program ends sooner than its lower bound allows.
    #[error(
        "the program for {context} tokens takes {cycles} cycles, fewer than its lower bound of {bound}; this is a \
        mistake of the bound: report it with the chip description and the model's config.json"
    )]
    Bound {
        /// Name of the program's context bucket.
        context: String,
        /// Cycles of the program.
        cycles: u64,
        /// The bound.
        bound: u64,
    },
}

/// Compiles a checkpoint and proves every program of it.
///
/// # Errors
/// [`ProofError`] when the compiler refuses, or what it made is not legal.
pub fn compile(checkpoint: &Checkpoint, system: impl Into<System>, options: &Options) -> Result<Compiled, ProofError> {
    compile_graph(checkpoint, checkpoint.graph(), system, options)
}

/// Compiles a graph, or a part of one, of a checkpoint, and proves every program of it.
///
/// # Errors
/// As [`compile`].
pub fn compile_graph(
    checkpoint: &Checkpoint,
    graph: Graph,
    system: impl Into<System>,
    options: &Options,
) -> Result<Compiled, ProofError> {
    Ok(compile_proven(checkpoint, graph, &system.into(), options, |_, _| ())?.0)
}

/// [`compile_graph`], with what each program does in a run.
///
/// # Errors
/// As [`compile`].
pub fn compile_measured(
    checkpoint: &Checkpoint,
    graph: Graph,
    system: impl Into<System>,
    options: &Options,
) -> Result<(Compiled, Vec<Activity>), ProofError> {
    let system = &system.into();
    let activity = |program: &Program, report: &Report| Activity::of_flow(system, &report.flow, program.cycles);
    compile_proven(checkpoint, graph, system, options, activity)
}

/// Compiles and proves; `take` takes what is wanted of each program's proof.
fn compile_proven<R: Clone>(
    checkpoint: &Checkpoint,
    graph: Graph,
    system: &System,
    options: &Options,
    take: impl Fn(&Program, &Report) -> R,
) -> Result<(Compiled, Vec<R>), ProofError> {
    let compiled =
        debug_span!("compile").in_scope(|| lpu_compiler::compile_graph(checkpoint, graph, system, options))?;
    let mut taken: Vec<(R, Option<Windows>)> = Vec::new();
    // The programs of each sequence are those of all buckets.
    for (number, (program, bound)) in compiled.programs.iter().zip(compiled.bounds.iter().cycle()).enumerate() {
        let context = || program.name.clone();
        if program.cycles < bound.cycles() {
            return Err(ProofError::Bound { context: context(), cycles: program.cycles, bound: bound.cycles() });
        }
        // A bucket may have the schedule of another.
        let alike = compiled.programs[..number].iter().position(|other| {
            (&other.sets, &other.chips, other.interval) == (&program.sets, &program.chips, program.interval)
                && other.regions == program.regions
        });
        if let Some(alike) = alike {
            taken.push(taken[alike].clone());
            continue;
        }
        let _span = debug_span!("prove", program = program.name).entered();
        let report = check_system(system, &compiled.image, program)
            .map_err(|error| ProofError::Unchecked { context: context(), error })?;
        if let Some(first) = report.violations.first() {
            let (count, first) = (report.violations.len(), Box::new(*first));
            return Err(ProofError::Illegal { context: context(), count, first });
        }
        let interval = |error| ProofError::Interval { context: context(), error };
        let windows = program.interval.map(|_| Windows::new(system, &report)).transpose().map_err(interval)?;
        if let (Some(windows), Some(stated)) = (&windows, program.interval) {
            windows.prove(stated.get()).map_err(interval)?;
        }
        // What is proven of runs of one program holds between runs of programs with the same windows.
        if taken.get(number % compiled.bounds.len()).is_some_and(|(_, first)| *first != windows) {
            return Err(ProofError::Sequences { program: program.name.clone() });
        }
        debug!(cycles = program.cycles, bound = bound.cycles(), "proven");
        taken.push((take(program, &report), windows));
    }
    Ok((compiled, taken.into_iter().map(|(taken, _)| taken).collect()))
}
