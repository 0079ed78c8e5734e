//! Which engine runs a program: fast, reference, or both side by side with everything compared.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use lpu_chip::System;
use lpu_emulator::{Machine, MachineError, Observer, RunError};
use lpu_isa::{ChipId, Image, Program, Region, RegionKind, SliceId, Violation};
use lpu_replay::{Platform, ProgramOrigin, Replay, ReplayError};
use thiserror::Error;
use tracing::{debug, debug_span};

use crate::file::{OpenError, ProgramFile};
use crate::finite::Watched;
use crate::plans;

/// How to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Engines {
    /// The fast engine, or the reference engine.
    pub fast: bool,
    /// Threads of the fast engine; nothing for as many as the host has cores.
    pub threads: Option<usize>,
    /// Both engines, comparing every word of SRAM, outputs and cycles after each run.
    pub verify: bool,
    /// Plans of programs in files are kept next to the file where that can be written, and taken from there when they
    /// fit.
    pub cache: bool,
}

impl Default for Engines {
    fn default() -> Self {
        Self { fast: true, threads: None, verify: false, cache: true }
    }
}

/// Proves the programs of a file legal and keeps their plans next to it, so that its first start is as quick as later
/// ones.
///
/// # Errors
/// [`EngineError`] when the file cannot be opened or does not fit the chip.
pub fn keep_plans(system: &System, path: &Path) -> Result<(), EngineError> {
    let file = ProgramFile::open(path)?;
    let mut engine = Engine::open(system, &file, &Engines::default())?;
    (1..file.heads().len()).try_for_each(|program| engine.ready_in(program, &file))
}

/// Items of a program whose plan is worth keeping, at least: smaller ones are proven anew sooner than read.
const KEPT_ITEMS: usize = 4096;

impl Engines {
    /// The reference engine alone.
    pub const REFERENCE: Self = Self { fast: false, threads: None, verify: false, cache: true };

    /// Threads of the host's cores, or as many as asked for but no more than there are.
    #[must_use]
    pub fn threads(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        if self.fast || self.verify { self.threads.unwrap_or(cores).clamp(1, cores) } else { 1 }
    }
}

/// An engine that refuses or stops.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EngineError {
    /// See [`MachineError`].
    #[error(transparent)]
    Machine(MachineError),
    /// See [`ReplayError`].
    #[error(transparent)]
    Replay(ReplayError),
    /// See [`OpenError`].
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A program that is not legal, in whichever engine.
    #[error("{0}; `lpu check` lists every broken rule with its source line")]
    Fault(Violation),
    /// A program that was not made ready.
    #[error("the program was not made ready; call `Engine::ready` before it runs")]
    NotReady,
    /// Observers see single steps.
    #[error("the fast engine takes no single steps to observe; run on the reference engine")]
    NotStepping,
    /// The engines differ, which is a bug of this program.
    #[error("the engines differ: {0}; please report this program as a bug")]
    Differ(String),
}

impl From<ReplayError> for EngineError {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Fault(first) | ReplayError::ChipAbsent(first) => Self::Fault(first),
            error => Self::Replay(error),
        }
    }
}

impl From<MachineError> for EngineError {
    fn from(error: MachineError) -> Self {
        match error {
            MachineError::ChipAbsent(first) => Self::Fault(first),
            error => Self::Machine(error),
        }
    }
}

impl From<RunError> for EngineError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Fault(first) => Self::Fault(first),
            error => Self::Differ(error.to_string()),
        }
    }
}

/// What a run measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Cycles from the first to the last landing of an effect in any tile.
    pub cycles: u64,
    /// Items that came to their queues by instruction fetch.
    pub fetched: u64,
    /// Whether some ALU operation [overflows](lpu_lanes::overflows).
    pub overflow: bool,
}

/// Programs on the fast engine; each is prepared when it first runs: a model has one a context bucket.
struct FastPrograms {
    platform: Arc<Platform>,
    prepared: Vec<Mutex<Option<lpu_replay::Prepared>>>,
}

/// What engines over the same programs share: the system, the proven programs, their plans, the threads.
pub(crate) struct SharedPrograms {
    system: System,
    fast: Option<FastPrograms>,
    /// The programs on the reference engine.
    reference: Option<OnceLock<Vec<lpu_emulator::Prepared>>>,
    cache: bool,
}

