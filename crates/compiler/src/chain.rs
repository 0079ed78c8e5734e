//! Chains: small dataflow graphs over ALUs and SXM units, each scheduled as one rigid block. A result stays in its
//! ALU's latch until its last use; operands from memory arrive just in time.
//!
//! A chain is a graph alone. When its operations dispatch follows from the graph and a [`Pace`] (`timing`); a chain
//! with its times is tried at one start after another (`attempt`).

mod attempt;
mod reduce;
mod split;
mod timing;

use lpu_isa::{Arithmetic, DelayClass, Format, Hemisphere, Instruction, Number, Source, Target};
use smallvec::SmallVec;

pub(crate) use split::{Carried, Split};
pub(crate) use timing::{Pace, Timed};

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

/// What the times of a chain depend on besides its nodes.
#[derive(Clone, Copy, Debug)]
struct Machine {
    /// Of simple and special operations, of shifts within a superlane and across superlanes.
    delays: [u64; 4],
    /// Positions from the VXM to the SXM of a side.
    to_switch: u64,
    /// Switch units of a side whose results can leave together.
    switch_units: usize,
    alus: usize,
    superlanes: usize,
    lanes_a_superlane: usize,
}

impl Machine {
    fn of(chip: &lpu_chip::Chip) -> Self {
        let values = chip.values();
        Self {
            delays: [DelayClass::VxmSimple, DelayClass::VxmSpecial, DelayClass::SxmLocal, DelayClass::SxmAcross]
                .map(|class| u64::from(chip.delay(class))),
            to_switch: u64::from(chip.sxm_position(Hemisphere::East).unsigned_abs()),
            // Shifted results of four streams each leave a side together.
            switch_units: (values.sxm_per_side.min(values.streams / 4)) as usize,
            alus: values.alus as usize,
            superlanes: values.superlanes as usize,
            lanes_a_superlane: values.lanes_per_superlane as usize,
        }
    }
}

/// A chain: its nodes, each after those that it takes operands from.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    nodes: Vec<Kind>,
    machine: Machine,
}

impl Chain {
    pub(crate) fn new(chip: &lpu_chip::Chip) -> Self {
        Self { nodes: Vec::new(), machine: Machine::of(chip) }
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

    /// The same chain with its arriving stream groups taken from memory instead, as inputs `first` and on.
    pub(crate) fn reading_memory(mut self, first: usize) -> Self {
        for kind in &mut self.nodes {
            if let Kind::Alu { sources, .. } = kind {
                for source in sources {
                    if let Feed::Arrival(index) = *source {
                        *source = Feed::Value(first + index);
                    }
                }
            }
        }
        self
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
        self.nodes.push(kind);
        self.nodes.len() - 1
    }
}
