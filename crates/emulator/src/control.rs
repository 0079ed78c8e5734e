//! Instruction control: which queue dispatches what in which cycle, barriers, shared counters.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use lpu_isa::{ChipId, Cursor, Fault, Issue, Item, Site, Violation};

use crate::dispatch::Dispatch;
use crate::prepare::{Line, Prepared};

/// A queue under way.
struct QueueRun<'a> {
    chip: u16,
    /// Its number among all queues of a chip, in order.
    queue: u16,
    items: Cow<'a, [Item]>,
    cursor: Cursor,
    /// What dispatches next.
    next: Option<Issue>,
    /// Lanes that are powered.
    live: u32,
    /// Dispatch of the sync that parks it, and its item.
    parked: Option<Issue>,
}

/// What orders dispatches: cycle, chip, queue, item; and the line.
type Due = (u64, u16, u16, u32, usize);

/// All queues of a system.
pub(crate) struct Control<'a> {
    lines: Vec<QueueRun<'a>>,
    /// Lines that have something to dispatch: cycle, chip, queue, item, line.
    due: BinaryHeap<Reverse<Due>>,
    /// Barriers on their way: cycle of arrival, chip.
    barriers: BTreeSet<(u64, u16)>,
    pub(crate) dispatched: bool,
    /// One past the last dispatch.
    pub(crate) end: u64,
    pub(crate) fetched: u64,
}

impl<'a> Control<'a> {
    pub(crate) fn new(prepared: &'a Prepared, lanes: usize) -> Self {
        let line = |line: &'a Line| {
            let items = Cow::Borrowed(prepared.items(line));
            let mut cursor = Cursor::default();
            cursor.resume(line.start);
            let Line { chip, queue, .. } = *line;
            QueueRun { chip, queue, items, cursor, next: None, live: lanes as u32, parked: None }
        };
        let lines: Vec<QueueRun<'a>> = prepared.lines.iter().map(line).collect();
        let count = lines.len();
        let mut control =
            Self { lines, due: BinaryHeap::new(), barriers: BTreeSet::new(), dispatched: false, end: 0, fetched: 0 };
        (0..count).for_each(|line| control.advance(line));
        control
    }

    /// Finds what a queue dispatches next.
    fn advance(&mut self, line: usize) {
        let QueueRun { chip, queue, items, cursor, next, .. } = &mut self.lines[line];
        *next = cursor.next(items);
        if let Some(issue) = next {
            self.due.push(Reverse((issue.cycle, *chip, *queue, issue.item, line)));
        }
    }

    /// The next cycle in which anything happens here.
    pub(crate) fn next_cycle(&self) -> Option<u64> {
        let due = self.due.peek().map(|Reverse((cycle, ..))| *cycle);
        let barrier = self.barriers.first().map(|&(cycle, _)| cycle);
        due.into_iter().chain(barrier).min()
    }

    /// Barriers that arrive in this cycle free the queues that were parked before it.
    pub(crate) fn barriers(&mut self, cycle: u64) {
        while let Some((_, chip)) = self.barriers.pop_first_if(cycle) {
            for line in 0..self.lines.len() {
                let state = &mut self.lines[line];
                if state.chip == chip && state.parked.is_some_and(|sync| sync.cycle < cycle) {
                    state.parked = None;
                    state.cursor.resume(cycle);
                    self.advance(line);
                }
            }
        }
    }

    /// The next instruction that dispatches in this cycle, and its line.
    pub(crate) fn pop(&mut self, cycle: u64) -> Option<(usize, Dispatch)> {
        let &Reverse((due, chip, queue, item, line)) = self.due.peek()?;
        if due != cycle {
            return None;
        }
        self.due.pop();
        self.end = cycle + 1;
        let issue = self.lines[line].next?;
        Some((line, Dispatch { cycle, chip, queue, item, live: self.lines[line].live, instruction: issue.instruction }))
    }

    /// Goes on after the instruction that dispatched last.
    pub(crate) fn done(&mut self, line: usize) {
        self.advance(line);
    }

    pub(crate) fn park(&mut self, line: usize) {
        self.lines[line].parked = self.lines[line].next;
    }

    pub(crate) fn notify(&mut self, chip: u16, arrival: u64) {
        self.barriers.insert((arrival, chip));
    }

    pub(crate) fn resume(&mut self, line: usize, cycle: u64) {
        self.lines[line].cursor.resume(cycle);
    }

    pub(crate) fn power(&mut self, line: usize, lanes: u32) {
        self.lines[line].live = lanes;
    }

    /// Appends fetched items; says how many then wait in the queue.
    pub(crate) fn append(&mut self, line: usize, items: &[Item], arrival: u64) -> usize {
        let QueueRun { items: queue, cursor, .. } = &mut self.lines[line];
        cursor.hold(queue.len(), arrival);
        queue.to_mut().extend_from_slice(items);
        self.fetched += items.len() as u64;
        queue.len() - cursor.at()
    }

    /// Queues that are still parked when nothing is left to happen.
    pub(crate) fn stuck(&self, prepared: &Prepared, end: u64) -> Vec<Violation> {
        let parked = self.lines.iter().filter_map(|line| Some((line, line.parked?)));
        let violation = |(line, sync): (&QueueRun<'_>, Issue)| Violation {
            cycle: end,
            chip: ChipId(line.chip),
            chips: prepared.chips,
            site: Some(Site {
                queue: prepared.queues[usize::from(line.queue)],
                item: sync.item,
                instruction: sync.instruction,
            }),
            fault: Fault::BarrierMissing { since: sync.cycle },
        };
        parked.map(violation).collect()
    }
}

/// The barriers of a cycle, taken one by one.
trait PopFirstIf {
    fn pop_first_if(&mut self, cycle: u64) -> Option<(u64, u16)>;
}

impl PopFirstIf for BTreeSet<(u64, u16)> {
    fn pop_first_if(&mut self, cycle: u64) -> Option<(u64, u16)> {
        self.first().filter(|&&(due, _)| due == cycle)?;
        self.pop_first()
    }
}
