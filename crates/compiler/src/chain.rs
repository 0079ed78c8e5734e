//! Chains: small dataflow graphs over ALUs and SXM units with fixed relative times, placed as one rigid block.
//! A result stays in its ALU's latch until its last use; operands from memory arrive just in time.

use lpu_isa::{Arithmetic, DelayClass, Edge, Format, GroupWidth, Hemisphere, Instruction, Number, Queue, Shift, Source, Stream, Target};
use smallvec::SmallVec;

use crate::scheduler::{Parked, Scheduler};

/// An operation of an ALU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Op {
    Add,
    Sub,
    Mul,
    Max,
    Abs,
    Negate,
    Exp,
    Rsqrt,
    Reciprocal,
    Convert(Format, Format),
}

impl Op {
    fn instruction(self, dst: Target, sources: &[Source]) -> Instruction {
        let a = sources[0];
        let b = *sources.last().expect("an operation has a source");
        let arithmetic = Arithmetic::F32;
        match self {
            Op::Add => Instruction::Add { arithmetic, dst, a, b },
            Op::Sub => Instruction::Sub { arithmetic, dst, a, b },
            Op::Mul => Instruction::Mul { arithmetic, dst, a, b },
            Op::Max => Instruction::Max { number: Number::F32, dst, a, b },
            Op::Abs => Instruction::Abs { arithmetic, dst, a },
            Op::Negate => Instruction::Negate { arithmetic, dst, a },
            Op::Exp => Instruction::Exp { dst, a },
            Op::Rsqrt => Instruction::Rsqrt { dst, a },
            Op::Reciprocal => Instruction::Reciprocal { dst, a },
            Op::Convert(from, to) => Instruction::Convert { from, to, dst, a },
        }
    }

    fn class(self) -> DelayClass {
        match self {
            Op::Exp | Op::Rsqrt | Op::Reciprocal => DelayClass::VxmSpecial,
            _ => DelayClass::VxmSimple,
        }
    }

    fn result_bytes(self) -> u8 {
        match self {
            Op::Convert(_, to) => to.bytes(),
            _ => 4,
        }
    }
}

/// A node of a chain.
pub(crate) type Node = usize;

/// Where a node takes an operand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Feed {
    /// The latch of an earlier ALU node, or the stream of an earlier SXM node.
    Node(Node),
    /// Input `index` of the chain, from memory.
    Value(usize),
    /// A constant in every lane.
    Immediate(f32),
    /// Stream group `index` that arrives at the VXM in this cycle of the chain.
    Arrival(usize, u64),
    /// The latch of an ALU outside the chain; the caller knows that it holds the value from this cycle of the chain on.
    Latch(u16, u64),
}

impl Feed {
    fn value(self) -> Option<usize> {
        match self {
            Feed::Value(index) => Some(index),
            _ => None,
        }
    }
}

/// Where a node's result goes beside its latch.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sink {
    None,
    /// Output `index` of the chain, parked in memory.
    Park(usize),
    /// The SXM of a side.
    Switch(Hemisphere),
}

#[derive(Clone, Debug)]
enum Kind {
    Alu {
        op: Op,
        sources: SmallVec<[Feed; 3]>,
        sink: Sink,
        fixed: Option<u16>,
    },
    /// A shift of what ALU node `of` sends to the SXM of `side`.
    Shift {
        of: Node,
        side: Hemisphere,
        across: bool,
        by: i16,
    },
}

/// A chain under construction; times are cycles relative to its start.
pub(crate) struct Chain {
    nodes: Vec<Kind>,
    /// Dispatch of each node.
    times: Vec<u64>,
    /// Cycle in which each node's result is at the VXM: in the latch, or passing on a stream.
    done: Vec<u64>,
    /// Last use of each node's latch.
    last: Vec<u64>,
    delays: [u64; 4],
    to_switch: u64,
    switch_units: usize,
    superlanes: usize,
    lanes_a_superlane: usize,
}

impl Chain {
    pub(crate) fn new(scheduler: &Scheduler<'_>) -> Self {
        let values = scheduler.chip.values();
        Self {
            nodes: Vec::new(),
            times: Vec::new(),
            done: Vec::new(),
            last: Vec::new(),
            delays: [DelayClass::VxmSimple, DelayClass::VxmSpecial, DelayClass::SxmLocal, DelayClass::SxmAcross]
                .map(|class| scheduler.delay(class)),
            to_switch: u64::from(scheduler.chip.sxm_position(Hemisphere::East).unsigned_abs()),
            switch_units: values.sxm_per_side as usize,
            superlanes: values.superlanes as usize,
            lanes_a_superlane: values.lanes_per_superlane as usize,
        }
    }

    /// Cycle in which the node's result is at the VXM.
    pub(crate) fn done(&self, node: Node) -> u64 {
        self.done[node]
    }

    /// Adds an operation whose result stays in a latch.
    pub(crate) fn op(&mut self, op: Op, sources: &[Feed]) -> Node {
        self.alu(op, sources, Sink::None, None, 0)
    }

