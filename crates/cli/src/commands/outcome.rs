//! How a command ends: its exit status, or the message that says why it failed.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

/// What a command gives back: its exit status, or one message.
pub(crate) type CommandResult = Result<ExitCode, Box<dyn Error>>;

/// Wrong usage that only shows once the options are seen together; exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// Prints notes on how a model was read.
pub(crate) fn say_notes(checkpoint: &lpu::model::Checkpoint) {
    for note in checkpoint.notes() {
        tell(&format_args!("note: {note}"));
    }
}

/// Writes a line to standard error, which may have no reader.
pub(super) fn tell(message: &dyn std::fmt::Display) {
    drop(writeln!(std::io::stderr(), "{message}"));
}
