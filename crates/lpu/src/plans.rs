//! Where plans are kept for the next start: next to the program file. A plan that cannot be read or written costs time
//! and nothing else, so nothing here fails.

use std::path::{Path, PathBuf};

use crate::output::write_file;

/// The file that may hold the plan of program number `program` of the program file at `path`.
pub(crate) fn path(file: &Path, program: usize) -> PathBuf {
    let mut plan = file.as_os_str().to_owned();
    plan.push(format!(".plan{program}"));
    plan.into()
}

/// Keeps a plan, whole or not at all.
pub(crate) fn keep(path: &Path, bytes: &[u8]) {
    let _ = write_file(path, bytes);
}
