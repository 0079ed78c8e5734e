//! The program that `run` is given: assembled from text, or mapped from a program file.

use std::error::Error;
use std::ffi::OsStr;
use std::path::Path;

use lpu::chip::System;
use lpu::isa::{Program, Violation};
use lpu::{Engine, EngineError, Engines, OpenError, ProgramFile};

use super::files;
use super::program::{self, Loaded};

pub(crate) enum Given {
    Text(Box<Loaded>),
    File(Box<ProgramFile>),
}

impl Given {
    /// Opens a program; `chip` is a description of the chip that it was made for, where one is given.
    pub(crate) fn open(path: &Path, chip: Option<&OsStr>) -> Result<Self, Box<dyn Error>> {
        Ok(if files::is_compiled(path) {
            Self::File(Box::new(ProgramFile::open(path)?))
        } else {
            Self::Text(Box::new(program::load(path, chip)?))
        })
    }

    /// The system that it was made for.
    pub(crate) fn system(&self, chip: Option<&OsStr>) -> Result<System, Box<dyn Error>> {
        match self {
            Self::Text(loaded) => loaded.system(chip),
            Self::File(file) => files::system_for(file.chip(), chip),
        }
    }

    /// The first program; the queues of one in a file are left out.
    pub(crate) fn program(&self) -> Option<&Program> {
        match self {
            Self::Text(loaded) => loaded.container.programs.first(),
            Self::File(file) => file.heads().first(),
        }
    }

    /// Instructions in the queues of the first program.
    pub(crate) fn instructions(&self) -> Result<usize, OpenError> {
        let programs = match self {
            Self::Text(loaded) => &loaded.container.programs,
            Self::File(file) => file.programs()?,
        };
        Ok(programs.first().map_or(0, Program::instructions))
    }

    /// An engine on which the first program is ready.
    pub(crate) fn engine(&self, system: &System, engines: &Engines) -> Result<Engine, EngineError> {
        match self {
            Self::Text(loaded) => {
                let first = &loaded.container.programs[..loaded.container.programs.len().min(1)];
                Engine::new(system, &loaded.container.image, first, engines)
            }
            Self::File(file) => Engine::open(system, file, engines),
        }
    }

    /// A fault of the first program, for text with its line.
    pub(crate) fn listed(&self, path: &Path, violation: &Violation) -> String {
        match self {
            Self::Text(loaded) => loaded.listed(path, 0, [violation]),
            Self::File(_) => format!("{}: {violation}\n", files::shown(path)),
        }
    }
}
