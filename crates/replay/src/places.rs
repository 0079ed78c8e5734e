//! The host address of each word of a chip's SRAM.
//!
//! Addresses are local to the chip: words of the image's extents come first, in the order of the file and as far apart
//! as there, so that a mapped file serves in place; then all others. Words that the file does not hold as such, but
//! their first lanes or the bytes of two in turn, are truncated: full ones have addresses after it, before the others.
//! Chips whose extents have the same shape, order and distances share one set of places.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use lpu_chip::System;
use lpu_isa::{Hemisphere, Image, RegionError, SliceId, WordRun};
use serde::{Deserialize, Serialize};

use crate::error::ReplayError;

/// An address on the host, in sixteens of bytes from the beginning of a chip's arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct At(pub(crate) u32);

/// Bytes of a unit of [`At`].
pub(crate) const UNIT: usize = 16;

impl At {
    pub(crate) fn from_bytes(bytes: u64) -> Self {
        debug_assert!(bytes.is_multiple_of(UNIT as u64), "addresses are aligned");
        Self((bytes / UNIT as u64) as u32)
    }

    pub(crate) fn bytes(self) -> usize {
        self.0 as usize * UNIT
    }

    pub(crate) fn plus(self, bytes: usize) -> Self {
        Self(self.0 + (bytes / UNIT) as u32)
    }
}

/// Where a file has the bytes of an extent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredExtent {
    /// Offset of the first.
    pub(crate) at: usize,
    /// Bytes of each word.
    pub(crate) live: usize,
}

/// Consecutive words of which the file has only the first lanes, or has them in turn with those of other words; the
/// other lanes are zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Truncated {
    /// Where the full words are, once they are materialised.
    pub(crate) full: At,
    pub(crate) count: usize,
    /// How the file has the first of them.
    pub(crate) first: StoredLanes,
}

/// The first lanes of a word in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredLanes {
    /// Where they begin.
    pub(crate) at: At,
    /// How many.
    pub(crate) live: usize,
    /// Which byte of each pair is theirs, if they alternate byte by byte with those of another word.
    pub(crate) turn: Option<u8>,
}

impl StoredLanes {
    /// Bytes from one word to the next.
    pub(crate) fn each(self) -> usize {
        self.live * if self.turn.is_some() { 2 } else { 1 }
    }

    /// Those of word number `number` after this one.
    pub(crate) fn plus(self, number: usize) -> Self {
        Self { at: self.at.plus(number * self.each()), ..self }
    }
}

/// Consecutive words of a slice that are one after another.
#[derive(Clone, Copy, Debug)]
struct Segment {
    word: u32,
    count: u32,
    at: At,
}

/// Whether addresses reach so many bytes.
pub(crate) fn fits(bytes: u64) -> Result<(), ReplayError> {
    if bytes.div_ceil(UNIT as u64) > u64::from(u32::MAX) { Err(ReplayError::TooLarge { bytes }) } else { Ok(()) }
}

/// The places of a chip's words, and the bytes of the file that its addresses begin with.
#[derive(Clone, Debug)]
pub(crate) struct ChipPlaces {
    /// The places; chips with equal ones share them.
    pub(crate) places: Arc<Places>,
    /// From the first byte in the file of a word of the chip to the last.
    pub(crate) file: Range<usize>,
}

/// The host address of every word of a chip.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) lanes: usize,
    words: u32,
    slices_a_side: usize,
    /// By slice, in order of words, without gaps.
    slices: Vec<Vec<Segment>>,
    /// In order of their full words.
    pub(crate) truncated: Vec<Truncated>,
    /// Bytes of the file.
    pub(crate) file: u64,
    /// Where words that are not in the file begin: at a page after the last byte of the file, so that no word of the
    /// file has a neighbour in another mapping.
    pub(crate) split: u64,
    /// Bytes of all words of the file, with the full words of truncated ones: all that an image holds from the start.
    pub(crate) held: u64,
    /// Bytes of all words.
    pub(crate) end: u64,
}

/// A run of words of an extent on one chip, and how a file has it.
struct StoredRun {
    place: WordRun,
    /// Offset in the file, bytes of each word, and which byte of each pair if there are two words' in turn.
    stored: Option<(StoredExtent, Option<u8>)>,
}

impl StoredRun {
    /// Bytes of the file from its first to its last.
    fn file(&self) -> Option<Range<usize>> {
        let (stored, turn) = self.stored?;
        Some(stored.at..stored.at + self.place.count as usize * stored.live * if turn.is_some() { 2 } else { 1 })
    }
}

