//! The issues of a chip with their times: queues unrolled, barriers and shared counters resolved, fetched
//! instructions found in the image. What is out of range, and what this resolution finds wrong, is alongside them.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use lpu_chip::{Chip, System};
use lpu_isa::{
    ChipId, Cursor, Fault, Image, Instruction, Item, Program, Queue, Stream, Violation, block_items, validate,
};
use rayon::prelude::*;

use crate::class::{ChipWords, Classes};
use crate::code::{Code, CodeWords};
use crate::error::{CheckError, MOST_ISSUES};
use crate::issue::Issue;
use crate::member::Member;

/// The issues of one chip.
pub(crate) struct ChipIssues {
    /// Within the chip's ranges, in order of cycle, queue, item.
    pub(crate) list: Vec<Issue>,
    /// Out of range, beyond a queue's depth, or fetched wrongly.
    pub(crate) unfit: Vec<Violation>,
    /// Each `sync` that no barrier ends.
    pub(crate) parked: Vec<Issue>,
    /// The last landing of an effect.
    pub(crate) last: Option<u64>,
    /// One past the last dispatch.
    pub(crate) end: u64,
    /// Issues that lack superlanes with power, in order, with the lanes that they have.
    pub(crate) live: Vec<(u32, u16)>,
    /// Items that come by instruction fetch.
    pub(crate) fetched: u64,
    /// Issues of the items that come by instruction fetch.
    count: u64,
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

/// What orders issues: cycle and line. Lines are in order of queue, and each has one issue due.
type Due = (u64, u32);

/// The queues of a chip being unrolled, and what is found of them.
struct Unroll<'p> {
    system: &'p System,
    lines: Vec<QueueWalk<'p>>,
    due: BinaryHeap<Reverse<Due>>,
    /// Cycles in which barriers arrive.
    barriers: BTreeSet<u64>,
    code: Code<'p>,
    /// Issues of the program that are preloaded.
    counted: u64,
    found: ChipIssues,
}

impl<'p> Unroll<'p> {
    /// The queues of a chip, which must have a meaning; those that the chip does not have are unfit.
    fn new(
        system: &'p System,
        code: &'p CodeWords<'p>,
        (id, start): (ChipId, u64),
        queues: &[(Queue, &'p [Item])],
        counted: u64,
    ) -> Self {
        let chip = system.chip();
        let found = ChipIssues {
            list: Vec::with_capacity(queues.iter().map(|(_, items)| unrolled(items) as usize).sum()),
            unfit: Vec::new(),
            parked: Vec::new(),
            last: None,
            end: 0,
            live: Vec::new(),
            fetched: 0,
            count: 0,
        };
        let (lines, due, barriers) = (Vec::new(), BinaryHeap::new(), BTreeSet::new());
        let mut unroll = Self { system, lines, due, barriers, code: Code::new(code, id), counted, found };
        for &(queue, items) in queues.iter().filter(|(_, items)| !items.is_empty()) {
            let at = |item: usize| Issue {
                cycle: 0,
                chip: id,
                queue,
                item: item as u32,
                instruction: items[item].instruction,
            };
            if !chip.has_queue(queue) {
                let fault = Fault::RangeOverflow { what: "queue", value: 0, limit: 0 };
                unroll.found.unfit.push(at(0).violation(0, fault));
                continue;
            }
            let depth = chip.values().queue_depth;
            if items.len() > depth as usize {
                let fault = Fault::QueueOverflow { items: items.len() as u64, depth: u64::from(depth) };
                unroll.found.unfit.push(at(depth as usize).violation(0, fault));
            }
            let items = Cow::Borrowed(items);
            let mut cursor = Cursor::default();
            cursor.resume(start);
            unroll.lines.push(QueueWalk { chip: id, queue, items, cursor, next: None, parked: None, live: None });
        }
        (0..unroll.lines.len()).for_each(|line| unroll.advance(line));
        unroll
    }

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
        let Some(&cycle) = self.barriers.first().filter(|&&cycle| next.is_none_or(|next| cycle <= next)) else {
            return false;
        };
        self.barriers.remove(&cycle);
        for index in 0..self.lines.len() {
            let line = &mut self.lines[index];
            if line.parked.take_if(|sync| sync.cycle < cycle).is_some() {
                line.cursor.resume(cycle);
                self.advance(index);
            }
        }
        true
    }

    /// Unrolls all queues.
    fn run(mut self) -> Result<ChipIssues, CheckError> {
        loop {
            if self.barrier() {
                continue;
            }
            let Some(Reverse((cycle, index))) = self.due.pop() else { break };
            self.issue(cycle, index as usize)?;
            self.advance(index as usize);
        }
        let parked = self.lines.iter().filter_map(|line| Some(line.issue(&line.parked?)));
        self.found.parked = parked.collect();
        Ok(self.found)
    }

    /// Takes the issue that is due in a line.
    fn issue(&mut self, cycle: u64, index: usize) -> Result<(), CheckError> {
        let (chip, line) = (self.system.chip(), &mut self.lines[index]);
        self.found.end = cycle + 1;
        let (Some(next), live) = (line.next, line.live) else { return Ok(()) };
        let issue = line.issue(&next);
        if let Some(fault) = self.system.out_of_range(issue.chip, issue.queue, &issue.instruction) {
            self.found.unfit.push(issue.violation(cycle, fault));
            return Ok(());
        }
        let row = issue.instruction.row();
        let landed = self.system.landing(issue.chip, issue.queue, cycle, row.delay);
        self.found.last = self.found.last.max(self.system.effect(issue.chip, issue.queue, cycle, row));
        self.code.note(&issue, landed, live.is_none());
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
                self.barriers.insert(landed);
            }
            Instruction::Ifetch { src } => self.fetch(&issue, src, landed, index)?,
            _ => {}
        }
        self.found.live.extend(live.map(|lanes| (self.found.list.len() as u32, lanes)));
        self.found.list.push(issue);
        Ok(())
    }

    /// Appends what a fetch brings to its queue; nothing issues before the fetch has landed.
    fn fetch(&mut self, issue: &Issue, src: Stream, landed: u64, index: usize) -> Result<(), CheckError> {
        let items = match self.code.block(issue, src) {
            None => return Ok(()),
            Some(Ok(block)) => {
                block_items(issue.queue, &block).map_err(|byte| Fault::FetchInvalid { byte: byte as u32 })
            }
            Some(Err(fault)) => Err(fault),
        };
        let items = match items {
            Ok(items) => items,
            Err(fault) => {
                self.found.unfit.push(issue.violation(issue.cycle, fault));
                return Ok(());
            }
        };
        self.found.count += unrolled(&items);
        within_most(self.counted + self.found.count)?;
        self.found.fetched += items.len() as u64;
        let line = &mut self.lines[index];
        line.cursor.hold(line.items.len(), landed);
        line.items.to_mut().extend(items);
        let waiting = (line.items.len() - line.cursor.at()) as u64;
        let depth = u64::from(self.system.chip().values().queue_depth);
        if waiting > depth {
            self.found.unfit.push(issue.violation(issue.cycle, Fault::QueueOverflow { items: waiting, depth }));
        }
        Ok(())
    }
}

