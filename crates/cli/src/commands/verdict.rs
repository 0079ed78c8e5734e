//! Standard output of commands whose exit status is a verdict: a reader that goes away changes none.

use std::io::{BufWriter, ErrorKind, Result, StdoutLock, Write};

/// Where such a command writes.
pub(crate) struct Verdict(BufWriter<StdoutLock<'static>>);

impl Verdict {
    pub(crate) fn stdout() -> Self {
        Self(BufWriter::new(std::io::stdout().lock()))
    }
}

/// What a write gives, or `unread` where no reader is left.
fn unless_unread<T>(written: Result<T>, unread: T) -> Result<T> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(unread),
        written => written,
    }
}

impl Write for Verdict {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        unless_unread(self.0.write(bytes), bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        unless_unread(self.0.flush(), ())
    }
}