impl Places {
    /// Places for an image, by chip. Extents that are stored are in a file of `mapped` bytes.
    pub(crate) fn of_system(
        system: &System,
        image: &Image<'_>,
        stored: &[Option<StoredExtent>],
        mapped: usize,
    ) -> Result<Vec<ChipPlaces>, ReplayError> {
        let chip = system.chip();
        if !image.extents.is_empty() && image.vector_bytes as usize != chip.lanes() {
            return Err(ReplayError::VectorBytes { found: image.vector_bytes, expected: chip.lanes() });
        }
        if let Some(&first) = system.absent_of_image(image).first() {
            return Err(ReplayError::ChipAbsent(first));
        }
        fits(chip.sram_bytes())?;
        let empty = Self::empty(system);
        let mut chips: Vec<Vec<StoredRun>> = (0..system.chips()).map(|_| Vec::new()).collect();
        for (index, extent) in image.extents.iter().enumerate() {
            for place in extent.places() {
                let last = place.word.saturating_add(place.count.max(1) - 1);
                if !empty.contains(place.slice, last) {
                    let what = "an extent of the image".into();
                    return Err(RegionError::OutsideSram { what, slice: place.slice, word: last }.into());
                }
            }
            let stored = stored.get(index).copied().flatten();
            let paired = extent.other().is_some();
            for (turn, place) in (0..).zip(extent.places()) {
                let part = StoredRun { place, stored: stored.map(|stored| (stored, paired.then_some(turn))) };
                if let Some(file) = part.file().filter(|file| file.end > mapped) {
                    return Err(ReplayError::CutFile { needed: file.end as u64, found: mapped });
                }
                chips[usize::from(place.chip.0)].push(part);
            }
        }
        let mut known: HashMap<[u8; 32], Arc<Self>> = HashMap::new();
        let placed = chips.into_iter().map(|parts| {
            let files = parts.iter().filter_map(StoredRun::file);
            let file = files.reduce(|all, part| all.start.min(part.start)..all.end.max(part.end)).unwrap_or(0..0);
            let places = empty.clone().of_parts(&parts, &file)?;
            let mut hasher = blake3::Hasher::new();
            places.digest(&mut hasher);
            let places = known.entry(*hasher.finalize().as_bytes()).or_insert_with(|| Arc::new(places));
            Ok(ChipPlaces { places: Arc::clone(places), file })
        });
        placed.collect()
    }

    /// No places yet.
    fn empty(system: &System) -> Self {
        let chip = system.chip();
        let slices_a_side = chip.values().slices_per_side as usize;
        Self {
            words: chip.words_per_slice(),
            slices_a_side,
            slices: vec![Vec::new(); 2 * slices_a_side],
            ..Self::bytes(0, chip.lanes())
        }
    }

    /// The places of a chip whose extents are these, over its bytes of the file.
    fn of_parts(mut self, parts: &[StoredRun], file: &Range<usize>) -> Result<Self, ReplayError> {
        self.file = file.len() as u64;
        self.end = if file.is_empty() { 0 } else { (self.file + 1).next_multiple_of(4096) };
        self.split = self.end;
        fits(self.end)?;
        for part in parts {
            let Some((stored, turn)) = part.stored else { continue };
            let (count, lanes) = (part.place.count as usize, self.lanes);
            let first = StoredLanes { at: At::from_bytes((stored.at - file.start) as u64), live: stored.live, turn };
            let at = if first.live == lanes && turn.is_none() {
                first.at
            } else {
                // A gap keeps words of different extents from being neighbours.
                let room = self.reserve(count as u64 * lanes as u64 + 1)?;
                self.truncated.push(Truncated { full: room, count, first });
                room
            };
            self.put(part.place, at);
        }
        self.end = self.end.next_multiple_of(4096);
        self.held = self.end;
        for part in parts.iter().filter(|part| part.stored.is_none()) {
            let at = self.reserve(u64::from(part.place.count) * self.lanes as u64)?;
            self.put(part.place, at);
        }
        for slice in 0..self.slices.len() {
            self.fill_gaps(slice)?;
        }
        Ok(self)
    }

    /// Only that many bytes, of no slice.
    pub(crate) fn bytes(end: u64, lanes: usize) -> Self {
        Self {
            lanes,
            words: 0,
            slices_a_side: 0,
            slices: Vec::new(),
            truncated: Vec::new(),
            file: 0,
            split: 0,
            held: 0,
            end,
        }
    }

    fn put(&mut self, WordRun { slice, word, count, .. }: WordRun, at: At) {
        let slice = self.slice(slice);
        self.slices[slice].push(Segment { word, count, at });
    }

    /// Room for more bytes after all others.
    fn reserve(&mut self, bytes: u64) -> Result<At, ReplayError> {
        let at = At::from_bytes(self.end);
        self.end += bytes.next_multiple_of(64);
        fits(self.end).map(|()| at)
    }

