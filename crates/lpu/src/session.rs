//! A session: a compiled model on a machine, fed token by token.

use lpu_chip::{Chip, System};
use lpu_compiler::{Bound, Compiled, Options, host};
use lpu_emulator::Observer;
use lpu_isa::{ChipRef, Container, ContentError, Image, Program};
use lpu_model::{Checkpoint, ModelError};
use thiserror::Error;

use crate::engine::{Engine, EngineError, Engines, Ran};
use crate::file::{OpenError, ProgramFile};
use crate::finite::{FirstNotFinite, NotFinite, Origin};
use crate::package::{Host, PackageError};
use crate::proof::{ProofError, compile};

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
pub struct Session {
    host: Host,
    chip: Chip,
    /// Tokens that each program holds.
    buckets: Vec<usize>,
    source: Source,
    engine: Engine,
    position: usize,
}

/// Where image and programs are.
enum Source {
    Memory(Image<'static>, Vec<Program>),
    File(Box<ProgramFile>),
}

impl Source {
    /// The programs; those of a file without their queues.
    fn heads(&self) -> &[Program] {
        match self {
            Source::Memory(_, programs) => programs,
            Source::File(file) => file.heads(),
        }
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
    pub fn compile_for(checkpoint: Checkpoint, chip: &Chip, options: &Options, engines: &Engines) -> Result<Self, SessionError> {
        let Compiled { image, programs, bounds, oracles, .. } = compile(&checkpoint, chip, options)?;
        let bounds = bounds.iter().map(Bound::cycles).collect();
        let host = Host::new(&checkpoint, options.precision, options.context, bounds, oracles)?;
        Self::new(host, chip, image, programs, engines)
    }

    /// Loads a compiled model from memory.
    ///
    /// # Errors
    /// [`SessionError`] when the container holds no model, or one for another chip.
    pub fn load(container: Container<'static>, chip: &Chip, engines: &Engines) -> Result<Self, SessionError> {
        made_for(&container.chip, chip)?;
        let host = Host::parse(&container.host)?;
        Self::new(host, chip, container.image, container.programs, engines)
    }

    /// Opens a compiled model in a mapped file, whose weights the fast engine uses in place.
    ///
    /// # Errors
    /// As [`Session::load`].
    pub fn open(file: ProgramFile, chip: &Chip, engines: &Engines) -> Result<Self, SessionError> {
        made_for(file.chip(), chip)?;
        let (shared, section) = file.host();
        let mut host = Host::mapped(&shared, section)?;
        host.name = file.name();
        let engine = Engine::open(&System::single(chip), &file, engines)?;
        let buckets = buckets(&host, file.heads())?;
        Ok(Self { host, chip: chip.clone(), buckets, source: Source::File(Box::new(file)), engine, position: 0 })
    }

    fn new(host: Host, chip: &Chip, image: Image<'static>, programs: Vec<Program>, engines: &Engines) -> Result<Self, SessionError> {
        let engine = Engine::new(&System::single(chip), &image, &programs, engines)?;
        let buckets = buckets(&host, &programs)?;
        Ok(Self { host, chip: chip.clone(), buckets, source: Source::Memory(image, programs), engine, position: 0 })
    }

    /// The engine that runs the model.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
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

    /// The programs, one a context bucket, ascending; those of a file are decoded when first asked for.
    ///
    /// # Errors
    /// [`SessionError::Open`] when a queue in the file is damaged.
    pub fn programs(&self) -> Result<&[Program], SessionError> {
        match &self.source {
            Source::Memory(_, programs) => Ok(programs),
            Source::File(file) => Ok(file.programs()?),
        }
    }

    /// Number of the program that the token at a position runs: that of the shortest bucket that holds it.
    #[must_use]
    pub fn bucket(&self, position: usize) -> usize {
        self.buckets.iter().position(|&tokens| position < tokens).unwrap_or(self.buckets.len() - 1)
    }

    /// Stated cycles of the program that the next token runs, or of the last one when the context is full.
    #[must_use]
    pub fn stated_cycles(&self) -> u64 {
        self.source.heads()[self.bucket(self.position)].cycles
    }

    /// The whole as a file's content; nothing for a session over a file, which is there already.
    #[must_use]
    pub fn container(&self) -> Option<Container<'_>> {
        match &self.source {
            Source::Memory(image, programs) => Some(self.content(image, programs)),
            Source::File(_) => None,
        }
    }

    /// The image that SRAM starts from; its bytes stay where they are.
    ///
    /// # Errors
    /// [`SessionError::Open`] when the file has changed since it was opened.
    pub fn image(&self) -> Result<Image<'_>, SessionError> {
        match &self.source {
            Source::Memory(image, _) => Ok(borrowed(image)),
            Source::File(file) => Ok(file.image()?),
        }
    }

