//! The engine as its users see it: SRAM that outlives runs, regions in and out, runs.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use lpu_chip::System;
use lpu_isa::{
    ChipId, Extent, Fill, Image, Program, Region, RegionError, RegionKind, SliceId, Sram, Violation, region,
};
use memmap2::MmapMut;

use crate::arena::{Arena, MappedFile};
use crate::cache::{self, ProgramOrigin};
use crate::elaborate::elaborate;
use crate::error::ReplayError;
use crate::places::{At, ChipPlaces, Places, StoredExtent, UNIT};
use crate::pool::{Pool, PoolWork};
use crate::run::{Job, Run};
use crate::system::SystemPlan;
use crate::validate::{chips_fit, validate};

/// What engines over one image share: the system, where each word is, the threads that replay programs. The SRAM of
/// each is its own ([`Replay::over`], [`Replay::over_mapped`]).
pub struct Platform {
    system: System,
    /// By chip: where its words are.
    chips: Vec<ChipPlaces>,
    pool: Pool,
    /// Where the image's bytes are in a mapped file.
    image: Range<usize>,
}

/// A system of chips with their SRAM.
pub struct Replay {
    platform: Arc<Platform>,
    /// The mapped file, if there is one.
    file: Option<Arc<MappedFile>>,
    /// By chip: its words.
    arenas: Vec<Arena>,
    /// Plans that were loaded, over this SRAM.
    jobs: Vec<Arc<Job>>,
    /// Whether a run ended in a panic.
    broken: bool,
}

/// What an image holds and where in a file, without its bytes.
#[derive(Clone, Debug)]
pub struct Outline {
    /// The extents; what they hold is left out.
    image: Image<'static>,
    /// Where their bytes are in the file.
    stored: Vec<Option<StoredExtent>>,
    /// Extents that have bytes, but not where they could be used in place.
    copies: Vec<Extent<'static>>,
}

impl Outline {
    /// The outline of an image that borrows from a file's bytes.
    #[must_use]
    pub fn new(image: &Image<'_>, file: &[u8]) -> Self {
        let stored = |extent: &Extent<'_>| {
            let (bytes, live) = (extent.bytes(), extent.live());
            let at = (bytes.as_ptr() as usize).checked_sub(file.as_ptr() as usize).filter(|_| !bytes.is_empty())?;
            let aligned = at.is_multiple_of(UNIT) && live.is_multiple_of(UNIT) && live <= image.vector_bytes as usize;
            let alike = extent.places().all(|place| place.count == extent.place.count);
            (aligned && alike && at + bytes.len() <= file.len()).then_some(StoredExtent { at, live })
        };
        let mut stored: Vec<_> = image.extents.iter().map(stored).collect();
        // Bytes that two extents share, which no file has, serve one of them: words are written in place.
        let mut order: Vec<(usize, usize)> =
            stored.iter().enumerate().filter_map(|(index, stored)| Some((stored.as_ref()?.at, index))).collect();
        order.sort_unstable();
        let mut end = 0;
        for (at, index) in order {
            if at < end {
                stored[index] = None;
            } else {
                end = at + image.extents[index].bytes().len();
            }
        }
        let copies =
            image.extents.iter().zip(&stored).filter(|(extent, stored)| stored.is_none() && extent.fill != Fill::Zero);
        let copies = copies.map(|(extent, _)| extent.with(extent.bytes().to_vec())).collect();
        let extents = image.extents.iter().map(|extent| extent.with(&[][..]));
        Self { image: Image { vector_bytes: image.vector_bytes, extents: extents.collect() }, stored, copies }
    }

    /// From the first to the last byte of the image that is in the file.
    fn span(&self) -> Range<usize> {
        let part = |extent: &Extent<'_>, stored: &StoredExtent| {
            stored.at..stored.at + extent.places().map(|place| place.count as usize * stored.live).sum::<usize>()
        };
        let parts = self
            .image
            .extents
            .iter()
            .zip(&self.stored)
            .filter_map(|(extent, stored)| Some(part(extent, stored.as_ref()?)));
        parts.reduce(|all, part| all.start.min(part.start)..all.end.max(part.end)).unwrap_or(0..0)
    }

    /// The extents; what they hold is left out.
    #[must_use]
    pub fn image(&self) -> &Image<'static> {
        &self.image
    }
}

/// A program ready to run, any number of times, on every engine of the platform that it was prepared on.
#[derive(Clone)]
pub struct Prepared {
    platform: Arc<Platform>,
    run: Run,
    /// The plans, or the first fault of a program that is not legal.
    plan: Result<Arc<SystemPlan>, Violation>,
    /// Words that the host fills, each with its chip.
    inputs: Arc<[(u16, At)]>,
}

