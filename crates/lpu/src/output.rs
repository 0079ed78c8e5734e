//! Files that are written whole or not at all: bytes go to a new file in the same folder, which takes the name of the
//! target once all of them are there. A program that has the old file open or mapped keeps it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Stdout, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use thiserror::Error;

/// An output that cannot be written; what was there before is unchanged.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The path names a folder.
    #[error("cannot write {}: it is a folder; give the path of a file", path.display())]
    Folder {
        /// The path.
        path: PathBuf,
    },
    /// The folder of the path does not exist.
    #[error(
        "cannot write {}: there is no folder {}; make it or choose another place",
        path.display(), folder.display()
    )]
    NoFolder {
        /// The path.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
    },
    /// The folder takes no new file.
    #[error(
        "cannot write {}: no file can be made in {}: {source}; choose another place",
        path.display(), folder.display()
    )]
    Closed {
        /// The path.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The system refuses.
    #[error("cannot write {}: {source}; choose another place", path.display())]
    Write {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// The path that means standard output.
pub const STDOUT: &str = "-";

/// A file being written. Regular files appear under their name when [`Output::finish`] succeeds; devices, pipes and
/// standard output (`-`) are written as bytes come.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    to: To,
}

#[derive(Debug)]
enum To {
    Renamed(BufWriter<File>, NewFile),
    Direct(BufWriter<File>),
    Stdout(BufWriter<Stdout>),
}

/// A new file that takes the name of another, or is removed.
#[derive(Debug)]
struct NewFile {
    part: PathBuf,
    target: PathBuf,
    /// Those of the file that it replaces.
    permissions: Option<Permissions>,
    renamed: bool,
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = fs::remove_file(&self.part);
        }
    }
}

/// Where an output goes.
enum Destination {
    Stdout,
    /// Something that is no regular file.
    Direct(PathBuf),
    File(PathBuf, Option<Permissions>),
}

/// Whether an output of this path goes to standard output.
#[must_use]
pub fn is_stdout(path: &Path) -> bool {
    [STDOUT, "/dev/stdout"].map(Path::new).contains(&path)
}

/// Symbolic links that are followed at most, as on Linux.
const LINKS: usize = 40;

/// Decides where an output of this path goes, through symbolic links.
fn place(path: &Path) -> Result<Destination, OutputError> {
    let refused = |source| OutputError::Write { path: path.to_owned(), source };
    let mut target = path.to_owned();
    for _ in 0..LINKS {
        if is_stdout(&target) {
            return Ok(Destination::Stdout);
        }
        let Ok(to) = fs::read_link(&target) else { break };
        // Links there lead to files that are open, whose names are not theirs alone.
        if target.starts_with("/proc") || target.starts_with("/dev") {
            return Ok(Destination::Direct(target));
        }
        target = target.parent().unwrap_or(Path::new("")).join(to);
    }
    match fs::metadata(&target) {
        Ok(found) if found.is_dir() => Err(OutputError::Folder { path: path.to_owned() }),
        Ok(found) if !found.is_file() => Ok(Destination::Direct(target)),
        Ok(found) => {
            // A file that may not be written may not be replaced.
            OpenOptions::new().write(true).open(&target).map_err(refused)?;
            Ok(Destination::File(target, Some(found.permissions())))
        }
        Err(_) if target.file_name().is_none() => Err(OutputError::Folder { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = folder(&target);
            if !folder.is_dir() {
                return Err(OutputError::NoFolder { path: path.to_owned(), folder });
            }
            Ok(Destination::File(target, None))
        }
        Err(error) => Err(refused(error)),
    }
}

fn folder(path: &Path) -> PathBuf {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

/// A new file in the folder of a target.
fn next_to(path: &Path, target: PathBuf, permissions: Option<Permissions>) -> Result<(File, NewFile), OutputError> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let folder = folder(&target);
    loop {
        let part = folder.join(format!(".lpu-{}-{}.part", process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        match OpenOptions::new().write(true).create_new(true).open(&part) {
            Ok(file) => return Ok((file, NewFile { part, target, permissions, renamed: false })),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(OutputError::Closed { path: path.to_owned(), folder, source }),
        }
    }
}

impl Output {
    /// Begins to write a file, or what else a path names.
    ///
    /// # Errors
    /// [`OutputError`] says why that place cannot be written.
    pub fn create(path: &Path) -> Result<Self, OutputError> {
        let to = match place(path)? {
            Destination::Stdout => To::Stdout(BufWriter::new(io::stdout())),
            Destination::Direct(target) => {
                let opened = OpenOptions::new().write(true).truncate(true).open(target);
                To::Direct(BufWriter::new(
                    opened.map_err(|source| OutputError::Write { path: path.to_owned(), source })?,
                ))
            }
            Destination::File(target, permissions) => {
                let (file, part) = next_to(path, target, permissions)?;
                To::Renamed(BufWriter::new(file), part)
            }
        };
        Ok(Self { path: path.to_owned(), to })
    }

    /// Refuses a place that cannot be written, before work goes into what should be there; nothing is changed.
    ///
    /// # Errors
    /// As [`Output::create`].
    pub fn probe(path: &Path) -> Result<(), OutputError> {
        if let Destination::File(target, permissions) = place(path)? {
            next_to(path, target, permissions)?;
        }
        Ok(())
    }

    /// The error of a write, with the path.
    #[must_use]
    pub fn failed(&self, source: io::Error) -> OutputError {
        OutputError::Write { path: self.path.clone(), source }
    }

    /// Writes all bytes that are left and gives the file its name.
    ///
    /// # Errors
    /// [`OutputError::Write`]; the target is then as it was.
    pub fn finish(mut self) -> Result<(), OutputError> {
        let done = self.flush().and_then(|()| match &mut self.to {
            To::Renamed(_, part) => part.take_name(),
            To::Direct(_) | To::Stdout(_) => Ok(()),
        });
        done.map_err(|source| OutputError::Write { path: self.path.clone(), source })
    }
}

impl NewFile {
    fn take_name(&mut self) -> io::Result<()> {
        if let Some(permissions) = &self.permissions {
            fs::set_permissions(&self.part, permissions.clone())?;
        }
        fs::rename(&self.part, &self.target)?;
        self.renamed = true;
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.to {
            To::Renamed(file, _) | To::Direct(file) => file.write(bytes),
            To::Stdout(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.to {
            To::Renamed(file, _) | To::Direct(file) => file.flush(),
            To::Stdout(out) => out.flush(),
        }
    }
}

/// Writes a file whole or not at all.
///
/// # Errors
/// [`OutputError`] says why it cannot be written; what was there before is unchanged.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), OutputError> {
    let mut output = Output::create(path)?;
    output.write_all(bytes).map_err(|source| output.failed(source))?;
    output.finish()
}
