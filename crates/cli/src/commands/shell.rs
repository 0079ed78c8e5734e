//! What a shell and a reader of manuals take from the command's own description: `completions`, `man`.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use super::outcome::{CommandResult, Usage};

#[derive(Args)]
pub(crate) struct Completions {
    /// The shell that reads them
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// Of the whole command.
    pub(crate) fn run(self, mut command: Command) -> CommandResult {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut command, "lpu", &mut text);
        std::io::stdout().write_all(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Args)]
pub(crate) struct Manual {
    /// Page of a subcommand, as `generate` or `conformance run` [default: the page of the command]
    subcommand: Vec<String>,
}

impl Manual {
    /// Of the whole command.
    pub(crate) fn run(self, mut command: Command) -> CommandResult {
        command.build();
        let mut page = &command;
        for name in &self.subcommand {
            page = page.find_subcommand(name).ok_or_else(|| {
                let known: Vec<&str> = page.get_subcommands().map(Command::get_name).collect();
                Usage(match known[..] {
                    [] => format!("`{}` has no subcommand `{name}`; leave it out", page.get_name()),
                    _ => format!("no page `{name}`; give one of {}", known.join(", ")),
                })
            })?;
        }
        let mut text = Vec::new();
        Man::new(page.clone()).render(&mut text)?;
        std::io::stdout().write_all(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}
