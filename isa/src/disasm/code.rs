//! Comments with the instructions that stand in code regions: they are bytes of the image, so the text has them as `.hex` or in a file.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{Names, instructions, put};
use crate::fetch::items_of;
use crate::program::{ChipId, Fill, Image, Region, RegionKind, SliceId};
use crate::queue::Queue;

/// Blocks that are looked at beyond the words with bytes.
const EMPTY: usize = 64;

/// The image, in which code is found.
pub(super) struct Code<'c> {
    image: &'c Image<'c>,
    /// Blocks that may still be looked at: as many as there are words with bytes, and a few empty ones (assumed). So a short file with many or large
    /// regions over the same words makes no long text and takes no time.
    left: usize,
}

impl<'c> Code<'c> {
    pub(super) fn new(image: &'c Image<'c>) -> Self {
        let lanes = image.vector_bytes.max(1) as usize;
        let words = image.extents.iter().map(|extent| match &extent.fill {
            Fill::Zero => 0,
            Fill::Bytes(bytes) => bytes.len() / lanes,
        });
        Self { image, left: EMPTY + words.sum::<usize>() }
    }

    /// The instructions of a code region, block by block; nothing where a block holds something else.
    pub(super) fn comment(&mut self, region: &Region, text: &mut String) {
        if region.kind != RegionKind::Code {
            return;
        }
        let mut places = region.words();
        for number in 0.. {
            let (Some(first), Some(second), 1..) = (places.next(), places.next(), self.left) else { return };
            self.left -= 1;
            let words: Option<Vec<_>> = [first, second].into_iter().map(|(chip, slice, word)| self.word(chip, slice, word)).collect();
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
