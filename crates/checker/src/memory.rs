//! Memory: ports, banks, words that nobody initialised, words that nobody may write.

use std::collections::BTreeMap;

use bitvec::prelude::*;
use lpu_chip::Chip;
use lpu_isa::{ChipId, Extent, Fault, Image, Instruction, Program, Queue, RegionKind, SliceId, Violation, WindowBits, Word, WordRun};

use crate::CheckError;
use crate::issues::Issues;

/// An access: when, of which words (one, or a window), by which issue.
#[derive(Clone, Copy)]
struct Access {
    cycle: u64,
    word: u32,
    end: u32,
    index: u32,
    write: bool,
}

/// Words of a slice, by use.
struct Slice {
    initialised: BitVec,
    protected: BitVec,
    /// First landing of a Write, by word.
    written: BTreeMap<u32, u64>,
    accesses: Vec<Access>,
}

struct Slices<'a> {
    chip: &'a Chip,
    slices: BTreeMap<(ChipId, SliceId), Slice>,
}

impl Slices<'_> {
    fn slice(&mut self, chip: ChipId, slice: SliceId) -> &mut Slice {
        let words = self.chip.words_per_slice() as usize;
        self.slices.entry((chip, slice)).or_insert_with(|| Slice {
            initialised: bitvec![0; words],
            protected: bitvec![0; words],
            written: BTreeMap::new(),
            accesses: Vec::new(),
        })
    }

    fn run(&mut self, what: &str, run: &WordRun, mut mark: impl FnMut(&mut Slice, usize)) -> Result<(), CheckError> {
        let words = self.chip.words_per_slice();
        let outside = |word| CheckError::OutsideSram { what: what.to_owned(), slice: run.slice, word };
        if u32::from(run.slice.index) >= self.chip.values().slices_per_side {
            return run.words().next().map_or(Ok(()), |word| Err(outside(word)));
        }
        let slice = self.slice(run.chip, run.slice);
        for word in run.words() {
            if word >= words {
                return Err(outside(word));
            }
            mark(slice, word as usize);
        }
        Ok(())
    }
}

fn window(base: Word, bits: WindowBits) -> std::ops::Range<u32> {
    base.0..base.0 + (1 << bits.0)
}

pub(crate) fn check(
    chip: &Chip,
    image: &Image<'_>,
    program: &Program,
    issues: &Issues,
    violations: &mut Vec<Violation>,
) -> Result<(), CheckError> {
    let mut slices = Slices { chip, slices: BTreeMap::new() };
    for place in image.extents.iter().flat_map(Extent::places) {
        slices.run("an extent of the image", &place, |slice, word| slice.initialised.set(word, true))?;
    }
    for region in &program.regions {
        for run in &region.runs {
            slices.run(&region.name, run, |slice, word| match region.kind {
                RegionKind::Input => slice.initialised.set(word, true),
                RegionKind::Const | RegionKind::Code => slice.protected.set(word, true),
                RegionKind::Output | RegionKind::State => {}
            })?;
        }
    }
    for (index, issue) in issues.list.iter().enumerate() {
        let Queue::Mem(side, number) = issue.queue else { continue };
        let name = SliceId { side, index: number };
        let slice = slices.slice(issue.chip, name);
        let landed = chip.landing(issue.cycle, issue.instruction.row().delay);
        let (cycle, write, touched) = match issue.instruction {
            Instruction::Read { word, .. } => (issue.cycle, false, word.0..word.0 + 1),
            Instruction::Gather { base, bits, .. } => (issue.cycle + u64::from(chip.values().mem_gather_access), false, window(base, bits)),
            Instruction::Write { word, .. } => {
                slice.written.entry(word.0).and_modify(|first| *first = landed.min(*first)).or_insert(landed);
                (landed, true, word.0..word.0 + 1)
            }
            Instruction::Scatter { base, bits, .. } => (landed, true, window(base, bits)),
            _ => continue,
        };
        slice.accesses.push(Access { cycle, word: touched.start, end: touched.end, index: index as u32, write });
        let mut touched = touched;
        if write && let Some(word) = touched.find(|&word| slice.protected[word as usize]) {
            violations.push(issue.violation(issue.cycle, Fault::ProtectedWrite { slice: name, word }));
        }
    }
    for ((_, name), slice) in &mut slices.slices {
        let Slice { initialised, written, accesses, .. } = slice;
        for &Access { cycle, word, end, index, .. } in accesses.iter().filter(|access| !access.write) {
            let ready = |word: u32| initialised[word as usize] || written.get(&word).is_some_and(|&landed| landed <= cycle);
            if let Some(word) = (word..end).find(|&word| !ready(word)) {
                violations.push(issues.list[index as usize].violation(cycle, Fault::WordUninitialised { slice: *name, word }));
            }
        }
        // Issues of one queue stand in the list in the order of their dispatch.
        accesses.sort_unstable_by_key(|access| (access.cycle, access.index));
        for group in accesses.chunk_by(|one, other| one.cycle == other.cycle) {
            conflicts(chip, *name, group, issues, violations);
        }
    }
    Ok(())
}

/// Conflicts among the accesses of one cycle, in order of dispatch.
fn conflicts(chip: &Chip, slice: SliceId, group: &[Access], issues: &Issues, violations: &mut Vec<Violation>) {
    for (later, &Access { cycle, word, index, write, .. }) in group.iter().enumerate() {
        let before = &group[..later];
        let issue = &issues.list[index as usize];
        if before.iter().any(|other| other.write == write) {
            let kind = if write { "write" } else { "read" };
            violations.push(issue.violation(cycle, Fault::PortConflict { slice, kind, word }));
        }
        let bank = chip.bank(word);
        if before.iter().any(|other| other.write != write && chip.bank(other.word) == bank) {
            violations.push(issue.violation(cycle, Fault::BankConflict { slice, bank }));
        }
    }
}
