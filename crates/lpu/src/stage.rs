//! Programs over one placement on a machine, run by their ports: a whole model or a part of one. A stage knows no
//! tokens and no vocabulary; its host does ([`crate::Session`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use lpu_chip::System;
use lpu_compiler::{Compiled, Interface, PortKind};
use lpu_isa::{ChipRef, Image, Program};

use crate::engine::{Engine, EngineError, Engines, Ran, SharedPrograms};
use crate::error::SessionError;
use crate::file::{OpenError, ProgramFile};
use crate::ports::{self, PortError, Step};

/// A placement's programs, shared by the stages that run them on machines of their own.
pub(crate) struct PlacedPrograms {
    system: System,
    interface: Interface,
    source: ProgramSource,
    shared: Arc<SharedPrograms>,
}

/// A placement's programs on a machine.
/// ```
/// use lpu::{Engines, Options, Precision, Stage, Step, chip, compiler::Part, model::Checkpoint};
///
/// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/checkpoints/plain");
/// let checkpoint = Checkpoint::open(folder.as_ref())?;
/// let chip = chip::preset("tsp-v1")?;
/// let options = Options { precision: Precision::F16, context: 16, ..Options::default() };
/// let first = Part::Layer(0).of(&checkpoint.graph())?;
/// let compiled = lpu::compile_graph(&checkpoint, first, &chip, &options)?;
/// let mut stage = Stage::of(compiled, &chip, &Engines::default())?;
/// let run = stage.run(&Step::of(&checkpoint, options.context, 0, 7)?)?;
/// assert_eq!(run.cycles, stage.heads()[0].cycles);
/// println!("{:?}", stage.named(&run).keys());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Stage {
    placed: Arc<PlacedPrograms>,
    engine: Engine,
}

/// Where image and programs are.
enum ProgramSource {
    Memory(Image<'static>, Vec<Program>),
    File(Box<ProgramFile>),
}

impl ProgramSource {
    /// The programs; those of a file without their queues.
    fn heads(&self) -> &[Program] {
        match self {
            ProgramSource::Memory(_, programs) => programs,
            ProgramSource::File(file) => file.heads(),
        }
    }
}

/// What one run of a stage gave.
#[derive(Clone, Debug, PartialEq)]
pub struct StageRun {
    /// Measured cycles.
    pub cycles: u64,
    /// Items that came to their queues by instruction fetch.
    pub fetched: u64,
    /// Whether some ALU operation made an infinity of finite operands.
    pub overflow: bool,
    /// The value of each output port, in their order; fp32.
    pub outputs: Vec<Vec<f32>>,
}

impl PlacedPrograms {
    /// Programs over an image in memory.
    ///
    /// # Errors
    /// [`SessionError`] when the chip or the interface refuses them.
    pub(crate) fn new(
        system: System,
        image: Image<'static>,
        programs: Vec<Program>,
        interface: Interface,
        engines: &Engines,
    ) -> Result<Arc<Self>, SessionError> {
        ports::validate(&interface, &programs)?;
        let shared = SharedPrograms::over(&system, &image, &programs, engines)?;
        Ok(Arc::new(Self { system, interface, source: ProgramSource::Memory(image, programs), shared }))
    }

    /// The programs of a mapped file.
    ///
    /// # Errors
    /// As [`PlacedPrograms::new`], and when the file was made for another chip.
    pub(crate) fn open(
        file: ProgramFile,
        system: System,
        interface: Interface,
        engines: &Engines,
    ) -> Result<Arc<Self>, SessionError> {
        made_for(file.chip(), &system)?;
        ports::validate(&interface, file.heads())?;
        let shared = SharedPrograms::over_file(&system, &file, engines)?;
        Ok(Arc::new(Self { system, interface, source: ProgramSource::File(Box::new(file)), shared }))
    }

