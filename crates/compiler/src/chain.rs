//! Chains: small dataflow graphs over ALUs and SXM units with fixed relative times, placed as one rigid block.
//! A result stays in its ALU's latch until its last use; operands from memory arrive just in time.

mod attempt;
mod split;

use std::collections::{BTreeMap, BTreeSet};

use lpu_isa::{Arithmetic, DelayClass, Format, Hemisphere, Instruction, Number, Source, Target};
use smallvec::SmallVec;

pub(crate) use split::{Carried, Split};

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
    Tanh,
    Rsqrt,
    Reciprocal,
    /// 1 where both are equal, else 0.
    Equal,
    /// Of three: the second where the first is not 0, else the third.
    Select,
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
            Op::Tanh => Instruction::Tanh { dst, a },
            Op::Rsqrt => Instruction::Rsqrt { dst, a },
            Op::Reciprocal => Instruction::Reciprocal { dst, a },
            Op::Equal => Instruction::Equal { number: Number::F32, dst, a, b },
            Op::Select => Instruction::Select { dst, condition: a, a: sources[1], b },
            Op::Convert(from, to) => Instruction::Convert { from, to, dst, a },
        }
    }

    fn class(self) -> DelayClass {
        match self {
            Op::Exp | Op::Tanh | Op::Rsqrt | Op::Reciprocal => DelayClass::VxmSpecial,
            _ => DelayClass::VxmSimple,
        }
    }

    /// Bytes of a result.
    pub(crate) fn result_bytes(self) -> u8 {
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
    /// Stream group `index` that arrives at the VXM in cycle 0 of the chain.
    Arrival(usize),
}

/// Where a node's result goes in addition to its latch.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sink {
    None,
    /// Output `index` of the chain, stored in memory on a side.
    Store(usize, Hemisphere),
    /// The SXM of a side.
    Switch(Hemisphere),
}

#[derive(Clone, Debug)]
enum Kind {
    Alu {
        op: Op,
        sources: SmallVec<[Feed; 3]>,
        sink: Sink,
        /// Dispatches at least so many cycles after another node.
        after: Option<(Node, u64)>,
    },
    /// A shift of what ALU node `of` sends to the SXM of `side`.
    Shift { of: Node, side: Hemisphere, across: bool, by: i16 },
}

/// Cycles relative to the chain's start, by node.
#[derive(Clone, Debug, Default)]
struct Timing {
    /// Dispatch.
    times: Vec<u64>,
    /// Cycle in which the result is at the VXM: in the latch, or passing on a stream.
    done: Vec<u64>,
    /// Last use of the latch.
    last: Vec<u64>,
    /// Cycles in which an operand arrives from memory; one operation a cycle takes such operands.
    fetches: BTreeSet<u64>,
    /// Cycles in which a result leaves for the memory of a side, one a cycle and side.
    stores: BTreeSet<(u64, Hemisphere)>,
}

/// A chain under construction.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    nodes: Vec<Kind>,
    timing: Timing,
    /// First cycle in which each input can be at the VXM; later inputs have none.
    offsets: Vec<u64>,
    /// Cycles between operations that take operands from memory, and between results that leave for one side.
    spacing: u64,
    /// Whether ALUs are taken in order of time rather than node by node: so all of them can be, but neighbours use
    /// other ones.
    in_time: bool,
    /// Whether an operation comes too late for what passes on a stream, so that the chain cannot be placed.
    missed: bool,
    delays: [u64; 4],
    to_switch: u64,
    switch_units: usize,
    /// Distances that a side shifts by in one cycle of the sum or maximum over lanes that is added.
    shifts: usize,
    alus: usize,
    superlanes: usize,
    lanes_a_superlane: usize,
}

impl Chain {
    pub(crate) fn new(chip: &lpu_chip::Chip) -> Self {
        let values = chip.values();
        Self {
            nodes: Vec::new(),
            timing: Timing::default(),
            offsets: Vec::new(),
            spacing: 1,
            in_time: false,
            missed: false,
            delays: [DelayClass::VxmSimple, DelayClass::VxmSpecial, DelayClass::SxmLocal, DelayClass::SxmAcross]
                .map(|class| u64::from(chip.delay(class))),
            to_switch: u64::from(chip.sxm_position(Hemisphere::East).unsigned_abs()),
            // Shifted results of four streams each leave a side together.
            switch_units: (values.sxm_per_side.min(values.streams / 4)) as usize,
            shifts: 1,
            alus: values.alus as usize,
            superlanes: values.superlanes as usize,
            lanes_a_superlane: values.lanes_per_superlane as usize,
        }
    }

