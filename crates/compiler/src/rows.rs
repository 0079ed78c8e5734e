//! The slices of weights and key-value rows: where each tile's rows are, and the bytes that they start from.

mod cache;
mod image;

use std::collections::BTreeMap;

use lpu_chip::Chip;
use lpu_isa::{Hemisphere, SliceId, WindowBits};

use crate::error::CompileError;
use crate::vectors::{VECTOR_SLICES, index, outermost_quad};
use cache::cache_words;
pub(crate) use cache::{CacheRows, CacheShape};
use image::Placed;

/// Slices that hold the rows of a tile in turn.
pub(crate) const ROW_SLICES: usize = 16;

/// Sixteen places for rows: row `r` is in place `r % 16`, `r / 16` words after its first word.
pub(crate) type Rows = [(SliceId, u32); ROW_SLICES];

/// Words of one slice in one bank that weights may take.
#[derive(Clone, Debug)]
struct Area {
    start: u32,
    end: u32,
    next: u32,
    /// First word after all windows of gathers.
    reach: u32,
}

impl Area {
    fn used_end(&self) -> u32 {
        self.next.max(self.reach)
    }
}

/// How the rows of all experts of a tile are placed: those of one `stride` words after those of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Experts {
    pub(crate) count: usize,
    pub(crate) stride: u32,
    /// Low bits of an address that select an expert's words.
    pub(crate) bits: WindowBits,
}

impl Experts {
    pub(crate) fn new(count: usize, stride: u32) -> Self {
        let last = (count as u32 - 1) * stride;
        Self { count, stride, bits: WindowBits((32 - last.leading_zeros()).max(1) as u8) }
    }
}

/// What the slices have to hold besides key-value rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    /// Weight rows, counted from above.
    pub(crate) rows: u64,
    /// Words a bank that the slices next to the VXM keep for vectors; they take weights only when the others cannot
    /// hold them all.
    pub(crate) vector_area: u32,
    /// Whether there are experts, whose choices take the outermost quad.
    pub(crate) experts: bool,
}

/// All weight slices of a chip.
pub(crate) struct WeightSlices {
    lanes: usize,
    words: u32,
    bank_words: u32,
    slices_a_side: u16,
    classes: [SliceClasses; 2],
    areas: BTreeMap<SliceId, Vec<Area>>,
    placed: Vec<Placed>,
    /// Numbers of tiles by their first places.
    by_place: BTreeMap<(SliceId, u32), usize>,
    /// First word of key-value rows in the slices that hold them.
    limit: u32,
    /// Words of one area of a key-value entry, the spare row included.
    area: u32,
    /// Areas of an entry.
    sequences: u32,
    window_bits: u8,
    entries: [u32; 2],
    wanted: [u32; 2],
    /// Whether the slices next to the VXM take weights.
    tight: bool,
    /// Whether they take them as the others do, because the weights alone are too many for these; else when the others
    /// are full.
    even: bool,
    /// Whether places depend on the context: key-value rows took those of weights, or are in more than the last bank.
    crowded: bool,
    /// By side and half of its slices: words of each of sixteen slices that tiles to come take.
    coming: [[u64; 2]; 2],
    real: bool,
    format: &'static str,
    chip: String,
}

/// The slices of a side that serve vectors, weights and key-value rows: all, or those inside the outermost quad where
/// that holds the choices of experts.
fn serving_slices(chip: &Chip, cache: CacheShape, experts: bool) -> Result<u32, CompileError> {
    let values = chip.values();
    // Choices flow inwards from the outermost quad.
    let outermost = outermost_quad(values.slices_per_side);
    let slices_a_side = if experts { 4 * u32::from(outermost) } else { values.slices_per_side };
    let least = u32::from(VECTOR_SLICES) + 16;
    if slices_a_side < least {
        return Err(CompileError::ChipTooSmall {
            chip: chip.name().to_owned(),
            field: "slices_per_side",
            value: values.slices_per_side,
            needed: if experts { least + 4 } else { least },
            why: "eight slices next to the VXM hold vectors, sixteen others the rows of a load, and four \
                  the choices of experts if there are any",
        });
    }
    // Slices beyond the vectors, and slices inside the outermost quad, where so many share a position.
    let serves = |per: u32| {
        let far = u32::from(VECTOR_SLICES)..slices_a_side;
        let beyond = far.clone().filter(|index| index / per > u32::from(VECTOR_SLICES - 1) / per).count();
        let inside = far.filter(|index| index / per < 4 * u32::from(outermost) / per).count();
        (cache.entries == [0; 2] || beyond >= 16) && (!experts || inside >= 16)
    };
    if !serves(values.slices_per_position) {
        return Err(CompileError::ChipTooLarge {
            chip: chip.name().to_owned(),
            field: "slices_per_position",
            value: values.slices_per_position,
            most: (1..values.slices_per_position).rev().find(|&per| serves(per)).unwrap_or(1),
            why: "key-value rows and experts take sixteen slices at positions that differ from those of the \
                  vectors that select them",
        });
    }
    Ok(slices_a_side)
}