    /// Adds an operation that dispatches no earlier than `after`.
    pub(crate) fn op_after(&mut self, op: Op, sources: &[Feed], after: u64) -> Node {
        self.alu(op, sources, Sink::None, None, after)
    }

    /// Adds an operation on a given ALU, whose latch the caller owns.
    pub(crate) fn op_on(&mut self, alu: u16, op: Op, sources: &[Feed]) -> Node {
        self.alu(op, sources, Sink::None, Some(alu), 0)
    }

    /// Adds an operation whose result is also parked as output `output` of the chain.
    pub(crate) fn park(&mut self, op: Op, sources: &[Feed], output: usize) -> Node {
        self.alu(op, sources, Sink::Park(output), None, 0)
    }

    fn alu(&mut self, op: Op, sources: &[Feed], sink: Sink, fixed: Option<u16>, after: u64) -> Node {
        let mut time = after;
        for source in sources {
            time = time.max(match *source {
                Feed::Node(node) => self.done[node],
                Feed::Arrival(_, at) | Feed::Latch(_, at) => at,
                Feed::Value(_) | Feed::Immediate(_) => 0,
            });
        }
        for source in sources {
            if let Feed::Node(node) = *source {
                match self.nodes[node] {
                    Kind::Alu { .. } => self.last[node] = self.last[node].max(time),
                    Kind::Shift { .. } => assert_eq!(self.done[node], time, "a shifted value does not wait"),
                }
            }
            if let Feed::Arrival(_, at) = *source {
                assert_eq!(at, time, "an arriving value does not wait");
            }
        }
        let delay = if op.class() == DelayClass::VxmSpecial { self.delays[1] } else { self.delays[0] };
        self.nodes.push(Kind::Alu { op, sources: sources.into(), sink, fixed });
        self.push(time, time + delay)
    }

    fn shift(&mut self, of: Node, side: Hemisphere, across: bool, by: i16) -> Node {
        let time = self.done[of] + self.to_switch;
        let delay = if across { self.delays[3] } else { self.delays[2] };
        self.nodes.push(Kind::Shift { of, side, across, by });
        self.push(time, time + delay + self.to_switch)
    }

    fn push(&mut self, time: u64, done: u64) -> Node {
        self.times.push(time);
        self.done.push(done);
        self.last.push(done);
        self.nodes.len() - 1
    }

    /// Combines all lanes of the result of `op` on `sources` by `combine`; every lane of the node returned holds the total.
    /// First the lanes of each superlane, then the superlanes: each time all distances are shifted at once and
    /// a tree of ALUs combines them.
    pub(crate) fn reduce(&mut self, combine: Op, op: Op, sources: &[Feed]) -> Node {
        let lanes = self.all_distances(op, sources, false, self.lanes_a_superlane);
        let (left, right) = self.tree(combine, lanes);
        if self.superlanes == 1 {
            return self.op(combine, &[left, right]);
        }
        let superlanes = self.all_distances(combine, &[left, right], true, self.superlanes);
        let (left, right) = self.tree(combine, superlanes);
        self.op(combine, &[left, right])
    }

    /// The result of `op` on `sources` and all its shifts by 1 to `count - 1`.
    fn all_distances(&mut self, op: Op, sources: &[Feed], across: bool, count: usize) -> Vec<Node> {
        let mut found = Vec::new();
        let mut by = 1;
        let mut itself = None;
        let mut after = 0;
        while by < count {
            for side in Hemisphere::BOTH {
                if by == count {
                    break;
                }
                let sent = self.alu(op, sources, Sink::Switch(side), None, after);
                after = self.times[sent];
                itself.get_or_insert(sent);
                for _ in 0..self.switch_units.min(count - by) {
                    found.push(self.shift(sent, side, across, by as i16));
                    by += 1;
                }
            }
            after += 1;
        }
        found.push(itself.unwrap_or_else(|| self.op(op, sources)));
        found
    }

    /// Combines the nodes in a tree down to the last two, which the caller combines.
    fn tree(&mut self, combine: Op, nodes: Vec<Node>) -> (Feed, Feed) {
        let is_shift = |chain: &Self, node: Node| matches!(chain.nodes[node], Kind::Shift { .. });
        let (mut passing, mut held): (Vec<Node>, Vec<Node>) = nodes.into_iter().partition(|&node| is_shift(self, node));
        passing.sort_by_key(|&node| self.done[node]);
        let mut index = 0;
        while index < passing.len() && passing.len() - index + held.len() > 2 {
            let first = passing[index];
            let partner = passing.get(index + 1).copied().filter(|&other| self.done[other] == self.done[first]);
            index += 1;
            let second = match partner {
                Some(other) => {
                    index += 1;
                    other
                }
                None => {
                    let waiting = held.iter().position(|&node| self.done[node] <= self.done[first]);
                    held.remove(waiting.expect("the unshifted value waits in its latch"))
                }
            };
            let sum = self.op(combine, &[Feed::Node(first), Feed::Node(second)]);
            held.push(sum);
        }
        let mut rest: Vec<Node> = passing.drain(index..).chain(held).collect();
        while rest.len() > 2 {
            rest.sort_by_key(|&node| self.done[node]);
            let second = rest.remove(1);
            let first = rest.remove(0);
            rest.push(self.op(combine, &[Feed::Node(first), Feed::Node(second)]));
        }
        (Feed::Node(rest[0]), Feed::Node(rest[1]))
    }

