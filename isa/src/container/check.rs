//! What must hold of a container's content so that it has exactly one binary form and no reader is misled.
//! Writer, reader and assembler ask here; whether a program is legal is the checker's business.

use std::collections::BTreeSet;
use std::num::NonZeroU64;

use crate::chips;
use crate::error::ContentError;
use crate::image::{Extent, Fill, begin};
use crate::program::{ChipProgram, Container, MAX_WORD, Program, Region, WordRun};
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

/// The places of an extent side by side.
pub(crate) fn pair(place: WordRun, other: Option<WordRun>) -> Result<(), ContentError> {
    match other.filter(|other| other.count != place.count) {
        Some(other) => Err(ContentError::UnequalPair { place, other }),
        None => Ok(()),
    }
}

/// An extent by itself.
pub(crate) fn extent(extent: &Extent<'_>, vector_bytes: u32, chips: usize) -> Result<(), ContentError> {
    for place in extent.places() {
        run(place, chips)?;
        if place.stride != 1 {
            return Err(ContentError::StridedExtent { place });
        }
    }
    let place = extent.place;
    pair(place, extent.other())?;
    let words = extent.places().count() * place.count as usize;
    let (found, live) = (extent.bytes().len(), extent.live());
    if extent.fill != Fill::Zero && (!found.is_multiple_of(words) || !(1..=vector_bytes as usize).contains(&live)) {
        return Err(ContentError::ExtentBytes { place, found: found as u64, words: words as u64, limit: vector_bytes });
    }
    Ok(())
}

/// Pairs of places that share words, by number, the lower first; each that begins inside another is in one. They come
/// in the order of places.
pub(crate) fn overlaps(places: &[WordRun]) -> impl Iterator<Item = (usize, usize)> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_unstable_by_key(|&index| (begin(places[index]), index));
    let end = |place: WordRun| u64::from(place.word) + u64::from(place.count);
    // Of the places that begin before one, that which ends last.
    let mut last: Option<usize> = None;
    order.into_iter().filter_map(move |index| {
        let place = places[index];
        let reaching = last.filter(|&last| (places[last].chip, places[last].slice) == (place.chip, place.slice));
        last = reaching.filter(|&last| end(places[last]) >= end(place)).or(Some(index));
        let meets = reaching.filter(|&last| end(places[last]) > u64::from(place.word))?;
        Some((index.min(meets), index.max(meets)))
    })
}

/// Whether no word is in two extents or twice in one; with a mistake comes the number of the extent that is after
/// the other.
pub(crate) fn apart(extents: &[Extent<'_>]) -> Result<(), (usize, ContentError)> {
    let places =
        extents.iter().enumerate().flat_map(|(number, extent)| extent.places().map(move |place| (number, place)));
    let (numbers, places): (Vec<usize>, Vec<WordRun>) = places.unzip();
    match overlaps(&places).next() {
        Some((before, index)) => {
            Err((numbers[index], ContentError::ExtentOverlap { before: places[before], place: places[index] }))
        }
        None => Ok(()),
    }
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
    if expected == found {
        Ok(())
    } else {
        Err(ContentError::RegionWords { region: region.name.clone(), expected, found })
    }
}

/// A queue of a set; the chips of the set start no later than in cycle `start`.
pub(crate) fn queue(program: &str, queue: Queue, items: &[Item], start: u64) -> Result<(), ContentError> {
    if items.is_empty() {
        return Err(ContentError::EmptyQueue { program: program.into(), queue });
    }
    if u32::try_from(items.len()).is_err() {
        return Err(ContentError::TooMany { what: "items of a queue", found: items.len() });
    }
    validate(queue, items).map_err(|error| ContentError::Queue { program: program.into(), error })?;
    let mut clock = Clock::default();
    for item in items {
        clock.step(item);
    }
    cycles(program, start + clock.now())
}

pub(crate) fn cycles(program: &str, cycles: u64) -> Result<(), ContentError> {
    if cycles <= MAX_CYCLES { Ok(()) } else { Err(ContentError::TooLong { program: program.into(), cycles }) }
}

/// All of a program but its regions and queues.
pub(crate) fn program_head(name_text: &str, stated: u64, chips: usize) -> Result<(), ContentError> {
    name("program", name_text)?;
    cycles(name_text, stated)?;
    if (1..=usize::from(u16::MAX)).contains(&chips) {
        Ok(())
    } else {
        Err(ContentError::Chips { program: name_text.into(), chips })
    }
}

fn program(program: &Program, vector_bytes: u32) -> Result<(), ContentError> {
    let chips = program.chips.len();
    program_head(&program.name, program.cycles, chips)?;
    cycles(&program.name, program.interval.map_or(0, NonZeroU64::get))?;
    let mut names = BTreeSet::new();
    for each in &program.regions {
        region(each, vector_bytes, chips)?;
        if !names.insert(each.name.as_str()) {
            return Err(ContentError::DuplicateRegion { program: program.name.clone(), region: each.name.clone() });
        }
    }
    chips::check(program)?;
    chips::distinct(program)?;
    for (set, start) in program.sets.iter().zip(latest_starts(&program.chips)) {
        for (&name, items) in set {
            queue(&program.name, name, items, start)?;
        }
    }
    Ok(())
}

/// The latest start of the chips of each set, of chips whose sets are numbered in order.
pub(crate) fn latest_starts(chips: &[ChipProgram]) -> Vec<u64> {
    let mut starts = Vec::new();
    for run in chips {
        let set = usize::from(run.set);
        starts.resize(starts.len().max(set + 1), 0);
        starts[set] = run.start.max(starts[set]);
    }
    starts
}

/// The number of chips that a container's image can be on.
pub(crate) fn chips(programs: &[Program]) -> usize {
    programs.iter().map(|program| program.chips.len()).max().unwrap_or(0)
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
    let extents = &container.image.extents;
    extents.iter().try_for_each(|each| extent(each, lanes, chips))?;
    apart(extents).map_err(|(_, error)| error)
}
