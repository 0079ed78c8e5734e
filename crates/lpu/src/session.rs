//! A session: a model with one sequence.

use std::ops::{Deref, DerefMut};

use lpu_checker::CheckError;
use lpu_chip::Chip;
use lpu_compiler::Options;
use lpu_isa::{Container, ContentError};
use lpu_model::{Checkpoint, ModelError};
use thiserror::Error;

use crate::engine::{EngineError, Engines};
use crate::file::{OpenError, ProgramFile};
use crate::finite::NotFinite;
use crate::models::Model;
use crate::package::PackageError;
use crate::ports::PortError;
use crate::proof::ProofError;
use crate::sequence::Sequence;

/// Why a session cannot start or go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SessionError {
    /// See [`ProofError`].
    #[error(transparent)]
    Compile(#[from] ProofError),
    /// See [`ModelError`].
    #[error(transparent)]
    Model(#[from] ModelError),
    /// See [`EngineError`].
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// See [`OpenError`].
    #[error(transparent)]
    Open(#[from] OpenError),
    /// See [`ContentError`].
    #[error(transparent)]
    Content(#[from] ContentError),
    /// See [`PackageError`].
    #[error(transparent)]
    Package(#[from] PackageError),
    /// See [`CheckError`].
    #[error(transparent)]
    Check(#[from] CheckError),
    /// See [`PortError`].
    #[error(transparent)]
    Port(#[from] PortError),
    /// The file was compiled for another chip.
    #[error(
        "the file was compiled for a chip `{file}` whose figures differ from those of `{given}`; give the description that it was compiled for, or compile again"
    )]
    OtherChip {
        /// The chip in the file.
        file: String,
        /// The chip given.
        given: String,
    },
    /// All rows of the context are used.
    #[error("the context of {context} tokens is full; compile for a longer one")]
    ContextFull {
        /// Tokens that the program holds.
        context: usize,
    },
    /// All learned positions are used.
    #[error("the model has learned {positions} positions and all are used; feed fewer tokens")]
    NoPosition {
        /// Positions that the model has learned.
        positions: usize,
    },
    /// See [`NotFinite`]; the position stays free for another token.
    #[error(transparent)]
    NotFinite(Box<NotFinite>),
    /// No such token.
    #[error("token id {token} is out of range; give ids from 0 to {last}")]
    NoToken {
        /// The id.
        token: u32,
        /// The last id.
        last: usize,
    },
}

/// A compiled model with one sequence, whose methods it has.
/// ```
/// use lpu::{Options, Precision, Session, chip, model::Checkpoint};
///
/// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/checkpoints/plain");
/// let checkpoint = Checkpoint::open(folder.as_ref())?;
/// let chip = chip::preset("tsp-v1")?;
/// let options = Options { precision: Precision::F16, context: 16 };
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
    pub fn compile(checkpoint: Checkpoint, chip: &Chip, options: &Options) -> Result<Self, SessionError> {
        Self::compile_for(checkpoint, chip, options, &Engines::default())
    }

    /// Compiles a checkpoint for a chip and loads it into an engine.
    ///
    /// # Errors
    /// As [`Session::compile`].
    pub fn compile_for(
        checkpoint: Checkpoint,
        chip: &Chip,
        options: &Options,
        engines: &Engines,
    ) -> Result<Self, SessionError> {
        Ok(Self { sequence: Model::compile(checkpoint, chip, options, engines)?.sequence()? })
    }

    /// Loads a compiled model from memory.
    ///
    /// # Errors
    /// [`SessionError`] when the container holds no model, or one for another chip.
    pub fn load(container: Container<'static>, chip: &Chip, engines: &Engines) -> Result<Self, SessionError> {
        Ok(Self { sequence: Model::load(container, chip, engines)?.sequence()? })
    }

    /// Opens a compiled model in a mapped file, whose weights the fast engine uses in place.
    ///
    /// # Errors
    /// As [`Session::load`].
    pub fn open(file: ProgramFile, chip: &Chip, engines: &Engines) -> Result<Self, SessionError> {
        Ok(Self { sequence: Model::open(file, chip, engines)?.sequence()? })
    }
}