/// SRAM with programs ready to run on it, in one engine or in both.
/// ```
/// use lpu::{Engine, Engines, chip::System};
///
/// let text = ".chip tsp-v1
/// .program copy
/// .cycles 27
/// .input a i8 [1 320] at e0:0
/// .output b i8 [1 320] at e4:0
/// .queue mem.e0
/// @0 read a, e0
/// .queue mem.e4
/// @5 write b, e0
/// ";
/// let system = System::preset("tsp-v1")?;
/// let mut known = |_: &str| Some((system.reference(), 320));
/// let (container, _) = lpu::isa::assemble(text, &mut |_| Err("no files".into()), &mut known).unwrap();
/// let both = Engines { verify: true, ..Engines::default() };
/// let mut engine = Engine::new(&system, &container.image, &container.programs, &both)?;
/// engine.write_input(&container.programs[0], "a", &[7; 320])?;
/// assert_eq!(engine.run(0)?.cycles, 27);
/// assert_eq!(engine.read_region(&container.programs[0], "b")?, [7; 320]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Engine {
    shared: Arc<SharedPrograms>,
    fast: Option<Replay>,
    reference: Option<Machine>,
}

impl SharedPrograms {
    fn new(
        system: &System,
        programs: usize,
        engines: &Engines,
        platform: impl FnOnce(usize) -> Result<Platform, ReplayError>,
    ) -> Result<Arc<Self>, EngineError> {
        let fast = if engines.fast || engines.verify {
            let platform = Arc::new(platform(engines.threads())?);
            Some(FastPrograms { platform, prepared: (0..programs).map(|_| Mutex::default()).collect() })
        } else {
            None
        };
        let reference = (!engines.fast || engines.verify).then(OnceLock::new);
        Ok(Arc::new(Self { system: system.clone(), fast, reference, cache: engines.cache }))
    }

    /// For programs over an image in memory.
    ///
    /// # Errors
    /// [`EngineError`] when the image does not fit the chip.
    pub(crate) fn over(
        system: &System,
        image: &Image<'_>,
        programs: &[Program],
        engines: &Engines,
    ) -> Result<Arc<Self>, EngineError> {
        Self::new(system, programs.len(), engines, |threads| Platform::new(system, image, threads))
    }

    /// For the programs of a file.
    ///
    /// # Errors
    /// As [`SharedPrograms::over`].
    pub(crate) fn over_file(system: &System, file: &ProgramFile, engines: &Engines) -> Result<Arc<Self>, EngineError> {
        let platform = |threads| Platform::mapped(system, file.outline(), file.bytes(), threads);
        Self::new(system, file.heads().len(), engines, platform)
    }

    /// Threads that run programs.
    pub(crate) fn threads(&self) -> usize {
        self.fast.as_ref().map_or(1, |fast| fast.platform.threads())
    }

    /// What reports call the engine.
    pub(crate) fn name(&self) -> &'static str {
        match (&self.fast, &self.reference) {
            (Some(_), Some(_)) => "fast and reference",
            (Some(_), None) => "fast",
            _ => "reference",
        }
    }
}

impl Engine {
    /// Loads an image with programs over it and makes the first of them ready.
    ///
    /// # Errors
    /// [`EngineError`] when image or programs do not fit the chip.
    pub fn new(
        system: &System,
        image: &Image<'_>,
        programs: &[Program],
        engines: &Engines,
    ) -> Result<Self, EngineError> {
        Self::over(&SharedPrograms::over(system, image, programs, engines)?, image, programs)
    }

    /// [`Engine::new`] over a mapped file, whose bytes the fast engine uses in place.
    ///
    /// # Errors
    /// As [`Engine::new`].
    pub fn open(system: &System, file: &ProgramFile, engines: &Engines) -> Result<Self, EngineError> {
        Self::over_file(&SharedPrograms::over_file(system, file, engines)?, file)
    }

    /// [`Engine::new`] that shares what is shared; image and programs are those that it was made for.
    pub(crate) fn over(
        shared: &Arc<SharedPrograms>,
        image: &Image<'_>,
        programs: &[Program],
    ) -> Result<Self, EngineError> {
        let fast = shared.fast.as_ref().map(|fast| Replay::over(&fast.platform, image)).transpose()?;
        let reference = match &shared.reference {
            Some(prepared) => Some(machine(&shared.system, image, programs, prepared)?),
            None => None,
        };
        let mut engine = Self { shared: Arc::clone(shared), fast, reference };
        debug!(engine = engine.name(), threads = engine.threads(), "engine");
        if let Some(first) = programs.first() {
            engine.ready(0, image, first)?;
        }
        Ok(engine)
    }

    /// [`Engine::open`] that shares what is shared; the file is that which it was made for.
    pub(crate) fn over_file(shared: &Arc<SharedPrograms>, file: &ProgramFile) -> Result<Self, EngineError> {
        let fast = match &shared.fast {
            Some(fast) => Some(Replay::over_mapped(&fast.platform, file.outline(), file.writable()?)?),
            None => None,
        };
        let reference = match &shared.reference {
            Some(prepared) => Some(machine(&shared.system, &file.image()?, file.programs()?, prepared)?),
            None => None,
        };
        let mut engine = Self { shared: Arc::clone(shared), fast, reference };
        debug!(engine = engine.name(), threads = engine.threads(), "engine");
        if !file.heads().is_empty() {
            engine.ready_in(0, file)?;
        }
        if let Some(replay) = &engine.fast {
            replay.populate();
        }
        Ok(engine)
    }

