//! Placement: which slices and words hold weights, key-value rows, constants, inputs and intermediate
//! vectors; and the image that they start from.

use std::collections::{BTreeMap, VecDeque};

use lpu_chip::Chip;
use lpu_isa::{ChipId, Extent, Fill, Format, Hemisphere, Image, Region, RegionKind, SliceId, WordRun};

use crate::error::CompileError;
use crate::scheduler::Parked;

/// Slices of a side next to the VXM that hold vectors: two quads.
pub(crate) const VECTOR_SLICES: u16 = 8;
const BOTH: &[u8] = &[0, 1];
const NEAR: &[u8] = &[0];
const FAR: &[u8] = &[1];

/// Sixteen places for the rows of a tile: row `r` lies in place `r % 16`, `r / 16` words after its first word.
pub(crate) type Rows = [(SliceId, u32); 16];

/// The placement of one model on one chip.
#[derive(Default)]
pub(crate) struct Memory {
    lanes: usize,
    words: u32,
    bank_words: u32,
    slices_a_side: u16,
    /// Weight bytes of each slice so far.
    weights: BTreeMap<SliceId, Vec<u8>>,
    /// First word of each weight slice that key-value rows use.
    limit: u32,
    /// Words of one key-value entry.
    entry: u32,
    window_bits: u8,
    entries: [u32; 2],
    constants: Vec<Vec<f32>>,
    constant_index: BTreeMap<Vec<u32>, usize>,
    inputs: [u32; 2],
    regions: Vec<Region>,
    scratch: [VecDeque<(u32, u64)>; 2],
    blocks: VecDeque<Vec<(Hemisphere, u32)>>,
    turn: u32,
    parked: u32,
    real: bool,
}

fn index(side: Hemisphere) -> usize {
    usize::from(side == Hemisphere::West)
}

impl Memory {
    /// An empty placement with `entries` key-value entries of `context` tokens on each side.
    pub(crate) fn new(
        chip: &Chip,
        entries: [u32; 2],
        context: usize,
        weight_rows: u64,
        format: &'static str,
        real: bool,
    ) -> Result<Self, CompileError> {
        let values = chip.values();
        for (what, found, needed) in [
            ("MEM slices a hemisphere", values.slices_per_side, u32::from(VECTOR_SLICES) + 32),
            ("streams a direction", values.streams, 32),
            ("ALUs", values.alus, 2 * values.planes_per_side + 12),
        ] {
            if found < needed {
                return Err(CompileError::ChipTooSmall { chip: chip.name().to_owned(), what, found, needed });
            }
        }
        if context == 0 {
            return Err(CompileError::EmptyContext);
        }
        let word_bytes = chip.lanes() as u64;
        let words = chip.words_per_slice();
        let weight_slices = 2 * u64::from(values.slices_per_side - u32::from(VECTOR_SLICES));
        let available = weight_slices * u64::from(words) * word_bytes;
        let needed = weight_rows * word_bytes;
        if needed > available {
            let advice = if format == "f16" {
                format!("w8a8 takes about {} bytes", needed / 2)
            } else {
                format!("cut the model over {} chips or describe a larger one", needed.div_ceil(available))
            };
            return Err(CompileError::WeightsTooLarge { chip: chip.name().to_owned(), format, needed, available, advice });
        }
        let weight_words = (weight_rows.div_ceil(weight_slices) + 2 * words.min(64) as u64 / 2) as u32;
        let most = entries[0].max(entries[1]);
        let layout = |context: usize| {
            let entry = context.div_ceil(16) as u32 + 1;
            let bits = (32 - (entry - 1).leading_zeros()).max(1) as u8;
            let pad = (1u32 << bits).saturating_sub(entry);
            let a_bank = values.words_per_bank.checked_sub(pad).map_or(0, |free| free / entry);
            let banks = if most == 0 {
                0
            } else if a_bank == 0 {
                u32::MAX
            } else {
                most.div_ceil(a_bank)
            };
            let used = if banks == u32::MAX {
                u64::MAX
            } else if banks == 0 {
                0
            } else {
                let last = most - (banks - 1) * a_bank;
                u64::from(banks - 1) * u64::from(values.words_per_bank) + u64::from(last * entry + pad)
            };
            (entry, bits, used)
        };
        let (entry, window_bits, used) = layout(context);
        let left = u64::from(words.saturating_sub(weight_words));
        if used > left || window_bits > 16 {
            let fits = (1..=context.div_ceil(16)).rev().map(|tokens| tokens * 16).find(|&tokens| layout(tokens).2 <= left).unwrap_or(0);
            let bytes = |words: u64| words.saturating_mul(64 * word_bytes);
            return Err(CompileError::ContextTooLarge {
                context,
                needed: bytes(used.min(u64::from(u32::MAX))),
                available: bytes(left),
                fits,
            });
        }
        Ok(Self {
            lanes: chip.lanes(),
            words,
            bank_words: values.words_per_bank,
            slices_a_side: values.slices_per_side as u16,
            weights: BTreeMap::new(),
            limit: words - used as u32,
            entry,
            window_bits,
            entries: [0; 2],
            constants: Vec::new(),
            constant_index: BTreeMap::new(),
            inputs: [0; 2],
            regions: Vec::new(),
            scratch: [VecDeque::new(), VecDeque::new()],
            blocks: VecDeque::from([Vec::new()]),
            turn: 0,
            parked: 0,
            real,
        })
    }