impl Platform {
    /// A platform for engines that hold copies of an image, with this many threads.
    ///
    /// # Errors
    /// [`ReplayError`] when the image does not fit the chip.
    pub fn new(system: &System, image: &Image<'_>, threads: usize) -> Result<Self, ReplayError> {
        let chips = Places::of_system(system, image, &[], 0)?;
        Ok(Self { system: system.clone(), chips, pool: Pool::new(threads)?, image: 0..0 })
    }

    /// A platform for engines over mappings of a program file of so many bytes.
    ///
    /// # Errors
    /// [`ReplayError`] when the image does not fit the chip.
    pub fn mapped(system: &System, outline: &Outline, file: usize, threads: usize) -> Result<Self, ReplayError> {
        let chips = Places::of_system(system, &outline.image, &outline.stored, file)?;
        Ok(Self { system: system.clone(), chips, pool: Pool::new(threads)?, image: outline.span() })
    }

    /// Threads that run programs, the caller's included.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.pool.workers()
    }
}

impl Replay {
    /// An engine whose SRAM holds a copy of the image, with this many threads.
    ///
    /// # Errors
    /// [`ReplayError`] when the image does not fit the chip.
    pub fn new(system: &System, image: &Image<'_>, threads: usize) -> Result<Self, ReplayError> {
        Self::over(&Arc::new(Platform::new(system, image, threads)?), image)
    }

    /// An engine of a platform for copies, whose SRAM holds one of the platform's image.
    ///
    /// # Errors
    /// [`ReplayError`] when there is no memory for it, or the image is another one.
    pub fn over(platform: &Arc<Platform>, image: &Image<'_>) -> Result<Self, ReplayError> {
        Self::laid_down(platform, None, &image.extents)
    }

    /// An engine whose SRAM is a program file mapped privately, so that its bytes serve in place and what runs write
    /// stays in this process.
    ///
    /// # Errors
    /// [`ReplayError`] when the image does not fit the chip.
    pub fn mapped(system: &System, outline: &Outline, file: MmapMut, threads: usize) -> Result<Self, ReplayError> {
        Self::over_mapped(&Arc::new(Platform::mapped(system, outline, file.len(), threads)?), outline, file)
    }

    /// An engine of a platform for mappings, whose SRAM is a mapping of its own of the platform's file.
    ///
    /// # Errors
    /// [`ReplayError`] when there is no memory for it, or the file is another one.
    pub fn over_mapped(platform: &Arc<Platform>, outline: &Outline, file: MmapMut) -> Result<Self, ReplayError> {
        // Content that is not as the engine needs it is copied.
        Self::laid_down(platform, Some(file), &outline.copies)
    }

    fn laid_down(platform: &Arc<Platform>, file: Option<MmapMut>, extents: &[Extent<'_>]) -> Result<Self, ReplayError> {
        let file = file.map(|file| Arc::new(MappedFile::new(file)));
        let arena = |chip: &ChipPlaces| Arena::new(file.as_ref().map(|file| (file, chip.file.start)), &chip.places);
        let arenas = platform.chips.iter().map(arena).collect::<Result<_, _>>()?;
        let mut engine = Self { platform: Arc::clone(platform), file, arenas, jobs: Vec::new(), broken: false };
        for extent in extents {
            engine.lay_down(extent)?;
        }
        engine.arenas.iter().for_each(Arena::laid_down);
        Ok(engine)
    }

    /// What the engine shares with others.
    #[must_use]
    pub fn platform(&self) -> &Arc<Platform> {
        &self.platform
    }

    /// Maps the image of a mapped file into memory at once. Runs do it too, page by page, and so more slowly.
    pub fn populate(&self) {
        if let Some(file) = &self.file {
            file.populate(self.platform.image.clone());
        }
    }

    /// Threads that run programs, the caller's included.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.platform.threads()
    }

    /// Proves a program legal over the image and makes it ready to run. A program that is not legal is prepared too:
    /// running it reports its first fault.
    ///
    /// # Errors
    /// [`ReplayError`] when queues have no meaning or regions do not fit.
    pub fn prepare(&self, image: &Image<'_>, program: &Program) -> Result<Prepared, ReplayError> {
        self.fits(program)?;
        let report = lpu_checker::check_system(&self.platform.system, image, program)?;
        let run = Run { cycles: report.cycles, fetched: report.fetched, overflow: false };
        let plan = match report.violations.first() {
            Some(&first) => Err(first),
            None => Ok(Arc::new(elaborate(&self.platform.chips, &report.flow, self.threads())?)),
        };
        Ok(Prepared { platform: Arc::clone(&self.platform), run, plan, inputs: self.inputs(program) })
    }

