//! The subcommands: their options, and one module each for what they do.

mod conformance;
mod files;
mod generate;
mod given;
mod inspect;
mod kernels;
mod listing;
mod models;
mod request;
mod shell;
mod verdict;

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use lpu::chip::Chip;
use lpu::compiler::Part;
use lpu::{Engines, Precision};

/// Wrong usage that only shows once the options are seen together; exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// Prints why a command failed. A reader that went away, as `head` does, is no failure.
pub(crate) fn fail(error: &(dyn Error + 'static)) -> ExitCode {
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    if causes.any(|error| {
        error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    }) {
        return ExitCode::SUCCESS;
    }
    match error.downcast_ref::<listing::Listing>() {
        Some(listing) => tell(listing),
        None => tell(&format_args!("error: {error}")),
    }
    if error.is::<Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
}

/// Prints what a person should know about how a model was read.
pub(crate) fn say_notes(checkpoint: &lpu::model::Checkpoint) {
    for note in checkpoint.notes() {
        tell(&format_args!("note: {note}"));
    }
}

/// Writes a line to standard error, which may have no reader.
fn tell(message: &dyn std::fmt::Display) {
    drop(writeln!(std::io::stderr(), "{message}"));
}

/// What a command gives back: its exit status, or one message.
pub(crate) type Outcome = Result<ExitCode, Box<dyn Error>>;

/// A deterministic LPU-style dataflow emulator: compiles a model, runs it instruction by instruction, counts every
/// cycle.
#[derive(Parser)]
#[command(name = "lpu", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Generate text on the emulated chip
    Generate(generate::Generate),
    /// Compile a model for a chip
    Compile(models::Compile),
    /// Assemble text into a program file
    Asm(kernels::Asm),
    /// Write a program file as text
    Disasm(kernels::Disasm),
    /// List every broken rule of a program
    Check(kernels::Check),
    /// Run a program once
    Run(kernels::Run),
    /// Show what stands at a step of compilation
    Inspect(inspect::Inspect),
    /// Run conformance vectors, or list what they cover
    Conformance(conformance::Conformance),
    /// List chip presets, or every figure of one with its source
    Chips(inspect::Chips),
    /// Write the completions of a shell
    Completions(shell::Completions),
    /// Write a page of the manual
    Man(shell::Manual),
}

/// Engines by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// Replays resolved dataflow
    Fast,
    /// Steps every cycle
    Reference,
}

/// How to run.
#[derive(Args)]
pub(crate) struct How {
    /// Engine [default: fast]
    #[arg(long, value_enum)]
    pub(crate) engine: Option<Engine>,
    /// Host threads of the fast engine [default: all cores]
    #[arg(long, value_parser = threads)]
    pub(crate) threads: Option<usize>,
    /// Run both engines and compare every word of SRAM, outputs and cycles after each run
    #[arg(long)]
    pub(crate) verify: bool,
    /// Prove and plan anew, and keep no plan for later starts
    #[arg(long)]
    pub(crate) no_cache: bool,
}

impl How {
    /// The engines asked for; by steps where somebody watches them.
    pub(crate) fn engines(&self, watched: bool) -> Result<Engines, Usage> {
        let fast = match self.engine {
            Some(engine) => engine == Engine::Fast,
            None => !watched,
        };
        if watched && (fast || self.verify) {
            return Err(Usage(
                "a trace needs single steps, which the fast engine does not take; leave out --engine fast and --verify"
                    .into(),
            ));
        }
        Ok(Engines { fast, threads: self.threads, verify: self.verify, cache: !self.no_cache })
    }
}

/// What to compile for.
#[derive(Args)]
pub(crate) struct Target {
    /// Chip preset or the path of a .toml description [default: tsp-v1]
    #[arg(long)]
    pub(crate) chip: Option<OsString>,
    /// Number formats: f16, w8a8 or w8a16 [default: w8a16]
    #[arg(long, value_parser = precision)]
    pub(crate) dtype: Option<Precision>,
    /// Tokens of context, rounded up to a multiple of 16 [default: compile 256, generate what the request feeds,
    /// rounded up]
    #[arg(long, value_parser = context)]
    pub(crate) context: Option<usize>,
}

impl Target {
    /// The chip to compile for.
    pub(crate) fn chip(&self) -> Result<Chip, Box<dyn Error>> {
        files::chip(self.chip.as_deref().unwrap_or(OsStr::new("tsp-v1")))
    }
}

/// Refuses options that contradict what a compiled file was made for.
pub(crate) fn agrees(target: &Target, host: &lpu::Host) -> Result<(), String> {
    if let Some(dtype) = target.dtype.filter(|&dtype| dtype != host.precision) {
        let (made, asked) = (host.precision.name(), dtype.name());
        return Err(format!(
            "the file was compiled for {made}, not {asked}; leave out --dtype or compile the model again with --dtype {asked}"
        ));
    }
    if let Some(asked) = target.context.filter(|&context| context != host.context) {
        let made = host.context;
        return Err(format!(
            "the file was compiled for a context of {made}, not {asked}; leave out --context or compile the model again with --context {asked}"
        ));
    }
    Ok(())
}

/// A number of tokens: at least 1, and few enough that sums of them stay countable.
pub(crate) fn tokens(text: &str) -> Result<usize, String> {
    let number: usize = text.parse().map_err(|_| "give a whole number of tokens".to_owned())?;
    match number {
        0 => Err("give at least 1".into()),
        1..=0xffff_ffff => Ok(number),
        _ => Err("give at most 4294967295".into()),
    }
}

/// Tokens of a context: as many as its last program holds.
fn context(text: &str) -> Result<usize, String> {
    tokens(text).map(|asked| lpu::compiler::buckets(asked).last().copied().unwrap_or(asked))
}

fn threads(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&threads| threads > 0).ok_or_else(|| "give a whole number of at least 1".into())
}

/// The part of a model of this name, for the command line.
fn part(name: &str) -> Result<Part, String> {
    Part::parse(name).ok_or_else(|| "use layer:N, attention:N, ffn:N or head".into())
}

fn precision(name: &str) -> Result<Precision, String> {
    Precision::parse(name).ok_or_else(|| "use f16, w8a8 or w8a16".into())
}

impl Cli {
    pub(crate) fn run(self) -> Outcome {
        match self.command {
            Command::Generate(command) => command.run(),
            Command::Compile(command) => command.run(),
            Command::Asm(command) => command.run(),
            Command::Disasm(command) => command.run(),
            Command::Check(command) => command.run(),
            Command::Run(command) => command.run(),
            Command::Conformance(command) => command.run(),
            Command::Inspect(command) => command.run(),
            Command::Chips(command) => command.run(),
            Command::Completions(command) => command.run(),
            Command::Man(command) => command.run(),
        }
    }
}
