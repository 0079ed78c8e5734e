//! A session: a compiled model on a machine, fed token by token. It is a stage all of whose ports the host fills.

use lpu_checker::CheckError;
use lpu_chip::Chip;
use lpu_compiler::Options;
use lpu_emulator::Observer;
use lpu_isa::{Container, ContentError, Image, Program};
use lpu_model::{Checkpoint, ModelError, Tokenizer};
use thiserror::Error;

use crate::engine::{Engine, EngineError, Engines, Ran};
use crate::file::{OpenError, ProgramFile};
use crate::finite::{FirstNotFinite, NotFinite, Origin};
use crate::generation::{Generation, Limits};
use crate::package::{self, Host, Package, PackageError};
use crate::ports::{PortError, Step};
use crate::proof::{ProofError, compile};
use crate::sampler::Sampler;
use crate::stage::Stage;

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

/// What one token gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// One logit an id of the vocabulary.
    pub logits: Vec<f32>,
    /// Measured cycles.
    pub cycles: u64,
    /// Items that came to their queues by instruction fetch; the program's others were preloaded.
    pub fetched: u64,
}

/// A compiled model on a machine.
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
    host: Host,
    stage: Stage,
    position: usize,
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
        let compiled = compile(&checkpoint, chip, options)?;
        let host = Host::new(&checkpoint, options, &compiled)?;
        Ok(Self { host, stage: Stage::of(compiled, chip, engines)?, position: 0 })
    }

    /// Loads a compiled model from memory.
    ///
    /// # Errors
    /// [`SessionError`] when the container holds no model, or one for another chip.
    pub fn load(container: Container<'static>, chip: &Chip, engines: &Engines) -> Result<Self, SessionError> {
        crate::stage::made_for(&container.chip, chip)?;
        let (interface, host) = Package::parse(&container.host)?.model()?;
        let stage = Stage::new(chip, container.image, container.programs, interface, engines)?;
        Ok(Self { host, stage, position: 0 })
    }

    /// Opens a compiled model in a mapped file, whose weights the fast engine uses in place.
    ///
    /// # Errors
    /// As [`Session::load`].
    pub fn open(file: ProgramFile, chip: &Chip, engines: &Engines) -> Result<Self, SessionError> {
        let (interface, mut host) = file.package()?.model()?;
        host.name = file.name();
        Ok(Self { host, stage: Stage::open(file, chip, interface, engines)?, position: 0 })
    }

    /// The model's programs on their machine.
    #[must_use]
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// The engine that runs the model.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        self.stage.engine()
    }

    /// The host's side of the model: config, tokenizer, number formats.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The chip.
    #[must_use]
    pub fn chip(&self) -> &Chip {
        self.stage.chip()
    }

    /// The programs, one a context bucket, ascending; those of a file are decoded when first asked for.
    ///
    /// # Errors
    /// [`SessionError::Open`] when a queue in the file is damaged.
    pub fn programs(&self) -> Result<&[Program], SessionError> {
        Ok(self.stage.programs()?)
    }

    /// Index of the shortest context bucket that holds a position, or of the last one.
    #[must_use]
    pub fn bucket(&self, position: usize) -> usize {
        let interface = self.stage.interface();
        interface.bucket(position).unwrap_or(interface.buckets.len() - 1)
    }

    /// Stated cycles of the program that the next token runs, or of the last one when the context is full.
    #[must_use]
    pub fn stated_cycles(&self) -> u64 {
        let bucket = self.stage.interface().buckets[self.bucket(self.position)];
        self.stage.heads()[bucket.program].cycles
    }

    /// The whole as a file's content; nothing for a session over a file, which is there already.
    ///
    /// # Errors
    /// [`SessionError::Open`] as [`Session::image`].
    pub fn container(&self) -> Option<Container<'_>> {
        match self.stage.file() {
            Some(_) => None,
            None => self.content().ok(),
        }
    }

    /// The image that SRAM starts from; its bytes stay where they are.
    ///
    /// # Errors
    /// [`SessionError::Open`] when the file has changed since it was opened.
    pub fn image(&self) -> Result<Image<'_>, SessionError> {
        Ok(self.stage.image()?)
    }

    fn content(&self) -> Result<Container<'_>, SessionError> {
        let host = package::write(self.stage.interface(), Some(&self.host));
        let (image, programs) = (self.image()?, self.programs()?.to_vec());
        Ok(Container { chip: self.chip().reference(), image, programs, host: host.into() })
    }

    /// BLAKE3 of the program file, to cite.
    ///
    /// # Errors
    /// [`SessionError::Content`] when the model has no file form.
    pub fn program_hash(&self) -> Result<[u8; 32], SessionError> {
        match self.stage.file() {
            Some(file) => Ok(file.hash()),
            None => Ok(self.content()?.program_hash()?),
        }
    }

    /// Tokens fed so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Forgets all tokens from a position on; the next token is fed there. Later rows of the cache are hidden by masks
    /// until they are written again.
    pub fn truncate(&mut self, position: usize) {
        self.position = self.position.min(position);
    }

    /// Feeds a token and runs the decode step.
    ///
    /// # Errors
    /// [`SessionError`] when there is no such token, no room, a fault, or a number that is not finite.
    pub fn feed(&mut self, token: u32) -> Result<Token, SessionError> {
        self.step(token, Engine::run)
    }

    /// Feeds a prompt and then what a sampler chooses, token after token; text comes with a tokenizer.
    ///
    /// # Errors
    /// [`SessionError::Model`] when the tokenizer cannot read the prompt's ids.
    pub fn generate<'a>(
        &'a mut self,
        prompt: &[u32],
        sampler: Sampler,
        limits: Limits,
        tokenizer: Option<&'a Tokenizer>,
    ) -> Result<Generation<'a>, SessionError> {
        Generation::new(self, prompt, sampler, limits, tokenizer)
    }

    /// Feeds a token and shows the run to an observer, on the reference engine.
    ///
    /// # Errors
    /// As [`Session::feed`].
    pub fn feed_observed<O: Observer>(&mut self, token: u32, observer: &mut O) -> Result<Token, SessionError> {
        self.step(token, |engine, program| engine.run_observed(program, observer))
    }

    fn step(
        &mut self,
        token: u32,
        run: impl FnOnce(&mut Engine, usize) -> Result<Ran, EngineError>,
    ) -> Result<Token, SessionError> {
        let Self { host, stage, position } = self;
        let context = host.context;
        if *position >= context {
            return Err(SessionError::ContextFull { context });
        }
        let embedding =
            host.embedding_row(token).ok_or(SessionError::NoToken { token, last: host.config.vocab - 1 })?;
        let learned = match host.config.learned_positions {
            Some(positions) => Some(host.position_row(*position).ok_or(SessionError::NoPosition { positions })?),
            None => None,
        };
        let step = Step { embedding: Some(embedding), learned, ..Step::at(&host.config, context, *position) };
        let mut ran = stage.run_by(&step, run)?;
        let logits = ran.outputs.pop().unwrap_or_default();
        let logit = logits.iter().copied().enumerate().find(|(_, logit)| !logit.is_finite());
        if ran.overflow || logit.is_some() {
            let (position, origin) = (self.position, self.origin(&step)?);
            if logit.is_some() || origin.is_some() {
                return Err(SessionError::NotFinite(Box::new(NotFinite { position, token, logit, origin })));
            }
        }
        self.position += 1;
        Ok(Token { logits, cycles: ran.cycles, fetched: ran.fetched })
    }

    /// What made the first number of the last run that is not finite, by running it again on the reference engine.
    fn origin(&self, step: &Step) -> Result<Option<Origin>, SessionError> {
        let bucket = self.bucket(step.position);
        let index = self.stage.interface().buckets[bucket].program;
        let mut watch = FirstNotFinite::default();
        let program = &self.programs()?[index];
        self.engine().run_again(&self.image()?, program, &self.stage.inputs(index, step)?, &mut watch)?;
        let operation = |origin: &Origin| self.operation(bucket, program, origin);
        Ok(watch.0.map(|origin| Origin { operation: operation(&origin), ..origin }))
    }

    /// Name of the graph's node that an instruction belongs to: its schedule follows from config, chip and options
    /// alone.
    fn operation(&self, bucket: usize, program: &Program, origin: &Origin) -> Option<String> {
        let checkpoint = Checkpoint::from_config(self.host.config.to_json().as_bytes()).ok()?;
        let options = Options { precision: self.host.precision, context: self.host.context };
        let compiled = compile(&checkpoint, self.chip(), &options).ok()?;
        if compiled.programs.get(bucket)?.queues != program.queues {
            return None;
        }
        let issued = (origin.queue, origin.cycle);
        let record = compiled.records[bucket].iter().find(|record| record.computed.contains(&issued))?;
        Some(checkpoint.graph().nodes.get(record.node)?.name.clone())
    }
}
