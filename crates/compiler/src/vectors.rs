//! The slices next to the VXM: constants, the host's inputs and outputs, and intermediate vectors.

use std::collections::{BTreeMap, VecDeque};

use lpu_chip::Chip;
use lpu_isa::{Extent, Fill, Format, Hemisphere, Region, RegionKind, SliceId, Stream, WordRun};

use crate::error::CompileError;
use crate::slice_run::SliceRun;
use crate::target::words;

/// Slices of a side next to the VXM that hold vectors: two quads.
pub(crate) const VECTOR_SLICES: u16 = 8;

/// Numbers of quads, to name one.
static QUADS: [u8; 64] = {
    let mut quads = [0; 64];
    let mut quad = 0;
    while quad < quads.len() {
        quads[quad] = quad as u8;
        quad += 1;
    }
    quads
};
/// Words of a side that rest between two vectors before fresh ones are left alone: so long that nothing waits for the
/// first to be read.
pub(crate) const RESTING: usize = 128;

const BOTH: &[u8] = &[0, 1];
const NEAR: &[u8] = &[0];
const FAR: &[u8] = &[1];

/// A vector in the slices next to the VXM: byte plane `b` is in slice `4 * quad + (b + rotation) % 4` of its side, in
/// the same word of every slice, and the same in each quad listed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) bytes: u8,
    pub(crate) side: Hemisphere,
    pub(crate) word: u32,
    pub(crate) rotation: u8,
    pub(crate) quads: &'static [u8],
    /// First cycle in which it may be read; of a place not yet filled, the first in which it may be written.
    pub(crate) ready: u64,
    /// The same by quad, where the copies are not written in one cycle.
    pub(crate) by_quad: Option<[u64; 2]>,
    /// Its way from the VXM into memory: a consumer farther out takes it in passing, without a read.
    pub(crate) in_flight: Option<InFlight>,
}

/// A group of streams from the VXM outward.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct InFlight {
    pub(crate) stream: Stream,
    /// Cycle in which it leaves the VXM.
    pub(crate) cycle: u64,
    /// Position up to which the streams are taken already.
    pub(crate) taken: i32,
}

impl Stored {
    /// First cycle in which the copy in a quad may be read.
    pub(crate) fn readable(&self, quad: u8) -> u64 {
        self.by_quad.map_or(self.ready, |ready| ready[usize::from(quad)])
    }

    /// Byte plane `byte` as a vector of one.
    pub(crate) fn plane(&self, byte: u8) -> Self {
        Self { bytes: 1, rotation: (self.rotation + byte) % 4, in_flight: None, ..self.clone() }
    }

    pub(crate) fn slice(&self, quad: u8, byte: u8) -> SliceId {
        SliceId { side: self.side, index: u16::from(4 * quad + (byte + self.rotation) % 4) }
    }
}

/// Index of a side in pairs.
pub(crate) fn index(side: Hemisphere) -> usize {
    usize::from(side == Hemisphere::West)
}

/// Number of the outermost quad of slices that a vector can be addressed in.
pub(crate) fn outermost_quad(slices_per_side: u32) -> u8 {
    (slices_per_side / 4).saturating_sub(1).min(63) as u8
}

/// A vector that never changes: both quads of one word hold one each.
#[derive(Clone, Debug)]
struct Constant {
    side: Hemisphere,
    word: u32,
    quad: u8,
    vector: Vec<f32>,
}

/// The vector slices of both sides. All slices of a side are filled alike, both banks in turn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vectors {
    lanes: usize,
    banks: u32,
    bank_words: u32,
    /// Words of each bank that are for vectors.
    area: u32,
    /// Words taken for good, by side.
    taken: [u32; 2],
    /// Words of masks, at the end of the east: how many there are depends on the context, and nothing else may.
    masks: u32,
    constants: Vec<Constant>,
    constant_index: BTreeMap<Vec<u32>, usize>,
    regions: Vec<Region>,
    free: [VecDeque<(u32, u64)>; 2],
    fresh: [u32; 2],
    /// Words given out, by side.
    given: [u32; 2],
    round: u32,
    /// Words taken in the outermost quad, by side.
    outermost: [u32; 2],
    /// The outermost quad of a side.
    last_quad: u8,
}

impl Vectors {
    /// Slices of which `area` words a bank are for vectors.
    pub(crate) fn new(chip: &Chip, area: u32) -> Self {
        let values = chip.values();
        Self {
            lanes: chip.lanes(),
            banks: values.banks,
            bank_words: values.words_per_bank,
            area,
            last_quad: outermost_quad(values.slices_per_side),
            ..Self::default()
        }
    }

    fn word(&self, index: u32) -> u32 {
        index % self.banks * self.bank_words + index / self.banks
    }

    fn capacity(&self) -> u32 {
        self.area * self.banks
    }

    fn take(&mut self, side: Hemisphere) -> u32 {
        let taken = &mut self.taken[index(side)];
        *taken += 1;
        let taken = *taken - 1;
        self.word(taken)
    }

