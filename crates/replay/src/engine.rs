//! The engine as its users see it: SRAM that outlives runs, regions in and out, runs.

use std::sync::Arc;

use lpu_chip::Chip;
use lpu_isa::{ChipId, Fill, Image, Instruction, Program, Region, RegionKind, SliceId, Violation};

use crate::arena::Arena;
use crate::elaborate::elaborate;
use crate::error::ReplayError;
use crate::places::Places;
use crate::run::Job;
use crate::team::{Team, Work};

/// A system of chips with their SRAM, and the threads that replay programs on it.
pub struct Replay {
    chip: Chip,
    places: Places,
    arena: Arena,
    team: Team,
}

/// A program ready to run, any number of times, on the engine that prepared it.
pub struct Prepared {
    cycles: u64,
    /// The plan, or the first fault of a program that is not legal.
    job: Result<Arc<Job>, Violation>,
}

/// What a run measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Cycles from the first to the last landing of an effect in any tile.
    pub cycles: u64,
}

impl Replay {
    /// An engine whose SRAM holds a copy of the image, with this many threads.
    ///
    /// # Errors
    /// [`ReplayError`] when the image does not fit the chip.
    pub fn new(chip: &Chip, image: &Image<'_>, threads: usize) -> Result<Self, ReplayError> {
        let places = Places::new(chip, image, None)?;
        let arena = Arena::new(None, places.end)?;
        let mut engine = Self { chip: chip.clone(), places, arena, team: Team::new(threads) };
        for extent in &image.extents {
            if let Fill::Bytes(bytes) = &extent.fill {
                for (word, bytes) in extent.place.words().zip(bytes.chunks_exact(chip.lanes())) {
                    engine.write_word(extent.place.chip, extent.place.slice, word, bytes)?;
                }
            }
        }
        Ok(engine)
    }

