//! Names of the regions of the words that instructions access, for comments.

use std::collections::BTreeMap;

use crate::operand::Kind;
use crate::program::{ChipId, Program, SliceId, WordRun};
use crate::queue::Queue;
use crate::table::Instruction;
use crate::text::place::print_name;
use crate::text::put;

/// The longest name that is in a comment, and the most runs that are looked through for one, in bytes and runs
/// (assumed): a short file may have a long name for each of many instructions, and many runs that all begin before a
/// word.
const LONGEST: usize = 64;
const MOST_RUNS: usize = 64;

/// The regions' words in each slice of one chip, to name addresses.
#[derive(Default)]
pub(super) struct RegionNames<'p> {
    /// In order of their first words.
    slices: BTreeMap<SliceId, Vec<NamedRun<'p>>>,
}

struct NamedRun<'p> {
    run: WordRun,
    name: &'p str,
    /// Number of the region in its program.
    region: usize,
    /// Words of the region in this slice before the run.
    before: u64,
}

impl<'p> RegionNames<'p> {
    pub(super) fn new(program: &'p Program, chip: ChipId) -> Self {
        let mut slices: BTreeMap<SliceId, Vec<NamedRun<'p>>> = BTreeMap::new();
        for (number, region) in program.regions.iter().enumerate().filter(|(_, region)| region.name.len() <= LONGEST) {
            let mut counted: BTreeMap<SliceId, u64> = BTreeMap::new();
            for run in region.runs.iter().filter(|run| run.chip == chip) {
                let words = counted.entry(run.slice).or_default();
                slices.entry(run.slice).or_default().push(NamedRun {
                    run: *run,
                    name: &region.name,
                    region: number,
                    before: *words,
                });
                *words += u64::from(run.count);
            }
        }
        slices.values_mut().for_each(|runs| runs.sort_by_key(|named| named.run.word));
        Self { slices }
    }

    /// `x+3`: the region of the word that an instruction of a memory queue accesses, and which of its words there.
    pub(super) fn word(&self, queue: Queue, instruction: &Instruction) -> Option<String> {
        let Queue::Mem(side, slice) = queue else { return None };
        let operands = instruction.row().operands.iter().zip(instruction.operand_bits());
        let word = operands.filter(|(operand, _)| operand.kind == Kind::Word).map(|(_, bits)| bits).next()?;
        // Which word of a run it is.
        let index = |run: &WordRun| {
            let (distance, stride) = (word.checked_sub(u64::from(run.word))?, u64::from(run.stride.max(1)));
            (distance % stride == 0).then_some(distance / stride).filter(|index| *index < u64::from(run.count))
        };
        let runs = self.slices.get(&SliceId { side, index: slice })?;
        let begun = &runs[..runs.partition_point(|named| u64::from(named.run.word) <= word)];
        let holding = begun
            .iter()
            .rev()
            .take(MOST_RUNS)
            .filter_map(|named| Some((named.region, named.before + index(&named.run)?, named.name)));
        let (_, offset, name) = holding.min()?;
        let mut text = String::new();
        print_name(name, &mut text);
        match offset {
            0 => {}
            offset => put(&mut text, format_args!("+{offset}")),
        }
        // A line end in a name would end the comment.
        (!text.contains(['\n', '\r'])).then_some(text)
    }
}
