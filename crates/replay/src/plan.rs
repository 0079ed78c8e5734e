//! A plan: the fixed dataflow of one chip as flat lists, over virtual registers while it is built and over addresses
//! once it is laid out. A program has one plan a class of chips, and says of each chip which plan is its own and whose
//! vectors it takes.

use lpu_isa::{Instruction, PassFormat};
use serde::{Deserialize, Serialize};

use crate::places::At;

/// One byte a lane: a vector of bytes, or one byte of each lane of a 32-bit vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Bytes<R> {
    Plane(R),
    Lane(R, u8),
}

/// 32 bits a lane, or the same 32 bits in every lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum AluInput<R> {
    Wide(R),
    Splat(u32),
    None,
}

/// A range of one of the plan's lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListRange {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl ListRange {
    pub(crate) fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// An operation that is done by one thread.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Op<R> {
    /// 32-bit lanes from up to four bytes each, zero above.
    Join { dst: R, parts: [Option<Bytes<R>>; 4] },
    /// An ALU operation.
    Alu {
        #[serde(with = "crate::codec::instruction")]
        instruction: Instruction,
        dst: R,
        sources: [AluInput<R>; 3],
    },
    /// Bytes to a vector of bytes.
    Copy { dst: R, src: Bytes<R> },
    /// All four bytes of 32-bit lanes, each to a vector of bytes.
    Split { dst: [R; 4], src: R },
    /// A word of a window, chosen by the address in lane 0 of `map`.
    Gather { dst: R, map: [Bytes<R>; 2], window: ListRange },
    /// Bytes to a word of a window.
    Scatter { src: Bytes<R>, map: [Bytes<R>; 2], window: ListRange },
    /// Whatever a switch unit does: operands are its sources, then its results.
    Switch {
        #[serde(with = "crate::codec::instruction")]
        instruction: Instruction,
        operands: ListRange,
        taken: u8,
    },
    /// A switch unit's movement of whole 32-bit lanes.
    Move { dst: R, src: R, movement: Movement },
    /// In every lane the maximum, of binary32 numbers or integers, over the lanes of its superlane or over its place in
    /// all superlanes.
    Fold { dst: R, src: R, way: Way, integers: bool },
    /// Zero in all lanes from `from` on.
    Zero { dst: R, from: u16 },
    /// Makes activations ready for passes.
    Prepare { prepared: u32, low: Bytes<R>, high: Bytes<R>, int8: bool },
    /// The sum of results, in order.
    Add {
        dst: R,
        #[serde(with = "crate::codec::format")]
        format: PassFormat,
        terms: ListRange,
    },
    /// A pass through any weights, lane by lane.
    Pass {
        dst: R,
        #[serde(with = "crate::codec::format")]
        format: PassFormat,
        planes: [u32; 2],
        low: Bytes<R>,
        high: Bytes<R>,
    },
    /// Bytes to the chip's mailbox of this number.
    Send { number: u32, src: Bytes<R> },
    /// Bytes from the mailbox that [`ChipPlan::sources`] has under this number.
    Receive { dst: R, number: u32 },
}

/// Along what lanes are rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Way {
    /// Within superlanes.
    Lanes,
    /// From superlane to superlane.
    Superlanes,
}

/// How lanes move, all streams alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Movement {
    /// Up by lanes within every superlane.
    Lanes { by: i8, wrap: bool },
    /// Up by superlanes.
    Superlanes { by: i16, wrap: bool },
}

/// What a pass multiplies its weights with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PassInput<R> {
    /// int8 weights, int8 activations.
    I8(R),
    /// fp16 weights in two byte planes, prepared activations.
    F16(u32),
    /// int8 weights widened to fp16, prepared activations.
    I8F16(u32),
}

impl<R> PassInput<R> {
    /// Byte planes of the weights that it meets.
    pub(crate) fn planes(&self) -> usize {
        if matches!(self, PassInput::F16(_)) { 2 } else { 1 }
    }
}

/// A pass whose weights are rows in place.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Pass<R> {
    pub(crate) activation: PassInput<R>,
    pub(crate) dst: R,
}

/// Rows of weights one after another in memory, each a dot product with the same activations.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct RowRun<R> {
    /// The first row; of fp16 its low bytes.
    pub(crate) low: R,
    /// High bytes of the first row of fp16.
    pub(crate) high: R,
    pub(crate) pass: u32,
    /// Output of the first row, and from row to row.
    pub(crate) output: u16,
    pub(crate) step: u16,
    pub(crate) rows: u16,
    /// Whether all rows are the first one.
    pub(crate) same: bool,
}

impl<R> RowRun<R> {
    /// Rows that it has in memory.
    pub(crate) fn stored(&self) -> usize {
        if self.same { 1 } else { usize::from(self.rows) }
    }
}

/// A pass whose rows are inputs: each row times one activation, summed lane by lane.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Columns {
    pub(crate) pass: u32,
    /// Rows in order of the input: low, and for fp16 high bytes, in `operands`.
    pub(crate) rows: ListRange,
}

/// A part of a phase that one thread does.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Operations in order.
    Ops(ListRange),
    /// Runs of rows.
    Runs(ListRange),
    /// Some lanes of passes by columns, all through the same rows.
    Columns { columns: ListRange, lane: u16, lanes: u16 },
}