/// How the words of a chip are shared between weights, key-value rows and vectors.
#[derive(Clone, Copy, Debug)]
struct Budget {
    /// Words of one area of a key-value entry, the spare row included.
    area: u32,
    window_bits: u8,
    /// Words of key-value rows at the top of each slice that holds them.
    used: u64,
    /// Whether the slices next to the VXM take weights.
    tight: bool,
    /// Whether they take them as the others do.
    even: bool,
}

impl Budget {
    /// `slices_a_side` serve, and key-value rows take so many sets of sixteen of them.
    fn of(
        chip: &Chip,
        cache: CacheShape,
        &Demand { rows, vector_area, .. }: &Demand,
        (slices_a_side, cache_sets): (u32, u32),
        format: &'static str,
    ) -> Result<Self, CompileError> {
        let values = chip.values();
        let (words, bank_words) = (chip.words_per_slice(), values.words_per_bank);
        let word_bytes = chip.lanes() as u64;
        let far = u64::from(slices_a_side - u32::from(VECTOR_SLICES));
        let near =
            u64::from(VECTOR_SLICES) * u64::from(bank_words.saturating_sub(vector_area)) * u64::from(values.banks);
        let available = 2 * (far * u64::from(words) + near) * word_bytes;
        let needed = rows * word_bytes;
        if needed > available {
            let (chip, advice) = (chip.name().to_owned(), String::new());
            return Err(CompileError::WeightsTooLarge { chip, format, needed, available, advice });
        }
        // Where both bytes of a row are in the same slices, each takes an entry of its own.
        let most = cache.entries[0].max(cache.entries[1]) * (3 - cache_sets);
        let cached_slices = 2 * 16 * u64::from(cache_sets);
        let (area, window_bits, used) = cache_words(most, cache.context, cache.sequences, bank_words);
        // Sixteen of the slices that serve a plane hold key-value rows, and every tile takes sixteen of them, so rows
        // spread evenly to within a tile.
        let slack = 2 * chip.lanes() as u64 / 16;
        let left = ((available - needed) / word_bytes / cached_slices).saturating_sub(slack).min(u64::from(words));
        if used > left || window_bits > 16 {
            let bytes = |words: u64| words.saturating_mul(cached_slices * word_bytes);
            let (context, sequences) = (cache.context, cache.sequences);
            // An entry that no bank holds still has its number of words.
            let words = u64::from(most) * u64::from(area);
            return Err(CompileError::ContextTooLarge {
                context,
                sequences,
                needed: bytes(if used == u64::MAX { words.saturating_mul(sequences as u64) } else { used }),
                available: bytes(left),
                fits: None,
                fewer: None,
            });
        }
        let tight = rows + cached_slices * (used + slack) > 2 * far * u64::from(words);
        let even = rows + cached_slices * slack > 2 * far * u64::from(words);
        Ok(Self { area, window_bits, used, tight, even })
    }
}