    /// Proves program number `index` legal and makes its plan, if that has not been done.
    ///
    /// # Errors
    /// [`EngineError`] when the program does not fit the chip.
    pub fn ready(&mut self, index: usize, image: &Image<'_>, program: &Program) -> Result<(), EngineError> {
        self.load(index, |replay, _| {
            Ok(debug_span!("plan", program = program.name).in_scope(|| replay.prepare(image, program))?)
        })
    }

    /// [`Engine::ready`] for a program of the file that the engine was opened over, from a plan that was kept if there
    /// is one.
    ///
    /// # Errors
    /// As [`Engine::ready`].
    pub fn ready_in(&mut self, index: usize, file: &ProgramFile) -> Result<(), EngineError> {
        self.load(index, |replay, cache| {
            let origin = ProgramOrigin { file: file.hash(), program: index as u32 };
            let plan = cache.then(|| file.plan(index));
            let kept = plan.as_ref().and_then(|plan| std::fs::read(plan).ok());
            if let Some(restored) = kept.and_then(|bytes| replay.restore(&file.heads()[index], origin, &bytes)) {
                debug!(program = file.heads()[index].name, "plan restored");
                return Ok(restored);
            }
            let program = &file.programs()?[index];
            let image = file.image()?;
            let made = debug_span!("plan", program = program.name).in_scope(|| replay.prepare(&image, program))?;
            if let (Some(plan), true) = (plan, program.items() >= KEPT_ITEMS)
                && let Some(bytes) = replay.keep(&made, origin)
            {
                plans::keep(&plan, &bytes);
                debug!(program = program.name, path = %plan.display(), "plan kept");
            }
            Ok(made)
        })
    }

    /// Loads a program into the fast engine's SRAM; if no engine has prepared it, it is prepared now.
    fn load(
        &mut self,
        index: usize,
        prepare: impl FnOnce(&Replay, bool) -> Result<lpu_replay::Prepared, EngineError>,
    ) -> Result<(), EngineError> {
        let (Some(replay), Some(fast)) = (&mut self.fast, &self.shared.fast) else { return Ok(()) };
        let mut prepared = held(&fast.prepared[index]);
        let prepared = match &mut *prepared {
            Some(prepared) => prepared,
            empty => empty.insert(prepare(replay, self.shared.cache)?),
        };
        Ok(replay.load(prepared)?)
    }