    /// Low address bits that select a key-value row.
    pub(crate) fn window_bits(&self) -> u8 {
        self.window_bits
    }

    /// The slices of a plane's share: every second one, so that both planes of a pair reach all positions.
    fn share(&self, side: Hemisphere, odd: u16) -> impl Iterator<Item = SliceId> + use<> {
        (VECTOR_SLICES..self.slices_a_side).filter(move |index| index % 2 == odd % 2).map(move |index| SliceId { side, index })
    }

    /// Words used so far in the weight slices of a plane's share.
    pub(crate) fn filled(&self, side: Hemisphere, plane: u16) -> usize {
        self.share(side, plane).map(|slice| self.weights.get(&slice).map_or(0, Vec::len)).sum::<usize>() / self.lanes
    }

    /// Places for `rows` rows in the share of a plane, the emptiest slices first.
    pub(crate) fn tile(
        &mut self,
        side: Hemisphere,
        plane: u16,
        rows: usize,
        what: &Chip,
        format: &'static str,
    ) -> Result<Rows, CompileError> {
        let mut slices: Vec<(usize, SliceId)> =
            self.share(side, plane).map(|slice| (self.weights.get(&slice).map_or(0, Vec::len), slice)).collect();
        slices.sort_unstable();
        slices.truncate(16);
        slices.sort_unstable_by_key(|&(_, slice)| slice);
        let mut places = [(slices[0].1, 0); 16];
        for (place, (bytes, slice)) in places.iter_mut().zip(slices) {
            let word = (bytes / self.lanes) as u32;
            let end = word + (rows / 16) as u32;
            if end > self.limit {
                let (needed, available) = (u64::from(end), u64::from(self.limit));
                let bytes = |words: u64| words * self.lanes as u64 * 2 * u64::from(self.slices_a_side - VECTOR_SLICES);
                return Err(CompileError::WeightsTooLarge {
                    chip: what.name().to_owned(),
                    format,
                    needed: bytes(needed),
                    available: bytes(available),
                    advice: "a shorter context leaves more room".into(),
                });
            }
            self.weights.entry(slice).or_default().resize(end as usize * self.lanes, 0);
            *place = (slice, word);
        }
        Ok(places)
    }

    /// The bytes of row `row` of a tile.
    pub(crate) fn row(&mut self, rows: &Rows, row: usize) -> &mut [u8] {
        let (slice, word) = rows[row % 16];
        let start = (word as usize + row / 16) * self.lanes;
        let bytes = self.weights.get_mut(&slice).expect("the tile is placed");
        &mut bytes[start..start + self.lanes]
    }

