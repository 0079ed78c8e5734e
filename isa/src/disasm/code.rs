//! Comments with the instructions that stand in code regions: they are bytes of the image, so the text has them as `.hex` or in a file.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{Names, instructions, put};
use crate::fetch::items_of;
use crate::program::{ChipId, Fill, Image, Region, RegionKind, SliceId};
use crate::queue::Queue;

/// The image, in which code is found.
pub(super) struct Code<'c> {
    image: &'c Image<'c>,
    /// Words that may still be looked at: as many as there are, which keeps many regions over the same words from making a long text.
    left: u64,
}

impl<'c> Code<'c> {
    pub(super) fn new(image: &'c Image<'c>) -> Self {
        Self { image, left: image.words() }
    }

    /// The instructions of a code region, block by block; nothing where a block holds something else.
    pub(super) fn comment(&mut self, region: &Region, text: &mut String) {
        let Some(left) = self.left.checked_sub(region.word_count()).filter(|_| region.kind == RegionKind::Code) else { return };
        self.left = left;
        let words: Vec<_> = region.words().collect();
        for (number, pair) in words.chunks_exact(2).enumerate() {
            let words: Option<Vec<_>> = pair.iter().map(|&(chip, slice, word)| self.word(chip, slice, word)).collect();
            let Some(items) = words.and_then(|words| items_of(&words.concat())).filter(|items| !items.is_empty()) else { continue };
            put(text, format_args!("    ; block {number}\n"));
            let mut lines = String::new();
            // Which slice's words the instructions access, the block does not say.
            instructions(Queue::Vxm(0), &items, &Names { slices: BTreeMap::new() }, &mut lines);
            lines.lines().for_each(|line| put(text, format_args!("    ; {line}\n")));
        }
    }

    /// A word that the image has.
    fn word(&self, chip: ChipId, slice: SliceId, word: u32) -> Option<Cow<'c, [u8]>> {
        let extents = &self.image.extents;
        let after = extents.partition_point(|extent| (extent.place.chip, extent.place.slice, extent.place.word) <= (chip, slice, word));
        let extent = extents[..after].last().filter(|extent| (extent.place.chip, extent.place.slice) == (chip, slice))?;
        let number = word.checked_sub(extent.place.word).filter(|number| *number < extent.place.count)? as usize;
        let lanes = self.image.vector_bytes as usize;
        match &extent.fill {
            Fill::Zero => Some(Cow::Owned(vec![0; lanes])),
            Fill::Bytes(bytes) => Some(Cow::Borrowed(bytes.get(number.checked_mul(lanes)?..)?.get(..lanes)?)),
        }
    }
}
