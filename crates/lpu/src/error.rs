//! Why models, stages and sequences cannot start or go on.

use lpu_checker::{CheckError, OverlayError};
use lpu_isa::ContentError;
use lpu_model::ModelError;
use thiserror::Error;

use crate::engine::EngineError;
use crate::file::OpenError;
use crate::finite::NotFinite;
use crate::package::PackageError;
use crate::ports::PortError;
use crate::proof::ProofError;

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
    /// Runs of the program cannot be proven to follow one another; see [`OverlayError`].
    #[error("the runs of program {program} cannot be proven to overlap: {error}")]
    Overlay {
        /// The program's name.
        program: String,
        /// Why.
        error: Box<OverlayError>,
    },
    /// See [`PortError`].
    #[error(transparent)]
    Port(#[from] PortError),
    /// The file was compiled for another chip.
    #[error(
        "the file was compiled for a chip `{file}` whose figures differ from those of `{given}`; give the description \
        that it was compiled for, or compile again"
    )]
    OtherChip {
        /// The chip in the file.
        file: String,
        /// The chip given.
        given: String,
    },
    /// The model was compiled without weights.
    #[error(
        "the model was compiled without weights, so it makes no tokens; `lpu run` runs its programs over zeros, and \
        what is compiled from the model's folder or .gguf file, without --timing-only, generates"
    )]
    NoWeights,
    /// The programs have no key-value rows of the sequence.
    #[error("there is no sequence {sequence}: the programs have {sequences}, counted from 0; compile for more")]
    NoSequence {
        /// The sequence asked for.
        sequence: usize,
        /// Sequences of the programs.
        sequences: usize,
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
