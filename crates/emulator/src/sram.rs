//! SRAM: the words of all slices of a chip, and which of them are initialised.

use std::borrow::Cow;

use lpu_chip::Chip;
use lpu_isa::{Hemisphere, SliceId};

/// The SRAM of one chip.
#[derive(Clone, Debug)]
pub(crate) struct ChipSram {
    lanes: usize,
    words: usize,
    slices_a_side: usize,
    /// Allocated when a slice is first written.
    slices: Vec<Vec<u8>>,
    /// Words that the image initialises.
    image: Vec<Vec<bool>>,
    /// Run in which a word was last written or filled.
    written: Vec<Vec<u32>>,
    run: u32,
}

impl ChipSram {
    pub(crate) fn new(chip: &Chip) -> Self {
        let slices = 2 * chip.values().slices_per_side as usize;
        Self {
            lanes: chip.lanes(),
            words: chip.words_per_slice() as usize,
            slices_a_side: chip.values().slices_per_side as usize,
            slices: vec![Vec::new(); slices],
            image: vec![Vec::new(); slices],
            written: vec![Vec::new(); slices],
            run: 0,
        }
    }

    pub(crate) fn index(&self, slice: SliceId) -> usize {
        usize::from(slice.index) + if slice.side == Hemisphere::West { self.slices_a_side } else { 0 }
    }

    pub(crate) fn contains(&self, slice: SliceId, word: u32) -> bool {
        usize::from(slice.index) < self.slices_a_side && (word as usize) < self.words
    }

    fn allocate(&mut self, slice: usize) {
        if self.slices[slice].is_empty() {
            self.slices[slice] = vec![0; self.words * self.lanes];
            self.image[slice] = vec![false; self.words];
            self.written[slice] = vec![0; self.words];
        }
    }

    /// A word, zero where nothing was written.
    pub(crate) fn word(&self, slice: usize, word: u32) -> Cow<'_, [u8]> {
        let bytes = self.slices[slice].get(word as usize * self.lanes..(word as usize + 1) * self.lanes);
        bytes.map_or_else(|| vec![0; self.lanes].into(), Cow::Borrowed)
    }

    /// A word, to be replaced, which does not initialise it.
    pub(crate) fn word_mut(&mut self, slice: usize, word: u32) -> &mut [u8] {
        self.allocate(slice);
        &mut self.slices[slice][word as usize * self.lanes..][..self.lanes]
    }

    /// Writes a word in this run, which initialises it.
    pub(crate) fn write(&mut self, slice: usize, word: u32, bytes: &[u8], initialises: bool) {
        self.allocate(slice);
        let start = word as usize * self.lanes;
        self.slices[slice][start..start + self.lanes].copy_from_slice(bytes);
        if initialises {
            self.written[slice][word as usize] = self.run;
        }
    }

    /// Puts the first bytes of a word of the image; those after them are zero.
    pub(crate) fn load(&mut self, slice: usize, word: u32, bytes: &[u8]) {
        self.allocate(slice);
        let (given, rest) = self.slices[slice][word as usize * self.lanes..][..self.lanes].split_at_mut(bytes.len());
        given.copy_from_slice(bytes);
        rest.fill(0);
        self.image[slice][word as usize] = true;
    }

    pub(crate) fn start_run(&mut self) {
        self.run += 1;
    }

    /// Marks a word as initialised in this run.
    pub(crate) fn mark(&mut self, slice: usize, word: u32) {
        self.allocate(slice);
        self.written[slice][word as usize] = self.run;
    }

    pub(crate) fn initialised(&self, slice: usize, word: u32) -> bool {
        let word = word as usize;
        self.image[slice].get(word) == Some(&true) || self.written[slice].get(word) == Some(&self.run)
    }
}
