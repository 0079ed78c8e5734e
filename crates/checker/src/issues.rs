//! All issues of a program with their times: queues unrolled, barriers and shared counters resolved, fetched
//! instructions found in the image. What is out of range, and what this resolution finds wrong, is alongside them.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use lpu_chip::{Chip, System};
use lpu_isa::{ChipId, Cursor, Fault, Image, Instruction, Item, Program, Queue, Violation, block_items, validate};

use crate::code::Code;
use crate::issue::Issue;
use crate::{CheckError, MOST_ISSUES};

/// The issues of a program.
pub(crate) struct Issues {
    /// Within the chip's ranges, in order of cycle, chip, queue, item.
    pub(crate) list: Vec<Issue>,
    /// Out of range, beyond a queue's depth, parked for ever, or fetched wrongly.
    pub(crate) unfit: Vec<Violation>,
    /// Cycles of a run: the last cycle in which an effect lands in any tile, plus one.
    pub(crate) cycles: u64,
    /// Where the end is observed: `cycles`, or one past the last dispatch where that is later.
    pub(crate) end: u64,
    /// Issues that lack superlanes with power, in order, with the lanes that they have.
    pub(crate) live: Vec<(u32, u16)>,
    /// Items that come by instruction fetch.
    pub(crate) fetched: u64,
}

/// A queue being unrolled.
struct QueueWalk<'p> {
    chip: ChipId,
    queue: Queue,
    items: Cow<'p, [Item]>,
    cursor: Cursor,
    next: Option<lpu_isa::Issue>,
    parked: Option<lpu_isa::Issue>,
    /// Lanes with power, if not all have it.
    live: Option<u16>,
}

impl QueueWalk<'_> {
    fn issue(&self, issue: &lpu_isa::Issue) -> Issue {
        Issue {
            cycle: issue.cycle,
            chip: self.chip,
            queue: self.queue,
            item: issue.item,
            instruction: issue.instruction,
        }
    }
}

/// What orders issues: cycle and line. Lines are in order of chip and queue, and each has one issue due.
type Due = (u64, u32);

struct Unroll<'p> {
    lines: Vec<QueueWalk<'p>>,
    due: BinaryHeap<Reverse<Due>>,
    barriers: BTreeSet<(u64, ChipId)>,
}

impl Unroll<'_> {
    fn advance(&mut self, index: usize) {
        let line = &mut self.lines[index];
        line.next = line.cursor.next(&line.items);
        if let Some(next) = line.next {
            self.due.push(Reverse((next.cycle, index as u32)));
        }
    }

    /// Frees the queues that the next barrier finds parked; says whether there was one no later than the next issue.
    fn barrier(&mut self) -> bool {
        let next = self.due.peek().map(|Reverse(due)| due.0);
        let Some(&(cycle, chip)) = self.barriers.first().filter(|&&(cycle, _)| next.is_none_or(|next| cycle <= next))
        else {
            return false;
        };
        self.barriers.remove(&(cycle, chip));
        for index in 0..self.lines.len() {
            let line = &mut self.lines[index];
            if line.chip == chip && line.parked.take_if(|sync| sync.cycle < cycle).is_some() {
                line.cursor.resume(cycle);
                self.advance(index);
            }
        }
        true
    }
}

