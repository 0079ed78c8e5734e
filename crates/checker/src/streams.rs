//! Streams and latches: who feeds whom, registers that nobody fed, two producers on one register, ALUs booked twice.

use std::collections::BTreeMap;

use lpu_chip::Chip;
use lpu_isa::{ChipId, Direction, Fault, Flow, Instruction, Queue, Source, Stream, Violation};

use crate::issues::{Issue, Issues};

/// One stream taken by an instruction, and the instruction that fed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feeding {
    /// The chip.
    pub chip: ChipId,
    /// The stream.
    pub stream: Stream,
    /// Queue, item and dispatch cycle of the producer.
    pub producer: (Queue, u32, u64),
    /// Queue, item and dispatch cycle of the consumer.
    pub consumer: (Queue, u32, u64),
}

/// A value put on a stream: diagonal, cycle on the register, issue.
type Put = (i64, u64, usize);

fn diagonal(stream: Stream, cycle: u64, position: i32) -> i64 {
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

pub(crate) fn check(chip: &Chip, issues: &Issues, violations: &mut Vec<Violation>) -> Vec<Feeding> {
    let mut puts: BTreeMap<(ChipId, Stream), Vec<Put>> = BTreeMap::new();
    let mut landings: BTreeMap<(ChipId, u16), Vec<(u64, usize)>> = BTreeMap::new();
    for (index, issue) in issues.list.iter().enumerate() {
        let landed = issue.cycle + u64::from(chip.delay(issue.instruction.row().delay));
        let position = chip.position(issue.queue);
        for used in issue.instruction.streams().into_iter().filter(|used| used.flow == Flow::Out) {
            for stream in (0..used.width).map(|offset| used.first.plus(offset)) {
                puts.entry((issue.chip, stream)).or_default().push((diagonal(stream, landed, position), landed, index));
            }
        }
        if let Queue::Vxm(alu) = issue.queue {
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
    let mut flow = Vec::new();
    for issue in &issues.list {
        let position = chip.position(issue.queue);
        for used in issue.instruction.streams().into_iter().filter(|used| used.flow == Flow::In) {
            let mut empty = None;
            for stream in (0..used.width).map(|offset| used.first.plus(offset)) {
                match producer(&puts, issue, stream, position) {
                    Some(found) => {
                        let found: &Issue = &issues.list[found];
                        flow.push(Feeding {
                            chip: issue.chip,
                            stream,
                            producer: (found.queue, found.item, found.cycle),
                            consumer: (issue.queue, issue.item, issue.cycle),
                        });
                    }
                    None => {
                        empty.get_or_insert(stream);
                    }
                }
            }
            if let Some(stream) = empty {
                violations.push(issue.violation(issue.cycle, Fault::RegisterEmpty { stream, position }));
            }
        }
        for alu in sources(&issue.instruction).into_iter().map(u16::from) {
            let first = landings.get(&(issue.chip, alu)).and_then(|landings| landings.first());
            if first.is_none_or(|&(landed, _)| landed > issue.cycle) {
                violations.push(issue.violation(issue.cycle, Fault::LatchEmpty { alu }));
            }
        }
    }
    flow
}

/// The last producer strictly upstream on the consumer's diagonal.
fn producer(puts: &BTreeMap<(ChipId, Stream), Vec<Put>>, issue: &Issue, stream: Stream, position: i32) -> Option<usize> {
    let line = puts.get(&(issue.chip, stream))?;
    let wanted = diagonal(stream, issue.cycle, position);
    let after = line.partition_point(|&(diagonal, cycle, _)| (diagonal, cycle) < (wanted, issue.cycle));
    let (diagonal, _, index) = line[after.checked_sub(1)?];
    (diagonal == wanted).then_some(index)
}

fn producers(chip: &Chip, issues: &Issues, puts: &mut BTreeMap<(ChipId, Stream), Vec<Put>>, violations: &mut Vec<Violation>) {
    let mut clashes: BTreeMap<(u64, usize), (Stream, i32)> = BTreeMap::new();
    for ((_, stream), line) in puts {
        line.sort_by_key(|&(diagonal, cycle, index)| {
            let issue = &issues.list[index];
            (diagonal, cycle, issue.queue, issue.item, issue.cycle)
        });
        for pair in line.windows(2).filter(|pair| (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1)) {
            let (_, cycle, index) = pair[1];
            clashes.entry((cycle, index)).or_insert((*stream, chip.position(issues.list[index].queue)));
        }
    }
    for ((cycle, index), (stream, position)) in clashes {
        violations.push(issues.list[index].violation(cycle, Fault::TwoProducers { stream, position }));
    }
}
