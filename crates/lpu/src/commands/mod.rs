//! The subcommands: their options, and one module each for what they do.

mod files;
mod generate;
mod inspect;
mod kernels;
mod models;

use std::error::Error;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use lpu::Precision;

/// What a command gives back: its exit status, or one message.
pub(crate) type Outcome = Result<ExitCode, Box<dyn Error>>;

/// A deterministic LPU-style dataflow emulator: compiles a model, runs it instruction by instruction, counts every cycle.
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
    /// List chip presets, or every figure of one with its source
    Chips(inspect::Chips),
}

/// Engines by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// Replays resolved dataflow
    Fast,
    /// Steps every cycle
    Reference,
}

impl Engine {
    /// Refuses what is not there.
    pub(crate) fn available(self) -> Result<(), String> {
        match self {
            Engine::Reference => Ok(()),
            Engine::Fast => Err("the fast engine is not there yet; use --engine reference".into()),
        }
    }
}

/// What to compile for.
#[derive(Args)]
pub(crate) struct Target {
    /// Chip preset or the path of a .toml description [default: tsp-v1]
    #[arg(long)]
    pub(crate) chip: Option<String>,
    /// Number formats: f16 or w8a8 [default: f16]
    #[arg(long, value_parser = precision)]
    pub(crate) dtype: Option<Precision>,
    /// Tokens of context
    #[arg(long)]
    pub(crate) context: Option<usize>,
}

fn precision(name: &str) -> Result<Precision, String> {
    match name {
        "w8a16" => Err("w8a16 is not there yet; use f16 or w8a8".into()),
        _ => Precision::parse(name).ok_or_else(|| "use f16 or w8a8".into()),
    }
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
            Command::Inspect(command) => command.run(),
            Command::Chips(command) => command.run(),
        }
    }
}
