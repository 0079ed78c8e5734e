//! A session: a compiled model on a machine, fed token by token.

use lpu_chip::Chip;
use lpu_compiler::{CompileError, Compiled, Options, compile, host};
use lpu_emulator::{Machine, MachineError, Observer, Prepared, RunError};
use lpu_isa::{Container, Image, Program};
use lpu_model::{Checkpoint, ModelError};
use thiserror::Error;

use crate::package::{Host, PackageError};

/// Why a session cannot start or go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SessionError {
    /// See [`CompileError`].
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// See [`ModelError`].
    #[error(transparent)]
    Model(#[from] ModelError),
    /// See [`MachineError`].
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// See [`RunError`].
    #[error(transparent)]
    Run(#[from] RunError),
    /// See [`PackageError`].
    #[error(transparent)]
    Package(#[from] PackageError),
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
    /// No such token.
    #[error("token id {token} is out of range; ids run from 0 to {last}")]
    NoToken {
        /// The id.
        token: u32,
        /// The last id.
        last: usize,
    },
}

/// What one token gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// One logit an id of the vocabulary.
    pub logits: Vec<f32>,
    /// Measured cycles.
    pub cycles: u64,
}

/// A compiled model on a machine.
pub struct Session {
    host: Host,
    chip: Chip,
    programs: Vec<Program>,
    image: Image<'static>,
    machine: Machine,
    prepared: Vec<Prepared>,
    position: usize,
}

impl Session {
    /// Compiles a checkpoint for a chip and loads it.
    ///
    /// # Errors
    /// [`SessionError`] says what does not fit.
    pub fn compile(checkpoint: Checkpoint, chip: &Chip, options: &Options) -> Result<Self, SessionError> {
        let Compiled { image, programs, bound, .. } = compile(&checkpoint, chip, options)?;
        let host = Host::new(&checkpoint, options.precision, options.context, bound.cycles())?;
        Self::new(host, chip, image, programs)
    }

    /// Loads a compiled model.
    ///
    /// # Errors
    /// [`SessionError`] when the file holds no model, or one for another chip.
    pub fn load(container: Container<'static>, chip: &Chip) -> Result<Self, SessionError> {
        if container.chip.fingerprint != chip.fingerprint() {
            return Err(SessionError::OtherChip { file: container.chip.name, given: chip.name().to_owned() });
        }
        let host = Host::parse(&container.host)?;
        Self::new(host, chip, container.image, container.programs)
    }

    fn new(host: Host, chip: &Chip, image: Image<'static>, programs: Vec<Program>) -> Result<Self, SessionError> {
        let machine = Machine::new(chip, &image)?;
        let prepared = programs.iter().map(|program| machine.prepare(program)).collect::<Result<_, _>>()?;
        Ok(Self { host, chip: chip.clone(), programs, image, machine, prepared, position: 0 })
    }

    /// The host section: config, tokenizer, number formats.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The chip.
    #[must_use]
    pub fn chip(&self) -> &Chip {
        &self.chip
    }

    /// The program that the next token runs.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.programs[0]
    }

    /// The whole as a file's content.
    #[must_use]
    pub fn container(&self) -> Container<'_> {
        let image = self.image.clone();
        Container { chip: self.chip.reference(), image, programs: self.programs.clone(), host: self.host.to_bytes().into() }
    }

    /// Tokens fed so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Feeds a token and runs the decode step.
    ///
    /// # Errors
    /// [`SessionError`] when there is no such token, no room, or a fault.
    pub fn feed(&mut self, token: u32) -> Result<Token, SessionError> {
        self.feed_observed(token, &mut ())
    }

    /// Feeds a token and shows the run to an observer.
    ///
    /// # Errors
    /// As [`Session::feed`].
    pub fn feed_observed<O: Observer>(&mut self, token: u32, observer: &mut O) -> Result<Token, SessionError> {
        let context = self.host.context;
        if self.position >= context {
            return Err(SessionError::ContextFull { context });
        }
        let vocab = self.host.config.vocab;
        let row = self.host.embedding_row(token).ok_or(SessionError::NoToken { token, last: vocab - 1 })?;
        let program = &self.programs[0];
        for (region, bytes) in host::inputs(&self.host.config, self.chip.lanes(), context, self.position, &row) {
            self.machine.write_input(program, &region, &bytes)?;
        }
        let run = self.machine.run(&self.prepared[0], observer)?;
        self.position += 1;
        let logits = host::logits(&self.machine.read_region(program, "logits")?, vocab);
        Ok(Token { logits, cycles: run.cycles })
    }
}
