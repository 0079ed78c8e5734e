//! A model: programs that are proven and their host's side, shared by any number of sequences.

use std::sync::Arc;

use lpu_chip::System;
use lpu_compiler::{Interface, Options};
use lpu_isa::{Container, Image, Program};
use lpu_model::Checkpoint;

use crate::engine::Engines;
use crate::error::SessionError;
use crate::file::ProgramFile;
use crate::package::{self, Host, Package};
use crate::proof::compile;
use crate::stage::{PlacedPrograms, Stage, made_for};
use crate::summary::Subject;

/// A compiled model: file or memory image, interface, programs, their plans, and the threads that run them. Any number
/// of [`Sequence`](crate::Sequence)s run on it, each from whichever thread.
///
/// ```
/// use lpu::{Engines, Model, Options, Precision, chip, model::Checkpoint};
///
/// let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/checkpoints/plain");
/// let options = Options { precision: Precision::F16, context: 16, ..Options::default() };
/// let tsp = chip::preset("tsp-v1")?;
/// let model = Model::compile(Checkpoint::open(folder.as_ref())?, &tsp, &options, &Engines::default())?;
/// let (mut one, mut other) = (model.sequence()?, model.sequence()?);
/// let thread = std::thread::spawn(move || one.feed(7).map(|token| token.logits));
/// let logits = other.feed(7)?.logits;
/// assert_eq!(thread.join().expect("no panic")?, logits);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Model {
    host: Host,
    placed: Arc<PlacedPrograms>,
}

impl Model {
    /// Compiles a checkpoint for a chip and an engine.
    ///
    /// # Errors
    /// [`SessionError`] says what does not fit, or that there are no weights.
    pub fn compile(
        checkpoint: Checkpoint,
        system: impl Into<System>,
        options: &Options,
        engines: &Engines,
    ) -> Result<Arc<Self>, SessionError> {
        if !checkpoint.weights().present() {
            return Err(SessionError::NoWeights);
        }
        let system = system.into();
        let compiled = compile(&checkpoint, &system, options)?;
        let host = Host::new(&checkpoint, options, &compiled)?;
        drop(checkpoint);
        let placed = PlacedPrograms::new(system, compiled.image, compiled.programs, compiled.interface, engines)?;
        Ok(Arc::new(Self { host, placed }))
    }

    /// A compiled model in memory.
    ///
    /// # Errors
    /// [`SessionError`] when the container holds no model, or one for another chip.
    pub fn load(
        container: Container<'static>,
        system: impl Into<System>,
        engines: &Engines,
    ) -> Result<Arc<Self>, SessionError> {
        let system = system.into();
        made_for(&container.chip, &system)?;
        let (interface, host) = with_weights(Package::parse(&container.host)?)?;
        let placed = PlacedPrograms::new(system, container.image, container.programs, interface, engines)?;
        Ok(Arc::new(Self { host, placed }))
    }

    /// A compiled model in a mapped file, whose weights the fast engine uses in place.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn open(file: ProgramFile, system: impl Into<System>, engines: &Engines) -> Result<Arc<Self>, SessionError> {
        let (interface, mut host) = with_weights(file.package()?)?;
        host.name = file.name();
        Ok(Arc::new(Self { host, placed: PlacedPrograms::open(file, system.into(), interface, engines)? }))
    }

    /// The programs on a machine of their own.
    pub(crate) fn stage(&self) -> Result<Stage, SessionError> {
        self.placed.stage()
    }

    /// What the programs ask of their host and give back.
    #[must_use]
    pub fn interface(&self) -> &Interface {
        self.placed.interface()
    }

    /// What reports call the engine.
    #[must_use]
    pub fn engine_name(&self) -> &'static str {
        self.placed.shared().name()
    }

    /// Threads that run programs.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.placed.shared().threads()
    }

    /// The host's side of the model: config, tokenizer, number formats.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The system.
    #[must_use]
    pub fn system(&self) -> &System {
        self.placed.system()
    }

    /// The programs, one a context bucket and sequence ([`Interface::buckets`]); those of a file are decoded when first
    /// asked for.
    ///
    /// # Errors
    /// [`SessionError::Open`] when a queue in the file is damaged.
    pub fn programs(&self) -> Result<&[Program], SessionError> {
        Ok(self.placed.programs()?)
    }

    /// The programs; those of a file without their queues.
    #[must_use]
    pub fn heads(&self) -> &[Program] {
        self.placed.heads()
    }

    /// Index of the shortest context bucket that holds a position, or of the last one.
    #[must_use]
    pub fn bucket(&self, position: usize) -> usize {
        let interface = self.interface();
        interface.bucket(position).unwrap_or(interface.buckets.len() - 1)
    }

    /// The whole as a file's content; nothing for a model in a file, which is there already.
    ///
    /// # Errors
    /// [`SessionError::Open`] as [`Model::image`].
    pub fn container(&self) -> Option<Container<'_>> {
        match self.placed.file() {
            Some(_) => None,
            None => self.content().ok(),
        }
    }

    /// The image that SRAM starts from; its bytes stay where they are.
    ///
    /// # Errors
    /// [`SessionError::Open`] when the file has changed since it was opened.
    pub fn image(&self) -> Result<Image<'_>, SessionError> {
        Ok(self.placed.image()?)
    }

    /// What summaries of its runs are about.
    pub(crate) fn subject(&self) -> Result<Subject<'_>, SessionError> {
        let host = &self.host;
        Ok(Subject {
            model: &host.name,
            chip: self.system().name(),
            precision: host.precision,
            context: host.context,
            hash: Some(self.program_hash()?),
        })
    }

    fn content(&self) -> Result<Container<'_>, SessionError> {
        let host = package::write(self.interface(), Some(&self.host), true);
        let (image, programs) = (self.image()?, self.programs()?.to_vec());
        Ok(Container { chip: self.system().reference(), image, programs, host: host.into() })
    }

    /// BLAKE3 of the program file, to cite.
    ///
    /// # Errors
    /// [`SessionError::Content`] when the model has no file form.
    pub fn program_hash(&self) -> Result<[u8; 32], SessionError> {
        match self.placed.file() {
            Some(file) => Ok(file.hash()),
            None => Ok(self.content()?.program_hash()?),
        }
    }
}

/// Interface and host's side of a whole model that has weights.
fn with_weights(package: Package) -> Result<(Interface, Host), SessionError> {
    let weights = package.weights;
    let whole = package.model()?;
    if weights { Ok(whole) } else { Err(SessionError::NoWeights) }
}
