//! A chain at a start: its reservations and instructions.

use lpu_isa::{Edge, GroupWidth, Instruction, Queue, Shift, Source, Stream};
use smallvec::SmallVec;

use super::{Chain, Feed, Kind, Sink, Timed};
use crate::scheduler::Scheduler;
use crate::vectors::Stored;

impl Timed<'_> {
    /// Reserves and emits the whole chain with cycle 0 at `start`: `inputs` are the values, `arrivals` the stream
    /// groups that its nodes name; `outputs` are written where they say.
    pub(crate) fn attempt(
        &self,
        scheduler: &mut Scheduler<'_>,
        start: u64,
        inputs: &[&Stored],
        arrivals: &[Stream],
        outputs: &mut [Stored],
    ) -> Option<()> {
        if self.timing.missed {
            return None;
        }
        let Chain { nodes, machine } = self.chain;
        let mut alus: Vec<u16> = vec![0; nodes.len()];
        let mut streams: Vec<Option<Stream>> = vec![None; nodes.len()];
        let mut fetched: SmallVec<[(usize, Stream); 3]> = SmallVec::new();
        for (node, kind) in self.order.iter().map(|&node| (node, &nodes[node])) {
            let time = start + self.timing.times[node];
            let done = start + self.timing.done[node];
            match kind {
                Kind::Shift { of, side, across, by } => {
                    let position = scheduler.chip.sxm_position(*side);
                    let src = streams[*of]?;
                    let dst = scheduler.route(4, done - machine.to_switch, position, 0)?;
                    streams[node] = Some(dst);
                    let (width, by, edge) = (GroupWidth::Four, Shift(*by), Edge::Wrap);
                    let instruction = if *across {
                        Instruction::ShiftSuperlanes { width, src, dst, by, edge }
                    } else {
                        Instruction::ShiftLanes { width, src, dst, by, edge }
                    };
                    (0..machine.switch_units as u16)
                        .find_map(|unit| scheduler.issue(Queue::Sxm(*side, unit), time, instruction))?;
                }
                Kind::Alu { op, sources, sink, .. } => {
                    fetched.clear();
                    let value = |source: &Feed| if let Feed::Value(index) = *source { Some(index) } else { None };
                    let mut values: SmallVec<[usize; 3]> = sources.iter().filter_map(value).collect();
                    values.sort_by_key(|&value| inputs[value].quads.len());
                    for value in values {
                        if !fetched.iter().any(|&(index, _)| index == value) {
                            fetched.push((value, scheduler.fetch(inputs[value], 0, time)?));
                        }
                    }
                    let operand = |source: &Feed| match *source {
                        Feed::Node(before) => match streams[before] {
                            Some(stream) if matches!(nodes[before], Kind::Shift { .. }) => Source::Stream(stream),
                            _ => Source::Latch(alus[before] as u8),
                        },
                        Feed::Value(index) => {
                            let found = fetched.iter().find(|&&(value, _)| value == index);
                            Source::Stream(found.expect("values are fetched before their use").1)
                        }
                        Feed::Immediate(value) => Source::Immediate(value.to_bits()),
                        Feed::Arrival(index) => Source::Stream(arrivals[index]),
                    };
                    let operands: SmallVec<[Source; 3]> = sources.iter().map(operand).collect();
                    let dst = match *sink {
                        Sink::None => None,
                        Sink::Store(output, _) => Some(scheduler.store(&mut outputs[output], 0, done)?),
                        Sink::Switch(side) => {
                            Some(scheduler.route(op.result_bytes(), done, 0, scheduler.chip.sxm_position(side))?)
                        }
                    };
                    streams[node] = dst;
                    let last = start + self.timing.last[node];
                    alus[node] = scheduler.alu(time, done, last, op.instruction(dst, &operands))?;
                }
            }
        }
        Some(())
    }
}

impl Scheduler<'_> {
    /// Takes an ALU that is free to dispatch at `time` and to hold the result from `done` to `last`.
    fn alu(&mut self, time: u64, done: u64, last: u64, instruction: Instruction) -> Option<u16> {
        (0..self.chip.values().alus as u16).find(|&alu| {
            let mark = self.tables.mark();
            let taken = self.tables.latch(usize::from(alu), done, last)
                && self.issue(Queue::Vxm(alu), time, instruction).is_some();
            if !taken {
                self.tables.undo(mark);
            }
            taken
        })
    }
}
