//! Where each word of SRAM lies on the host: words of the image's extents in the order of the file, so that a mapped
//! file serves in place, all others behind it. Words that the file does not have as such, but their first lanes or the
//! bytes of two in turn, have room for whole ones behind it, before the others.

use lpu_chip::System;
use lpu_isa::{ChipId, Hemisphere, Image, RegionError, SliceId, WordRun};
use serde::{Deserialize, Serialize};

use crate::error::ReplayError;

/// An address on the host, in sixteens of bytes from the beginning of the arena.
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
pub(crate) struct Stored {
    /// Offset of the first.
    pub(crate) at: usize,
    /// Bytes of each word.
    pub(crate) live: usize,
}

/// Consecutive words of which the file has only the first lanes, or has them in turn with those of other words; the
/// other lanes are zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Short {
    /// Room for whole words, for those who need them.
    pub(crate) room: At,
    pub(crate) count: usize,
    /// How the file has the first of them.
    pub(crate) first: Lanes,
}

/// The first lanes of a word in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lanes {
    /// Where they begin.
    pub(crate) at: At,
    /// How many.
    pub(crate) live: usize,
    /// Which byte of each pair is theirs, if they lie byte by byte in turn with those of another word.
    pub(crate) turn: Option<u8>,
}

impl Lanes {
    /// Bytes from one word to the next.
    pub(crate) fn each(self) -> usize {
        self.live * if self.turn.is_some() { 2 } else { 1 }
    }

    /// Those of word number `number` behind this one.
    pub(crate) fn plus(self, number: usize) -> Self {
        Self { at: self.at.plus(number * self.each()), ..self }
    }
}

/// Consecutive words of a slice that lie one after another.
#[derive(Clone, Copy, Debug)]
struct Segment {
    word: u32,
    count: u32,
    at: At,
}

/// The host address of every word.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) lanes: usize,
    words: u32,
    slices_a_side: usize,
    pub(crate) chips: usize,
    /// By chip and slice, in order of words, without gaps.
    slices: Vec<Vec<Segment>>,
    /// In order of their rooms.
    pub(crate) shorts: Vec<Short>,
    /// Where the words of the file end and others begin: at a page after the file's last byte, so that no word of the
    /// file has a neighbour in another mapping.
    pub(crate) split: u64,
    /// Bytes of all words of the file, with the rooms of short ones: all that an image holds from the start.
    pub(crate) held: u64,
    /// Bytes of all words.
    pub(crate) end: u64,
}

impl Places {
    /// Places for an image. Extents that are stored lie in a file of `mapped` bytes.
    pub(crate) fn new(
        system: &System,
        image: &Image<'_>,
        stored: &[Option<Stored>],
        mapped: usize,
    ) -> Result<Self, ReplayError> {
        let chip = system.chip();
        if !image.extents.is_empty() && image.vector_bytes as usize != chip.lanes() {
            return Err(ReplayError::VectorBytes { found: image.vector_bytes, expected: chip.lanes() });
        }
        let lanes = chip.lanes();
        let slices_a_side = chip.values().slices_per_side as usize;
        if let Some(&first) = system.absent_of_image(image).first() {
            return Err(ReplayError::ChipAbsent(first));
        }
        let chips = usize::from(system.chips());
        let bytes = chip.sram_bytes().saturating_mul(chips as u64);
        if bytes / UNIT as u64 > u64::from(u32::MAX) {
            return Err(ReplayError::TooLarge { bytes });
        }
        let mut places = Self {
            lanes,
            words: chip.words_per_slice(),
            slices_a_side,
            chips,
            slices: vec![Vec::new(); chips * 2 * slices_a_side],
            shorts: Vec::new(),
            split: 0,
            held: 0,
            end: if mapped > 0 { (mapped + 1).next_multiple_of(4096) as u64 } else { 0 },
        };
        places.split = places.end;
        let mut others = Vec::new();
        for (index, extent) in image.extents.iter().enumerate() {
            for place in extent.places() {
                let last = place.word.saturating_add(place.count.max(1) - 1);
                if !places.contains(place.chip, place.slice, last) {
                    let what = "an extent of the image".into();
                    return Err(RegionError::OutsideSram { what, slice: place.slice, word: last }.into());
                }
            }
            let count = extent.place.count as usize;
            let paired = extent.other().is_some();
            let lanes_of = |stored: Stored, turn: u8| Lanes {
                at: At::from_bytes(stored.at as u64),
                live: stored.live,
                turn: paired.then_some(turn),
            };
            let Some(stored) = stored.get(index).copied().flatten() else {
                others.extend(extent.places());
                continue;
            };
            let needed = stored.at as u64 + count as u64 * lanes_of(stored, 0).each() as u64;
            if needed > mapped as u64 {
                return Err(ReplayError::CutFile { needed, found: mapped });
            }
            for (turn, place) in (0..).zip(extent.places()) {
                let first = lanes_of(stored, turn);
                let at = if first.live == lanes && !paired {
                    first.at
                } else {
                    // A gap keeps words of different extents from being neighbours.
                    let room = places.reserve(count as u64 * lanes as u64 + 1);
                    places.shorts.push(Short { room, count, first });
                    room
                };
                places.put(place, at);
            }
        }
        places.end = places.end.next_multiple_of(4096);
        places.held = places.end;
        for place in others {
            let at = places.reserve(u64::from(place.count) * lanes as u64);
            places.put(place, at);
        }
        for slice in 0..places.slices.len() {
            places.fill_gaps(slice);
        }
        Ok(places)
    }