    /// Reserves and emits the whole chain with cycle 0 at `start`: `inputs` are the values, `arrivals` the stream groups that
    /// its nodes name; `outputs` are written where they say.
    pub(crate) fn attempt(
        &self,
        scheduler: &mut Scheduler<'_>,
        start: u64,
        inputs: &[&Parked],
        arrivals: &[Stream],
        outputs: &mut [Parked],
    ) -> Option<()> {
        let mut alus: Vec<u16> = vec![0; self.nodes.len()];
        let mut streams: Vec<Option<Stream>> = vec![None; self.nodes.len()];
        let mut fetched: Vec<(usize, u64, Stream)> = Vec::new();
        for (node, kind) in self.nodes.iter().enumerate() {
            let time = start + self.times[node];
            let done = start + self.done[node];
            match kind {
                Kind::Shift { of, side, across, by } => {
                    let position = scheduler.chip.sxm_position(*side);
                    let src = streams[*of]?;
                    let dst = scheduler.route(4, done - self.to_switch, position, 0)?;
                    streams[node] = Some(dst);
                    let (width, by, edge) = (GroupWidth::Four, Shift(*by), Edge::Wrap);
                    let instruction = if *across {
                        Instruction::ShiftSuperlanes { width, src, dst, by, edge }
                    } else {
                        Instruction::ShiftLanes { width, src, dst, by, edge }
                    };
                    (0..self.switch_units as u16).find_map(|unit| scheduler.issue(Queue::Sxm(*side, unit), time, instruction))?;
                }
                Kind::Alu { op, sources, sink, fixed } => {
                    let mut values: SmallVec<[usize; 3]> = sources.iter().filter_map(|source| source.value()).collect();
                    values.sort_by_key(|&value| inputs[value].quads.len());
                    for value in values {
                        if !fetched.iter().any(|&(index, at, _)| (index, at) == (value, time)) {
                            fetched.push((value, time, scheduler.fetch(inputs[value], 0, time)?));
                        }
                    }
                    let operand = |source: &Feed| match *source {
                        Feed::Node(before) => match streams[before] {
                            Some(stream) if matches!(self.nodes[before], Kind::Shift { .. }) => Source::Stream(stream),
                            _ => Source::Latch(alus[before] as u8),
                        },
                        Feed::Value(index) => {
                            let found = fetched.iter().find(|&&(value, at, _)| (value, at) == (index, time));
                            Source::Stream(found.expect("values are fetched before their use").2)
                        }
                        Feed::Immediate(value) => Source::Immediate(value.to_bits()),
                        Feed::Arrival(index, _) => Source::Stream(arrivals[index]),
                        Feed::Latch(alu, _) => Source::Latch(alu as u8),
                    };
                    let operands: SmallVec<[Source; 3]> = sources.iter().map(operand).collect();
                    let dst = match *sink {
                        Sink::None => None,
                        Sink::Park(output) => Some(scheduler.park(&mut outputs[output], 0, done)?),
                        Sink::Switch(side) => Some(scheduler.route(op.result_bytes(), done, 0, scheduler.chip.sxm_position(side))?),
                    };
                    streams[node] = dst;
                    let last = start + self.last[node];
                    let instruction = op.instruction(dst, &operands);
                    alus[node] = match *fixed {
                        Some(alu) => {
                            scheduler.issue(Queue::Vxm(alu), time, instruction)?;
                            alu
                        }
                        None => scheduler.alu(time, done, last, instruction)?,
                    };
                }
            }
        }
        Some(())
    }

    /// Cycles from the chain's start to the first use of the input that is used last.
    pub(crate) fn slack(&self, inputs: usize) -> u64 {
        let first_use = |input: usize| {
            let uses = self.nodes.iter().zip(&self.times).filter(|(kind, _)| match kind {
                Kind::Alu { sources, .. } => sources.contains(&Feed::Value(input)),
                Kind::Shift { .. } => false,
            });
            uses.map(|(_, &time)| time).min().unwrap_or(0)
        };
        (0..inputs).map(first_use).max().unwrap_or(0)
    }
}

impl Scheduler<'_> {
    /// Takes an ALU that is free to dispatch at `time` and to hold the result from `done` to `last`.
    fn alu(&mut self, time: u64, done: u64, last: u64, instruction: Instruction) -> Option<u16> {
        let shared = self.chip.values().alus as u16 - self.dedicated_alus();
        (0..shared).find(|&alu| {
            let mark = self.tables.mark();
            let taken = self.tables.latch(usize::from(alu), done, last) && self.issue(Queue::Vxm(alu), time, instruction).is_some();
            if !taken {
                self.tables.undo(mark);
            }
            taken
        })
    }

    /// ALUs kept for sums over the passes of a plane, one a plane, the last ones of the VXM.
    pub(crate) fn dedicated_alus(&self) -> u16 {
        2 * self.chip.values().planes_per_side as u16
    }
}
