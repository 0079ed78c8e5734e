//! Both engines side by side: same faults, cycles and every word of SRAM.

use std::borrow::Cow;

use lpu::chip::{Chip, System};
use lpu::emulator::{Machine, RunError};
use lpu::isa::{ChipId, Container, Extent, Image, Program, QueueSet, RegionKind, SliceId};
use lpu::replay::{Outline, ProgramOrigin, Replay, ReplayError};
use memmap2::MmapMut;

/// How a fast engine holds the image and comes by its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Engine {
    /// Threads that run programs.
    pub threads: usize,
    /// Over a mapping of the program file, or over a copy of the image.
    pub mapped: bool,
    /// With a plan that was kept and restored, or with a fresh one.
    pub restored: bool,
}

/// A program on the reference engine and on several fast engines.
pub struct Pair {
    system: System,
    program: Program,
    machine: Machine,
    prepared: lpu::emulator::Prepared,
    fast: Vec<(Engine, Replay, lpu::replay::Prepared)>,
}

impl Pair {
    /// Loads a program.
    ///
    /// # Panics
    /// When an engine refuses it.
    #[must_use]
    pub fn new(chip: &Chip, image: &Image<'_>, program: &Program, threads: &[usize]) -> Self {
        Self::of_system(&System::single(chip), image, program, threads)
    }

    /// Loads a program of a system. Engines of even thread counts run over a mapping, with restored plans.
    ///
    /// # Panics
    /// When an engine refuses it.
    #[must_use]
    pub fn of_system(system: &System, image: &Image<'_>, program: &Program, threads: &[usize]) -> Self {
        let even = |threads: usize| threads.is_multiple_of(2);
        let engines = threads.iter().map(|&threads| Engine { threads, mapped: even(threads), restored: even(threads) });
        Self::on(system, image, program, &engines.collect::<Vec<_>>())
    }

    /// Loads a program of a system on these engines.
    ///
    /// # Panics
    /// When an engine refuses it.
    #[must_use]
    pub fn on(system: &System, image: &Image<'_>, program: &Program, engines: &[Engine]) -> Self {
        let machine = Machine::of_system(system, image).expect("the image fits");
        let prepared = machine.prepare(program).expect("the program fits");
        let fast = engines.iter().map(|&engine| {
            let Engine { threads, mapped, restored } = engine;
            let replay = if mapped { of_file(system, image, threads) } else { Replay::new(system, image, threads) };
            let replay = replay.expect("the image fits");
            let mut prepared = replay.prepare(image, program).expect("the program fits");
            let origin = ProgramOrigin { file: [7; 32], program: 0 };
            if let Some(kept) = replay.keep(&prepared, origin).filter(|_| restored) {
                prepared = replay.restore(program, origin, &kept).expect("what was kept is sound");
            }
            (engine, replay, prepared)
        });
        Self { fast: fast.collect(), system: system.clone(), program: program.clone(), machine, prepared }
    }

    /// Fills an input of all engines.
    ///
    /// # Panics
    /// When an engine refuses it.
    pub fn input(&mut self, name: &str, bytes: &[u8]) {
        self.machine.write_input(&self.program, name, bytes).expect("the input fits");
        for (_, replay, _) in &mut self.fast {
            replay.write_input(&self.program, name, bytes).expect("the input fits");
        }
    }

    /// Replaces a byte of a word in all engines.
    ///
    /// # Panics
    /// When there is no such word or lane.
    pub fn change(&mut self, chip: ChipId, slice: SliceId, word: u32, lane: usize, byte: u8) {
        let mut bytes = self.machine.read_word(chip, slice, word).expect("the word is there").to_vec();
        bytes[lane] = byte;
        self.machine.write_word(chip, slice, word, &bytes).expect("the word is there");
        for (_, replay, _) in &mut self.fast {
            replay.write_word(chip, slice, word, &bytes).expect("the word is there");
        }
    }

    /// Fills all inputs from a generator.
    pub fn random_inputs(&mut self, next: &mut impl FnMut() -> u64) {
        let inputs: Vec<(String, usize)> = self
            .program
            .regions
            .iter()
            .filter(|region| region.kind == RegionKind::Input)
            .map(|region| {
                (
                    region.name.clone(),
                    region.vectors as usize * region.lanes as usize * usize::from(region.format.bytes()),
                )
            })
            .collect();
        for (name, count) in inputs {
            let bytes: Vec<u8> = (0..count).map(|_| next() as u8).collect();
            self.input(&name, &bytes);
        }
    }

    /// Runs all engines once; says what differs. A program that faults says so in all, and SRAM is not compared.
    ///
    /// # Errors
    /// A description of the first difference.
    ///
    /// # Panics
    /// When the reference engine fails in another way than by a fault.
    pub fn run(&mut self) -> Result<bool, String> {
        let expected = self.machine.run(&self.prepared, &mut ());
        let mut legal = true;
        for (engine, replay, prepared) in &mut self.fast {
            match (&expected, replay.run(prepared)) {
                (Ok(run), Ok(found)) if run.cycles == found.cycles => {}
                (Err(RunError::Fault(first)), Err(ReplayError::Fault(found))) if first.key() == found.key() => {
                    legal = false
                }
                (expected, found) => return Err(format!("{engine:?}: reference {expected:?}, fast {found:?}")),
            }
        }
        if legal { self.compare().map(|()| true) } else { Ok(false) }
    }

    /// Every word of SRAM.
    fn compare(&self) -> Result<(), String> {
        for chip in (0..self.system.chips()).map(ChipId) {
            for slice in self.system.chip().slices() {
                for word in 0..self.system.chip().words_per_slice() {
                    let expected = self.machine.read_word(chip, slice, word).map_err(|error| error.to_string())?;
                    for (engine, replay, _) in &self.fast {
                        let found = replay.read_word(chip, slice, word).map_err(|error| error.to_string())?;
                        if *expected != found[..] {
                            let lane =
                                expected.iter().zip(&found[..]).position(|(one, other)| one != other).unwrap_or(0);
                            let (one, other) = (expected[lane], found[lane]);
                            return Err(format!(
                                "{engine:?}: word {word} of {slice}, lane {lane}: reference {one:#04x}, fast \
                                {other:#04x}"
                            ));
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// An engine over a mapping of the program file that has the image.
fn of_file(system: &System, image: &Image<'_>, threads: usize) -> Result<Replay, ReplayError> {
    let last = image.extents.iter().flat_map(Extent::places).map(|place| usize::from(place.chip.0)).max().unwrap_or(0);
    let idle = Program { name: "p".into(), ..Program::default() };
    let program = idle.with_queues(vec![QueueSet::new(); last + 1]);
    let image = Image { vector_bytes: system.chip().lanes() as u32, extents: image.extents.clone() };
    let container = Container { chip: system.reference(), image, programs: vec![program], host: Cow::default() };
    let file = container.to_bytes().expect("the image has a file");
    let parsed = Container::parse(&file).expect("the file is one");
    let outline = Outline::new(&parsed.image, &file);
    let mut mapping = MmapMut::map_anon(file.len()).expect("there is memory");
    mapping.copy_from_slice(&file);
    Replay::mapped(system, &outline, mapping, threads)
}
