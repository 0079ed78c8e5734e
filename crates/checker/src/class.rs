//! Classes of chips: chips whose proofs are the same but for a shift of time and the names of links. One is proven for
//! all.
//!
//! # Method
//!
//! Two chips are of one class when they share a queue set, when each link of the set is at the same position and of
//! the same figures on both, or connected on neither, when the same words are initialised and protected, and, as far
//! as the set can tell, when code regions hold the same bytes and the clock has the same phase. All that a rule asks
//! of one chip follows from these; what it asks of two chips is for `links`.

use std::collections::BTreeMap;

use lpu_chip::{Chip, LinkEnd, System};
use lpu_isa::{
    ChipId, ChipProgram, Extent, Image, Instruction, Program, Queue, QueueSet, RegionError, RegionKind, SliceId,
    WordRun,
};

use crate::code::CodeWords;
use crate::error::CheckError;
use crate::member::Member;

/// Position of a link and, of one that is connected, its figures.
type LinkFigures = (Option<i32>, Option<(u64, u64)>);

/// Words of a slice from a first up to an end.
pub(crate) type Words = (SliceId, u32, u32);

/// The words of a chip by use, each list in order and without overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChipWords {
    pub(crate) initialised: Vec<Words>,
    pub(crate) protected: Vec<Words>,
}

/// What the proof of one chip follows from.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    set: u16,
    words: ChipWords,
    /// By link of the set: position where the chip has it, and latency and interval where it is connected.
    links: Vec<LinkFigures>,
    phase: u64,
    code: Vec<u8>,
}

/// The classes of a program's chips.
pub(crate) struct Classes {
    /// The chips in order.
    pub(crate) members: Vec<Member>,
    /// First chip of each class, and its words: of those that start first, the one of the lowest number.
    pub(crate) firsts: Vec<(ChipId, ChipWords)>,
}

impl Classes {
    /// The classes of chips that have these words by use; all alike where time alone matters.
    pub(crate) fn new(system: &System, code: &CodeWords<'_>, program: &Program, mut words: Vec<ChipWords>) -> Self {
        let chip = system.chip();
        let mut firsts: Vec<(ChipId, ChipWords)> = Vec::new();
        let mut members: Vec<Option<Member>> = vec![None; program.chips.len()];
        let mut numbers: BTreeMap<Key, usize> = BTreeMap::new();
        let mut by_start: Vec<(ChipId, &ChipProgram)> = program.each_chip().collect();
        by_start.sort_by_key(|(_, run)| run.start);
        let of_set = |set: &QueueSet| {
            let holds = |wanted: fn(&Instruction) -> bool| set.values().flatten().any(|item| wanted(&item.instruction));
            let fetches = holds(|instruction| matches!(instruction, Instruction::Ifetch { .. }));
            (fetches, fetches || holds(|instruction| matches!(instruction, Instruction::Deskew {})))
        };
        let of_sets: Vec<(bool, bool)> = program.sets.iter().map(of_set).collect();
        let empty = QueueSet::new();
        for (id, run) in by_start {
            let set = program.sets.get(usize::from(run.set)).unwrap_or(&empty);
            let (fetches, timed) = of_sets.get(usize::from(run.set)).copied().unwrap_or_default();
            let links = set.keys().filter_map(|&queue| match run.queue(queue) {
                own @ Queue::C2c(link) => {
                    let position = chip.has_queue(own).then(|| chip.position(own));
                    let end = LinkEnd { chip: id, link };
                    Some((position, system.peer(end).map(|_| (system.latency(end), system.interval(end)))))
                }
                _ => None,
            });
            let key = Key {
                set: run.set,
                words: words.get_mut(usize::from(id.0)).map(std::mem::take).unwrap_or_default(),
                links: links.collect(),
                phase: if timed { run.start % u64::from(chip.values().c2c_period) } else { 0 },
                code: if fetches { code.of_chip(id) } else { Vec::new() },
            };
            let number = match numbers.get(&key) {
                Some(&number) => number,
                None => {
                    firsts.push((id, key.words.clone()));
                    numbers.insert(key, firsts.len() - 1);
                    firsts.len() - 1
                }
            };
            let first = &program.chips[usize::from(firsts[number].0.0)];
            members[usize::from(id.0)] = Some(member(number, first, run, set));
        }
        Self { members: members.into_iter().flatten().collect(), firsts }
    }
}

fn member(class: usize, first: &ChipProgram, run: &ChipProgram, set: &QueueSet) -> Member {
    let named = set.keys().filter_map(|&queue| match (first.queue(queue), run.queue(queue)) {
        (Queue::C2c(first), Queue::C2c(own)) if first != own => Some((first, own)),
        _ => None,
    });
    Member { class, later: run.start - first.start, links: named.collect() }
}

/// The words of each chip of a program, by use.
///
/// # Errors
/// [`CheckError::Region`] where there is no such word.
pub(crate) fn chip_words(chip: &Chip, image: &Image<'_>, program: &Program) -> Result<Vec<ChipWords>, CheckError> {
    let mut words = vec![ChipWords::default(); program.chips.len()];
    for place in image.extents.iter().flat_map(Extent::places) {
        within(chip, "an extent of the image", &place)?;
        // A chip that the program does not have runs nothing.
        if let Some(of_chip) = words.get_mut(usize::from(place.chip.0)) {
            of_chip.initialised.extend(ranges(&place));
        }
    }
    for region in &program.regions {
        for run in &region.runs {
            within(chip, &region.name, run)?;
            let Some(of_chip) = words.get_mut(usize::from(run.chip.0)) else { continue };
            match region.kind {
                RegionKind::Input => of_chip.initialised.extend(ranges(run)),
                RegionKind::Const | RegionKind::Code => of_chip.protected.extend(ranges(run)),
                RegionKind::Output | RegionKind::State => {}
            }
        }
    }
    for of_chip in &mut words {
        join(&mut of_chip.initialised);
        join(&mut of_chip.protected);
    }
    Ok(words)
}

/// Whether a run of words is inside SRAM.
fn within(chip: &Chip, what: &str, run: &WordRun) -> Result<(), CheckError> {
    let slices = u32::from(run.slice.index) < chip.values().slices_per_side;
    match run.words().find(|&word| !slices || word >= chip.words_per_slice()) {
        Some(word) => Err(RegionError::OutsideSram { what: what.to_owned(), slice: run.slice, word }.into()),
        None => Ok(()),
    }
}

/// The words of a run as ranges: one, or one a word where they are apart.
fn ranges(run: &WordRun) -> impl Iterator<Item = Words> {
    let (slice, together) = (run.slice, run.stride == 1 && run.count > 0);
    let whole = together.then(|| (slice, run.word, run.word + run.count));
    whole.into_iter().chain(run.words().filter(move |_| !together).map(move |word| (slice, word, word + 1)))
}

/// Puts ranges in order and makes one of those that touch.
fn join(words: &mut Vec<Words>) {
    words.sort_unstable();
    words.dedup_by(|next, before| {
        let joined = next.0 == before.0 && next.1 <= before.2;
        if joined {
            before.2 = before.2.max(next.2);
        }
        joined
    });
}
