//! The lines of streams: what is put on each stream of a chip, by the diagonal on which it flows.

use lpu_isa::{Direction, Flow, Operand, Stream};

use crate::flow::Feed;
use crate::issue::Issue;

/// A value put on a stream: diagonal, cycle on the register, issue, place in the issue's group.
pub(crate) type Put = (i64, u64, u32, u8);

/// What is put on the streams of a chip: by the number of the stream's code, in order of diagonal and cycle.
pub(crate) struct StreamLines(Vec<StreamLine>);

#[derive(Clone, Default)]
struct StreamLine {
    puts: Vec<Put>,
    /// Where the last producer was found: the next one is close to it, as consumers come in order of time.
    near: usize,
}

impl Default for StreamLines {
    fn default() -> Self {
        Self(vec![StreamLine::default(); 256])
    }
}

impl StreamLines {
    /// Notes the streams that an issue feeds from a cycle on.
    pub(crate) fn put(&mut self, index: u32, issue: &Issue, landed: u64, position: i32) {
        for used in issue.instruction.streams().into_iter().filter(|used| used.flow == Flow::Out) {
            for byte in 0..used.width {
                let stream = used.first.plus(byte);
                self.line(stream).puts.push((diagonal(stream, landed, position), landed, index, byte));
            }
        }
    }

    /// The streams that are fed, each with what is put on it.
    pub(crate) fn streams(&mut self) -> impl Iterator<Item = (Stream, &mut Vec<Put>)> {
        let lines = (0u64..).zip(&mut self.0).filter(|(_, line)| !line.puts.is_empty());
        lines.filter_map(|(stream, line)| Some((Stream::from_bits(stream)?, &mut line.puts)))
    }

    /// The last producer strictly upstream on the consumer's diagonal; lines must be in order.
    pub(crate) fn producer(&mut self, issue: &Issue, stream: Stream, position: i32) -> Option<Feed> {
        let StreamLine { puts, near } = self.line(stream);
        let wanted = diagonal(stream, issue.cycle, position);
        let after = front(puts, *near, |&(diagonal, cycle, ..)| (diagonal, cycle) < (wanted, issue.cycle));
        *near = after;
        let (diagonal, _, producer, byte) = puts[after.checked_sub(1)?];
        (diagonal == wanted).then_some(Feed { producer, byte })
    }

    fn line(&mut self, stream: Stream) -> &mut StreamLine {
        &mut self.0[stream.to_bits() as usize]
    }

    /// What is put on a stream, in order of diagonal and cycle.
    pub(crate) fn puts(&self, stream: Stream) -> &[Put] {
        &self.0[stream.to_bits() as usize].puts
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
