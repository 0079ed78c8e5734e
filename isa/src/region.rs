//! Regions in SRAM: the elements that a host writes before a run and reads after it.
//!
//! An engine is an [`Sram`]. How the elements of a [`Region`] are spread over its words is defined here, once for all
//! engines.

use std::borrow::Cow;
use std::ops::Range;

use thiserror::Error;

use crate::place::{ChipId, SliceId};
use crate::program::{Program, Region, RegionKind};

/// The SRAM of a system of chips, as a host sees it between runs.
///
/// Whether a word is initialised does not follow from these accesses: the image initialises words once, a run those of
/// its input regions at its start, and its own writes the others.
pub trait Sram {
    /// Bytes of a word, which is the number of lanes.
    fn lanes(&self) -> usize;

    /// Whether the system has this word.
    fn has_word(&self, chip: ChipId, slice: SliceId, word: u32) -> bool;

    /// All bytes of a word, zero where it was never written; nothing when there is no such word.
    fn word(&self, chip: ChipId, slice: SliceId, word: u32) -> Option<Cow<'_, [u8]>>;

    /// All bytes of a word, to replace them; nothing when there is no such word.
    fn word_mut(&mut self, chip: ChipId, slice: SliceId, word: u32) -> Option<&mut [u8]>;
}

/// A region, or a word, that cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RegionError {
    /// A region of that name does not exist.
    #[error("the program has no {kind} `{name}`; {}", choice(known))]
    Unknown {
        /// `input` or `region`.
        kind: &'static str,
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// A region whose runs hold another number of words than its shape needs.
    #[error("region `{region}` needs {needed} words, its runs hold {found}; make its runs match its shape")]
    Words {
        /// The region.
        region: String,
        /// Words that the shape needs.
        needed: u64,
        /// Words in the runs.
        found: u64,
    },
    /// A region with more lanes than a word has.
    #[error("region `{region}` has {lanes} lanes, a vector of this chip {limit}; use the chip that the program names")]
    Lanes {
        /// The region.
        region: String,
        /// Its lanes.
        lanes: u32,
        /// Lanes of a vector.
        limit: usize,
    },
    /// A word that the system does not have.
    #[error("{what} is at word {word} of slice {slice}, outside the chip; use the chip that the program names")]
    OutsideSram {
        /// The region, the extent of the image, or the word.
        what: String,
        /// The slice.
        slice: SliceId,
        /// The first word outside.
        word: u32,
    },
    /// Bytes that do not fill a region.
    #[error("region `{region}` takes {expected} bytes, found {found}; give every element of its [vectors, lanes]")]
    Bytes {
        /// The region.
        region: String,
        /// Bytes that the shape needs.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// Bytes that do not fill a word.
    #[error("word {word} of slice {slice} takes {expected} bytes, found {found}; give one byte a lane")]
    WordBytes {
        /// The slice.
        slice: SliceId,
        /// The word.
        word: u32,
        /// Bytes of a word.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
}

impl RegionError {
    fn no_word(slice: SliceId, word: u32) -> Self {
        Self::OutsideSram { what: "a word".into(), slice, word }
    }
}

/// Holds a region to its own shape and to the SRAM.
///
/// # Errors
/// [`RegionError`] when the runs do not match the shape, or are not in the SRAM.
pub fn fits(sram: &(impl Sram + ?Sized), region: &Region) -> Result<(), RegionError> {
    let (needed, found) = (region.word_count(), region.runs.iter().map(|run| u64::from(run.count)).sum());
    if found != needed {
        return Err(RegionError::Words { region: region.name.clone(), needed, found });
    }
    if region.lanes as usize > sram.lanes() {
        return Err(RegionError::Lanes { region: region.name.clone(), lanes: region.lanes, limit: sram.lanes() });
    }
    match region.words().find(|&(chip, slice, word)| !sram.has_word(chip, slice, word)) {
        Some((_, slice, word)) => {
            Err(RegionError::OutsideSram { what: format!("region `{}`", region.name), slice, word })
        }
        None => Ok(()),
    }
}

/// Fills an input region: its elements, little-endian, vector after vector. Lanes after those of the region become
/// zero.
///
/// # Errors
/// [`RegionError`] when there is no such input, it does not fit, or the bytes do not fill it.
pub fn write_input(
    sram: &mut (impl Sram + ?Sized),
    program: &Program,
    name: &str,
    bytes: &[u8],
) -> Result<(), RegionError> {
    let region = find(program, "input", name, |region| region.kind == RegionKind::Input)?;
    fits(sram, region)?;
    let (expected, found) = (byte_count(region), bytes.len());
    if found != expected {
        return Err(RegionError::Bytes { region: name.into(), expected, found });
    }
    for (elements, plane, (chip, slice, word)) in planes(region) {
        let cells = sram.word_mut(chip, slice, word).ok_or_else(|| RegionError::no_word(slice, word))?;
        cells.fill(0);
        for (cell, element) in cells.iter_mut().zip(bytes[elements].chunks_exact(region.format.bytes().into())) {
            *cell = element[plane];
        }
    }
    Ok(())
}

/// Reads a region: its elements, little-endian, vector after vector.
///
/// # Errors
/// [`RegionError`] when there is no such region, or it does not fit.
pub fn read_region(sram: &(impl Sram + ?Sized), program: &Program, name: &str) -> Result<Vec<u8>, RegionError> {
    let region = named(program, name)?;
    fits(sram, region)?;
    let mut bytes = vec![0; byte_count(region)];
    for (elements, plane, (chip, slice, word)) in planes(region) {
        let cells = read_word(sram, chip, slice, word)?;
        for (element, &cell) in bytes[elements].chunks_exact_mut(region.format.bytes().into()).zip(cells.iter()) {
            element[plane] = cell;
        }
    }
    Ok(bytes)
}

/// One word of SRAM.
///
/// # Errors
/// [`RegionError::OutsideSram`] when there is no such word.
pub fn read_word(
    sram: &(impl Sram + ?Sized),
    chip: ChipId,
    slice: SliceId,
    word: u32,
) -> Result<Cow<'_, [u8]>, RegionError> {
    sram.word(chip, slice, word).ok_or_else(|| RegionError::no_word(slice, word))
}

/// Replaces one word of SRAM.
///
/// # Errors
/// [`RegionError`] when there is no such word, or it has another length.
pub fn write_word(
    sram: &mut (impl Sram + ?Sized),
    chip: ChipId,
    slice: SliceId,
    word: u32,
    bytes: &[u8],
) -> Result<(), RegionError> {
    let (expected, found) = (sram.lanes(), bytes.len());
    let cells = sram.word_mut(chip, slice, word).ok_or_else(|| RegionError::no_word(slice, word))?;
    if found != expected {
        return Err(RegionError::WordBytes { slice, word, expected, found });
    }
    cells.copy_from_slice(bytes);
    Ok(())
}

/// Bytes of a vector's elements.
fn vector_bytes(region: &Region) -> usize {
    region.lanes as usize * usize::from(region.format.bytes())
}

fn byte_count(region: &Region) -> usize {
    region.vectors as usize * vector_bytes(region)
}

/// A word of a region: which bytes of the region are its vector's elements, which byte of an element it holds, where it
/// is.
type RegionWord = (Range<usize>, usize, (ChipId, SliceId, u32));

/// The words of a region in order, byte plane after byte plane of each vector.
fn planes(region: &Region) -> impl Iterator<Item = RegionWord> + '_ {
    let (width, each) = (usize::from(region.format.bytes()), vector_bytes(region));
    region.words().enumerate().map(move |(number, place)| {
        let first = number / width * each;
        (first..first + each, number % width, place)
    })
}

/// The region of this name.
///
/// # Errors
/// [`RegionError::Unknown`] when there is none.
pub fn named<'p>(program: &'p Program, name: &str) -> Result<&'p Region, RegionError> {
    find(program, "region", name, |_| true)
}

fn find<'p>(
    program: &'p Program,
    kind: &'static str,
    name: &str,
    of_kind: impl Fn(&Region) -> bool,
) -> Result<&'p Region, RegionError> {
    let regions = || program.regions.iter().filter(|region| of_kind(region));
    regions().find(|region| region.name == name).ok_or_else(|| {
        let known = regions().map(|region| region.name.clone()).collect();
        RegionError::Unknown { kind, name: name.into(), known }
    })
}

fn choice(known: &[String]) -> String {
    if known.is_empty() { "it has none".into() } else { format!("it has {}; name one of these", known.join(", ")) }
}