    /// Makes a program that was prepared on the platform ready to run over this engine's SRAM. Runs do it when it has
    /// not been done.
    ///
    /// # Errors
    /// [`ReplayError::OtherEngine`] when it was prepared on another platform; [`ReplayError`] when there is no memory.
    pub fn load(&mut self, prepared: &Prepared) -> Result<(), ReplayError> {
        match self.job(prepared) {
            Ok(_) | Err(ReplayError::Fault(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn job(&mut self, prepared: &Prepared) -> Result<Arc<Job>, ReplayError> {
        if !Arc::ptr_eq(&prepared.platform, &self.platform) {
            return Err(ReplayError::OtherEngine);
        }
        let plan = prepared.plan.as_ref().map_err(|first| ReplayError::Fault(*first))?;
        if let Some(job) = self.jobs.iter().find(|job| Arc::ptr_eq(&job.plans, plan)) {
            return Ok(Arc::clone(job));
        }
        // The host will fill inputs, and rows are read where they are as long as no more words are materialised.
        for &(chip, at) in &*prepared.inputs {
            self.arenas[usize::from(chip)].materialise(at, self.platform.system.chip().lanes());
        }
        // Plans that only this engine has will not be asked for.
        self.jobs.retain(|job| job.is_shared());
        let job = Arc::new(Job::new(Arc::clone(plan), &self.arenas, self.platform.pool.workers())?);
        self.jobs.push(Arc::clone(&job));
        Ok(job)
    }

    /// Words that the host fills.
    fn inputs(&self, program: &Program) -> Arc<[(u16, At)]> {
        let inputs = program.regions.iter().filter(|region| region.kind == RegionKind::Input);
        inputs.flat_map(Region::words).map(|(chip, slice, word)| (chip.0, self.at(chip, slice, word))).collect()
    }

    /// Where a word is among those of its chip; it must be inside.
    fn at(&self, chip: ChipId, slice: SliceId, word: u32) -> At {
        self.platform.chips[usize::from(chip.0)].places.word(slice, word)
    }

    /// Whether chips and regions of a program, whose queues may be left out, fit the machine.
    fn fits(&self, program: &Program) -> Result<(), ReplayError> {
        if let Some(&first) = self.platform.system.absent_of_program(program).first() {
            return Err(ReplayError::ChipAbsent(first));
        }
        for region in &program.regions {
            region::fits(self, region)?;
        }
        Ok(())
    }

    /// The plan of a program as bytes that [`Replay::restore`] takes; nothing for a program that is not legal.
    #[must_use]
    pub fn keep(&self, prepared: &Prepared, origin: ProgramOrigin) -> Option<Vec<u8>> {
        cache::write(&self.key(origin), prepared.run, prepared.plan.as_ref().ok()?)
    }

    /// A program that was proven legal before, from the bytes of [`Replay::keep`]; its queues may be left out. Nothing
    /// when they are not the bytes of this program, this file, this chip and this version of the engine, or are
    /// damaged: prove it again then.
    #[must_use]
    pub fn restore(&self, program: &Program, origin: ProgramOrigin, bytes: &[u8]) -> Option<Prepared> {
        self.fits(program).ok()?;
        let (run, plans, chips) = cache::read(&self.key(origin), program, bytes)?;
        let plans: Vec<Arc<_>> = plans.into_iter().map(Arc::new).collect();
        let (placed, lanes) = (&self.platform.chips, self.platform.system.chip().lanes());
        if !chips_fit(&plans, &chips, placed.len()) {
            return None;
        }
        // Chips with one plan and equal places are validated once.
        let mut valid: Vec<(u32, *const Places)> = Vec::new();
        for ((of, placed), arena) in chips.iter().zip(placed).zip(&self.arenas) {
            let (plan, places) = (&plans[of.plan as usize], Arc::as_ptr(&placed.places));
            if !valid.contains(&(of.plan, places)) {
                if !validate(plan, &arena.with_work(plan.work).ok()?, lanes) {
                    return None;
                }
                valid.push((of.plan, places));
            }
        }
        let plan = Ok(Arc::new(SystemPlan::new(plans, chips).ok()?));
        Some(Prepared { platform: Arc::clone(&self.platform), run, plan, inputs: self.inputs(program) })
    }

    /// All that the plan of a program depends on, as the key of the checksum of [`Replay::keep`]'s bytes: file, chip,
    /// engine, places of words.
    #[must_use]
    pub fn key(&self, origin: ProgramOrigin) -> [u8; 32] {
        cache::key(origin, self.platform.system.reference().fingerprint, &self.platform.chips)
    }

    /// Fills an input region: its elements, little-endian, vector after vector.
    ///
    /// # Errors
    /// [`ReplayError`] when there is no such input, or the bytes do not fill it.
    pub fn write_input(&mut self, program: &Program, name: &str, bytes: &[u8]) -> Result<(), ReplayError> {
        Ok(region::write_input(self, program, name, bytes)?)
    }

    /// Reads a region: its elements, little-endian, vector after vector.
    ///
    /// # Errors
    /// [`ReplayError`] when there is no such region.
    pub fn read_region(&self, program: &Program, name: &str) -> Result<Vec<u8>, ReplayError> {
        Ok(region::read_region(self, program, name)?)
    }

    /// One word of SRAM.
    ///
    /// # Errors
    /// [`ReplayError`] when there is no such word.
    pub fn read_word(&self, chip: ChipId, slice: SliceId, word: u32) -> Result<Cow<'_, [u8]>, ReplayError> {
        Ok(region::read_word(self, chip, slice, word)?)
    }

    /// Replaces one word of SRAM.
    ///
    /// # Errors
    /// [`ReplayError`] when there is no such word, or it has another length.
    pub fn write_word(&mut self, chip: ChipId, slice: SliceId, word: u32, bytes: &[u8]) -> Result<(), ReplayError> {
        Ok(region::write_word(self, chip, slice, word, bytes)?)
    }

    /// Puts the bytes of an extent where its words are, which are zero so far.
    fn lay_down(&mut self, extent: &Extent<'_>) -> Result<(), ReplayError> {
        for (chip, slice, word, bytes) in extent.words().filter(|(.., bytes)| !bytes.is_empty()) {
            let what = || "an extent of the image".into();
            let cells = self.word_mut(chip, slice, word);
            let cells = cells.ok_or_else(|| RegionError::OutsideSram { what: what(), slice, word })?;
            let (found, expected) = (bytes.len() as u32, cells.len());
            cells.get_mut(..bytes.len()).ok_or(ReplayError::VectorBytes { found, expected })?.copy_from_slice(&bytes);
        }
        Ok(())
    }

    /// Runs a program to its end. Engines of one platform run in turn, whichever threads call them.
    ///
    /// # Errors
    /// [`ReplayError::Fault`] with the first fault of a program that is not legal; SRAM stays as it is.
    /// [`ReplayError::OtherEngine`] when it was prepared on another platform; [`ReplayError::Broken`] after a run that
    /// panicked.
    ///
    /// # Panics
    /// Where a thread of the engine does, once the others have stopped.
    pub fn run(&mut self, prepared: &Prepared) -> Result<Run, ReplayError> {
        let job = self.job(prepared)?;
        if self.broken {
            return Err(ReplayError::Broken);
        }
        job.begin();
        let work: Arc<dyn PoolWork> = Arc::clone(&job) as _;
        self.broken = true;
        self.platform.pool.run(&work);
        self.broken = false;
        Ok(Run { overflow: job.overflow(), ..prepared.run })
    }
}

impl Sram for Replay {
    fn lanes(&self) -> usize {
        self.platform.system.chip().lanes()
    }

    fn has_word(&self, chip: ChipId, slice: SliceId, word: u32) -> bool {
        self.platform.chips.get(usize::from(chip.0)).is_some_and(|placed| placed.places.contains(slice, word))
    }

    fn word(&self, chip: ChipId, slice: SliceId, word: u32) -> Option<Cow<'_, [u8]>> {
        // SAFETY: runs end before `run` returns, and writers hold the engine mutably.
        let bytes = || unsafe { self.arenas[usize::from(chip.0)].word(self.at(chip, slice, word)) };
        self.has_word(chip, slice, word).then(bytes)
    }

    fn word_mut(&mut self, chip: ChipId, slice: SliceId, word: u32) -> Option<&mut [u8]> {
        if !self.has_word(chip, slice, word) {
            return None;
        }
        let (at, lanes) = (self.at(chip, slice, word), self.lanes());
        let arena = &self.arenas[usize::from(chip.0)];
        arena.materialise(at, lanes);
        arena.note_written(at);
        // SAFETY: runs end before `run` returns, and the engine is held mutably.
        Some(unsafe { arena.bytes_mut(at, lanes) })
    }
}
