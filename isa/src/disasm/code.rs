//! Comments with the instructions that are in code regions: they are bytes of the image, so the text has them as
//! `.hex` or in a file.

use super::names::RegionNames;
use super::queue::instructions;
use crate::fetch::items_of;
use crate::image::{ByPlace, Image};
use crate::program::{ChipId, Region, RegionKind, SliceId};
use crate::queue::Queue;
use crate::text::put;

/// Blocks that are looked at beyond the words that the image's bytes fill.
const EMPTY: usize = 64;

/// The image, in which code is found.
pub(super) struct CodeImage<'c> {
    words: ByPlace<'c>,
    lanes: usize,
    /// Blocks that may still be looked at: as many as words that the image's bytes fill, and a few empty ones
    /// (assumed). So a short file with many or large regions over the same words, or with words of which it gives one
    /// byte, makes no long text and takes no time.
    left: usize,
}

impl<'c> CodeImage<'c> {
    pub(super) fn new(image: &'c Image<'c>) -> Self {
        let lanes = image.vector_bytes.max(1) as usize;
        let bytes: usize = image.extents.iter().map(|extent| extent.bytes().len()).sum();
        Self { words: image.by_place(), lanes, left: EMPTY + bytes / lanes }
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
            let block = self.word(first).zip(self.word(second)).map(|(first, second)| [first, second].concat());
            let Some(items) = block.and_then(|block| items_of(&block)).filter(|items| !items.is_empty()) else {
                continue;
            };
            put(text, format_args!("    ; block {number}\n"));
            let mut lines = String::new();
            // Which slice's words the instructions access, the block does not say.
            instructions(Queue::Vxm(0), &items, &RegionNames::default(), &mut lines);
            lines.lines().for_each(|line| put(text, format_args!("    ; {line}\n")));
        }
    }

    /// A word that the image has.
    fn word(&self, (chip, slice, word): (ChipId, SliceId, u32)) -> Option<Vec<u8>> {
        let mut bytes = self.words.word(chip, slice, word)?.into_owned();
        bytes.resize(self.lanes, 0);
        Some(bytes)
    }
}