/// Where a value is, while a plan is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Ref {
    /// A virtual register, which has an address once the plan is laid out.
    Register(u32),
    /// A word of SRAM.
    Word(At),
}

/// Weights of a plane, for passes that no kernel does: by row its bytes and whether they are a half of widened int8.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct RowWeights<R> {
    pub(crate) by_input: bool,
    pub(crate) rows: Vec<(R, Half)>,
}

/// Which byte of a weight a row of bytes gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Half {
    /// The byte itself.
    Whole,
    /// The low byte of the fp16 value of an int8.
    Low,
    /// The high byte.
    High,
}

/// All lists of a plan.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plan<R> {
    pub(crate) lanes: usize,
    pub(crate) ops: Vec<Op<R>>,
    pub(crate) operands: Vec<Bytes<R>>,
    pub(crate) terms: Vec<R>,
    pub(crate) windows: Vec<At>,
    pub(crate) weights: Vec<RowWeights<R>>,
    pub(crate) passes: Vec<Pass<R>>,
    pub(crate) runs: Vec<RowRun<R>>,
    pub(crate) columns: Vec<Columns>,
    /// Number of prepared activations alive at once.
    pub(crate) prepared: usize,
    pub(crate) tasks: Vec<Task>,
    /// Phases in order, each a range of tasks that are independent of one another.
    pub(crate) phases: Vec<ListRange>,
    /// Bytes of intermediate values.
    pub(crate) work: u64,
    /// Vectors that it puts into mailboxes, each once a run, and takes from mailboxes of other chips.
    pub(crate) sends: u32,
    pub(crate) receives: u32,
}

/// A mailbox: a vector that a chip sends in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mailbox {
    /// The chip that fills it.
    pub(crate) chip: u16,
    /// Number of the send in that chip's plan.
    pub(crate) send: u32,
}

/// What one chip does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ChipPlan {
    /// Number of its plan.
    pub(crate) plan: u32,
    /// By number of the receive in its plan: where the vector comes from.
    pub(crate) sources: Vec<Mailbox>,
}

impl<R> Plan<R> {
    /// A plan of nothing.
    pub(crate) fn new(lanes: usize) -> Self {
        Self {
            lanes,
            ops: Vec::new(),
            operands: Vec::new(),
            terms: Vec::new(),
            windows: Vec::new(),
            weights: Vec::new(),
            passes: Vec::new(),
            runs: Vec::new(),
            columns: Vec::new(),
            prepared: 0,
            tasks: Vec::new(),
            phases: Vec::new(),
            work: 0,
            sends: 0,
            receives: 0,
        }
    }
}

impl<R: Copy> Bytes<R> {
    pub(crate) fn of(self) -> R {
        match self {
            Bytes::Plane(place) | Bytes::Lane(place, _) => place,
        }
    }

    pub(crate) fn map<S>(self, mut to: impl FnMut(R) -> S) -> Bytes<S> {
        match self {
            Bytes::Plane(place) => Bytes::Plane(to(place)),
            Bytes::Lane(place, byte) => Bytes::Lane(to(place), byte),
        }
    }
}

impl<R: Copy> Op<R> {
    pub(crate) fn map<S>(self, mut to: impl FnMut(R) -> S) -> Op<S> {
        match self {
            Op::Join { dst, parts } => {
                Op::Join { dst: to(dst), parts: parts.map(|part| part.map(|part| part.map(&mut to))) }
            }
            Op::Alu { instruction, dst, sources } => {
                let sources = sources.map(|source| match source {
                    AluInput::Wide(place) => AluInput::Wide(to(place)),
                    AluInput::Splat(value) => AluInput::Splat(value),
                    AluInput::None => AluInput::None,
                });
                Op::Alu { instruction, dst: to(dst), sources }
            }
            Op::Copy { dst, src } => Op::Copy { dst: to(dst), src: src.map(to) },
            Op::Split { dst, src } => Op::Split { dst: dst.map(&mut to), src: to(src) },
            Op::Gather { dst, map, window } => {
                Op::Gather { dst: to(dst), map: map.map(|byte| byte.map(&mut to)), window }
            }
            Op::Scatter { src, map, window } => {
                Op::Scatter { src: src.map(&mut to), map: map.map(|byte| byte.map(&mut to)), window }
            }
            Op::Switch { instruction, operands, taken } => Op::Switch { instruction, operands, taken },
            Op::Move { dst, src, movement } => Op::Move { dst: to(dst), src: to(src), movement },
            Op::Fold { dst, src, way, integers } => Op::Fold { dst: to(dst), src: to(src), way, integers },
            Op::Zero { dst, from } => Op::Zero { dst: to(dst), from },
            Op::Prepare { prepared, low, high, int8 } => {
                Op::Prepare { prepared, low: low.map(&mut to), high: high.map(to), int8 }
            }
            Op::Add { dst, format, terms } => Op::Add { dst: to(dst), format, terms },
            Op::Pass { dst, format, planes, low, high } => {
                Op::Pass { dst: to(dst), format, planes, low: low.map(&mut to), high: high.map(to) }
            }
            Op::Send { number, src } => Op::Send { number, src: src.map(to) },
            Op::Receive { dst, number } => Op::Receive { dst: to(dst), number },
        }
    }
}
