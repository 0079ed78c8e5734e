//! Streams and latches: who feeds whom, registers that nobody fed, two producers on one register, ALUs booked twice.

use std::collections::BTreeMap;

use lpu_chip::Chip;
use lpu_isa::{ChipId, Direction, Fault, Flow, Instruction, Queue, Source, Stream, Unit, Violation};

use crate::flow::Feed;
use crate::issues::{Issue, Issues};

/// A value put on a stream: diagonal, cycle on the register, issue, place in the issue's group.
type Put = (i64, u64, u32, u8);

/// The diagonal on which a value flows that is at a position in a cycle.
pub(crate) fn diagonal(stream: Stream, cycle: u64, position: i32) -> i64 {
    match stream.direction() {
        Direction::East => cycle as i64 - i64::from(position),
        Direction::West => cycle as i64 + i64::from(position),
    }
}

fn sources(instruction: &Instruction) -> Vec<u8> {
    let latch = |source: &Source| match source {
        Source::Latch(alu) => Some(*alu),
        _ => None,
    };
    let kinds = instruction.row().operands.iter().zip(instruction.operand_bits());
    kinds
        .filter(|(operand, _)| operand.kind == lpu_isa::Kind::Source)
        .filter_map(|(_, bits)| <Source as lpu_isa::Operand>::from_bits(bits))
        .filter_map(|source| latch(&source))
        .collect()
}

/// Holds streams and latches to the rules. Gives back what each issue takes: where its feeds start, and all feeds.
pub(crate) fn check(chip: &Chip, issues: &Issues, violations: &mut Vec<Violation>) -> (Vec<u32>, Vec<Feed>) {
    let mut puts: BTreeMap<(ChipId, Stream), Vec<Put>> = BTreeMap::new();
    let mut landings: BTreeMap<(ChipId, u16), Vec<(u64, usize)>> = BTreeMap::new();
    for (index, issue) in issues.list.iter().enumerate() {
        let landed = issue.cycle + u64::from(chip.delay(issue.instruction.row().delay));
        let position = chip.position(issue.queue);
        for used in issue.instruction.streams().into_iter().filter(|used| used.flow == Flow::Out) {
            for byte in 0..used.width {
                let stream = used.first.plus(byte);
                puts.entry((issue.chip, stream)).or_default().push((diagonal(stream, landed, position), landed, index as u32, byte));
            }
        }
        if let Queue::Vxm(alu) = issue.queue
            && issue.instruction.row().unit == Unit::Vxm
        {
            landings.entry((issue.chip, alu)).or_default().push((landed, index));
        }
    }
    producers(chip, issues, &mut puts, violations);
    for ((_, alu), landings) in &mut landings {
        landings.sort_by_key(|&(landed, index)| (landed, issues.list[index].order()));
        for pair in landings.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            violations.push(issues.list[pair[1].1].violation(pair[1].0, Fault::AluBookedTwice { alu: *alu }));
        }
    }
    let mut starts = Vec::with_capacity(issues.list.len() + 1);
    let mut feeds = Vec::new();
    for issue in &issues.list {
        starts.push(feeds.len() as u32);
        let position = chip.position(issue.queue);
        for used in issue.instruction.streams().into_iter().filter(|used| used.flow == Flow::In) {
            let mut empty = None;
            for stream in (0..used.width).map(|offset| used.first.plus(offset)) {
                match producer(&puts, issue, stream, position) {
                    Some(feed) => feeds.push(feed),
                    None => {
                        empty.get_or_insert(stream);
                    }
                }
            }
            if let Some(stream) = empty {
                violations.push(issue.violation(issue.cycle, Fault::RegisterEmpty { stream, position }));
            }
        }
        if issue.queue.unit() != Unit::Vxm {
            continue;
        }
        for alu in sources(&issue.instruction).into_iter().map(u16::from) {
            let line = landings.get(&(issue.chip, alu)).map_or(&[][..], |line| &line[..]);
            match line[..line.partition_point(|&(landed, _)| landed <= issue.cycle)].last() {
                Some(&(_, index)) => feeds.push(Feed { producer: index as u32, byte: 0 }),
                None => violations.push(issue.violation(issue.cycle, Fault::LatchEmpty { alu })),
            }
        }
    }
    starts.push(feeds.len() as u32);
    (starts, feeds)
}

/// The last producer strictly upstream on the consumer's diagonal.
fn producer(puts: &BTreeMap<(ChipId, Stream), Vec<Put>>, issue: &Issue, stream: Stream, position: i32) -> Option<Feed> {
    let line = puts.get(&(issue.chip, stream))?;
    let wanted = diagonal(stream, issue.cycle, position);
    let after = line.partition_point(|&(diagonal, cycle, ..)| (diagonal, cycle) < (wanted, issue.cycle));
    let (diagonal, _, producer, byte) = line[after.checked_sub(1)?];
    (diagonal == wanted).then_some(Feed { producer, byte })
}

fn producers(chip: &Chip, issues: &Issues, puts: &mut BTreeMap<(ChipId, Stream), Vec<Put>>, violations: &mut Vec<Violation>) {
    let mut clashes: BTreeMap<(u64, usize), (Stream, i32)> = BTreeMap::new();
    for ((_, stream), line) in puts {
        line.sort_unstable_by_key(|&(diagonal, cycle, index, _)| {
            let issue = &issues.list[index as usize];
            (diagonal, cycle, issue.queue, issue.item, issue.cycle)
        });
        for pair in line.windows(2).filter(|pair| (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1)) {
            let (_, cycle, index, _) = pair[1];
            let index = index as usize;
            clashes.entry((cycle, index)).or_insert((*stream, chip.position(issues.list[index].queue)));
        }
    }
    for ((cycle, index), (stream, position)) in clashes {
        violations.push(issues.list[index].violation(cycle, Fault::TwoProducers { stream, position }));
    }
}
