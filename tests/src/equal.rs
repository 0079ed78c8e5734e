//! Both engines side by side: same faults, cycles and every word of SRAM.

use lpu::chip::{Chip, System};
use lpu::emulator::{Machine, RunError};
use lpu::isa::{ChipId, Image, Program, RegionKind, SliceId};
use lpu::replay::{Origin, Outline, Replay, ReplayError};
use memmap2::MmapMut;

/// A program on the reference engine and on fast engines of several thread counts. Those of even counts run over a mapping, and their plans are kept
/// and restored before they run.
pub struct Pair {
    system: System,
    program: Program,
    machine: Machine,
    prepared: lpu::emulator::Prepared,
    fast: Vec<(Replay, lpu::replay::Prepared)>,
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

    /// Loads a program of a system.
    ///
    /// # Panics
    /// When an engine refuses it.
    #[must_use]
    pub fn of_system(system: &System, image: &Image<'_>, program: &Program, threads: &[usize]) -> Self {
        let machine = Machine::of_system(system, image).expect("the image fits");
        let prepared = machine.prepare(program).expect("the program fits");
        let fast = threads.iter().map(|&threads| {
            let replay = if threads.is_multiple_of(2) { mapped(system, image, threads) } else { Replay::new(system, image, threads) };
            let replay = replay.expect("the image fits");
            let mut prepared = replay.prepare(image, program).expect("the program fits");
            let origin = Origin { file: [7; 32], program: 0 };
            if let Some(kept) = replay.keep(&prepared, origin).filter(|_| threads.is_multiple_of(2)) {
                prepared = replay.restore(program, origin, &kept).expect("what was kept is sound");
            }
            (replay, prepared)
        });
        Self { fast: fast.collect(), system: system.clone(), program: program.clone(), machine, prepared }
    }

    /// Fills an input of all engines.
    ///
    /// # Panics
    /// When an engine refuses it.
    pub fn input(&mut self, name: &str, bytes: &[u8]) {
        self.machine.write_input(&self.program, name, bytes).expect("the input fits");
        for (replay, _) in &mut self.fast {
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
        for (replay, _) in &mut self.fast {
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
            .map(|region| (region.name.clone(), region.vectors as usize * region.lanes as usize * usize::from(region.format.bytes())))
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
        for (replay, prepared) in &mut self.fast {
            let threads = replay.threads();
            match (&expected, replay.run(prepared)) {
                (Ok(run), Ok(found)) if run.cycles == found.cycles => {}
                (Err(RunError::Fault(first)), Err(ReplayError::Fault(found))) if first.key() == found.key() => legal = false,
                (expected, found) => return Err(format!("{threads} threads: reference {expected:?}, fast {found:?}")),
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
                    for (replay, _) in &self.fast {
                        let found = replay.read_word(chip, slice, word).map_err(|error| error.to_string())?;
                        if *expected != found[..] {
                            let lane = expected.iter().zip(&found[..]).position(|(one, other)| one != other).unwrap_or(0);
                            let threads = replay.threads();
                            let (one, other) = (expected[lane], found[lane]);
                            return Err(format!(
                                "{threads} threads: word {word} of {slice}, lane {lane}: reference {one:#04x}, fast {other:#04x}"
                            ));
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// An engine over a mapping that holds the image as a program file does.
fn mapped(system: &System, image: &Image<'_>, threads: usize) -> Result<Replay, ReplayError> {
    let mut file = vec![0; 64];
    let mut starts = Vec::new();
    for extent in &image.extents {
        starts.push(file.len());
        file.extend_from_slice(extent.bytes());
        file.resize(file.len().next_multiple_of(64), 0);
    }
    let extents =
        image.extents.iter().zip(&starts).map(|(extent, &start)| extent.with(&file[start..start + extent.bytes().len()])).collect();
    let outline = Outline::new(&Image { vector_bytes: image.vector_bytes, extents }, &file);
    let mut mapping = MmapMut::map_anon(file.len()).expect("there is memory");
    mapping.copy_from_slice(&file);
    Replay::mapped(system, &outline, mapping, threads)
}
