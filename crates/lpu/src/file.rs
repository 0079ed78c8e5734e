//! A program file mapped into memory: read once for its checksum, then used in place.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lpu_isa::{ChipRef, Container, FormatError, Image, Program};
use lpu_replay::Outline;
#[cfg(unix)]
use memmap2::UncheckedAdvice;
use memmap2::{Mmap, MmapMut, MmapOptions};
use thiserror::Error;

/// A program file that cannot be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The system refuses.
    #[error("cannot read {}: {error}; give the path of an existing file", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        error: std::io::Error,
    },
    /// The bytes are no program file.
    #[error("{}: {error}", path.display())]
    Format {
        /// The path.
        path: PathBuf,
        /// What is wrong.
        error: FormatError,
    },
}

/// A mapped program file. Whoever changes the file while it is mapped changes what runs; the checksum was that of the opening.
pub struct ProgramFile {
    pub(crate) private: MmapMut,
    pub(crate) outline: Outline,
    /// The file once more, for the host section, which runs never touch.
    shared: Arc<Mmap>,
    host: Range<usize>,
    hash: [u8; 32],
    chip: ChipRef,
    pub(crate) programs: Vec<Program>,
}

impl ProgramFile {
    /// Maps a file and verifies its checksum and form.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let refused = |error| OpenError::Read { path: path.to_owned(), error };
        let file = File::open(path).map_err(refused)?;
        // SAFETY: a mapped file must not shrink while it is mapped, which no process of ours does; other changes are not undefined, as bytes are
        // only ever read as numbers.
        let private = unsafe { MmapOptions::new().map_copy(&file) }.map_err(refused)?;
        // SAFETY: as above.
        let shared = unsafe { Mmap::map(&file) }.map_err(refused)?;
        let (container, hash) = Container::parse_with_hash(&private).map_err(|error| OpenError::Format { path: path.to_owned(), error })?;
        let outline = Outline::new(&container.image, &private);
        let start = if container.host.is_empty() { 0 } else { container.host.as_ptr() as usize - private.as_ptr() as usize };
        let host = start..start + container.host.len();
        let Container { chip, programs, .. } = container;
        // The checksum touched every page. They come back from the page cache when the weights are used; until then planning has the room.
        // SAFETY: nothing was written to the mapping, so dropping its pages loses nothing; no slice of it is alive.
        #[cfg(unix)]
        let _ = unsafe { private.unchecked_advise(UncheckedAdvice::DontNeed) };
        Ok(Self { outline, shared: Arc::new(shared), host, hash, chip, programs, private })
    }

    /// The chip that the file was made for.
    #[must_use]
    pub fn chip(&self) -> &ChipRef {
        &self.chip
    }

    /// BLAKE3 of the file, to cite.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The host section, mapped.
    pub(crate) fn host(&self) -> (Arc<Mmap>, Range<usize>) {
        (Arc::clone(&self.shared), self.host.clone())
    }
}

/// The image in the bytes of a file that was parsed before.
pub(crate) fn image(bytes: &[u8]) -> Image<'_> {
    Container::parse(bytes).map(|container| container.image).unwrap_or_default()
}