    fn content<'a>(&'a self, image: &'a Image<'static>, programs: &[Program]) -> Container<'a> {
        let (image, programs) = (borrowed(image), programs.to_vec());
        Container { chip: self.chip.reference(), image, programs, host: self.host.to_bytes().into() }
    }

    /// BLAKE3 of the program file, to cite.
    ///
    /// # Errors
    /// [`SessionError::Content`] when the model has no file form.
    pub fn program_hash(&self) -> Result<[u8; 32], SessionError> {
        match &self.source {
            Source::Memory(image, programs) => Ok(self.content(image, programs).program_hash()?),
            Source::File(file) => Ok(file.hash()),
        }
    }

    /// Tokens fed so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Feeds a token and runs the decode step.
    ///
    /// # Errors
    /// [`SessionError`] when there is no such token, no room, a fault, or a number that is not finite.
    pub fn feed(&mut self, token: u32) -> Result<Token, SessionError> {
        self.step(token, Engine::run)
    }

    /// Feeds a token and shows the run to an observer, on the reference engine.
    ///
    /// # Errors
    /// As [`Session::feed`].
    pub fn feed_observed<O: Observer>(&mut self, token: u32, observer: &mut O) -> Result<Token, SessionError> {
        self.step(token, |engine, program| engine.run_observed(program, observer))
    }

    fn step(&mut self, token: u32, run: impl FnOnce(&mut Engine, usize) -> Result<Ran, EngineError>) -> Result<Token, SessionError> {
        let context = self.host.context;
        if self.position >= context {
            return Err(SessionError::ContextFull { context });
        }
        let vocab = self.host.config.vocab;
        let row = self.host.embedding_row(token).ok_or(SessionError::NoToken { token, last: vocab - 1 })?;
        let bucket = self.bucket(self.position);
        match &self.source {
            Source::Memory(image, programs) => self.engine.ready(bucket, image, &programs[bucket])?,
            Source::File(file) => self.engine.ready_in(bucket, file)?,
        }
        let program = &self.source.heads()[bucket];
        let mut inputs = host::inputs(&self.host.config, self.chip.lanes(), context, self.position, &row);
        if let Some(positions) = self.host.config.learned_positions {
            let row = self.host.position_row(self.position).ok_or(SessionError::NoPosition { positions })?;
            inputs.push(host::position(self.chip.lanes(), &row));
        }
        for (region, bytes) in &inputs {
            self.engine.write_input(program, region, bytes)?;
        }
        let Ran { cycles, fetched, overflow } = run(&mut self.engine, bucket)?;
        let logits = host::logits(&self.engine.read_region(program, "logits")?, vocab);
        let logit = logits.iter().copied().enumerate().find(|(_, logit)| !logit.is_finite());
        if overflow || logit.is_some() {
            let (position, origin) = (self.position, self.origin(bucket, &inputs)?);
            if logit.is_some() || origin.is_some() {
                return Err(SessionError::NotFinite(Box::new(NotFinite { position, token, logit, origin })));
            }
        }
        self.position += 1;
        Ok(Token { logits, cycles, fetched })
    }

    /// What made the first number of the last run that is not finite, by running it again on the reference engine.
    fn origin(&self, bucket: usize, inputs: &[(String, Vec<u8>)]) -> Result<Option<Origin>, SessionError> {
        let mut watch = FirstNotFinite::default();
        let program = &self.programs()?[bucket];
        match &self.source {
            Source::Memory(image, _) => self.engine.run_again(image, program, inputs, &mut watch)?,
            Source::File(file) => self.engine.run_again(&file.image()?, program, inputs, &mut watch)?,
        }
        let operation = |origin: &Origin| self.operation(bucket, program, origin);
        Ok(watch.0.map(|origin| Origin { operation: operation(&origin), ..origin }))
    }

    /// Name of the graph's node that an instruction belongs to: its schedule follows from config, chip and options alone.
    fn operation(&self, bucket: usize, program: &Program, origin: &Origin) -> Option<String> {
        let checkpoint = Checkpoint::from_config(self.host.config.to_json().as_bytes()).ok()?;
        let options = Options { precision: self.host.precision, context: self.host.context };
        let compiled = compile(&checkpoint, &self.chip, &options).ok()?;
        if compiled.programs.get(bucket)?.queues != program.queues {
            return None;
        }
        let issued = (origin.queue, origin.cycle);
        let record = compiled.records[bucket].iter().find(|record| record.computed.contains(&issued))?;
        Some(checkpoint.graph().nodes.get(record.node)?.name.clone())
    }
}

/// An image over the bytes of another.
fn borrowed<'a>(image: &'a Image<'static>) -> Image<'a> {
    Image { vector_bytes: image.vector_bytes, extents: image.extents.iter().map(|extent| extent.with(extent.bytes())).collect() }
}

/// Tokens that each program holds: they follow from the context.
fn buckets(host: &Host, programs: &[Program]) -> Result<Vec<usize>, PackageError> {
    let buckets = lpu_compiler::buckets(host.context);
    let named = buckets.iter().map(usize::to_string);
    if !programs.iter().map(|program| program.name.clone()).eq(named) || host.lower_bounds.len() != programs.len() {
        let context = host.context;
        return Err(PackageError::Damaged(format!("its programs are not those of a context of {context} tokens")));
    }
    Ok(buckets)
}

fn made_for(file: &ChipRef, chip: &Chip) -> Result<(), SessionError> {
    if file.fingerprint == chip.fingerprint() {
        return Ok(());
    }
    Err(SessionError::OtherChip { file: file.name.clone(), given: chip.name().to_owned() })
}
