//! What weight slices start from: tile after tile in the order in which tiles are loaded, of each row only the lanes
//! that its tile has, and low and high bytes of fp16 numbers in turn.

use lpu_isa::{Extent, Fill, Format, Region, RegionKind, SliceId, WordRun};

use super::{Rows, WeightSlices};
use crate::target::words;

/// The rows of a tile, or of one tile of all experts.
pub(super) struct Placed {
    places: Rows,
    /// Words of each place.
    words: u32,
    /// Bytes of each row that an image holds; what is after them is zero.
    live: usize,
    /// Place after place, word after word.
    bytes: Vec<u8>,
    /// Number of the tile whose bytes alternate with these.
    other: Option<usize>,
}

/// Rows in an image have a multiple of so many bytes, unless they are whole: a host reads its memory by lines of that
/// size.
const LINE: usize = 64;

impl Placed {
    /// The words of one place, and their bytes.
    fn part(&self, place: usize) -> (WordRun, &[u8]) {
        let (slice, word) = self.places[place];
        let bytes = self.words as usize * self.live;
        (words(slice, word, self.words), &self.bytes[place * bytes..][..bytes])
    }
}

impl WeightSlices {
    /// Notes the places of a tile of so many lanes, unless it has no rows.
    pub(super) fn put(&mut self, places: Rows, words: u32, lanes: usize) {
        if words == 0 {
            return;
        }
        let live = lanes.next_multiple_of(LINE).min(self.lanes);
        self.by_place.insert(places[0], self.placed.len());
        let bytes = if self.real { places.len() * words as usize * live } else { 0 };
        self.placed.push(Placed { places, words, live, bytes: vec![0; bytes], other: None });
    }

    /// The number of a tile, or of that of all experts.
    fn number(&self, rows: &Rows) -> usize {
        *self.by_place.range(..=rows[0]).next_back().expect("the tile is placed").1
    }

    /// Notes that the bytes of two tiles of one shape alternate.
    pub(crate) fn interleave(&mut self, low: &Rows, high: &Rows) {
        let [low, high] = [low, high].map(|rows| self.number(rows));
        self.placed[low].other = Some(high);
    }

    /// The bytes of row `row` of a tile.
    pub(crate) fn row(&mut self, rows: &Rows, row: usize) -> &mut [u8] {
        let number = self.number(rows);
        let Placed { places, words, live, bytes, .. } = &mut self.placed[number];
        let word = (rows[0].1 - places[0].1) as usize + row / 16;
        let start = (row % 16 * *words as usize + word) * *live;
        &mut bytes[start..start + *live]
    }

    /// Fills sixteen rows with one byte.
    pub(crate) fn fill(&mut self, rows: &Rows, byte: u8) {
        if self.real {
            (0..16).for_each(|row| self.row(rows, row).fill(byte));
        }
    }

    fn weight_runs(&self) -> Vec<WordRun> {
        let used = self.areas.iter().flat_map(|(&slice, areas)| areas.iter().map(move |area| (slice, area)));
        let used = used.filter(|(_, area)| area.used_end() > area.start);
        used.map(|(slice, area)| words(slice, area.start, area.used_end() - area.start)).collect()
    }

    /// Words of weight slices that no tile has.
    fn gaps(&self) -> Vec<WordRun> {
        let taken =
            self.placed.iter().flat_map(|tile| tile.places.iter().map(|&(slice, word)| (slice, word, tile.words)));
        let mut taken: Vec<(SliceId, u32, u32)> = taken.collect();
        taken.sort_unstable();
        let mut gaps = Vec::new();
        for run in self.weight_runs() {
            let (mut next, end) = (run.word, run.word + run.count);
            let first = taken.partition_point(|&(slice, word, _)| (slice, word) < (run.slice, run.word));
            let inside = taken[first..].iter().take_while(|&&(slice, word, _)| slice == run.slice && word < end);
            for (word, count) in inside.map(|&(_, word, count)| (word, count)).chain([(end, 0)]) {
                if word > next {
                    gaps.push(WordRun { word: next, count: word - next, ..run });
                }
                next = word + count;
            }
        }
        gaps
    }

    /// Weights and empty key-value rows as extents of the image.
    pub(crate) fn extents(self) -> Vec<Extent<'static>> {
        let zeros = if self.real { self.gaps() } else { self.weight_runs() };
        let zeros = self.cache_runs().into_iter().chain(zeros).map(|place| Extent { place, fill: Fill::Zero });
        let mut extents: Vec<Extent<'static>> = zeros.collect();
        let mut placed: Vec<Option<Placed>> = self.placed.into_iter().filter(|_| self.real).map(Some).collect();
        for number in 0..placed.len() {
            let Some(tile) = placed[number].take() else { continue };
            let other = tile.other.and_then(|other| placed[other].take());
            for place in 0..tile.places.len() {
                let (run, bytes) = tile.part(place);
                let fill = match &other {
                    None => Fill::Bytes(bytes.to_vec().into()),
                    Some(other) => {
                        let (other, high) = other.part(place);
                        Fill::Pairs(bytes.iter().zip(high).flat_map(|(&low, &high)| [low, high]).collect(), other)
                    }
                };
                extents.push(Extent { place: run, fill });
            }
        }
        extents
    }

    /// The regions of weights and of key-value rows.
    pub(crate) fn regions(&self) -> Vec<Region> {
        let region = |name: &str, kind, runs: Vec<WordRun>| {
            let vectors = runs.iter().map(|run| run.count).sum();
            Region { name: name.into(), kind, format: Format::I8, vectors, lanes: self.lanes as u32, runs }
        };
        let regions = [
            region("weights", RegionKind::Const, self.weight_runs()),
            region("cache", RegionKind::State, self.cache_runs()),
        ];
        regions.into_iter().filter(|region| region.vectors > 0).collect()
    }
}