    /// The next key-value entry of a side: places of its low and its high bytes.
    pub(crate) fn cache_entry(&mut self, side: Hemisphere) -> [Rows; 2] {
        let pad = (1u32 << self.window_bits) - self.entry;
        let a_bank = (self.bank_words - pad) / self.entry;
        let entry = self.entries[index(side)];
        self.entries[index(side)] += 1;
        let bank_end = self.words - entry / a_bank * self.bank_words;
        let word = bank_end - pad - (entry % a_bank + 1) * self.entry;
        [0, 1].map(|odd| {
            let mut slices = self.share(side, odd);
            std::array::from_fn(|_| (slices.next().expect("a share has at least 16 slices"), word))
        })
    }

    /// A vector that never changes, in the slices of the west side.
    pub(crate) fn constant(&mut self, vector: &[f32]) -> usize {
        let key: Vec<u32> = vector.iter().map(|value| value.to_bits()).collect();
        let next = self.constants.len();
        let found = *self.constant_index.entry(key).or_insert(next);
        if found == next {
            self.constants.push(vector.to_vec());
        }
        found
    }

    /// Where a constant lies; all inputs must have been placed before.
    pub(crate) fn constant_place(&self, constant: usize) -> Parked {
        Parked {
            bytes: 4,
            side: Hemisphere::West,
            word: self.inputs[1] + constant as u32 / 2,
            turn: 0,
            quads: if constant.is_multiple_of(2) { NEAR } else { FAR },
            ready: 0,
        }
    }

    /// A named input of `vectors` vectors.
    pub(crate) fn input(
        &mut self,
        name: &str,
        (side, quad, turn): (Hemisphere, u8, u8),
        format: Format,
        vectors: usize,
        lanes: usize,
    ) -> Vec<Parked> {
        let first = self.inputs[index(side)];
        self.inputs[index(side)] += vectors as u32;
        let quads = if quad == 0 { NEAR } else { FAR };
        let places: Vec<Parked> =
            (0..vectors as u32).map(|vector| Parked { bytes: format.bytes(), side, word: first + vector, turn, quads, ready: 0 }).collect();
        self.region(name, RegionKind::Input, format, lanes, &places);
        places
    }

    /// Names vectors as a region.
    pub(crate) fn region(&mut self, name: &str, kind: RegionKind, format: Format, lanes: usize, places: &[Parked]) {
        let runs = places
            .iter()
            .flat_map(|place| (0..place.bytes).map(|byte| WordRun::one(ChipId(0), place.slice(place.quads[0], byte), place.word)));
        let region = Region { name: name.into(), kind, format, vectors: places.len() as u32, lanes: lanes as u32, runs: runs.collect() };
        self.regions.push(region);
    }

    /// Closes the list of constants and inputs: what is left of the vector slices takes intermediate vectors.
    pub(crate) fn finish(&mut self) -> Result<(), CompileError> {
        let used = [self.inputs[0], self.inputs[1] + self.constants.len().div_ceil(2) as u32];
        for (side, used) in used.into_iter().enumerate() {
            if used >= self.words {
                let (needed, available) = (u64::from(used), u64::from(self.words));
                return Err(CompileError::ScratchTooLarge { what: "inputs and constants", needed, available });
            }
            let banks = self.words / self.bank_words;
            self.scratch[side] = (0..self.bank_words)
                .flat_map(|word| (0..banks).map(move |bank| (bank, word)))
                .map(|(bank, word)| (bank * self.bank_words + word, 0))
                .filter(|&(word, _)| word >= used)
                .collect();
        }
        Ok(())
    }

    /// A place for an intermediate vector. It may be written from `ready` on.
    pub(crate) fn scratch(&mut self, bytes: u8, side: Hemisphere) -> Result<Parked, CompileError> {
        let (word, ready) = self.scratch[index(side)].pop_front().ok_or(CompileError::ScratchTooLarge {
            what: "intermediate vectors of three blocks",
            needed: u64::from(self.words) + 1,
            available: u64::from(self.words),
        })?;
        self.blocks.back_mut().expect("there is a current block").push((side, word));
        self.parked += 1;
        let turn = match bytes {
            1 => self.parked % 4,
            2 => self.parked % 2 * 2,
            _ => 0,
        } as u8;
        Ok(Parked { bytes, side, word, turn, quads: BOTH, ready })
    }

    /// The side for the next vector that may lie on either.
    pub(crate) fn either_side(&mut self) -> Hemisphere {
        self.turn += 1;
        Hemisphere::BOTH[(self.turn % 2) as usize]
    }