impl WeightSlices {
    /// Empty slices for what is to come, with bytes where weights are `real`; what does not fit is refused without
    /// advice, which comes later.
    pub(crate) fn new(
        chip: &Chip,
        cache: CacheShape,
        demand: &Demand,
        format: &'static str,
        real: bool,
    ) -> Result<Self, CompileError> {
        let values = chip.values();
        let slices_a_side = serving_slices(chip, cache, demand.experts)?;
        let outermost = outermost_quad(values.slices_per_side);
        let classes = Hemisphere::BOTH.map(|side| SliceClasses::new(chip, side, slices_a_side as u16, outermost));
        let shape = Budget::of(chip, cache, demand, (slices_a_side, classes[0].cache_sets()), format)?;
        let Budget { area, window_bits, used, tight, even } = shape;
        let (words, bank_words) = (chip.words_per_slice(), values.words_per_bank);
        let limit = words - used as u32;
        let mut slices = Self {
            lanes: chip.lanes(),
            words,
            bank_words,
            slices_a_side: slices_a_side as u16,
            classes,
            areas: BTreeMap::new(),
            placed: Vec::new(),
            by_place: BTreeMap::new(),
            limit,
            area,
            // As many as a bank has words at most, where there are rows at all.
            sequences: u32::try_from(cache.sequences).unwrap_or(u32::MAX),
            window_bits,
            entries: [0; 2],
            wanted: cache.entries,
            tight,
            even,
            crowded: tight || used > u64::from(bank_words),
            coming: [[0; 2]; 2],
            real,
            format,
            chip: chip.name().to_owned(),
        };
        slices.areas = slices.empty_areas(demand.vector_area, values.banks);
        Ok(slices)
    }

    /// The words of each slice that weights may take.
    fn empty_areas(&self, vector_area: u32, banks: u32) -> BTreeMap<SliceId, Vec<Area>> {
        let area = |start, end| Area { start, end, next: start, reach: start };
        let mut areas = BTreeMap::new();
        for side in Hemisphere::BOTH {
            let cached: Vec<SliceId> = match self.wanted[index(side)] {
                0 => Vec::new(),
                _ => self.classes[index(side)].cached.concat(),
            };
            for number in 0..self.slices_a_side {
                let slice = SliceId { side, index: number };
                let of_slice = match number {
                    0..VECTOR_SLICES if self.tight => (0..banks)
                        .map(|bank| area(bank * self.bank_words + vector_area, (bank + 1) * self.bank_words))
                        .collect(),
                    0..VECTOR_SLICES => Vec::new(),
                    _ if cached.contains(&slice) => vec![area(0, self.limit)],
                    _ => vec![area(0, self.words)],
                };
                areas.insert(slice, of_slice);
            }
        }
        areas
    }

    /// Notes a tile to come, so that those before it leave it words in sixteen slices.
    pub(crate) fn announce(&mut self, side: Hemisphere, plane: u16, rows: usize) {
        let number = self.classes[index(side)].number(plane);
        self.coming[index(side)][number] += rows.div_ceil(16) as u64;
    }

    /// Whether the slices next to the VXM take weights too.
    pub(crate) fn takes_vector_slices(&self) -> bool {
        self.tight
    }

    /// Whether places depend on the context.
    pub(crate) fn crowded(&self) -> bool {
        self.crowded
    }

    /// Low address bits that select a key-value row.
    pub(crate) fn window_bits(&self) -> u8 {
        self.window_bits
    }

    fn left(&self, slice: SliceId, words: u32) -> u32 {
        self.areas[&slice].iter().map(|area| area.end - area.next).filter(|&left| left >= words).sum()
    }

    fn used(&self, slice: SliceId) -> u32 {
        self.areas[&slice].iter().map(|area| area.next - area.start).sum()
    }

    /// Words left in the slices that serve a plane.
    fn words_left(&self, side: Hemisphere, plane: u16) -> u64 {
        self.classes[index(side)].of(plane).iter().map(|&slice| u64::from(self.left(slice, 1))).sum()
    }