    /// A vector that the model's shape gives; equal ones are kept once.
    pub(crate) fn constant(&mut self, vector: &[f32]) -> usize {
        let key: Vec<u32> = vector.iter().map(|value| value.to_bits()).collect();
        if let Some(&found) = self.constant_index.get(&key) {
            return found;
        }
        let number = self.weight(vector);
        self.constant_index.insert(key, number);
        number
    }

    /// A vector that comes from the model's weights. Each has a place of its own, whatever it holds, so that places do
    /// not depend on values.
    pub(crate) fn weight(&mut self, vector: &[f32]) -> usize {
        let next = self.constants.len();
        let side = Hemisphere::BOTH[next % 2];
        let (word, quad) = match next.checked_sub(2).map(|before| &self.constants[before]) {
            Some(Constant { word, quad: 0, .. }) => (*word, 1),
            _ => (self.take(side), 0),
        };
        self.constants.push(Constant { side, word, quad, vector: vector.to_vec() });
        next
    }

    /// Where a constant is.
    pub(crate) fn constant_place(&self, constant: usize) -> Stored {
        let Constant { side, word, quad, .. } = self.constants[constant];
        Stored {
            bytes: 4,
            side,
            word,
            rotation: 0,
            quads: if quad == 0 { NEAR } else { FAR },
            ready: 0,
            by_quad: None,
            in_flight: None,
        }
    }

    /// A named input of `vectors` vectors in one quad of a side.
    pub(crate) fn input(
        &mut self,
        name: &str,
        quad: (Hemisphere, u8, u8),
        format: Format,
        vectors: usize,
        lanes: usize,
    ) -> Vec<Stored> {
        let places = self.fixed(quad, format, vectors);
        self.region(name, RegionKind::Input, format, lanes, &places);
        places
    }

    /// Places of `vectors` vectors in one quad of a side, kept for good.
    pub(crate) fn fixed(
        &mut self,
        (side, quad, rotation): (Hemisphere, u8, u8),
        format: Format,
        vectors: usize,
    ) -> Vec<Stored> {
        let quads = if quad == 0 { NEAR } else { FAR };
        let place = |word| Stored {
            bytes: format.bytes(),
            side,
            word,
            rotation,
            quads,
            ready: 0,
            by_quad: None,
            in_flight: None,
        };
        (0..vectors).map(|_| place(self.take(side))).collect()
    }

    /// The mask of one of `kinds` kinds: the first vector with the other inputs, those of later tokens from the last
    /// word back, in round robin with the other kinds. So where a vector is does not depend on how many there are.
    pub(crate) fn masks(
        &mut self,
        name: &str,
        (kind, kinds): (usize, usize),
        vectors: usize,
        lanes: usize,
    ) -> Vec<Stored> {
        let last = self.capacity().saturating_sub(1);
        let first = self.take(Hemisphere::East);
        let later =
            (0..vectors.saturating_sub(1)).map(|vector| self.word(last.saturating_sub((vector * kinds + kind) as u32)));
        let place = |word| Stored {
            bytes: 4,
            side: Hemisphere::East,
            word,
            rotation: 0,
            quads: FAR,
            ready: 0,
            by_quad: None,
            in_flight: None,
        };
        let places: Vec<Stored> = std::iter::once(first).chain(later).map(place).collect();
        self.masks = self.masks.max(((vectors - 1) * kinds) as u32);
        self.region(name, RegionKind::Input, Format::F32, lanes, &places);
        places
    }

    /// Words of a side that are not masks.
    fn end(&self, side: usize) -> u32 {
        self.capacity().saturating_sub(if side == index(Hemisphere::East) { self.masks } else { 0 })
    }

    /// Names vectors as a region.
    pub(crate) fn region(&mut self, name: &str, kind: RegionKind, format: Format, lanes: usize, places: &[Stored]) {
        let runs = places
            .iter()
            .flat_map(|place| (0..place.bytes).map(|byte| words(place.slice(place.quads[0], byte), place.word, 1)));
        let region = Region {
            name: name.into(),
            kind,
            format,
            vectors: places.len() as u32,
            lanes: lanes as u32,
            runs: runs.collect(),
        };
        self.regions.push(region);
    }

    /// Closes the list of constants and inputs: what is left takes intermediate vectors.
    pub(crate) fn finish(&mut self) -> Result<(), CompileError> {
        let used = (self.taken[0] + self.masks).max(self.taken[1]);
        if used >= self.capacity() {
            let (needed, available) = (u64::from(used), u64::from(self.capacity()));
            return Err(CompileError::ScratchTooLarge { what: "inputs and constants", needed, available });
        }
        self.fresh = self.taken;
        Ok(())
    }