    /// Ends a block of the graph: vectors made two blocks ago are free again from cycle `now` on.
    pub(crate) fn end_block(&mut self, now: u64) {
        self.blocks.push_back(Vec::new());
        if self.blocks.len() > 3 {
            for (side, word) in self.blocks.pop_front().expect("the list is not empty") {
                self.scratch[index(side)].push_back((word, now));
            }
        }
    }

    /// The image and the regions of weights, constants and key-value rows.
    pub(crate) fn image(&self) -> Image<'static> {
        let mut extents = Vec::new();
        let run = |slice, word, count| WordRun { chip: ChipId(0), slice, word, count, stride: 1 };
        let count = self.constants.len().div_ceil(2) as u32;
        if count > 0 {
            for quad in 0..2u16 {
                for byte in 0..4u16 {
                    let mut bytes = vec![0; count as usize * self.lanes];
                    for (constant, vector) in self.constants.iter().enumerate() {
                        if constant % 2 == usize::from(quad) {
                            let word = &mut bytes[constant / 2 * self.lanes..];
                            for (byte_of, value) in word.iter_mut().zip(vector) {
                                *byte_of = value.to_le_bytes()[usize::from(byte)];
                            }
                        }
                    }
                    let slice = SliceId { side: Hemisphere::West, index: 4 * quad + byte };
                    extents.push(Extent { place: run(slice, self.inputs[1], count), fill: Fill::Bytes(bytes.into()) });
                }
            }
        }
        for (slice, bytes) in &self.weights {
            let count = (bytes.len() / self.lanes) as u32;
            let fill = if self.real { Fill::Bytes(bytes.clone().into()) } else { Fill::Zero };
            extents.push(Extent { place: run(*slice, 0, count), fill });
        }
        extents.extend(self.cache_runs().into_iter().map(|place| Extent { place, fill: Fill::Zero }));
        extents.sort_by_key(|extent| extent.place);
        Image { vector_bytes: self.lanes as u32, extents }
    }

    fn cache_runs(&self) -> Vec<WordRun> {
        let mut runs = Vec::new();
        for side in Hemisphere::BOTH {
            if self.entries[index(side)] == 0 {
                continue;
            }
            for odd in [0, 1] {
                for slice in self.share(side, odd).take(16) {
                    runs.push(WordRun { chip: ChipId(0), slice, word: self.limit, count: self.words - self.limit, stride: 1 });
                }
            }
        }
        runs
    }

    /// All regions: inputs and outputs as named, and weights, constants and key-value rows as bytes.
    pub(crate) fn regions(&self) -> Vec<Region> {
        let mut regions = self.regions.clone();
        let mut raw = |name: &str, kind, runs: Vec<WordRun>| {
            let vectors = runs.iter().map(|run| run.count).sum();
            if vectors > 0 {
                regions.push(Region { name: name.into(), kind, format: Format::I8, vectors, lanes: self.lanes as u32, runs });
            }
        };
        let image = self.image_places();
        raw("weights", RegionKind::Const, image.1);
        raw("constants", RegionKind::Const, image.0);
        raw("cache", RegionKind::State, self.cache_runs());
        regions
    }

    fn image_places(&self) -> (Vec<WordRun>, Vec<WordRun>) {
        let run = |slice, word, count| WordRun { chip: ChipId(0), slice, word, count, stride: 1 };
        let count = self.constants.len().div_ceil(2) as u32;
        let slices = (0..VECTOR_SLICES).map(|index| SliceId { side: Hemisphere::West, index });
        let constants = slices.map(|slice| run(slice, self.inputs[1], count)).filter(|run| run.count > 0).collect();
        let weights = self.weights.iter().map(|(slice, bytes)| run(*slice, 0, (bytes.len() / self.lanes) as u32)).collect();
        (constants, weights)
    }

    /// Bytes of SRAM in use: weights, constants, inputs and key-value rows.
    pub(crate) fn used_bytes(&self) -> u64 {
        let words: u64 = self.regions().iter().map(Region::word_count).sum();
        words * self.lanes as u64
    }
}
