//! Tasks: pieces of work to schedule, with the virtual registers that they read and define.

use lpu_isa::{Hemisphere, Orientation, WindowBits};
use smallvec::SmallVec;

use crate::chain::Chain;
use crate::planes::{Content, Part, PlaneSet};
use crate::rows::Rows;
use crate::vectors::Stored;

/// A vector that one task defines and others read, or an ordering token (rows were appended) that others depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct VReg(u32);

impl VReg {
    pub(crate) fn new(index: usize) -> Self {
        Self(index as u32)
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// An output of a task: `bytes` a lane, on a side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out {
    pub(crate) vreg: VReg,
    pub(crate) bytes: u8,
    pub(crate) side: Hemisphere,
}

/// What a task does.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    Chain(Chain),
    Tile(Tile),
    Append(Append),
    Qk(QkProduct),
    Pv(PvProduct),
    Exchange(Exchange),
}

/// One piece of work to schedule.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// Index of the graph's node.
    pub(crate) node: usize,
    pub(crate) what: &'static str,
    /// Among tasks that could start in one cycle the one with the least number goes first.
    pub(crate) priority: u64,
    pub(crate) inputs: Vec<VReg>,
    pub(crate) outputs: Vec<Out>,
    pub(crate) work: Work,
}

/// What becomes of a finished sum, as it passes the VXM.
#[derive(Clone, Debug)]
pub(crate) struct Epilogue {
    /// Arrival 0 is the sum.
    pub(crate) chain: Chain,
    pub(crate) inputs: Vec<VReg>,
    pub(crate) outputs: Vec<Out>,
}

/// A sum over the tiles of one output vector, or of a part of it.
#[derive(Clone, Debug)]
pub(crate) struct Accumulation {
    pub(crate) epilogue: Epilogue,
    /// Tiles in all, and those not yet passed.
    pub(crate) tiles: usize,
    pub(crate) left: usize,
    /// Tiles with an activation that is not yet defined.
    pub(crate) unready: usize,
    /// The plane and the accumulator of the sum so far.
    pub(crate) accumulator: Option<(u16, u8)>,
}

impl Accumulation {
    pub(crate) fn new(epilogue: Epilogue, tiles: usize) -> Self {
        Self { epilogue, tiles, left: tiles, unready: 0, accumulator: None }
    }
}

/// The accumulation groups that one pass of an activation adds to: one a vector that has a tile in the planes.
pub(crate) type Pass = SmallVec<[usize; 2]>;

/// One tile, or two of different output vectors that share their activations: loaded once, passed once a row.
/// Inputs: an activation a pass, then the map of the choice for the tiles of experts.
#[derive(Clone, Debug)]
pub(crate) struct Tile {
    pub(crate) set: PlaneSet,
    pub(crate) parts: Vec<Part>,
    /// For the tiles of experts: the map selects words by this many bits.
    pub(crate) choice: Option<WindowBits>,
    pub(crate) passes: SmallVec<[Pass; 1]>,
}

impl Tile {
    /// The accumulation groups of all passes.
    pub(crate) fn accumulations(&self) -> impl Iterator<Item = usize> + '_ {
        self.passes.iter().flatten().copied()
    }
}

/// Writes a key or value row a token of the run: all sixteen pairs of slices take the passing row, each at its own
/// address from the host. Inputs: the rows; output: the ordering token from which on the rows may be read.
#[derive(Clone, Debug)]
pub(crate) struct Append {
    pub(crate) entry: [Rows; 2],
    /// By row.
    pub(crate) addresses: Vec<Vec<Stored>>,
    pub(crate) window: WindowBits,
    /// Cycles that rows which are wanted earlier may come later and still go first.
    pub(crate) patience: u64,
}

/// Sends a stored vector to another chip of the group and stores the vector that this chip sends in return. Input: the
/// vector; outputs: that of the other chip, on one side or on each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange {
    /// Number of the other chip's link in [`Group::peers`](crate::target::Group::peers).
    pub(crate) peer: usize,
}

/// QK products of one tile of tokens: first halves pass in the east, second halves in the west, and the two meet in the
/// VXM, where the row's mask is added. Inputs: both ordering tokens, a mask a row, then two halves a query, row by row;
/// outputs: one vector a query.
#[derive(Clone, Debug)]
pub(crate) struct QkProduct {
    pub(crate) parts: [Vec<Part>; 2],
    pub(crate) rows: usize,
    /// Arrivals 0 and 1 are the two sums, input 0 the mask.
    pub(crate) epilogue: Chain,
}

impl QkProduct {
    /// The planes that it takes.
    pub(crate) fn sets() -> [PlaneSet; 2] {
        Hemisphere::BOTH.map(|side| PlaneSet::pair(side, Content::Halves))
    }
}

/// Passes of several vectors through one tile, each result stored: PV products of a tile of tokens, or sums over lanes.
/// Inputs: the vectors, then the ordering token from which on the tile may be read, if there is one; outputs: one
/// vector each.
#[derive(Clone, Debug)]
pub(crate) struct PvProduct {
    pub(crate) set: PlaneSet,
    pub(crate) parts: Vec<Part>,
    pub(crate) orientation: Orientation,
}
