//! From items back to source lines.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::Span;
use super::source::{IncludedFile, IncludedFiles};
use crate::program::ChipId;
use crate::queue::Queue;

/// Says which source line each item of an assembled container comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceMap {
    pub(super) programs: Vec<ProgramLines>,
    pub(super) sources: IncludedFiles,
}

/// A line, and the expansion that it belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LineOrigin {
    pub(super) line: u32,
    pub(super) context: u32,
}

impl From<Span> for LineOrigin {
    fn from(span: Span) -> Self {
        Self { line: span.line, context: span.context }
    }
}

/// The lines of one program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProgramLines {
    pub(super) origin: LineOrigin,
    pub(super) cycles_stated: bool,
    pub(super) queues: BTreeMap<(ChipId, Queue), Vec<LineOrigin>>,
    /// Chips that share the queues of another: that chip, and its links by the numbers that they have here.
    pub(super) likes: BTreeMap<ChipId, (ChipId, BTreeMap<u16, u16>)>,
}

impl ProgramLines {
    /// The lines of a queue, where the text has them.
    fn queue(&self, chip: ChipId, queue: Queue) -> Option<&Vec<LineOrigin>> {
        let written = match (self.likes.get(&chip), queue) {
            (None, queue) => (chip, queue),
            (Some((of, links)), Queue::C2c(link)) => (*of, Queue::C2c(links.get(&link).copied().unwrap_or(link))),
            (Some((of, _)), queue) => (*of, queue),
        };
        self.queues.get(&written)
    }
}

/// A source line, in the text or in a file that it includes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The included file; none for the text itself.
    pub file: Option<Arc<IncludedFile>>,
    /// The line of the file, from 1.
    pub line: u32,
    /// How the line came to be assembled, from the inside: iterations and inclusions.
    pub trail: Vec<String>,
}

impl SourceMap {
    fn origin(&self, program: usize, chip: ChipId, queue: Queue, item: u32) -> Option<LineOrigin> {
        self.programs.get(program)?.queue(chip, queue)?.get(item as usize).copied()
    }

    fn resolved(&self, origin: LineOrigin) -> Place {
        let file = self.sources.file(self.sources.file_of(origin.context)).cloned();
        Place { file, line: origin.line, trail: self.sources.trail(origin.context) }
    }

    /// The line of an item in its own file; the programs are numbered in order. A `nop` inserted for `@` has the line
    /// of the instruction after it, a fetched item that of its instruction where the queue has one `.block`.
    #[must_use]
    pub fn line(&self, program: usize, chip: ChipId, queue: Queue, item: u32) -> Option<u32> {
        self.origin(program, chip, queue, item).map(|origin| origin.line)
    }

    /// Where an item comes from, as [`SourceMap::line`], with its file, iterations and inclusions.
    #[must_use]
    pub fn place(&self, program: usize, chip: ChipId, queue: Queue, item: u32) -> Option<Place> {
        self.origin(program, chip, queue, item).map(|origin| self.resolved(origin))
    }

    /// The line on which a program starts.
    #[must_use]
    pub fn program_line(&self, program: usize) -> Option<u32> {
        self.programs.get(program).map(|program| program.origin.line)
    }

    /// Where a program starts.
    #[must_use]
    pub fn program_place(&self, program: usize) -> Option<Place> {
        self.programs.get(program).map(|program| self.resolved(program.origin))
    }

    /// Whether the text states the program's cycles; if not they are 0 in the container, and the caller derives them.
    #[must_use]
    pub fn cycles_stated(&self, program: usize) -> bool {
        self.programs.get(program).is_some_and(|program| program.cycles_stated)
    }
}
