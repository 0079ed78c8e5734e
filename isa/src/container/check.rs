//! What must hold of a container's content so that it has exactly one binary form and no reader is misled.
//! Writer, reader and assembler ask here; whether a program is legal is the checker's business.

use std::collections::BTreeSet;

use super::error::ContentError;
use crate::program::{ChipId, Container, Extent, Fill, MAX_WORD, Program, Region, WordRun};
use crate::queue::{Item, Queue};
use crate::timeline::{Clock, MAX_CYCLES, validate};

/// The largest number of lanes that the format can express.
const MAX_LANES: u32 = 1 << 16;

pub(crate) fn vector_bytes(found: u32) -> Result<(), ContentError> {
    if (1..=MAX_LANES).contains(&found) { Ok(()) } else { Err(ContentError::VectorBytes { found }) }
}

pub(crate) fn name(what: &'static str, text: &str) -> Result<(), ContentError> {
    let length = text.len();
    if (1..=usize::from(u16::MAX)).contains(&length) { Ok(()) } else { Err(ContentError::Name { what, length }) }
}

pub(crate) fn run(place: WordRun, chips: usize) -> Result<(), ContentError> {
    if usize::from(place.chip.0) >= chips {
        return Err(ContentError::NoSuchChip { place, chips });
    }
    if place.count == 0 {
        return Err(ContentError::EmptyRun { place });
    }
    if place.stride == 0 {
        return Err(ContentError::ZeroStride { place });
    }
    let last = u128::from(place.word) + u128::from(place.count - 1) * u128::from(place.stride);
    if last > u128::from(MAX_WORD) { Err(ContentError::PastEnd { place }) } else { Ok(()) }
}

/// One extent after another; `before` is the place of the one before it.
pub(crate) fn extent(before: Option<WordRun>, extent: &Extent<'_>, vector_bytes: u32, chips: usize) -> Result<(), ContentError> {
    let place = extent.place;
    run(place, chips)?;
    if place.stride != 1 {
        return Err(ContentError::StridedExtent { place });
    }
    if let Some(before) = before {
        let key = |run: WordRun| (run.chip, run.slice, run.word);
        if key(before) > key(place) {
            return Err(ContentError::ExtentOrder { before, place });
        }
        if (before.chip, before.slice) == (place.chip, place.slice) && before.word + before.count > place.word {
            return Err(ContentError::ExtentOverlap { before, place });
        }
    }
    if let Fill::Bytes(bytes) = &extent.fill {
        let (expected, found) = (u64::from(place.count) * u64::from(vector_bytes), bytes.len() as u64);
        if expected != found {
            return Err(ContentError::ExtentBytes { place, expected, found });
        }
    }
    Ok(())
}

pub(crate) fn region(region: &Region, vector_bytes: u32, chips: usize) -> Result<(), ContentError> {
    name("region", &region.name)?;
    let Region { vectors, lanes, .. } = *region;
    if vectors == 0 || lanes == 0 || lanes > vector_bytes {
        return Err(ContentError::RegionShape { region: region.name.clone(), vectors, lanes, limit: vector_bytes });
    }
    for place in &region.runs {
        run(*place, chips)?;
    }
    let found = region.runs.iter().map(|run| u64::from(run.count)).sum();
    let expected = region.word_count();
    if expected == found { Ok(()) } else { Err(ContentError::RegionWords { region: region.name.clone(), expected, found }) }
}

pub(crate) fn queue(program: &str, chip: ChipId, queue: Queue, items: &[Item]) -> Result<(), ContentError> {
    if items.is_empty() {
        return Err(ContentError::EmptyQueue { program: program.into(), chip, queue });
    }
    if u32::try_from(items.len()).is_err() {
        return Err(ContentError::TooMany { what: "items of a queue", found: items.len() });
    }
    validate(queue, items).map_err(|error| ContentError::Queue { program: program.into(), chip, error })?;
    let mut clock = Clock::default();
    for item in items {
        clock.step(item);
    }
    cycles(program, clock.now())
}

pub(crate) fn cycles(program: &str, cycles: u64) -> Result<(), ContentError> {
    if cycles <= MAX_CYCLES { Ok(()) } else { Err(ContentError::TooLong { program: program.into(), cycles }) }
}

/// All of a program but its regions and queues.
pub(crate) fn program_head(name_text: &str, stated: u64, chips: usize) -> Result<(), ContentError> {
    name("program", name_text)?;
    cycles(name_text, stated)?;
    if (1..=usize::from(u16::MAX)).contains(&chips) { Ok(()) } else { Err(ContentError::Chips { program: name_text.into(), chips }) }
}

fn program(program: &Program, vector_bytes: u32) -> Result<(), ContentError> {
    let chips = program.queues.len();
    program_head(&program.name, program.cycles, chips)?;
    let mut names = BTreeSet::new();
    for each in &program.regions {
        region(each, vector_bytes, chips)?;
        if !names.insert(each.name.as_str()) {
            return Err(ContentError::DuplicateRegion { program: program.name.clone(), region: each.name.clone() });
        }
    }
    for (chip, queues) in (0..=u16::MAX).map(ChipId).zip(&program.queues) {
        for (&name, items) in queues {
            queue(&program.name, chip, name, items)?;
        }
    }
    Ok(())
}

/// The number of chips that a container's image can lie on.
pub(crate) fn chips(programs: &[Program]) -> usize {
    programs.iter().map(|program| program.queues.len()).max().unwrap_or(0)
}

pub(crate) fn container(container: &Container<'_>) -> Result<(), ContentError> {
    name("chip", &container.chip.name)?;
    let lanes = container.image.vector_bytes;
    vector_bytes(lanes)?;
    if container.programs.is_empty() {
        return Err(ContentError::NoPrograms);
    }
    let mut names = BTreeSet::new();
    for each in &container.programs {
        program(each, lanes)?;
        if !names.insert(each.name.as_str()) {
            return Err(ContentError::DuplicateProgram { name: each.name.clone() });
        }
    }
    let chips = chips(&container.programs);
    let mut before = None;
    for each in &container.image.extents {
        extent(before, each, lanes, chips)?;
        before = Some(each.place);
    }
    Ok(())
}