    /// Places for `rows` rows of so many lanes in the slices that serve a plane, the emptiest first. `busy` says that
    /// the tile is loaded while many vectors are on their way, so that it had better stay out of the slices next to the
    /// VXM.
    pub(crate) fn tile(
        &mut self,
        side: Hemisphere,
        plane: u16,
        rows: usize,
        lanes: usize,
        busy: bool,
    ) -> Result<Rows, CompileError> {
        let count = rows.div_ceil(16) as u32;
        let serving = self.classes[index(side)].of(plane).to_vec();
        let number = self.classes[index(side)].number(plane);
        let coming = self.coming[index(side)][number].saturating_sub(u64::from(count));
        self.coming[index(side)][number] = coming;
        let fitting: Vec<SliceId> = serving.iter().copied().filter(|&slice| self.left(slice, count) > 0).collect();
        let near = self.words / 4 + if busy { self.words / 3 } else { 0 };
        let filled = |slice: SliceId| match slice.index >= VECTOR_SLICES {
            true => self.used(slice),
            false if self.even => self.used(slice) + near,
            false => u32::MAX,
        };
        // How full a slice is does not depend on the context; how much it has left does.
        let mut slices = fitting.clone();
        slices.sort_unstable_by_key(|&slice| (filled(slice), slice));
        slices.truncate(16);
        let left_then = |slice: SliceId| {
            u64::from(self.left(slice, 1)) - if slices.contains(&slice) { u64::from(count) } else { 0 }
        };
        // A rest that is smaller than a tile may serve none.
        let rest = self.lanes as u64 / 16 - 1;
        let left: u64 = serving.iter().map(|&slice| left_then(slice).saturating_sub(rest).min(coming)).sum();
        if left < 16 * coming {
            slices = fitting;
            slices.sort_unstable_by_key(|&slice| (std::cmp::Reverse(self.left(slice, count)), slice));
            slices.truncate(16);
        }
        if slices.len() < 16 {
            let left: u64 =
                Hemisphere::BOTH.iter().flat_map(|&side| [0, 1].map(|odd| self.words_left(side, odd))).sum();
            let bytes = |words: u64| words * self.lanes as u64;
            return Err(CompileError::WeightsTooLarge {
                chip: self.chip.clone(),
                format: self.format,
                needed: bytes(rows as u64),
                available: bytes(left),
                advice: String::new(),
            });
        }
        slices.sort_unstable();
        let mut without_cache: Vec<SliceId> =
            serving.into_iter().filter(|slice| slice.index >= VECTOR_SLICES).collect();
        without_cache.sort_unstable_by_key(|&slice| (self.used(slice), slice));
        without_cache.truncate(16);
        without_cache.sort_unstable();
        self.crowded |= slices != without_cache;
        let mut places = [(slices[0], 0); 16];
        for (place, slice) in places.iter_mut().zip(slices) {
            let areas = self.areas.get_mut(&slice).expect("every slice is listed");
            let area = areas.iter_mut().find(|area| area.end - area.next >= count).expect("the slice has words left");
            *place = (slice, area.next);
            area.next += count;
        }
        self.put(places, count, lanes);
        Ok(places)
    }

    /// Places for `rows` rows of each of the experts in the slices that serve a plane, in one bank of each slice, and
    /// such that a gather's window stays in it and among words that are there from the start.
    pub(crate) fn expert_tile(
        &mut self,
        side: Hemisphere,
        plane: u16,
        rows: usize,
        experts: Experts,
    ) -> Result<Rows, CompileError> {
        let count = rows.div_ceil(16) as u32;
        let taken = (experts.count as u32 - 1) * experts.stride + count;
        let span = taken.max((1u32 << experts.bits.0) + count.saturating_sub(1));
        let bank_words = self.bank_words;
        let start = |area: &Area| {
            let start = if area.next / bank_words == (area.next + span - 1) / bank_words {
                area.next
            } else {
                area.next.next_multiple_of(bank_words)
            };
            (start + span <= area.end && span <= bank_words).then_some(start)
        };
        let far = self.classes[index(side)].gathered[usize::from(plane % 2)].iter();
        let fitting = far.filter_map(|&slice| Some((self.areas[&slice].iter().find_map(start)?, slice)));
        let mut slices: Vec<(u32, SliceId)> = fitting.collect();
        slices.sort_unstable();
        slices.truncate(16);
        if slices.len() < 16 {
            return Err(CompileError::WeightsTooLarge {
                chip: self.chip.clone(),
                format: self.format,
                needed: u64::from(taken) * 16 * self.lanes as u64,
                available: slices.len() as u64 * u64::from(span) * self.lanes as u64,
                advice: String::new(),
            });
        }
        slices.sort_unstable_by_key(|&(_, slice)| slice);
        let mut places = [(slices[0].1, 0); 16];
        for (place, (first, slice)) in places.iter_mut().zip(slices) {
            let areas = self.areas.get_mut(&slice).expect("every slice is listed");
            let area = areas.iter_mut().find(|area| start(area) == Some(first)).expect("the slice has words left");
            *place = (slice, first);
            area.next = first + taken;
            area.reach = area.reach.max(first + span);
        }
        // A gather gives whole words.
        self.put(places, taken, self.lanes);
        Ok(places)
    }