    /// The same chain with inputs that arrive no earlier than the offsets say.
    pub(crate) fn delayed(&self, offsets: &[u64]) -> Self {
        let mut chain = Self {
            nodes: Vec::with_capacity(self.nodes.len()),
            timing: Timing::default(),
            offsets: offsets.to_vec(),
            ..*self
        };
        for kind in &self.nodes {
            chain.push(kind.clone());
        }
        chain
    }

    /// Whether inputs may come so late: what arrives on streams must not have to wait for one.
    pub(crate) fn can_wait(&self, offsets: &[u64]) -> bool {
        self.nodes.iter().all(|kind| match kind {
            Kind::Alu { sources, .. } if sources.iter().any(|source| matches!(source, Feed::Arrival(_))) => {
                sources.iter().all(|source| !matches!(*source, Feed::Value(index) if offsets[index] > 0))
            }
            _ => true,
        })
    }

    /// The same chain with more cycles between its accesses of memory.
    pub(crate) fn spaced(&self, spacing: u64) -> Self {
        let mut chain = Self {
            nodes: Vec::with_capacity(self.nodes.len()),
            timing: Timing::default(),
            offsets: self.offsets.clone(),
            ..*self
        };
        chain.spacing = spacing;
        chain.in_time = true;
        for kind in &self.nodes {
            chain.push(kind.clone());
        }
        chain
    }

    /// The same chain with its arriving stream groups taken from memory instead, as inputs `first` and on.
    pub(crate) fn reading_memory(&self, first: usize) -> Self {
        let mut chain = Self {
            nodes: Vec::with_capacity(self.nodes.len()),
            timing: Timing::default(),
            offsets: Vec::new(),
            ..*self
        };
        for kind in &self.nodes {
            let mut kind = kind.clone();
            if let Kind::Alu { sources, .. } = &mut kind {
                for source in sources {
                    if let Feed::Arrival(index) = *source {
                        *source = Feed::Value(first + index);
                    }
                }
            }
            chain.push(kind);
        }
        chain
    }

    /// Adds an operation whose result stays in a latch.
    pub(crate) fn op(&mut self, op: Op, sources: &[Feed]) -> Node {
        self.alu(op, sources, Sink::None, None)
    }

    /// Adds an operation whose result is also stored as output `output` of the chain, on a side.
    pub(crate) fn store(&mut self, op: Op, sources: &[Feed], output: usize, side: Hemisphere) -> Node {
        self.alu(op, sources, Sink::Store(output, side), None)
    }

    fn alu(&mut self, op: Op, sources: &[Feed], sink: Sink, after: Option<(Node, u64)>) -> Node {
        self.push(Kind::Alu { op, sources: sources.into(), sink, after })
    }

    fn shift(&mut self, of: Node, side: Hemisphere, across: bool, by: i16) -> Node {
        self.push(Kind::Shift { of, side, across, by })
    }

    fn push(&mut self, kind: Kind) -> Node {
        let timing = &mut self.timing;
        let (time, done) = match &kind {
            Kind::Alu { op, sources, after, sink } => {
                let delay = if op.class() == DelayClass::VxmSpecial { self.delays[1] } else { self.delays[0] };
                let mut time = after.map_or(0, |(node, cycles)| timing.times[node] + cycles);
                let mut fetches = false;
                for source in sources {
                    time = time.max(match *source {
                        Feed::Node(node) => timing.done[node],
                        Feed::Value(index) => {
                            fetches = true;
                            self.offsets.get(index).copied().unwrap_or(0)
                        }
                        Feed::Immediate(_) | Feed::Arrival(_) => 0,
                    });
                }
                let stores = if let Sink::Store(_, side) = *sink { Some(side) } else { None };
                let near = |time: u64| time.saturating_sub(self.spacing - 1)..time + self.spacing;
                let fetched = |time: u64| fetches && timing.fetches.range(near(time)).next().is_some();
                let stored = |time: u64| {
                    stores.is_some_and(|side| near(time + delay).any(|done| timing.stores.contains(&(done, side))))
                };
                while fetched(time) || stored(time) {
                    time += 1;
                }
                if fetches {
                    timing.fetches.insert(time);
                }
                timing.stores.extend(stores.map(|side| (time + delay, side)));
                for source in sources {
                    match *source {
                        Feed::Node(node) => match self.nodes[node] {
                            Kind::Alu { .. } => timing.last[node] = timing.last[node].max(time),
                            Kind::Shift { .. } => self.missed |= timing.done[node] != time,
                        },
                        Feed::Arrival(_) => self.missed |= time != 0,
                        Feed::Value(_) | Feed::Immediate(_) => {}
                    }
                }
                (time, time + delay)
            }
            Kind::Shift { of, across, .. } => {
                let time = timing.done[*of] + self.to_switch;
                (time, time + if *across { self.delays[3] } else { self.delays[2] } + self.to_switch)
            }
        };
        timing.times.push(time);
        timing.done.push(done);
        timing.last.push(done);
        self.nodes.push(kind);
        self.nodes.len() - 1
    }

