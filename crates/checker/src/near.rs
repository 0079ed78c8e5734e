//! The value that an empty register misses by least: in another cycle, on another stream, or fed too far downstream.

use lpu_chip::Chip;
use lpu_isa::{Direction, Flow, Hemisphere, Near, Stream};

use crate::issue::Issue;
use crate::issues::ChipIssues;
use crate::lines::{Put, StreamLines, diagonal};

/// Values on each side of the wanted diagonal that are looked at, so that the search costs the same in any program.
const REACH: usize = 256;

/// A register as an instruction reads it.
#[derive(Clone, Copy)]
struct Read {
    stream: Stream,
    position: i32,
    cycle: u64,
}

impl Read {
    fn diagonal(&self) -> i64 {
        diagonal(self.stream, self.cycle, self.position)
    }

    /// Cycle in which a diagonal is at the position.
    fn arrival(&self, diagonal: i64) -> i64 {
        self.cycle as i64 + diagonal - self.diagonal()
    }

    /// Whether a value reaches the position: it was put on its stream strictly upstream.
    fn reached_by(&self, put: &Put) -> bool {
        (put.1 as i64) < self.arrival(put.0)
    }

    /// Positions from the read downstream to where a value was put on its stream; negative upstream.
    fn past(&self, put: &Put) -> i64 {
        put.1 as i64 - self.arrival(put.0)
    }
}

/// What an instruction that finds a register empty misses by least. A value of the same stream comes first if it is
/// there within the cycles that a value takes to cross the chip, then one of the streams next to it, then any of the
/// same stream.
pub(crate) fn value(
    chip: &Chip,
    issues: &ChipIssues,
    puts: &StreamLines,
    issue: &Issue,
    stream: Stream,
    position: i32,
) -> Option<Near> {
    let read = Read { stream, position, cycle: issue.cycle };
    let crossing = chip.mxm_position(Hemisphere::East).abs_diff(chip.mxm_position(Hemisphere::West));
    let cycle = in_another_cycle(issues, puts, read);
    let close = cycle.filter(
        |near| matches!(near, Near::Cycle { passes, .. } if passes.abs_diff(issue.cycle) <= u64::from(crossing)),
    );
    close.or_else(|| on_another_stream(chip, issues, puts, issue, read)).or(cycle).or_else(|| past(issues, puts, read))
}

/// Puts of the stream before and after the wanted diagonal, the nearest first.
fn around(puts: &StreamLines, read: Read) -> (impl Iterator<Item = &Put> + Clone, impl Iterator<Item = &Put> + Clone) {
    let line = puts.puts(read.stream);
    let middle = line.partition_point(|put| put.0 < read.diagonal());
    (line[..middle].iter().rev().take(REACH), line[middle..].iter().take(REACH))
}

fn in_another_cycle(issues: &ChipIssues, puts: &StreamLines, read: Read) -> Option<Near> {
    let (before, after) = around(puts, read);
    let earlier = before.clone().find(|put| read.reached_by(put));
    let later = after.clone().find(|put| read.reached_by(put));
    // Of several on the later diagonal the last one upstream is what arrives.
    let later = later.and_then(|first| after.filter(|put| put.0 == first.0 && read.reached_by(put)).last());
    let distance = |put: &&Put| read.diagonal().abs_diff(put.0);
    let &(diagonal, _, index, _) = earlier.into_iter().chain(later).min_by_key(distance)?;
    let from = issues.list[index as usize].producer();
    Some(Near::Cycle { stream: read.stream, passes: read.arrival(diagonal) as u64, read: read.cycle, from })
}

fn on_another_stream(chip: &Chip, issues: &ChipIssues, puts: &StreamLines, issue: &Issue, read: Read) -> Option<Near> {
    let uses = issue.instruction.streams();
    let taken = |stream: Stream| {
        let covers = |first: Stream, width: u8| {
            first.direction() == stream.direction()
                && (first.number()..first.number() + width).contains(&stream.number())
        };
        uses.iter().any(|used| used.flow == Flow::In && covers(used.first, used.width))
    };
    let all = [Direction::East, Direction::West]
        .into_iter()
        .flat_map(|way| (0..chip.streams()).map(move |number| Stream::new(way, number)));
    let carried = all.filter(|&stream| !taken(stream)).filter_map(|stream| {
        let other = Read { stream, ..read };
        let line = puts.puts(stream);
        let end = line.partition_point(|put| (put.0, put.1) < (other.diagonal(), read.cycle));
        let &(diagonal, _, index, _) = line[..end].last()?;
        (diagonal == other.diagonal()).then(|| Near::Stream { stream, from: issues.list[index as usize].producer() })
    });
    carried.min_by_key(|near| match near {
        Near::Stream { stream, .. } => {
            let turned = stream.direction() != read.stream.direction();
            stream.number().abs_diff(read.stream.number()) + u8::from(turned)
        }
        _ => u8::MAX,
    })
}

fn past(issues: &ChipIssues, puts: &StreamLines, read: Read) -> Option<Near> {
    if puts.puts(read.stream).is_empty() {
        return Some(Near::Unfed);
    }
    let (before, after) = around(puts, read);
    let downstream = before.chain(after).filter(|put| !read.reached_by(put));
    let nearest = downstream.min_by_key(|put| (read.past(put), read.diagonal().abs_diff(put.0)))?;
    let past = read.past(nearest);
    let position = match read.stream.direction() {
        Direction::East => i64::from(read.position) + past,
        Direction::West => i64::from(read.position) - past,
    };
    let from = issues.list[nearest.2 as usize].producer();
    Some(Near::Past { position: position as i32, past: past as u32, from })
}
