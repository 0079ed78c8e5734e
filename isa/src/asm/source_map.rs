//! From items back to source lines.

use std::collections::BTreeMap;

use crate::program::ChipId;
use crate::queue::Queue;

/// Says which source line each item of an assembled container comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceMap {
    pub(super) programs: Vec<ProgramLines>,
}

/// The lines of one program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProgramLines {
    pub(super) line: u32,
    pub(super) cycles_stated: bool,
    pub(super) queues: BTreeMap<(ChipId, Queue), Vec<u32>>,
}

impl SourceMap {
    /// The line of an item; the programs are numbered in order. A `nop` inserted for `@` has the line of the
    /// instruction behind it, a fetched item that of its instruction where the queue has one `.block`.
    #[must_use]
    pub fn line(&self, program: usize, chip: ChipId, queue: Queue, item: u32) -> Option<u32> {
        self.programs.get(program)?.queues.get(&(chip, queue))?.get(item as usize).copied()
    }

    /// The line on which a program starts.
    #[must_use]
    pub fn program_line(&self, program: usize) -> Option<u32> {
        self.programs.get(program).map(|program| program.line)
    }

    /// Whether the text states the program's cycles; if not they are 0 in the container, and the caller derives them.
    #[must_use]
    pub fn cycles_stated(&self, program: usize) -> bool {
        self.programs.get(program).is_some_and(|program| program.cycles_stated)
    }
}