    /// The next key-value entry of a side: places of the low and the high bytes of sequence 0, which those of the other
    /// sequences follow.
    pub(crate) fn cache_entry(&mut self, side: Hemisphere) -> [Rows; 2] {
        let (pad, entry) = ((1u32 << self.window_bits) - self.area, self.sequences * self.area);
        let a_bank = (self.bank_words - pad) / entry;
        let number = self.entries[index(side)];
        self.entries[index(side)] += 1;
        let [low, high] = &self.classes[index(side)].cached;
        let place = |slices: &[SliceId], number: u32| {
            let bank_end = self.words - number / a_bank * self.bank_words;
            let word = bank_end - pad - (number % a_bank + 1) * entry;
            std::array::from_fn(|row| (slices[row], word))
        };
        let shared = low == high;
        [
            place(low, if shared { 2 * number } else { number }),
            place(high, if shared { 2 * number + 1 } else { number }),
        ]
    }
}

/// The slices of a side that serve even planes (and low bytes) and those that serve odd planes (and high bytes): every
/// second one each, so that both reach all positions, or the same ones where every second one would be fewer than the
/// sixteen of a load.
type Halved = [Vec<SliceId>; 2];

/// What each slice of a side is for.
struct SliceClasses {
    /// Weights.
    weights: Halved,
    /// Key-value rows, sixteen slices each, at positions beyond those of the slices next to the VXM: rows and addresses
    /// flow outwards from there.
    cached: Halved,
    /// Rows of experts, at positions inside that of the outermost quad: choices flow inwards from there.
    gathered: Halved,
}

impl SliceClasses {
    fn new(chip: &Chip, side: Hemisphere, slices_a_side: u16, outermost: u8) -> Self {
        let position = |index: u16| chip.slice_position(SliceId { side, index }).abs();
        let halved = |inside: &dyn Fn(u16) -> bool| -> Halved {
            let far: Vec<u16> = (VECTOR_SLICES..slices_a_side).filter(|&index| inside(index)).collect();
            let split = [0, 1].map(|odd| far.iter().copied().filter(|index| index % 2 == odd).collect::<Vec<u16>>());
            let split = if split.iter().all(|half| half.len() >= 16) { split } else { [far.clone(), far] };
            split.map(|half| half.into_iter().map(|index| SliceId { side, index }).collect())
        };
        let mut cached = halved(&|index| position(index) > position(VECTOR_SLICES - 1));
        cached.iter_mut().for_each(|half| half.truncate(16));
        let gathered = halved(&|index| position(index) < position(4 * u16::from(outermost)));
        let mut weights = halved(&|_| true);
        let same = weights[0] == weights[1];
        for (odd, half) in (0..).zip(&mut weights) {
            let near = (0..VECTOR_SLICES).filter(|index| same || index % 2 == odd);
            half.splice(0..0, near.map(|index| SliceId { side, index }));
        }
        Self { weights, cached, gathered }
    }

    /// Sets of sixteen slices with key-value rows: one for both bytes, or one for each.
    fn cache_sets(&self) -> u32 {
        if self.cached[0] == self.cached[1] { 1 } else { 2 }
    }

    /// Number of the half that serves a plane; one serves all where both are the same.
    fn number(&self, plane: u16) -> usize {
        if self.weights[0] == self.weights[1] { 0 } else { usize::from(plane % 2) }
    }

    /// The slices that take weights for a plane.
    fn of(&self, plane: u16) -> &[SliceId] {
        &self.weights[usize::from(plane % 2)]
    }
}
