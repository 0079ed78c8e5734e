//! Memory: ports, banks, words that are not initialised, words that are read-only.

use std::collections::BTreeMap;

use bitvec::prelude::*;
use lpu_chip::Chip;
use lpu_isa::{Fault, Instruction, SliceId, Violation};

use crate::class::ChipWords;
use crate::flow::is_deferred;
use crate::issues::ChipIssues;

/// An access: when, of which words (one, or a window), by which issue.
#[derive(Clone, Copy)]
struct SliceAccess {
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
    accesses: Vec<SliceAccess>,
}

impl Slice {
    fn new(words: u32) -> Self {
        let words = words as usize;
        Slice {
            initialised: bitvec![0; words],
            protected: bitvec![0; words],
            written: BTreeMap::new(),
            accesses: Vec::new(),
        }
    }
}

/// Holds the memory of a chip to the rules. Gives back the cycle and issue of each access that is not in the cycle of
/// its dispatch, in order of time: what lands in a cycle comes before the gathers of that cycle.
pub(crate) fn check(
    chip: &Chip,
    words: &ChipWords,
    issues: &ChipIssues,
    violations: &mut Vec<Violation>,
) -> Vec<(u64, u32)> {
    let mut slices: BTreeMap<SliceId, Slice> = BTreeMap::new();
    let new = || Slice::new(chip.words_per_slice());
    for &(slice, start, end) in &words.initialised {
        slices.entry(slice).or_insert_with(new).initialised[start as usize..end as usize].fill(true);
    }
    for &(slice, start, end) in &words.protected {
        slices.entry(slice).or_insert_with(new).protected[start as usize..end as usize].fill(true);
    }
    let mut deferred = Vec::new();
    for (index, issue) in (0u32..).zip(&issues.list) {
        let Some((name, mut touched)) = issue.words() else { continue };
        let slice = slices.entry(name).or_insert_with(new);
        let landed = chip.landing(issue.cycle, issue.instruction.row().delay);
        let (cycle, write) = match issue.instruction {
            Instruction::Gather { .. } => (issue.cycle + u64::from(chip.values().mem_gather_access), false),
            Instruction::Write { word, .. } => {
                slice.written.entry(word.0).and_modify(|first| *first = landed.min(*first)).or_insert(landed);
                (landed, true)
            }
            Instruction::Scatter { .. } => (landed, true),
            _ => (issue.cycle, false),
        };
        slice.accesses.push(SliceAccess { cycle, word: touched.start, end: touched.end, index, write });
        if is_deferred(&issue.instruction) {
            deferred.push((cycle, !write, index));
        }
        if write && let Some(word) = touched.find(|&word| slice.protected[word as usize]) {
            violations.push(issue.violation(issue.cycle, Fault::ProtectedWrite { slice: name, word }));
        }
    }
    for (name, slice) in &mut slices {
        let Slice { initialised, written, accesses, .. } = slice;
        for &SliceAccess { cycle, word, end, index, .. } in accesses.iter().filter(|access| !access.write) {
            let ready =
                |word: u32| initialised[word as usize] || written.get(&word).is_some_and(|&landed| landed <= cycle);
            if let Some(word) = (word..end).find(|&word| !ready(word)) {
                violations.push(
                    issues.list[index as usize].violation(cycle, Fault::WordUninitialised { slice: *name, word }),
                );
            }
        }
        // Issues of one queue are in the list in the order of their dispatch.
        accesses.sort_unstable_by_key(|access| (access.cycle, access.index));
        for group in accesses.chunk_by(|one, other| one.cycle == other.cycle) {
            conflicts(chip, *name, group, issues, violations);
        }
    }
    deferred.sort_unstable();
    deferred.into_iter().map(|(cycle, _, index)| (cycle, index)).collect()
}

/// Conflicts among the accesses of one cycle, in order of dispatch.
fn conflicts(chip: &Chip, slice: SliceId, group: &[SliceAccess], issues: &ChipIssues, violations: &mut Vec<Violation>) {
    for (later, &SliceAccess { cycle, word, index, write, .. }) in group.iter().enumerate() {
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
