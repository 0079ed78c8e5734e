//! Options that several commands have.

use std::error::Error;
use std::ffi::{OsStr, OsString};

use clap::{Args, ValueEnum};
use lpu::chip::System;
use lpu::compiler::Part;
use lpu::{Engines, Options, Precision};

use super::files;
use super::outcome::Usage;

/// Engines by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineChoice {
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
    pub(crate) engine: Option<EngineChoice>,
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
    /// The engines asked for; by steps where an observer watches them.
    pub(crate) fn engines(&self, watched: bool) -> Result<Engines, Usage> {
        let fast = match self.engine {
            Some(engine) => engine == EngineChoice::Fast,
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
pub(crate) struct TargetOptions {
    /// Chip preset or the path of a .toml description [default: tsp-v1]
    #[arg(long)]
    pub(crate) chip: Option<OsString>,
    /// System preset or the path of a .toml description, to compile for several chips
    #[arg(long, conflicts_with = "chip")]
    pub(crate) system: Option<OsString>,
    /// Chips that share every layer: 1, 2, 4 or 8 [default: as many as the system's nodes have]
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) tensor_parallel_size: Option<usize>,
    /// Stages that follow one another, each on chips of its own [default: the fewest that hold the model]
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) pipeline_parallel_size: Option<usize>,
    /// Number formats: f16, w8a8 or w8a16 [default: w8a16]
    #[arg(long, value_parser = precision)]
    pub(crate) dtype: Option<Precision>,
    /// Tokens of context, rounded up to a multiple of 16 [default: compile 256, generate what the request feeds,
    /// rounded up]
    #[arg(long, value_parser = context)]
    pub(crate) context: Option<usize>,
    /// Sequences that have key-value rows of their own, so that their runs may overlap [default: 1, or as many as
    /// there are --prompts]
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) sequences: Option<usize>,
}

impl TargetOptions {
    /// The system to compile for: one chip where no system is given.
    pub(crate) fn system(&self) -> Result<System, Box<dyn Error>> {
        match &self.system {
            Some(system) => files::system(system),
            None => Ok(System::single(&files::chip(self.chip.as_deref().unwrap_or(OsStr::new("tsp-v1")))?)),
        }
    }

    /// The description that a compiled file is to be held to, where one is given.
    pub(crate) fn described(&self) -> Option<&OsStr> {
        self.system.as_deref().or(self.chip.as_deref())
    }

    /// Whether anything is said that a compiled file may contradict, besides its system.
    pub(crate) fn says(&self) -> bool {
        let counts = [self.context, self.sequences, self.tensor_parallel_size, self.pipeline_parallel_size];
        self.dtype.is_some() || counts.iter().any(Option::is_some)
    }

    /// What to compile, for a context where none is given.
    pub(crate) fn options(&self, context: usize) -> Options {
        Options {
            precision: self.dtype.unwrap_or_default(),
            context: self.context.unwrap_or(context),
            sequences: self.sequences.unwrap_or(1),
            tensor_parallel: self.tensor_parallel_size,
            pipeline_parallel: self.pipeline_parallel_size,
        }
    }
}

/// Refuses options that contradict what a compiled file was made for.
pub(crate) fn agrees(target: &TargetOptions, host: &lpu::Host) -> Result<(), String> {
    let sizes = [
        (target.tensor_parallel_size, host.parallel.tensor, "--tensor-parallel-size"),
        (target.pipeline_parallel_size, host.parallel.pipeline, "--pipeline-parallel-size"),
        (target.sequences, host.sequences, "--sequences"),
    ];
    for (asked, made, option) in sizes {
        if let Some(asked) = asked.filter(|&asked| asked != made) {
            return Err(format!(
                "the file was compiled with {option} {made}, not {asked}; leave it out or compile the model again with \
                {option} {asked}"
            ));
        }
    }
    if let Some(dtype) = target.dtype.filter(|&dtype| dtype != host.precision) {
        let (made, asked) = (host.precision.name(), dtype.name());
        return Err(format!(
            "the file was compiled for {made}, not {asked}; leave out --dtype or compile the model again with --dtype \
            {asked}"
        ));
    }
    if let Some(asked) = target.context.filter(|&context| context != host.context) {
        let made = host.context;
        return Err(format!(
            "the file was compiled for a context of {made}, not {asked}; leave out --context or compile the model \
            again with --context {asked}"
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

fn count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&count| count > 0).ok_or_else(|| "give a whole number of at least 1".into())
}

fn threads(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&threads| threads > 0).ok_or_else(|| "give a whole number of at least 1".into())
}

/// The part of a model of this name, for the command line.
pub(crate) fn part(name: &str) -> Result<Part, String> {
    Part::parse(name).ok_or_else(|| "use layer:N, attention:N, ffn:N or head".into())
}

fn precision(name: &str) -> Result<Precision, String> {
    Precision::parse(name).ok_or_else(|| "use f16, w8a8 or w8a16".into())
}