    /// The programs on a machine of their own, whose SRAM is as the image has it.
    ///
    /// # Errors
    /// [`SessionError`] when the engine refuses them or there is no memory.
    pub(crate) fn stage(self: &Arc<Self>) -> Result<Stage, SessionError> {
        let engine = match &self.source {
            ProgramSource::Memory(image, programs) => Engine::over(&self.shared, image, programs)?,
            ProgramSource::File(file) => Engine::over_file(&self.shared, file)?,
        };
        Ok(Stage { placed: Arc::clone(self), engine })
    }

    pub(crate) fn system(&self) -> &System {
        &self.system
    }

    pub(crate) fn interface(&self) -> &Interface {
        &self.interface
    }

    pub(crate) fn shared(&self) -> &SharedPrograms {
        &self.shared
    }

    pub(crate) fn programs(&self) -> Result<&[Program], OpenError> {
        match &self.source {
            ProgramSource::Memory(_, programs) => Ok(programs),
            ProgramSource::File(file) => file.programs(),
        }
    }

    pub(crate) fn heads(&self) -> &[Program] {
        self.source.heads()
    }

    pub(crate) fn image(&self) -> Result<Image<'_>, OpenError> {
        match &self.source {
            ProgramSource::Memory(image, _) => Ok(borrowed(image)),
            ProgramSource::File(file) => file.image(),
        }
    }

    pub(crate) fn file(&self) -> Option<&ProgramFile> {
        match &self.source {
            ProgramSource::Memory(..) => None,
            ProgramSource::File(file) => Some(file),
        }
    }
}

impl Stage {
    /// Loads what was compiled into an engine.
    ///
    /// # Errors
    /// [`SessionError`] when the engine or the interface refuses it.
    pub fn of(compiled: Compiled, system: impl Into<System>, engines: &Engines) -> Result<Self, SessionError> {
        let Compiled { image, programs, interface, .. } = compiled;
        Self::new(system, image, programs, interface, engines)
    }

    /// Loads programs into an engine.
    ///
    /// # Errors
    /// As [`Stage::of`].
    pub fn new(
        system: impl Into<System>,
        image: Image<'static>,
        programs: Vec<Program>,
        interface: Interface,
        engines: &Engines,
    ) -> Result<Self, SessionError> {
        PlacedPrograms::new(system.into(), image, programs, interface, engines)?.stage()
    }

    /// Opens the programs of a mapped file, whose weights the fast engine uses in place.
    ///
    /// # Errors
    /// As [`Stage::of`], and when the file was made for another chip.
    pub fn open(
        file: ProgramFile,
        system: impl Into<System>,
        interface: Interface,
        engines: &Engines,
    ) -> Result<Self, SessionError> {
        PlacedPrograms::open(file, system.into(), interface, engines)?.stage()
    }

    /// Another machine for the same programs, which it shares with the plans and the threads; its SRAM is as the image
    /// has it.
    ///
    /// # Errors
    /// [`SessionError`] when there is no memory.
    pub fn another(&self) -> Result<Self, SessionError> {
        self.placed.stage()
    }

    /// The system.
    #[must_use]
    pub fn system(&self) -> &System {
        self.placed.system()
    }

    /// What the programs ask of their host and give back.
    #[must_use]
    pub fn interface(&self) -> &Interface {
        self.placed.interface()
    }

    /// The engine that runs the programs.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The programs; those of a file are decoded when first asked for.
    ///
    /// # Errors
    /// [`OpenError`] when a queue in the file is damaged.
    pub fn programs(&self) -> Result<&[Program], OpenError> {
        self.placed.programs()
    }

    /// The programs; those of a file without their queues.
    #[must_use]
    pub fn heads(&self) -> &[Program] {
        self.placed.heads()
    }