    /// Threads that run programs.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.shared.threads()
    }

    /// What reports call the engine.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.shared.name()
    }

    /// Fills an input region: its elements, little-endian, vector after vector.
    ///
    /// # Errors
    /// [`EngineError`] when there is no such input, or the bytes do not fill it.
    pub fn write_input(&mut self, program: &Program, name: &str, bytes: &[u8]) -> Result<(), EngineError> {
        if let Some(machine) = &mut self.reference {
            machine.write_input(program, name, bytes)?;
        }
        if let Some(replay) = &mut self.fast {
            replay.write_input(program, name, bytes)?;
        }
        Ok(())
    }

    /// Reads a region: its elements, little-endian, vector after vector.
    ///
    /// # Errors
    /// [`EngineError`] when there is no such region.
    pub fn read_region(&self, program: &Program, name: &str) -> Result<Vec<u8>, EngineError> {
        match (&self.fast, &self.reference) {
            (Some(replay), _) => Ok(replay.read_region(program, name)?),
            (None, Some(machine)) => Ok(machine.read_region(program, name)?),
            (None, None) => Ok(Vec::new()),
        }
    }

    /// Runs program number `index` to its end and gives back its cycles.
    ///
    /// # Errors
    /// [`EngineError::Fault`] with the first fault; [`EngineError::Differ`] when both engines run and differ.
    pub fn run(&mut self, index: usize) -> Result<Ran, EngineError> {
        let fast = self.fast.as_mut().zip(self.shared.fast.as_ref()).map(|(replay, shared)| {
            let prepared = held(&shared.prepared[index]).clone().ok_or(EngineError::NotReady)?;
            let run = replay.run(&prepared)?;
            Ok::<_, EngineError>(Ran { cycles: run.cycles, fetched: run.fetched, overflow: run.overflow })
        });
        let reference = self.reference.as_mut().map(|machine| watched(machine, &self.shared, index, &mut ()));
        match (fast, reference) {
            // The fast engine leaves out values without a consumer, which may overflow too.
            (Some(Ok(one)), Some(Ok(other))) if (Ran { overflow: other.overflow, ..one }) == other => {
                self.compare().map(|()| other)
            }
            (Some(Err(EngineError::Fault(one))), Some(Err(EngineError::Fault(other)))) if one.key() == other.key() => {
                Err(EngineError::Fault(one))
            }
            (Some(one), Some(other)) => Err(EngineError::Differ(format!("fast {one:?}, reference {other:?}"))),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => Ok(Ran { cycles: 0, fetched: 0, overflow: false }),
        }
    }

    /// Runs a program and shows every step to an observer.
    ///
    /// # Errors
    /// As [`Engine::run`]; [`EngineError::NotStepping`] unless the reference engine runs alone.
    pub fn run_observed<O: Observer>(&mut self, index: usize, observer: &mut O) -> Result<Ran, EngineError> {
        match (&self.fast, &mut self.reference) {
            (None, Some(machine)) => watched(machine, &self.shared, index, observer),
            _ => Err(EngineError::NotStepping),
        }
    }

    /// Runs a program once more on a reference machine of its own, from what SRAM keeps from run to run, and shows it
    /// to an observer. For a compiled model that is the run that was last, since a token's rows are written before they
    /// are read.
    pub(crate) fn run_again<O: Observer>(
        &self,
        image: &Image<'_>,
        program: &Program,
        inputs: &[(String, Vec<u8>)],
        observer: &mut O,
    ) -> Result<(), EngineError> {
        let mut machine = Machine::of_system(&self.shared.system, image)?;
        let prepared = machine.prepare(program)?;
        let kept = program.regions.iter().filter(|region| region.kind == RegionKind::State);
        for (chip, slice, word) in kept.flat_map(Region::words) {
            let bytes = match (&self.fast, &self.reference) {
                (Some(replay), _) => replay.read_word(chip, slice, word)?,
                (None, Some(machine)) => machine.read_word(chip, slice, word)?,
                (None, None) => continue,
            };
            machine.write_word(chip, slice, word, &bytes)?;
        }
        for (region, bytes) in inputs {
            machine.write_input(program, region, bytes)?;
        }
        machine.run(&prepared, observer)?;
        Ok(())
    }

    /// Every word of SRAM in both engines.
    fn compare(&self) -> Result<(), EngineError> {
        let (Some(replay), Some(machine)) = (&self.fast, &self.reference) else { return Ok(()) };
        for chip in (0..self.shared.system.chips()).map(ChipId) {
            for slice in self.shared.system.chip().slices() {
                for word in 0..self.shared.system.chip().words_per_slice() {
                    same_word(replay, machine, chip, slice, word)?;
                }
            }
        }
        Ok(())
    }
}

/// What a lock guards, be it that another thread panicked with it: no value here is half changed at any time.
pub(crate) fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A machine of the reference engine over an image; makes the programs ready that no machine has made ready.
fn machine(
    system: &System,
    image: &Image<'_>,
    programs: &[Program],
    prepared: &OnceLock<Vec<lpu_emulator::Prepared>>,
) -> Result<Machine, EngineError> {
    let machine = Machine::of_system(system, image)?;
    if prepared.get().is_none() {
        let programs = programs.iter().map(|program| machine.prepare(program)).collect::<Result<_, _>>()?;
        // Another thread's are the same.
        let _ = prepared.set(programs);
    }
    Ok(machine)
}

/// Runs a program on the reference engine, for an observer and to see whether an operation overflows.
fn watched<O: Observer>(
    machine: &mut Machine,
    shared: &SharedPrograms,
    index: usize,
    observer: &mut O,
) -> Result<Ran, EngineError> {
    let prepared = shared.reference.as_ref().and_then(OnceLock::get).ok_or(EngineError::NotReady)?;
    let mut watched = Watched { observer, overflow: false };
    let run = machine.run(&prepared[index], &mut watched)?;
    Ok(Ran { cycles: run.cycles, fetched: run.fetched, overflow: watched.overflow })
}

fn same_word(replay: &Replay, machine: &Machine, chip: ChipId, slice: SliceId, word: u32) -> Result<(), EngineError> {
    let (fast, reference) = (replay.read_word(chip, slice, word)?, machine.read_word(chip, slice, word)?);
    if fast == reference {
        return Ok(());
    }
    let lane = fast.iter().zip(&*reference).position(|(one, other)| one != other).unwrap_or(0);
    Err(EngineError::Differ(format!(
        "word {word} of {slice} on chip {}, lane {lane}: fast {:#04x}, reference {:#04x}",
        chip.0, fast[lane], reference[lane]
    )))
}