    /// A place for an intermediate vector. It may be written from `ready` on.
    pub(crate) fn scratch(&mut self, bytes: u8, side: Hemisphere) -> Result<Stored, CompileError> {
        let at = index(side);
        let fresh = self.fresh[at] < self.end(at);
        let (word, ready) = match self.free[at].len() {
            resting if fresh && resting < RESTING => {
                self.fresh[at] += 1;
                (self.word(self.fresh[at] - 1), 0)
            }
            0 => {
                let (needed, available) = (u64::from(self.capacity()) + 1, u64::from(self.capacity()));
                return Err(CompileError::ScratchTooLarge {
                    what: "constants and the intermediate vectors live at once",
                    needed,
                    available,
                });
            }
            resting => {
                // Banks in rotation, as fresh words are given, among those that have rested longest.
                let bank = self.given[at] % self.banks;
                let longest = self.free[at].iter().take(if fresh { resting / 2 } else { 1 });
                let found = longest.map(|free| free.0 / self.bank_words).position(|found| found == bank);
                self.free[at].remove(found.unwrap_or(0)).expect("it is there")
            }
        };
        self.given[at] += 1;
        self.round += 1;
        let rotation = match bytes {
            1 => self.round % 4,
            2 => self.round % 2 * 2,
            _ => 0,
        } as u8;
        Ok(Stored { bytes, side, word, rotation, quads: BOTH, ready, by_quad: None, in_flight: None })
    }

    /// A place of two bytes in the outermost quad of a side, kept for good.
    pub(crate) fn outermost(&mut self, side: Hemisphere) -> Stored {
        let next = &mut self.outermost[index(side)];
        *next += 1;
        let number = *next - 1;
        // By turns in one pair of slices and in the other, so that two can be read at once.
        let (word, rotation) = (number / 2, 2 * (number % 2) as u8);
        let quads = &QUADS[usize::from(self.last_quad)..=usize::from(self.last_quad)];
        Stored { bytes: 2, side, word: self.word(word), rotation, quads, ready: 0, by_quad: None, in_flight: None }
    }

    /// Gives back a place that was not used; one in the outermost quad stays what it is.
    pub(crate) fn give_back(&mut self, place: &Stored) {
        if place.quads.len() == 1 {
            return;
        }
        self.free[index(place.side)].push_back((place.word, place.ready));
    }

    /// Gives back the place of an intermediate vector that nothing reads after cycle `last`.
    pub(crate) fn release(&mut self, place: &Stored, last: u64) {
        self.free[index(place.side)].push_back((place.word, last + 1));
    }

    fn constant_words(&self) -> BTreeMap<(SliceId, u32), Vec<u8>> {
        let mut words = BTreeMap::new();
        for (number, constant) in self.constants.iter().enumerate() {
            let place = self.constant_place(number);
            for byte in 0..4u8 {
                let mut word = vec![0; self.lanes];
                for (cell, value) in word.iter_mut().zip(&constant.vector) {
                    *cell = value.to_le_bytes()[usize::from(byte)];
                }
                words.insert((place.slice(constant.quad, byte), constant.word), word);
            }
        }
        words
    }

    /// The slices of each constant.
    pub(crate) fn constant_runs(&self) -> impl Iterator<Item = SliceRun> + '_ {
        self.constants.iter().map(|&Constant { side, word, quad, .. }| {
            let index = u16::from(4 * quad);
            SliceRun { first: SliceId { side, index }, count: 4, stride: 1, word }
        })
    }

    /// The constants as extents of the image, neighbouring words together. Those of a model without weights are for a
    /// large part zero: words of zeros are then extents of their own, without bytes.
    pub(crate) fn extents(&self, real: bool) -> Vec<Extent<'static>> {
        let mut runs: Vec<(WordRun, Vec<u8>)> = Vec::new();
        for ((slice, word), mut bytes) in self.constant_words() {
            if !real && bytes.iter().all(|&byte| byte == 0) {
                bytes.clear();
            }
            match runs.last_mut() {
                Some((run, before)) if next_to(run, slice, word) && before.is_empty() == bytes.is_empty() => {
                    run.count += 1;
                    before.extend(bytes);
                }
                _ => runs.push((words(slice, word, 1), bytes)),
            }
        }
        let fill = |bytes: Vec<u8>| if bytes.is_empty() { Fill::Zero } else { Fill::Bytes(bytes.into()) };
        runs.into_iter().map(|(place, bytes)| Extent { place, fill: fill(bytes) }).collect()
    }

    /// The named regions, and the constants as one.
    pub(crate) fn regions(&self) -> Vec<Region> {
        let mut regions = self.regions.clone();
        let runs: Vec<WordRun> = self.extents(true).into_iter().map(|extent| extent.place).collect();
        let vectors = runs.iter().map(|run| run.count).sum();
        if vectors > 0 {
            let (name, lanes) = ("constants".into(), self.lanes as u32);
            regions.push(Region { name, kind: RegionKind::Const, format: Format::I8, vectors, lanes, runs });
        }
        regions
    }
}

/// Whether a word is the one after a run.
fn next_to(run: &WordRun, slice: SliceId, word: u32) -> bool {
    run.slice == slice && run.word + run.count == word
}