    /// The image that SRAM starts from; its bytes stay where they are.
    ///
    /// # Errors
    /// [`OpenError`] when the file has changed since it was opened.
    pub fn image(&self) -> Result<Image<'_>, OpenError> {
        self.placed.image()
    }

    /// The file that the stage was opened over.
    #[must_use]
    pub fn file(&self) -> Option<&ProgramFile> {
        self.placed.file()
    }

    /// Index among the programs of the one that a step runs; nothing where the context ends before it, or the programs
    /// have no such sequence.
    #[must_use]
    pub fn program(&self, step: &Step) -> Option<usize> {
        self.placed.interface.program(step.sequence, step.position)
    }

    /// Fills the input ports, runs the program of the step's sequence and position, and reads the output ports.
    ///
    /// # Errors
    /// [`SessionError`] when the step lacks a value, there is no such sequence, its context is full, or the program
    /// faults.
    pub fn run(&mut self, step: &Step) -> Result<StageRun, SessionError> {
        self.run_by(step, Engine::run)
    }

    /// [`Stage::run`] by a way of running a program of the engine.
    pub(crate) fn run_by(
        &mut self,
        step: &Step,
        run: impl FnOnce(&mut Engine, usize) -> Result<Ran, EngineError>,
    ) -> Result<StageRun, SessionError> {
        let (context, sequences) = (self.placed.interface.context(), self.placed.interface.sequences());
        if step.sequence >= sequences {
            return Err(SessionError::NoSequence { sequence: step.sequence, sequences });
        }
        let index = self.program(step).ok_or(SessionError::ContextFull { context })?;
        match &self.placed.source {
            ProgramSource::Memory(image, programs) => self.engine.ready(index, image, &programs[index])?,
            ProgramSource::File(file) => self.engine.ready_in(index, file)?,
        }
        let program = &self.placed.heads()[index];
        for (region, bytes) in step.inputs(&self.placed.interface, program)? {
            self.engine.write_input(program, &region, &bytes)?;
        }
        let Ran { cycles, fetched, overflow } = run(&mut self.engine, index)?;
        let read = |port: &lpu_compiler::Port| {
            Ok::<_, EngineError>(ports::read(&port.lanes, &self.engine.read_region(program, &port.region)?))
        };
        let outputs = self.placed.interface.outputs.iter().map(read).collect::<Result<_, _>>()?;
        Ok(StageRun { cycles, fetched, overflow, outputs })
    }

    /// The bytes of every input region of a program for a step.
    pub(crate) fn inputs(&self, index: usize, step: &Step) -> Result<Vec<(String, Vec<u8>)>, PortError> {
        step.inputs(&self.placed.interface, &self.placed.heads()[index])
    }

    /// The values of a run by name, for the steps of the stages after it.
    #[must_use]
    pub fn named(&self, run: &StageRun) -> BTreeMap<String, Vec<f32>> {
        let mut named: BTreeMap<String, Vec<f32>> = BTreeMap::new();
        for (port, value) in self.placed.interface.outputs.iter().zip(&run.outputs) {
            let PortKind::Activation { value: name } = &port.kind else { continue };
            let whole = named.entry(name.clone()).or_default();
            whole.resize(whole.len().max(value.len()), 0.0);
            for lane in 0..port.lanes.count() {
                if let Some(element) = port.lanes.element(lane) {
                    whole[element] = value[element];
                }
            }
        }
        named
    }

    /// The logits of a run: those of each output port after those before it.
    pub(crate) fn logits(&self, run: &mut StageRun) -> Vec<f32> {
        let mut ports = std::mem::take(&mut run.outputs).into_iter();
        let first = ports.next().unwrap_or_default();
        ports.fold(first, |mut logits, port| {
            logits.extend(port);
            logits
        })
    }
}

/// An image over the bytes of another.
fn borrowed<'a>(image: &'a Image<'static>) -> Image<'a> {
    Image {
        vector_bytes: image.vector_bytes,
        extents: image.extents.iter().map(|extent| extent.with(extent.bytes())).collect(),
    }
}

pub(crate) fn made_for(file: &ChipRef, system: &System) -> Result<(), SessionError> {
    if file.fingerprint == system.reference().fingerprint {
        return Ok(());
    }
    Err(SessionError::OtherChip { file: file.name.clone(), given: system.name().to_owned() })
}
