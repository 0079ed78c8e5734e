//! Code in memory: what an instruction fetch finds on its streams, known from the image because nothing writes code.

use std::collections::{BTreeMap, BTreeSet};

use lpu_chip::Chip;
use lpu_isa::{ByPlace, ChipId, Fault, Flow, Image, Instruction, Program, Queue, RegionKind, SliceId, Stream};

use crate::issue::Issue;
use crate::lines::diagonal;

/// A value put on a stream: cycle on the register, queue, item, dispatch, and the word of code that it is.
type CodePut = (u64, Queue, u32, u64, Option<(SliceId, u32)>);

/// The words of code regions, which nothing writes.
pub(crate) struct CodeWords<'a> {
    chip: &'a Chip,
    program: &'a Program,
    /// Nothing when the program does not fetch.
    words: Option<ByPlace<'a>>,
}

impl<'a> CodeWords<'a> {
    pub(crate) fn new(chip: &'a Chip, image: &'a Image<'a>, program: &'a Program) -> Self {
        let mut items = program.sets.iter().flat_map(|set| set.values()).flatten();
        let fetches = items.any(|item| matches!(item.instruction, Instruction::Ifetch { .. }));
        Self { chip, program, words: fetches.then(|| image.by_place()) }
    }

    /// The words of code on a chip: those of code regions that are in no input.
    fn on_chip(&self, chip: ChipId) -> BTreeSet<(SliceId, u32)> {
        let words = |kind| {
            let regions = self.program.regions.iter().filter(move |region| region.kind == kind);
            let runs = regions.flat_map(|region| &region.runs).filter(move |run| run.chip == chip);
            runs.flat_map(|run| run.words().map(|word| (run.slice, word))).collect::<BTreeSet<_>>()
        };
        &words(RegionKind::Code) - &words(RegionKind::Input)
    }

    /// Places and bytes of all code on a chip, one after the other.
    pub(crate) fn of_chip(&self, chip: ChipId) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (slice, word) in self.on_chip(chip) {
            bytes.extend(format!("{slice}:{word} ").bytes());
            self.put_word(chip, slice, word, &mut bytes);
        }
        bytes
    }

    /// Appends a word: zero where the image has no such word, and after the bytes that it has of one.
    fn put_word(&self, chip: ChipId, slice: SliceId, word: u32, bytes: &mut Vec<u8>) {
        let end = bytes.len() + self.chip.lanes();
        let found = self.words.as_ref().and_then(|words| words.word(chip, slice, word));
        bytes.extend_from_slice(&found.unwrap_or_default());
        bytes.resize(end, 0);
    }
}

/// Follows what is put on the streams of one chip, for programs that fetch.
pub(crate) struct Code<'a> {
    words: &'a CodeWords<'a>,
    /// Nothing when the program does not fetch.
    code: Option<BTreeSet<(SliceId, u32)>>,
    /// By stream and diagonal.
    puts: BTreeMap<(Stream, i64), Vec<CodePut>>,
}

impl<'a> Code<'a> {
    pub(crate) fn new(words: &'a CodeWords<'a>, chip: ChipId) -> Self {
        Self { words, code: words.words.as_ref().map(|_| words.on_chip(chip)), puts: BTreeMap::new() }
    }

    /// Notes what an issue puts on streams; `whole` says that all its superlanes are powered.
    pub(crate) fn note(&mut self, issue: &Issue, landed: u64, whole: bool) {
        let Some(code) = &self.code else { return };
        let word = match (issue.instruction, issue.queue) {
            (Instruction::Read { word, .. }, Queue::Mem(side, index)) if whole => {
                Some((SliceId { side, index }, word.0))
            }
            _ => None,
        };
        let word = word.filter(|place| code.contains(place));
        let position = self.words.chip.position(issue.queue);
        for used in issue.instruction.streams().into_iter().filter(|used| used.flow == Flow::Out) {
            for stream in (0..used.width).map(|offset| used.first.plus(offset)) {
                let key = (stream, diagonal(stream, landed, position));
                self.puts.entry(key).or_default().push((landed, issue.queue, issue.item, issue.cycle, word));
            }
        }
    }

    /// The two vectors that a fetch takes; nothing when one of them has no producer.
    pub(crate) fn block(&self, issue: &Issue, src: Stream) -> Option<Result<Vec<u8>, Fault>> {
        let position = self.words.chip.position(issue.queue);
        let arriving = |stream: Stream| {
            let line = self.puts.get(&(stream, diagonal(stream, issue.cycle, position)))?;
            line.iter().filter(|put| put.0 < issue.cycle).max_by_key(|put| (put.0, put.1, put.2, put.3))
        };
        let vectors = [(src, arriving(src)?), (src.plus(1), arriving(src.plus(1))?)];
        let mut block = Vec::new();
        for (stream, put) in vectors {
            let Some((slice, word)) = put.4 else { return Some(Err(Fault::FetchNotCode { stream, position })) };
            self.words.put_word(issue.chip, slice, word, &mut block);
        }
        Some(Ok(block))
    }
}
