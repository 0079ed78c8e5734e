//! Code in memory: what an instruction fetch finds on its streams, known from the image because nothing writes code.

use std::collections::BTreeMap;

use lpu_chip::Chip;
use lpu_isa::{ByPlace, ChipId, Fault, Flow, Image, Instruction, Program, Queue, RegionKind, SliceId, Stream};

use crate::issue::Issue;
use crate::lines::diagonal;

/// A value put on a stream: cycle on the register, queue, item, dispatch, and the word of code that it is.
type CodePut = (u64, Queue, u32, u64, Option<(SliceId, u32)>);

/// What a program that fetches needs.
struct Fetched<'a> {
    words: ByPlace<'a>,
    /// By chip, stream and diagonal.
    puts: BTreeMap<(ChipId, Stream, i64), Vec<CodePut>>,
}

/// Follows what is put on streams, for programs that fetch.
pub(crate) struct Code<'a> {
    chip: &'a Chip,
    program: &'a Program,
    /// Nothing when the program does not fetch.
    fetched: Option<Fetched<'a>>,
}

impl<'a> Code<'a> {
    pub(crate) fn new(chip: &'a Chip, image: &'a Image<'a>, program: &'a Program) -> Self {
        let mut items = program.queues.iter().flat_map(|queues| queues.values()).flatten();
        let fetches = items.any(|item| matches!(item.instruction, Instruction::Ifetch { .. }));
        Self { chip, program, fetched: fetches.then(|| Fetched { words: image.by_place(), puts: BTreeMap::new() }) }
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
        if self.fetched.is_none() {
            return;
        }
        let word = match (issue.instruction, issue.queue) {
            (Instruction::Read { word, .. }, Queue::Mem(side, index)) if whole => {
                Some((SliceId { side, index }, word.0))
            }
            _ => None,
        };
        let word = word.filter(|&(slice, word)| self.is_code(issue.chip, slice, word));
        let position = self.chip.position(issue.queue);
        let Some(Fetched { puts, .. }) = &mut self.fetched else { return };
        for used in issue.instruction.streams().into_iter().filter(|used| used.flow == Flow::Out) {
            for stream in (0..used.width).map(|offset| used.first.plus(offset)) {
                let key = (issue.chip, stream, diagonal(stream, landed, position));
                puts.entry(key).or_default().push((landed, issue.queue, issue.item, issue.cycle, word));
            }
        }
    }

    /// The two vectors that a fetch takes; nothing when one of them has no producer.
    pub(crate) fn block(&self, issue: &Issue, src: Stream) -> Option<Result<Vec<u8>, Fault>> {
        let Fetched { words, puts } = self.fetched.as_ref()?;
        let position = self.chip.position(issue.queue);
        let arriving = |stream: Stream| {
            let line = puts.get(&(issue.chip, stream, diagonal(stream, issue.cycle, position)))?;
            line.iter().filter(|put| put.0 < issue.cycle).max_by_key(|put| (put.0, put.1, put.2, put.3))
        };
        let vectors = [(src, arriving(src)?), (src.plus(1), arriving(src.plus(1))?)];
        let mut block = Vec::new();
        for ((stream, put), count) in vectors.into_iter().zip(1..) {
            let Some((slice, word)) = put.4 else { return Some(Err(Fault::FetchNotCode { stream, position })) };
            // Zero where the image has no such word, and after the bytes that it has of one.
            block.extend_from_slice(&words.word(issue.chip, slice, word).unwrap_or_default());
            block.resize(count * self.chip.lanes(), 0);
        }
        Some(Ok(block))
    }
}
