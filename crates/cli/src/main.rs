//! The command `lpu`.

mod commands;
mod log;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let command = commands::Cli::parse();
    match log::start().map_err(Into::into).and_then(|()| command.run()) {
        Ok(code) => code,
        Err(error) => commands::fail(&*error),
    }
}