    /// Only that many bytes, of no chip.
    #[cfg(test)]
    pub(crate) fn bytes(end: u64, lanes: usize) -> Self {
        Self {
            lanes,
            words: 0,
            slices_a_side: 0,
            chips: 0,
            slices: Vec::new(),
            shorts: Vec::new(),
            split: 0,
            held: 0,
            end,
        }
    }

    fn put(&mut self, WordRun { chip, slice, word, count, .. }: WordRun, at: At) {
        let slice = self.slice(chip, slice);
        self.slices[slice].push(Segment { word, count, at });
    }

    /// Room for more bytes behind all others.
    fn reserve(&mut self, bytes: u64) -> At {
        let at = At::from_bytes(self.end);
        self.end += bytes.next_multiple_of(64);
        at
    }

    fn fill_gaps(&mut self, slice: usize) {
        let mut known = std::mem::take(&mut self.slices[slice]);
        known.sort_unstable_by_key(|segment| segment.word);
        let mut all = Vec::with_capacity(2 * known.len() + 1);
        let mut next = 0;
        let end = Segment { word: self.words, count: 0, at: At(0) };
        for segment in known.into_iter().chain([end]) {
            if segment.word > next {
                let count = segment.word - next;
                let at = self.reserve(u64::from(count) * self.lanes as u64);
                all.push(Segment { word: next, count, at });
                next = segment.word;
            }
            // A word that two extents name, which no file does, lies where the first one has it.
            let known = (next - segment.word).min(segment.count);
            let (word, count, at) =
                (segment.word + known, segment.count - known, segment.at.plus(known as usize * self.lanes));
            if count > 0 {
                all.push(Segment { word, count, at });
                next = word + count;
            }
        }
        self.slices[slice] = all;
    }

    /// Adds to a hash where every word lies.
    pub(crate) fn digest(&self, hasher: &mut blake3::Hasher) {
        for segments in &self.slices {
            hasher.update(&segments.len().to_le_bytes());
            for &Segment { word, count, at } in segments {
                hasher.update([word, count, at.0].map(u32::to_le_bytes).as_flattened());
            }
        }
        for &Short { room, count, first: Lanes { at, live, turn } } in &self.shorts {
            let turn = turn.map_or(u32::MAX, u32::from);
            hasher.update([room.0, count as u32, at.0, live as u32, turn].map(u32::to_le_bytes).as_flattened());
        }
        hasher.update(&self.held.to_le_bytes());
        hasher.update(&self.end.to_le_bytes());
    }

    fn slice(&self, chip: ChipId, slice: SliceId) -> usize {
        let west = if slice.side == Hemisphere::West { self.slices_a_side } else { 0 };
        usize::from(chip.0) * 2 * self.slices_a_side + west + usize::from(slice.index)
    }

    pub(crate) fn contains(&self, chip: ChipId, slice: SliceId, word: u32) -> bool {
        usize::from(chip.0) < self.chips && usize::from(slice.index) < self.slices_a_side && word < self.words
    }

    /// Where a word lies; it must be one of [`Places::contains`].
    pub(crate) fn word(&self, chip: ChipId, slice: SliceId, word: u32) -> At {
        let segments = &self.slices[self.slice(chip, slice)];
        let segment = segments[segments.partition_point(|segment| segment.word <= word) - 1];
        segment.at.plus((word - segment.word) as usize * self.lanes)
    }
}
