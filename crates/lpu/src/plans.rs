//! Where plans wait for the next start: beside the program file. A plan that cannot be read or written costs time and
//! nothing else, so nothing here fails.

use std::path::{Path, PathBuf};

use crate::output::write_file;

/// The file that may hold the plan of program number `program` of the program file at `path`.
pub(crate) fn beside(path: &Path, program: usize) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".plan{program}"));
    beside.into()
}

/// Keeps a plan, whole or not at all.
pub(crate) fn keep(path: &Path, bytes: &[u8]) {
    let _ = write_file(path, bytes);
}
