//! A program file mapped into memory: read once for its checksum, then used in place, its queues decoded only when
//! they are first needed.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use lpu_isa::{ChipRef, Container, FormatError, Frame, Image, Program};
use lpu_replay::Outline;
#[cfg(unix)]
use memmap2::UncheckedAdvice;
use memmap2::{Mmap, MmapMut, MmapOptions};
use thiserror::Error;

use crate::package::{Package, PackageError};
use crate::plans;

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

/// A mapped program file, whose queues are decoded when they are first asked for. A process that changes the
/// file while it is mapped changes what runs; the checksum was that of the opening.
/// ```no_run
/// use lpu::{Engines, ProgramFile, Session, chip};
///
/// let file = ProgramFile::open("model.lpb".as_ref())?;
/// for program in file.heads() {
///     println!("{} tokens: {} cycles", program.name, program.cycles);
/// }
/// let mut session = Session::open(file, &chip::preset("tsp-v1")?, &Engines::default())?;
/// session.feed(7)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ProgramFile {
    path: PathBuf,
    file: File,
    mapped: Arc<Mmap>,
    outline: Outline,
    host: Range<usize>,
    hash: [u8; 32],
    chip: ChipRef,
    heads: Vec<Program>,
    whole: OnceLock<Vec<Program>>,
}

/// Bytes that are hashed at once and then given back.
const CHUNK: usize = 64 << 20;

impl ProgramFile {
    /// Maps a file and verifies its checksum and the form of all but its queues.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let refused = |error| OpenError::Read { path: path.to_owned(), error };
        let file = File::open(path).map_err(refused)?;
        // SAFETY: a mapped file must not shrink while it is mapped, which no process of ours does; other changes are
        // not undefined, as bytes are only ever read as numbers.
        let mapped = unsafe { Mmap::map(&file) }.map_err(refused)?;
        let damaged = |error| OpenError::Format { path: path.to_owned(), error };
        let frame = Frame::new(&mapped).map_err(damaged)?;
        let hash = frame.verify(hash(&mapped, frame.content())).map_err(damaged)?;
        let Container { chip, image, programs: heads, host } = frame.heads().map_err(damaged)?;
        let outline = Outline::new(&image, &mapped);
        let start = if host.is_empty() { 0 } else { host.as_ptr() as usize - mapped.as_ptr() as usize };
        let host = start..start + host.len();
        let (path, mapped, whole) = (path.to_owned(), Arc::new(mapped), OnceLock::new());
        Ok(Self { path, file, mapped, outline, host, hash, chip, heads, whole })
    }

    /// The chip that the file was made for.
    #[must_use]
    pub fn chip(&self) -> &ChipRef {
        &self.chip
    }

    /// The file's name without its extension: the name of the model in it.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.file_stem().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
    }

    /// BLAKE3 of the file, to cite.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The programs without their queues.
    #[must_use]
    pub fn heads(&self) -> &[Program] {
        &self.heads
    }

    /// The programs, decoded when first asked for.
    ///
    /// # Errors
    /// [`OpenError::Format`] when a queue is damaged.
    pub fn programs(&self) -> Result<&[Program], OpenError> {
        if let Some(programs) = self.whole.get() {
            return Ok(programs);
        }
        let programs = self.parse(Frame::container)?.programs;
        Ok(self.whole.get_or_init(|| programs))
    }

    /// The image, whose bytes stay in the file.
    ///
    /// # Errors
    /// [`OpenError::Format`] when the file has changed since it was opened.
    pub fn image(&self) -> Result<Image<'_>, OpenError> {
        Ok(self.parse(Frame::heads)?.image)
    }

    fn parse<'a>(
        &'a self,
        what: impl FnOnce(&Frame<'a>) -> Result<Container<'a>, FormatError>,
    ) -> Result<Container<'a>, OpenError> {
        Frame::new(&self.mapped)
            .and_then(|frame| what(&frame))
            .map_err(|error| OpenError::Format { path: self.path.clone(), error })
    }

    /// The host section, whose tables of rows stay in the file.
    ///
    /// # Errors
    /// [`PackageError`] when it is empty or damaged.
    pub fn package(&self) -> Result<Package, PackageError> {
        Package::mapped(&self.mapped, self.host.clone())
    }

    /// What the image holds and where.
    pub(crate) fn outline(&self) -> &Outline {
        &self.outline
    }

    /// Bytes of the file.
    pub(crate) fn bytes(&self) -> usize {
        self.mapped.len()
    }

    /// The file mapped anew: what is written there stays in the process.
    pub(crate) fn writable(&self) -> Result<MmapMut, OpenError> {
        // SAFETY: as in `open`.
        unsafe { MmapOptions::new().map_copy(&self.file) }
            .map_err(|error| OpenError::Read { path: self.path.clone(), error })
    }

    /// Where the plan of a program is kept.
    pub(crate) fn plan(&self, program: usize) -> PathBuf {
        plans::path(&self.path, program)
    }
}

/// BLAKE3 of a mapped file's content, on all threads. Every page is touched and given back: those in use return from
/// the page cache, and until then planning has the room.
fn hash(mapped: &Mmap, content: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for (number, chunk) in content.chunks(CHUNK).enumerate() {
        // Where the system cannot map pages ahead, they come one by one.
        #[cfg(target_os = "linux")]
        let _ = mapped.advise_range(memmap2::Advice::PopulateRead, number * CHUNK, chunk.len());
        hasher.update_rayon(chunk);
        // SAFETY: the mapping is read-only and shared, so its pages hold what the file holds, whenever they come.
        #[cfg(unix)]
        let _ = unsafe { mapped.unchecked_advise_range(UncheckedAdvice::DontNeed, number * CHUNK, chunk.len()) };
    }
    *hasher.finalize().as_bytes()
}