    /// Threads that run programs, the caller's included.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.team.members()
    }

    /// Proves a program legal over the image and makes it ready to run. A program that is not legal is prepared too: running it reports
    /// its first fault.
    ///
    /// # Errors
    /// [`ReplayError`] when queues have no meaning or regions do not fit.
    pub fn prepare(&self, image: &Image<'_>, program: &Program) -> Result<Prepared, ReplayError> {
        if program.queues.len() > self.places.chips {
            return Err(ReplayError::Chips { found: program.queues.len(), expected: self.places.chips });
        }
        for region in &program.regions {
            let found = region.runs.iter().map(|run| u64::from(run.count)).sum();
            if found != region.word_count() {
                return Err(ReplayError::RegionWords { region: region.name.clone(), needed: region.word_count(), found });
            }
            for (chip, slice, word) in region.words() {
                self.inside(|| format!("region `{}`", region.name), chip, slice, word)?;
            }
        }
        let report = lpu_checker::check(&self.chip, image, program)?;
        let cycles = report.cycles;
        if let Some(&first) = report.violations.first() {
            return Ok(Prepared { cycles, job: Err(first) });
        }
        let foreign = |issue: &&lpu_checker::Issue| {
            matches!(issue.instruction, Instruction::Config { .. } | Instruction::Send { .. } | Instruction::Receive { .. })
        };
        if let Some(issue) = report.flow.issues.iter().find(foreign) {
            return Err(ReplayError::Instruction { mnemonic: issue.instruction.row().mnemonic });
        }
        let plan = elaborate(&self.chip, &self.places, &report.flow, self.arena.words_end());
        let arena = self.arena.with_work(plan.work)?;
        Ok(Prepared { cycles, job: Ok(Arc::new(Job::new(plan, arena))) })
    }

    fn inside(&self, what: impl FnOnce() -> String, chip: ChipId, slice: SliceId, word: u32) -> Result<(), ReplayError> {
        if self.places.contains(chip, slice, word) {
            return Ok(());
        }
        Err(ReplayError::OutsideSram { what: what(), slice, word })
    }

    /// Fills an input region: its elements, little-endian, vector after vector.
    ///
    /// # Errors
    /// [`ReplayError`] when there is no such input, or the bytes do not fill it.
    pub fn write_input(&mut self, program: &Program, name: &str, bytes: &[u8]) -> Result<(), ReplayError> {
        let region = find(program, "input", name, |region| region.kind == RegionKind::Input)?;
        let expected = byte_count(region);
        if bytes.len() != expected {
            return Err(ReplayError::RegionBytes { region: name.into(), expected, found: bytes.len() });
        }
        let width = usize::from(region.format.bytes());
        let vector_bytes = region.lanes as usize * width;
        for (number, (chip, slice, word)) in region.words().enumerate() {
            let vector = &bytes[number / width * vector_bytes..][..vector_bytes];
            let cells = self.word_mut(chip, slice, word)?;
            cells.fill(0);
            for (cell, element) in cells.iter_mut().zip(vector.chunks_exact(width)) {
                *cell = element[number % width];
            }
        }
        Ok(())
    }

    /// Reads a region: its elements, little-endian, vector after vector.
    ///
    /// # Errors
    /// [`ReplayError`] when there is no such region.
    pub fn read_region(&self, program: &Program, name: &str) -> Result<Vec<u8>, ReplayError> {
        let region = find(program, "region", name, |_| true)?;
        let width = usize::from(region.format.bytes());
        let vector_bytes = region.lanes as usize * width;
        let mut bytes = vec![0; byte_count(region)];
        for (number, (chip, slice, word)) in region.words().enumerate() {
            let cells = self.read_word(chip, slice, word)?;
            let vector = &mut bytes[number / width * vector_bytes..][..vector_bytes];
            for (element, &cell) in vector.chunks_exact_mut(width).zip(cells) {
                element[number % width] = cell;
            }
        }
        Ok(bytes)
    }

    /// One word of SRAM.
    ///
    /// # Errors
    /// [`ReplayError::OutsideSram`] when there is no such word.
    pub fn read_word(&self, chip: ChipId, slice: SliceId, word: u32) -> Result<&[u8], ReplayError> {
        self.inside(|| "a word".into(), chip, slice, word)?;
        // SAFETY: runs end before `run` returns, and writers hold the engine mutably.
        Ok(unsafe { self.arena.bytes(self.places.word(chip, slice, word), self.places.lanes) })
    }

    /// Replaces one word of SRAM.
    ///
    /// # Errors
    /// [`ReplayError`] when there is no such word, or it has another length.
    pub fn write_word(&mut self, chip: ChipId, slice: SliceId, word: u32, bytes: &[u8]) -> Result<(), ReplayError> {
        let cells = self.word_mut(chip, slice, word)?;
        if bytes.len() != cells.len() {
            let (expected, found) = (cells.len(), bytes.len());
            return Err(ReplayError::RegionBytes { region: format!("word {word} of {slice}"), expected, found });
        }
        cells.copy_from_slice(bytes);
        Ok(())
    }

    fn word_mut(&mut self, chip: ChipId, slice: SliceId, word: u32) -> Result<&mut [u8], ReplayError> {
        self.inside(|| "a word".into(), chip, slice, word)?;
        // SAFETY: runs end before `run` returns, and the engine is held mutably.
        Ok(unsafe { self.arena.bytes_mut(self.places.word(chip, slice, word), self.places.lanes) })
    }

    /// Runs a program to its end.
    ///
    /// # Errors
    /// [`ReplayError::Fault`] with the first fault of a program that is not legal; SRAM stays as it is. [`ReplayError::OtherEngine`] when
    /// another engine prepared it.
    pub fn run(&mut self, prepared: &Prepared) -> Result<Run, ReplayError> {
        let job = prepared.job.as_ref().map_err(|first| ReplayError::Fault(*first))?;
        if !job.arena.shares(&self.arena) {
            return Err(ReplayError::OtherEngine);
        }
        let job: Arc<dyn Work> = Arc::clone(job) as _;
        self.team.run(&job);
        Ok(Run { cycles: prepared.cycles })
    }
}

fn byte_count(region: &Region) -> usize {
    region.vectors as usize * region.lanes as usize * usize::from(region.format.bytes())
}

fn find<'p>(program: &'p Program, kind: &'static str, name: &str, fits: impl Fn(&Region) -> bool) -> Result<&'p Region, ReplayError> {
    program.regions.iter().find(|region| region.name == name && fits(region)).ok_or_else(|| {
        let known: Vec<&str> = program.regions.iter().filter(|region| fits(region)).map(|region| region.name.as_str()).collect();
        ReplayError::UnknownRegion { kind, name: name.into(), known: known.join(", ") }
    })
}
