//! Code in memory: what an instruction fetch finds on its streams, known from the image because nothing writes code.

use std::collections::BTreeMap;

use lpu_chip::Chip;
use lpu_isa::{ChipId, Fault, Fill, Flow, Image, Instruction, Program, Queue, RegionKind, SliceId, Stream};

use crate::issues::Issue;
use crate::streams::diagonal;

/// A value put on a stream: cycle on the register, queue, item, dispatch, and the word of code that it is.
type Put = (u64, Queue, u32, u64, Option<(SliceId, u32)>);

/// Follows what is put on streams, for programs that fetch.
pub(crate) struct Code<'a> {
    chip: &'a Chip,
    image: &'a Image<'a>,
    program: &'a Program,
    /// By chip, stream and diagonal; none when the program does not fetch.
    puts: Option<BTreeMap<(ChipId, Stream, i64), Vec<Put>>>,
}

impl<'a> Code<'a> {
    pub(crate) fn new(chip: &'a Chip, image: &'a Image<'a>, program: &'a Program) -> Self {
        let mut items = program.queues.iter().flat_map(|queues| queues.values()).flatten();
        let fetches = items.any(|item| matches!(item.instruction, Instruction::Ifetch { .. }));
        Self { chip, image, program, puts: fetches.then(BTreeMap::new) }
    }

    /// Whether a word belongs to a code region and to no input.
    fn is_code(&self, chip: ChipId, slice: SliceId, word: u32) -> bool {
        let holds = |kind| {
            let regions = self.program.regions.iter().filter(|region| region.kind == kind);
            let mut runs = regions.flat_map(|region| &region.runs).filter(|run| (run.chip, run.slice) == (chip, slice));
            runs.any(|run| run.words().any(|found| found == word))
        };
        holds(RegionKind::Code) && !holds(RegionKind::Input)
    }

    /// Notes what an issue puts on streams; `whole` says that all its superlanes are powered.
    pub(crate) fn note(&mut self, issue: &Issue, landed: u64, whole: bool) {
        if self.puts.is_none() {
            return;
        }
        let word = match (issue.instruction, issue.queue) {
            (Instruction::Read { word, .. }, Queue::Mem(side, index)) if whole => Some((SliceId { side, index }, word.0)),
            _ => None,
        };
        let word = word.filter(|&(slice, word)| self.is_code(issue.chip, slice, word));
        let position = self.chip.position(issue.queue);
        let Some(puts) = &mut self.puts else { return };
        for used in issue.instruction.streams().into_iter().filter(|used| used.flow == Flow::Out) {
            for stream in (0..used.width).map(|offset| used.first.plus(offset)) {
                let key = (issue.chip, stream, diagonal(stream, landed, position));
                puts.entry(key).or_default().push((landed, issue.queue, issue.item, issue.cycle, word));
            }
        }
    }

    /// The two vectors that a fetch takes; nothing when nobody fed one of them.
    pub(crate) fn block(&self, issue: &Issue, src: Stream) -> Option<Result<Vec<u8>, Fault>> {
        let position = self.chip.position(issue.queue);
        let arriving = |stream: Stream| {
            let line = self.puts.as_ref()?.get(&(issue.chip, stream, diagonal(stream, issue.cycle, position)))?;
            line.iter().filter(|put| put.0 < issue.cycle).max_by_key(|put| (put.0, put.1, put.2, put.3))
        };
        let puts = [(src, arriving(src)?), (src.plus(1), arriving(src.plus(1))?)];
        let mut block = Vec::new();
        for (stream, put) in puts {
            let Some((slice, word)) = put.4 else { return Some(Err(Fault::FetchNotCode { stream, position })) };
            block.extend(self.word(issue.chip, slice, word));
        }
        Some(Ok(block))
    }

    /// A word as the image has it; zero where it has none.
    fn word(&self, chip: ChipId, slice: SliceId, word: u32) -> Vec<u8> {
        let lanes = self.chip.lanes();
        let holds =
            |place: &lpu_isa::WordRun| (place.chip, place.slice) == (chip, slice) && (place.word..place.word + place.count).contains(&word);
        let extent = self.image.extents.iter().find(|extent| holds(&extent.place));
        match extent.map(|extent| (extent.place.word, &extent.fill)) {
            Some((first, Fill::Bytes(bytes))) => bytes[(word - first) as usize * lanes..][..lanes].to_vec(),
            _ => vec![0; lanes],
        }
    }
}