impl ChipIssues {
    /// The issues of one chip, of whose program so many are preloaded.
    pub(crate) fn new(
        system: &System,
        code: &CodeWords<'_>,
        program: &Program,
        id: ChipId,
        preloaded: u64,
    ) -> Result<Self, CheckError> {
        let (queues, start) = (program.queues(id), program.run(id).map_or(0, |(run, _)| run.start));
        Unroll::new(system, code, (id, start), &queues, preloaded).run()
    }

    /// The issues of the first chips of all classes, in order, each as `then` makes it.
    pub(crate) fn of_classes<R: Send>(
        system: &System,
        code: &CodeWords<'_>,
        program: &Program,
        firsts: &[(ChipId, ChipWords)],
        then: impl Fn(Self, &ChipWords) -> R + Sync,
    ) -> Result<Vec<R>, CheckError> {
        let mut preloaded = 0;
        for (first, _) in firsts {
            for (queue, items) in program.queues(*first) {
                validate(queue, items)?;
                preloaded += unrolled(items);
                within_most(preloaded)?;
            }
        }
        let made = |(first, words): &(ChipId, ChipWords)| {
            let issues = Self::new(system, code, program, *first, preloaded)?;
            Ok((issues.count, then(issues, words)))
        };
        let classes: Vec<Result<(u64, R), CheckError>> = firsts.par_iter().map(made).collect();
        let (mut all, mut count) = (Vec::with_capacity(classes.len()), preloaded);
        for class in classes {
            let (fetched, class) = class?;
            count += fetched;
            within_most(count)?;
            all.push(class);
        }
        Ok(all)
    }
}

/// Issues of these items.
fn unrolled(items: &[Item]) -> u64 {
    let issues = items.iter().map(|item| match item.instruction {
        Instruction::Repeat { count, .. } => u64::from(count.0),
        _ => 1,
    });
    issues.sum()
}

/// Refuses more issues than can be held.
fn within_most(issues: u64) -> Result<(), CheckError> {
    if issues <= MOST_ISSUES { Ok(()) } else { Err(CheckError::TooManyIssues { issues, most: MOST_ISSUES }) }
}

/// The issues of a program, unrolled once a class of chips.
pub struct Issues {
    /// Those of each class's first chip, within the chip's ranges, in order of cycle, queue, item.
    pub classes: Vec<Vec<Issue>>,
    /// The chips in order.
    pub chips: Vec<Member>,
    /// Cycles of a run.
    pub cycles: u64,
}

impl Issues {
    /// The issues of a chip, in order of cycle; those of one cycle in order of queue and item of the class's first
    /// chip.
    pub fn of_chip(&self, chip: ChipId) -> impl Iterator<Item = Issue> {
        let member = self.chips.get(usize::from(chip.0));
        let issues = member.and_then(|member| self.classes.get(member.class)).map_or(&[][..], Vec::as_slice);
        issues.iter().filter_map(move |issue| Some(member?.issue(chip, issue)))
    }
}

/// All issues of a program within the chip's ranges, with their cycles.
///
/// # Errors
/// [`CheckError`] when queues have no meaning.
pub fn issues(system: &System, image: &Image<'_>, program: &Program) -> Result<Issues, CheckError> {
    program.validate_chips()?;
    let code = CodeWords::new(system.chip(), image, program);
    let Classes { members, firsts } = Classes::new(system, &code, program, Vec::new());
    let found = ChipIssues::of_classes(system, &code, program, &firsts, |issues, _| (issues.list, issues.last))?;
    let (classes, last): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    let last = members.iter().filter_map(|member| Some(member.cycle(last[member.class]?))).max();
    Ok(Issues { classes, chips: members, cycles: system.chip().run_cycles(last) })
}

/// Cycles of a run on one chip, for a program whose instructions all are in its queues; 0 when queues have no
/// meaning.
#[must_use]
pub fn derived_cycles(chip: &Chip, program: &Program) -> u64 {
    cycles(&System::single(chip), &Image::default(), program).unwrap_or(0)
}

/// Cycles of a run.
///
/// # Errors
/// As [`issues`].
pub fn cycles(system: &System, image: &Image<'_>, program: &Program) -> Result<u64, CheckError> {
    Ok(issues(system, image, program)?.cycles)
}