impl Issues {
    pub(crate) fn new(system: &System, image: &Image<'_>, program: &Program) -> Result<Self, CheckError> {
        let chip = system.chip();
        let mut issues = Self { list: Vec::new(), unfit: Vec::new(), cycles: 0, end: 0, live: Vec::new(), fetched: 0 };
        let mut count = 0;
        let mut unroll = Unroll { lines: Vec::new(), due: BinaryHeap::new(), barriers: BTreeSet::new() };
        for (number, queues) in program.queues.iter().enumerate() {
            for (&queue, items) in queues {
                validate(queue, items)?;
                count = counted(count, items)?;
                let chip_id = ChipId(number as u16);
                let at = |item: usize| Issue {
                    cycle: 0,
                    chip: chip_id,
                    queue,
                    item: item as u32,
                    instruction: items[item].instruction,
                };
                if items.is_empty() {
                    continue;
                }
                if !chip.has_queue(queue) {
                    issues.unfit.push(at(0).violation(0, Fault::RangeOverflow { what: "queue", value: 0, limit: 0 }));
                    continue;
                }
                let depth = chip.values().queue_depth;
                if items.len() > depth as usize {
                    let fault = Fault::QueueOverflow { items: items.len() as u64, depth: u64::from(depth) };
                    issues.unfit.push(at(depth as usize).violation(0, fault));
                }
                let items = Cow::Borrowed(&items[..]);
                unroll.lines.push(QueueWalk {
                    chip: chip_id,
                    queue,
                    items,
                    cursor: Cursor::default(),
                    next: None,
                    parked: None,
                    live: None,
                });
            }
        }
        let mut code = Code::new(chip, image, program);
        (0..unroll.lines.len()).for_each(|line| unroll.advance(line));
        let mut last = None;
        loop {
            if unroll.barrier() {
                continue;
            }
            let Some(Reverse((cycle, index))) = unroll.due.pop() else { break };
            let index = index as usize;
            issues.end = cycle + 1;
            let line = &mut unroll.lines[index];
            let (Some(next), live) = (line.next, line.live) else { continue };
            let issue = line.issue(&next);
            if let Some(fault) = system.out_of_range(issue.chip, issue.queue, &issue.instruction) {
                issues.unfit.push(issue.violation(cycle, fault));
                unroll.advance(index);
                continue;
            }
            let row = issue.instruction.row();
            let landed = chip.landing(cycle, row.delay);
            last = last.max(chip.effect(cycle, row));
            code.note(&issue, landed, line.live.is_none());
            match issue.instruction {
                Instruction::Sync {} => line.parked = Some(next),
                Instruction::Deskew {} => {
                    let period = u64::from(chip.values().c2c_period);
                    line.cursor.resume(cycle + period - cycle % period);
                }
                Instruction::Config { superlanes } => {
                    let lanes = usize::from(superlanes.0) * chip.values().lanes_per_superlane as usize;
                    line.live = (lanes < chip.lanes()).then_some(lanes as u16);
                }
                Instruction::Notify {} => {
                    unroll.barriers.insert((landed, issue.chip));
                }
                Instruction::Ifetch { src } => match code.block(&issue, src) {
                    None => {}
                    Some(Err(fault)) => issues.unfit.push(issue.violation(cycle, fault)),
                    Some(Ok(block)) => match block_items(issue.queue, &block) {
                        Err(byte) => {
                            issues.unfit.push(issue.violation(cycle, Fault::FetchInvalid { byte: byte as u32 }))
                        }
                        Ok(items) => {
                            count = counted(count, &items)?;
                            issues.fetched += items.len() as u64;
                            line.cursor.hold(line.items.len(), landed);
                            line.items.to_mut().extend(items);
                            let (waiting, depth) =
                                ((line.items.len() - line.cursor.at()) as u64, u64::from(chip.values().queue_depth));
                            if waiting > depth {
                                issues
                                    .unfit
                                    .push(issue.violation(cycle, Fault::QueueOverflow { items: waiting, depth }));
                            }
                        }
                    },
                },
                _ => {}
            }
            issues.live.extend(live.map(|lanes| (issues.list.len() as u32, lanes)));
            issues.list.push(issue);
            unroll.advance(index);
        }
        issues.cycles = chip.run_cycles(last);
        issues.end = issues.end.max(issues.cycles);
        for line in &unroll.lines {
            if let Some(sync) = line.parked {
                issues.unfit.push(line.issue(&sync).violation(issues.end, Fault::BarrierMissing { since: sync.cycle }));
            }
        }
        Ok(issues)
    }
}

/// The issues before and those of these items, if they can be held.
fn counted(before: u64, items: &[Item]) -> Result<u64, CheckError> {
    let issues = items.iter().map(|item| match item.instruction {
        Instruction::Repeat { count, .. } => u64::from(count.0),
        _ => 1,
    });
    let issues = before + issues.sum::<u64>();
    if issues <= MOST_ISSUES { Ok(issues) } else { Err(CheckError::TooManyIssues { issues, most: MOST_ISSUES }) }
}

/// Cycles of a run on one chip, for a program whose instructions all are in its queues; 0 when queues have no
/// meaning.
#[must_use]
pub fn derived_cycles(chip: &Chip, program: &Program) -> u64 {
    cycles(&System::single(chip), &Image::default(), program).unwrap_or(0)
}

/// All issues of a program within the chip's ranges, with their cycles, in order of cycle, chip, queue, item.
///
/// # Errors
/// [`CheckError`] when queues have no meaning.
pub fn issues(system: &System, image: &Image<'_>, program: &Program) -> Result<Vec<Issue>, CheckError> {
    Ok(Issues::new(system, image, program)?.list)
}

/// Cycles of a run.
///
/// # Errors
/// [`CheckError`] when queues have no meaning.
pub fn cycles(system: &System, image: &Image<'_>, program: &Program) -> Result<u64, CheckError> {
    Ok(Issues::new(system, image, program)?.cycles)
}
