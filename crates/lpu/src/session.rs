//! A session: a model with one sequence.

use std::ops::{Deref, DerefMut};

use lpu_chip::System;
use lpu_compiler::Options;
use lpu_isa::Container;
use lpu_model::Checkpoint;

use crate::engine::Engines;
use crate::error::SessionError;
use crate::file::ProgramFile;
use crate::models::Model;
use crate::sequence::Sequence;

/// A compiled model with one sequence, whose methods it has.
/// ```
/// use lpu::{Options, Precision, Session, chip, model::Checkpoint};
///
/// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/checkpoints/plain");
/// let checkpoint = Checkpoint::open(folder.as_ref())?;
/// let chip = chip::preset("tsp-v1")?;
/// let options = Options { precision: Precision::F16, context: 16, ..Options::default() };
/// let mut session = Session::compile(checkpoint, &chip, &options)?;
/// let first = session.feed(7)?;
/// session.feed(11)?;
/// session.truncate(0);
/// assert_eq!(session.feed(7)?, first);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Session {
    sequence: Sequence,
}

impl Deref for Session {
    type Target = Sequence;

    fn deref(&self) -> &Sequence {
        &self.sequence
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Sequence {
        &mut self.sequence
    }
}

impl Session {
    /// Compiles a checkpoint for a chip and loads it into the fast engine.
    ///
    /// # Errors
    /// [`SessionError`] says what does not fit.
    pub fn compile(checkpoint: Checkpoint, system: impl Into<System>, options: &Options) -> Result<Self, SessionError> {
        Self::compile_for(checkpoint, system, options, &Engines::default())
    }

    /// Compiles a checkpoint for a chip and loads it into an engine.
    ///
    /// # Errors
    /// As [`Session::compile`].
    pub fn compile_for(
        checkpoint: Checkpoint,
        system: impl Into<System>,
        options: &Options,
        engines: &Engines,
    ) -> Result<Self, SessionError> {
        Ok(Self { sequence: Model::compile(checkpoint, system, options, engines)?.sequence()? })
    }

    /// Loads a compiled model from memory.
    ///
    /// # Errors
    /// [`SessionError`] when the container holds no model, or one for another chip.
    pub fn load(
        container: Container<'static>,
        system: impl Into<System>,
        engines: &Engines,
    ) -> Result<Self, SessionError> {
        Ok(Self { sequence: Model::load(container, system, engines)?.sequence()? })
    }

    /// Opens a compiled model in a mapped file, whose weights the fast engine uses in place.
    ///
    /// # Errors
    /// As [`Session::load`].
    pub fn open(file: ProgramFile, system: impl Into<System>, engines: &Engines) -> Result<Self, SessionError> {
        Ok(Self { sequence: Model::open(file, system, engines)?.sequence()? })
    }
}