    fn fill_gaps(&mut self, slice: usize) -> Result<(), ReplayError> {
        let mut known = std::mem::take(&mut self.slices[slice]);
        known.sort_unstable_by_key(|segment| segment.word);
        let mut all = Vec::with_capacity(2 * known.len() + 1);
        let mut next = 0;
        let end = Segment { word: self.words, count: 0, at: At(0) };
        for segment in known.into_iter().chain([end]) {
            if segment.word > next {
                let count = segment.word - next;
                let at = self.reserve(u64::from(count) * self.lanes as u64)?;
                all.push(Segment { word: next, count, at });
                next = segment.word;
            }
            // A word that two extents name, which no file does, is where the first one has it.
            let known = (next - segment.word).min(segment.count);
            let (word, count, at) =
                (segment.word + known, segment.count - known, segment.at.plus(known as usize * self.lanes));
            if count > 0 {
                all.push(Segment { word, count, at });
                next = word + count;
            }
        }
        self.slices[slice] = all;
        Ok(())
    }

    /// Adds to a hash where every word is.
    pub(crate) fn digest(&self, hasher: &mut blake3::Hasher) {
        for segments in &self.slices {
            hasher.update(&segments.len().to_le_bytes());
            for &Segment { word, count, at } in segments {
                hasher.update([word, count, at.0].map(u32::to_le_bytes).as_flattened());
            }
        }
        for &Truncated { full, count, first: StoredLanes { at, live, turn } } in &self.truncated {
            let turn = turn.map_or(u32::MAX, u32::from);
            hasher.update([full.0, count as u32, at.0, live as u32, turn].map(u32::to_le_bytes).as_flattened());
        }
        hasher.update(&self.file.to_le_bytes());
        hasher.update(&self.held.to_le_bytes());
        hasher.update(&self.end.to_le_bytes());
    }

    fn slice(&self, slice: SliceId) -> usize {
        let west = if slice.side == Hemisphere::West { self.slices_a_side } else { 0 };
        west + usize::from(slice.index)
    }

    pub(crate) fn contains(&self, slice: SliceId, word: u32) -> bool {
        usize::from(slice.index) < self.slices_a_side && word < self.words
    }

    /// Where a word is; it must be one of [`Places::contains`].
    pub(crate) fn word(&self, slice: SliceId, word: u32) -> At {
        let segments = &self.slices[self.slice(slice)];
        let segment = segments[segments.partition_point(|segment| segment.word <= word) - 1];
        segment.at.plus((word - segment.word) as usize * self.lanes)
    }
}

#[cfg(test)]
mod tests {
    use lpu_isa::{ChipId, Extent, Fill};

    use super::*;

    /// Two extents of each chip, the first one `gap` bytes before the second in the file, chips from the last to the
    /// first.
    fn placed(system: &System, gap: impl Fn(u16) -> usize) -> Vec<ChipPlaces> {
        let lanes = system.chip().lanes();
        let (mut extents, mut stored, mut at) = (Vec::new(), Vec::new(), 64);
        for chip in (0..system.chips()).rev() {
            for (number, index) in [(0, 3), (1, 20)] {
                let slice = SliceId { side: Hemisphere::West, index };
                let place = WordRun { chip: ChipId(chip), slice, word: 4, count: 8, stride: 1 };
                extents.push(Extent { place, fill: Fill::Zero });
                stored.push(Some(StoredExtent { at, live: if number == 0 { lanes } else { 16 } }));
                at += 8 * lanes + gap(chip);
            }
        }
        Places::of_system(system, &Image { vector_bytes: lanes as u32, extents }, &stored, at).unwrap()
    }

    fn system(chips: u16) -> System {
        let text = format!("name = 'many'\nchip = 'tsp-v1'\nchips = {chips}\n");
        System::from_toml(&text, &mut lpu_chip::preset).unwrap()
    }

    #[test]
    fn chips_whose_words_are_stored_alike_share_their_places() {
        // More SRAM than one set of addresses reaches.
        let system = system(320);
        assert!(system.chip().sram_bytes() * 320 > UNIT as u64 * u64::from(u32::MAX));
        let all = placed(&system, |_| 0);
        let last = SliceId { side: Hemisphere::West, index: 43 };
        for (chip, placed) in all.iter().enumerate() {
            assert!(Arc::ptr_eq(&placed.places, &all[0].places), "chip {chip}");
            assert_eq!(placed.file.start, 64 + (319 - chip) * 16 * system.chip().lanes());
            assert!(placed.places.word(last, 0).bytes() >= placed.places.held as usize);
        }
        assert_eq!(all[5].places.word(SliceId { side: Hemisphere::West, index: 3 }, 5).bytes(), system.chip().lanes());
    }

    #[test]
    fn other_distances_in_the_file_are_other_places() {
        let all = placed(&system(3), |chip| if chip == 1 { 64 } else { 0 });
        assert!(Arc::ptr_eq(&all[0].places, &all[2].places));
        assert!(!Arc::ptr_eq(&all[0].places, &all[1].places));
    }
}
