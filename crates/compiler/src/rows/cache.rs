//! Key-value rows: the words that they take of a slice, and those of each sequence.

use lpu_isa::{Hemisphere, Instruction, Queue, SliceId, Stride, WordRun};

use super::WeightSlices;
use crate::target::words;
use crate::vectors::index;

/// How key-value rows are placed: an entry holds one key or value vector of every token of a sequence, and has an area
/// a sequence. Areas of an entry are equal and adjacent, in one bank, so that what reads and writes one of them reads
/// and writes each in the same cycles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CacheShape {
    /// Entries on each side.
    pub(crate) entries: [u32; 2],
    /// Tokens of an entry, a multiple of 16.
    pub(crate) context: usize,
    /// Areas of an entry.
    pub(crate) sequences: usize,
}

/// Where the key-value rows of sequences are in the slices that hold them.
#[derive(Clone, Debug)]
pub(crate) struct CacheRows {
    /// The slices.
    slices: Vec<SliceId>,
    /// The first word of key-value rows in each of them.
    first: u32,
    /// Sequences that have rows.
    pub(crate) sequences: usize,
    /// Words from the rows of a sequence to those of the next.
    pub(crate) area: u32,
}

impl CacheRows {
    /// An instruction of a queue in the schedule of sequence 0, as a sequence has it.
    pub(crate) fn moved(&self, queue: Queue, instruction: Instruction, sequence: usize) -> Instruction {
        let word = match instruction {
            Instruction::Read { word, .. } | Instruction::Write { word, .. } => word,
            Instruction::Gather { base, .. } | Instruction::Scatter { base, .. } => base,
            _ => return instruction,
        };
        let Queue::Mem(side, index) = queue else { return instruction };
        match word.0 >= self.first && self.slices.contains(&SliceId { side, index }) {
            true => instruction.strided(Stride(1), sequence as u32 * self.area),
            false => instruction,
        }
    }
}

/// Words of key-value rows at the top of a slice: words of an area, bits of a row address, words in all.
pub(super) fn cache_words(entries: u32, context: usize, sequences: usize, bank_words: u32) -> (u32, u8, u64) {
    let area = context.div_ceil(16) as u32 + 1;
    let bits = (32 - (area - 1).leading_zeros()).max(1) as u8;
    let pad = (1u32 << bits).saturating_sub(area);
    // An entry that no bank holds has no bank.
    let entry = u32::try_from(sequences).ok().and_then(|sequences| area.checked_mul(sequences)).unwrap_or(u32::MAX);
    let a_bank = bank_words.checked_sub(pad).map_or(0, |free| free / entry);
    let used = match (entries, a_bank) {
        (0, _) => 0,
        (_, 0) => u64::MAX,
        (entries, a_bank) => {
            let full = (entries.div_ceil(a_bank) - 1) * a_bank;
            u64::from(full / a_bank) * u64::from(bank_words) + u64::from((entries - full) * entry + pad)
        }
    };
    (area, bits, used)
}

impl WeightSlices {
    /// Where the key-value rows of sequences are.
    pub(crate) fn cache_rows(&self) -> CacheRows {
        let mut slices: Vec<SliceId> = Vec::new();
        let sides = Hemisphere::BOTH.into_iter().filter(|&side| self.wanted[index(side)] > 0);
        for slice in sides.flat_map(|side| self.classes[index(side)].cached.iter().flatten()) {
            if !slices.contains(slice) {
                slices.push(*slice);
            }
        }
        CacheRows { slices, first: self.limit, sequences: self.sequences as usize, area: self.area }
    }

    /// The words of all key-value rows.
    pub(super) fn cache_runs(&self) -> Vec<WordRun> {
        let slices = self.cache_rows().slices.into_iter();
        slices.map(|slice| words(slice, self.limit, self.words - self.limit)).collect()
    }
}