    /// Combines all lanes of the result of `op` on `sources` by `combine`; every lane of the node returned holds the
    /// total. First the lanes of each superlane, then the superlanes: each time all distances are shifted at once and
    /// a tree of ALUs combines them. As many distances in a cycle as the switch units and the ALUs' latches allow.
    pub(crate) fn reduce(&mut self, combine: Op, op: Op, sources: &[Feed]) -> Node {
        let mut shifts = self.switch_units;
        loop {
            let mut chain = Self { shifts, ..self.clone() };
            let total = chain.reduced(combine, op, sources);
            // Latches are taken node by node, not in order of time, so not all of them can be.
            if shifts == 1 || chain.pressure() <= self.alus * 3 / 4 {
                *self = chain;
                return total;
            }
            shifts -= 1;
        }
    }

    fn reduced(&mut self, combine: Op, op: Op, sources: &[Feed]) -> Node {
        let lanes = self.all_distances(op, sources, false, self.lanes_a_superlane);
        let (left, right) = self.tree(combine, lanes);
        if self.superlanes == 1 {
            return self.op(combine, &[left, right]);
        }
        let superlanes = self.all_distances(combine, &[left, right], true, self.superlanes);
        let (left, right) = self.tree(combine, superlanes);
        self.op(combine, &[left, right])
    }

    /// The most latches that hold something in one cycle.
    fn pressure(&self) -> usize {
        let mut changes: BTreeMap<u64, isize> = BTreeMap::new();
        for ((kind, &done), &last) in self.nodes.iter().zip(&self.timing.done).zip(&self.timing.last) {
            if let Kind::Alu { .. } = kind {
                *changes.entry(done).or_default() += 1;
                *changes.entry(last + 1).or_default() -= 1;
            }
        }
        let held = changes.into_values().scan(0isize, |held, change| {
            *held += change;
            Some(*held)
        });
        held.max().unwrap_or(0).unsigned_abs()
    }

    /// The result of `op` on `sources`, shifted by all distances from 0 to `count - 1`: the unshifted one takes the
    /// same way, so that no latch has to hold it.
    fn all_distances(&mut self, op: Op, sources: &[Feed], across: bool, count: usize) -> Vec<Node> {
        let mut found = Vec::new();
        let mut by = 0;
        let mut after = None;
        while by < count {
            for side in Hemisphere::BOTH {
                if by == count {
                    break;
                }
                let sent = self.alu(op, sources, Sink::Switch(side), after);
                after = Some((sent, 0));
                for _ in 0..self.shifts.min(count - by) {
                    found.push(self.shift(sent, side, across, by as i16));
                    by += 1;
                }
            }
            after = after.map(|(sent, _)| (sent, 1));
        }
        found
    }

    /// Combines the nodes in a tree down to the last two, which the caller combines. Shifted values pass once, so those
    /// that pass together are combined as they come; an odd one waits in a latch.
    fn tree(&mut self, combine: Op, mut passing: Vec<Node>) -> (Feed, Feed) {
        passing.sort_by_key(|&node| self.timing.done[node]);
        let done = |chain: &Self, node: Node| chain.timing.done[node];
        if let [first, second] = passing[..]
            && done(self, first) == done(self, second)
        {
            return (Feed::Node(first), Feed::Node(second));
        }
        let mut rest = Vec::new();
        let together: Vec<Vec<Node>> =
            passing.chunk_by(|&a, &b| done(self, a) == done(self, b)).map(<[Node]>::to_vec).collect();
        for pair in together.iter().flat_map(|group| group.chunks(2)) {
            let first = Feed::Node(pair[0]);
            rest.push(match (pair, combine) {
                (&[_, second], _) => self.op(combine, &[first, Feed::Node(second)]),
                (_, Op::Max) => self.op(Op::Max, &[first, first]),
                _ => self.op(Op::Add, &[first, Feed::Immediate(0.0)]),
            });
        }
        while rest.len() > 2 {
            rest.sort_by_key(|&node| self.timing.done[node]);
            let second = rest.remove(1);
            let first = rest.remove(0);
            rest.push(self.op(combine, &[Feed::Node(first), Feed::Node(second)]));
        }
        (Feed::Node(rest[0]), Feed::Node(rest[1]))
    }

    /// Cycles from the start to the first use of an input.
    pub(crate) fn first_use(&self, input: usize) -> u64 {
        let uses = self.nodes.iter().zip(&self.timing.times).filter(|(kind, _)| match kind {
            Kind::Alu { sources, .. } => sources.contains(&Feed::Value(input)),
            Kind::Shift { .. } => false,
        });
        uses.map(|(_, &time)| time).min().unwrap_or(0)
    }
}
