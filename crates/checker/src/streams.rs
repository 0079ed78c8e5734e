//! Streams and latches: the producer of each value taken, empty registers, two producers on one register, ALUs booked
//! twice.

use std::collections::BTreeMap;

use lpu_chip::Chip;
use lpu_isa::{Fault, Flow, Instruction, Landing, Queue, Source, Stream, Unit, Violation};

use crate::flow::Feed;
use crate::issue::Issue;
use crate::issues::ChipIssues;
use crate::lines::StreamLines;
use crate::near;

/// Empty registers for which the nearest value is looked for, in order of cycles; those after them are given without.
const MOST_ADVISED: usize = 1000;

/// The ALUs whose latches an instruction takes, in operand order.
fn latches_of(instruction: &Instruction) -> impl Iterator<Item = u16> {
    instruction.sources().into_iter().filter_map(|(source, _)| match source {
        Source::Latch(alu) => Some(u16::from(alu)),
        _ => None,
    })
}

/// What lands in the latch of each ALU: cycle and issue, in order of time.
type Latches = BTreeMap<u16, Vec<(u64, u32)>>;

/// What each issue takes from streams and latches, as [`crate::ChipFlow::feeds`] gives it.
pub(crate) struct Feeds {
    /// The first feed of each issue, and the number of all.
    pub(crate) starts: Vec<u32>,
    pub(crate) feeds: Vec<Feed>,
}

/// Holds streams and latches to the rules.
pub(crate) fn check(chip: &Chip, issues: &ChipIssues, violations: &mut Vec<Violation>) -> Feeds {
    let mut lines = StreamLines::default();
    let mut latches = Latches::new();
    for (index, issue) in (0u32..).zip(&issues.list) {
        let row = issue.instruction.row();
        let landed = chip.landing(issue.cycle, row.delay);
        lines.put(index, issue, landed, chip.position(issue.queue));
        if let Queue::Vxm(alu) = issue.queue
            && row.unit == Unit::Vxm
        {
            latches.entry(alu).or_default().push((landed, index));
        }
    }
    producers(chip, issues, &mut lines, violations);
    bookings(issues, &mut latches, violations);
    let mut starts = Vec::with_capacity(issues.list.len() + 1);
    let mut feeds = Vec::new();
    let mut advised = 0..MOST_ADVISED;
    for issue in &issues.list {
        starts.push(feeds.len() as u32);
        let position = chip.position(issue.queue);
        for used in issue.instruction.streams().into_iter().filter(|used| used.flow == Flow::In) {
            let mut empty = None;
            for stream in (0..used.width).map(|offset| used.first.plus(offset)) {
                match lines.producer(issue, stream, position) {
                    Some(feed) => feeds.push(feed),
                    None => {
                        empty.get_or_insert(stream);
                    }
                }
            }
            if let Some(stream) = empty {
                let near = advised.next().and_then(|_| near::value(chip, issues, &lines, issue, stream, position));
                violations.push(issue.violation(issue.cycle, Fault::RegisterEmpty { stream, position, near }));
            }
        }
        if issue.queue.unit() == Unit::Vxm {
            latched(issues, &latches, issue, &mut feeds, violations);
        }
    }
    starts.push(feeds.len() as u32);
    Feeds { starts, feeds }
}

/// The latches that an ALU's issue takes: each holds the last result that has landed.
fn latched(
    issues: &ChipIssues,
    latches: &Latches,
    issue: &Issue,
    feeds: &mut Vec<Feed>,
    violations: &mut Vec<Violation>,
) {
    for alu in latches_of(&issue.instruction) {
        let line = latches.get(&alu).map_or(&[][..], |line| &line[..]);
        match line[..line.partition_point(|&(landed, _)| landed <= issue.cycle)].last() {
            Some(&(_, producer)) => feeds.push(Feed { producer, byte: 0 }),
            None => {
                let landing =
                    |&(cycle, index): &(u64, u32)| Landing { cycle, from: issues.list[index as usize].producer() };
                violations
                    .push(issue.violation(issue.cycle, Fault::LatchEmpty { alu, lands: line.first().map(landing) }));
            }
        }
    }
}

/// Puts the landings of each ALU in order; two in one cycle are a fault.
fn bookings(issues: &ChipIssues, latches: &mut Latches, violations: &mut Vec<Violation>) {
    for (alu, landings) in latches {
        landings.sort_by_key(|&(landed, index)| (landed, issues.list[index as usize].order()));
        for pair in landings.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            violations.push(issues.list[pair[1].1 as usize].violation(pair[1].0, Fault::AluBookedTwice { alu: *alu }));
        }
    }
}

/// Puts the lines in order; two producers on one register are a fault.
fn producers(chip: &Chip, issues: &ChipIssues, lines: &mut StreamLines, violations: &mut Vec<Violation>) {
    let mut clashes: BTreeMap<(u64, usize), (Stream, i32, u32)> = BTreeMap::new();
    for (stream, puts) in lines.streams() {
        puts.sort_unstable();
        for together in
            puts.chunk_by_mut(|one, other| (one.0, one.1) == (other.0, other.1)).filter(|puts| puts.len() > 1)
        {
            together.sort_by_key(|&(.., index, _)| {
                let issue = &issues.list[index as usize];
                (issue.queue, issue.item, issue.cycle)
            });
            for pair in together.windows(2) {
                let (other, (_, cycle, index, _)) = (pair[0].2, pair[1]);
                let index = index as usize;
                clashes.entry((cycle, index)).or_insert((stream, chip.position(issues.list[index].queue), other));
            }
        }
    }
    for ((cycle, index), (stream, position, other)) in clashes {
        let other = issues.list[other as usize].producer();
        violations.push(issues.list[index].violation(cycle, Fault::TwoProducers { stream, position, other }));
    }
}
