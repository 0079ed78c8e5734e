//! The subcommands: their options, and one module each for what they do.

mod conformance;
mod files;
mod generate;
mod given;
mod inspect;
mod kernels;
mod known;
mod listing;
mod models;
mod options;
mod outcome;
mod program;
mod prompts;
mod request;
mod shell;
mod verdict;

use std::error::Error;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use listing::Listing;
use outcome::tell;
pub(crate) use outcome::{CommandResult, Usage};

/// Prints why a command failed. A reader that went away, as `head` does, is no failure.
pub(crate) fn fail(error: &(dyn Error + 'static)) -> ExitCode {
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    if causes.any(|error| {
        error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    }) {
        return ExitCode::SUCCESS;
    }
    match error.downcast_ref::<Listing>() {
        Some(listing) => tell(listing),
        None => tell(&format_args!("error: {error}")),
    }
    if error.is::<Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
}

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
    /// Show what is at a step of compilation
    Inspect(inspect::Inspect),
    /// Run conformance vectors, or list what they cover
    Conformance(conformance::Conformance),
    /// List the models whose shapes are known by name
    Models(known::Models),
    /// List chip presets, or every figure of one with its source
    Chips(inspect::Chips),
    /// Write the completions of a shell
    Completions(shell::Completions),
    /// Write a page of the manual
    Man(shell::Manual),
}

impl Cli {
    pub(crate) fn run(self) -> CommandResult {
        match self.command {
            Command::Generate(command) => command.run(),
            Command::Compile(command) => command.run(),
            Command::Asm(command) => command.run(),
            Command::Disasm(command) => command.run(),
            Command::Check(command) => command.run(),
            Command::Run(command) => command.run(),
            Command::Conformance(command) => command.run(),
            Command::Inspect(command) => command.run(),
            Command::Models(command) => command.run(),
            Command::Chips(command) => command.run(),
            Command::Completions(command) => command.run(Cli::command()),
            Command::Man(command) => command.run(Cli::command()),
        }
    }
}
