//! Images for composed programs: known random words in the slices that a program uses.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use lpu::chip::Chip;
use lpu::isa::{ChipId, Extent, Fill, Image, Queue, SliceId, WordRun};

use crate::dice::Dice;

/// Words of every slice that the image initialises.
pub(crate) const KNOWN: [u32; 10] = [0, 1, 2, 3, 4, 256, 257, 258, 259, 260];

/// Words by place.
pub(crate) struct Memory {
    lanes: usize,
    dice: Dice,
    words: BTreeMap<(ChipId, SliceId, u32), Vec<u8>>,
}

impl Memory {
    pub(crate) fn new(chip: &Chip, seed: u64) -> Self {
        Self { lanes: chip.lanes(), dice: Dice(seed), words: BTreeMap::new() }
    }

    /// A word of chip 0.
    pub(crate) fn put(&mut self, slice: SliceId, word: u32, bytes: &[u8]) {
        self.words.insert((ChipId(0), slice, word), bytes.to_vec());
    }

    /// The image that also has the known words of all memory queues named.
    pub(crate) fn image(mut self, queues: impl Iterator<Item = (u16, Queue)>) -> Image<'static> {
        let slices: BTreeSet<(u16, SliceId)> = queues
            .filter_map(|(chip, queue)| match queue {
                Queue::Mem(side, index) => Some((chip, SliceId { side, index })),
                _ => None,
            })
            .collect();
        for (chip, slice) in slices {
            for word in KNOWN {
                let bytes = (0..self.lanes).map(|_| self.dice.roll() as u8 & 0x3f).collect();
                self.words.insert((ChipId(chip), slice, word), bytes);
            }
        }
        let mut extents: Vec<Extent<'static>> = Vec::new();
        for ((chip, slice, word), bytes) in self.words {
            if let Some(Extent { place, fill: Fill::Bytes(before) }) = extents.last_mut()
                && (place.chip, place.slice, place.word + place.count) == (chip, slice, word)
            {
                place.count += 1;
                before.to_mut().extend(bytes);
                continue;
            }
            let place = WordRun { chip, slice, word, count: 1, stride: 1 };
            extents.push(Extent { place, fill: Fill::Bytes(Cow::Owned(bytes)) });
        }
        Image { vector_bytes: self.lanes as u32, extents }
    }
}

/// Makes another image of the same words: extents shuffled, some in pairs, and without the zeros that their words end
/// with.
pub fn disorder(image: &mut Image<'static>, dice: &mut Dice) {
    image.extents.iter_mut().for_each(shorten);
    for last in (1..image.extents.len()).rev() {
        image.extents.swap(last, dice.below(last + 1));
    }
    for extent in std::mem::take(&mut image.extents) {
        let before = image.extents.last_mut().filter(|_| dice.below(2) == 0);
        if !before.is_some_and(|before| pair(before, &extent)) {
            image.extents.push(extent);
        }
    }
}

/// Leaves out the lanes that are zero in all words of an extent, up to the last that is not.
fn shorten(extent: &mut Extent<'static>) {
    let used = |bytes: &[u8]| bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    match extent.words().map(|(.., bytes)| used(&bytes)).max() {
        Some(live @ 1..) => {
            let width = extent.places().count();
            let words = extent.bytes().chunks(width * extent.live());
            *extent = extent.with(words.flat_map(|word| &word[..width * live]).copied().collect::<Vec<u8>>());
        }
        _ => extent.fill = Fill::Zero,
    }
}

/// Puts the words of another extent in turn with those of one; says whether that can be.
pub(crate) fn pair(extent: &mut Extent<'static>, other: &Extent<'static>) -> bool {
    let live = extent.live().max(other.live());
    let single = |extent: &Extent<'_>| extent.other().is_none();
    if live == 0 || !single(extent) || !single(other) || extent.place.count != other.place.count {
        return false;
    }
    let byte =
        |extent: &Extent<'_>, number, lane: usize| extent.word_bytes(false, number).get(lane).copied().unwrap_or(0);
    let lanes = (0..extent.place.count).flat_map(|number| (0..live).map(move |lane| (number, lane)));
    let bytes: Vec<u8> =
        lanes.flat_map(|(number, lane)| [&*extent, other].map(|extent| byte(extent, number, lane))).collect();
    extent.fill = Fill::Pairs(bytes.into(), other.place);
    true
}
