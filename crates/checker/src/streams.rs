//! Streams and latches: the producer of each value taken, empty registers, two producers on one register, ALUs booked twice.

use std::collections::BTreeMap;

use lpu_chip::Chip;
use lpu_isa::{ChipId, Direction, Fault, Flow, Instruction, Landing, Operand, Queue, Source, Stream, Unit, Violation};

use crate::flow::Feed;
use crate::issues::{Issue, Issues};
use crate::near;

/// Empty registers for which the nearest value is looked for, in order of cycles; those after them are given without.
const MOST_ADVISED: usize = 1000;

/// A value put on a stream: diagonal, cycle on the register, issue, place in the issue's group.
pub(crate) type Put = (i64, u64, u32, u8);

/// What is put on the streams of each chip that puts something: by the number of the stream's code, in order of diagonal and cycle.
#[derive(Default)]
pub(crate) struct Lines(BTreeMap<ChipId, Vec<Line>>);

#[derive(Clone, Default)]
struct Line {
    puts: Vec<Put>,
    /// Where the last producer was found: the next one is close to it, as consumers come in order of time.
    near: usize,
}

impl Lines {
    fn line(&mut self, chip: ChipId, stream: Stream) -> &mut Line {
        let lines = self.0.entry(chip).or_insert_with(|| vec![Line::default(); 256]);
        &mut lines[stream.to_bits() as usize]
    }

    /// What is put on a stream of a chip, in order of diagonal and cycle.
    pub(crate) fn puts(&self, chip: ChipId, stream: Stream) -> &[Put] {
        self.0.get(&chip).map_or(&[], |lines| &lines[stream.to_bits() as usize].puts)
    }
}

/// The number of entries at the front of a sorted list for which `before` holds, searched outward from `near`.
fn front(list: &[Put], near: usize, before: impl Fn(&Put) -> bool) -> usize {
    let (mut low, mut high) = (0, list.len());
    let mut step = 1;
    let mut at = near.min(list.len());
    if list.get(at).is_some_and(&before) {
        while at < list.len() && before(&list[at]) {
            low = at + 1;
            at += step;
            step *= 2;
        }
        high = at.min(high);
    } else {
        high = at;
        while at > 0 {
            at = at.saturating_sub(step);
            step *= 2;
            if before(&list[at]) {
                low = at + 1;
                break;
            }
            high = at;
        }
    }
    low + list[low..high].partition_point(before)
}

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
        .filter_map(|(_, bits)| <Source as Operand>::from_bits(bits))
        .filter_map(|source| latch(&source))
        .collect()
}

/// Holds streams and latches to the rules. Gives back what each issue takes: where its feeds start, and all feeds.
pub(crate) fn check(chip: &Chip, issues: &Issues, violations: &mut Vec<Violation>) -> (Vec<u32>, Vec<Feed>) {
    let mut puts = Lines::default();
    let mut landings: BTreeMap<(ChipId, u16), Vec<(u64, usize)>> = BTreeMap::new();
    for (index, issue) in issues.list.iter().enumerate() {
        let landed = chip.landing(issue.cycle, issue.instruction.row().delay);
        let position = chip.position(issue.queue);
        for used in issue.instruction.streams().into_iter().filter(|used| used.flow == Flow::Out) {
            for byte in 0..used.width {
                let stream = used.first.plus(byte);
                puts.line(issue.chip, stream).puts.push((diagonal(stream, landed, position), landed, index as u32, byte));
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
    let mut advised = 0..MOST_ADVISED;
    for issue in &issues.list {
        starts.push(feeds.len() as u32);
        let position = chip.position(issue.queue);
        for used in issue.instruction.streams().into_iter().filter(|used| used.flow == Flow::In) {
            let mut empty = None;
            for stream in (0..used.width).map(|offset| used.first.plus(offset)) {
                match producer(&mut puts, issue, stream, position) {
                    Some(feed) => feeds.push(feed),
                    None => {
                        empty.get_or_insert(stream);
                    }
                }
            }
            if let Some(stream) = empty {
                let near = advised.next().and_then(|_| near::value(chip, issues, &puts, issue, stream, position));
                violations.push(issue.violation(issue.cycle, Fault::RegisterEmpty { stream, position, near }));
            }
        }
        if issue.queue.unit() != Unit::Vxm {
            continue;
        }
        for alu in sources(&issue.instruction).into_iter().map(u16::from) {
            let line = landings.get(&(issue.chip, alu)).map_or(&[][..], |line| &line[..]);
            match line[..line.partition_point(|&(landed, _)| landed <= issue.cycle)].last() {
                Some(&(_, index)) => feeds.push(Feed { producer: index as u32, byte: 0 }),
                None => {
                    let landing = |&(cycle, index): &(u64, usize)| Landing { cycle, from: issues.list[index].producer() };
                    violations.push(issue.violation(issue.cycle, Fault::LatchEmpty { alu, lands: line.first().map(landing) }));
                }
            }
        }
    }
    starts.push(feeds.len() as u32);
    (starts, feeds)
}

/// The last producer strictly upstream on the consumer's diagonal.
fn producer(puts: &mut Lines, issue: &Issue, stream: Stream, position: i32) -> Option<Feed> {
    let Line { puts, near } = puts.line(issue.chip, stream);
    let wanted = diagonal(stream, issue.cycle, position);
    let after = front(puts, *near, |&(diagonal, cycle, ..)| (diagonal, cycle) < (wanted, issue.cycle));
    *near = after;
    let (diagonal, _, producer, byte) = puts[after.checked_sub(1)?];
    (diagonal == wanted).then_some(Feed { producer, byte })
}

fn producers(chip: &Chip, issues: &Issues, puts: &mut Lines, violations: &mut Vec<Violation>) {
    let mut clashes: BTreeMap<(u64, usize), (Stream, i32, u32)> = BTreeMap::new();
    let lines = puts.0.values_mut().flat_map(|lines| (0u64..).zip(lines));
    for (stream, Line { puts, .. }) in lines.filter(|(_, line)| !line.puts.is_empty()) {
        let Some(stream) = Stream::from_bits(stream) else { continue };
        puts.sort_unstable();
        for together in puts.chunk_by_mut(|one, other| (one.0, one.1) == (other.0, other.1)).filter(|puts| puts.len() > 1) {
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
