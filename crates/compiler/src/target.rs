//! What a graph is compiled for.

use lpu_chip::{Chip, LinkEnd, System};
use lpu_isa::{ChipId, SliceId, WordRun};
use lpu_model::{Graph, ValueId};

use crate::error::CompileError;

/// The chip that everything is placed and scheduled for; the others of a group have the same places and cycles.
const CHIP: ChipId = ChipId(0);

/// Words of a slice of the chip, one after another.
pub(crate) const fn words(slice: SliceId, word: u32, count: u32) -> WordRun {
    WordRun { chip: CHIP, slice, word, count, stride: 1 }
}

/// Number formats of weights and activations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// fp16 weights and activations, fp32 sums.
    F16,
    /// int8 weights with a scale an output channel, int8 activations with a scale a vector; keys, values and queries in
    /// fp16.
    W8A8,
    /// int8 weights with a scale an output channel, widened to fp16 as they are loaded; fp16 activations, fp32 sums.
    #[default]
    W8A16,
}

impl Precision {
    /// The format of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::F16, Self::W8A8, Self::W8A16].into_iter().find(|precision| precision.name() == name)
    }

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::W8A8 => "w8a8",
            Self::W8A16 => "w8a16",
        }
    }

    /// Whether stages hand on a value in the fp16 numbers that matrices read.
    pub(crate) fn crosses_rounded(self, graph: &Graph, value: ValueId) -> bool {
        self != Self::W8A8 && graph.for_matrices.contains(&value)
    }
}

/// The link of a chip of a group to another, the same number on both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Number of the C2C queue.
    pub link: u16,
    /// Cycles from a send to the earliest receive.
    pub latency: u64,
    /// Cycles that a vector occupies the link.
    pub interval: u64,
}

/// The chips that run one schedule, each with its shard of the graph: chip `c` has chip `c xor x` at the other end of
/// the link of number `x`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// By `x`, from 1 on.
    pub peers: Vec<Peer>,
}

impl Group {
    /// The first `chips` chips of a system as a group.
    ///
    /// # Errors
    /// [`CompileError::NoGroup`] when the system has fewer chips, or the links of a pair have no number that serves
    /// all pairs.
    pub fn of(system: &System, chips: usize) -> Result<Self, CompileError> {
        Self::at(system, 0, chips)
    }

    /// The `chips` chips from chip `first` on as a group.
    pub(crate) fn at(system: &System, first: u16, chips: usize) -> Result<Self, CompileError> {
        let none = |why: String| CompileError::NoGroup { system: system.name().to_owned(), chips, why };
        if !chips.is_power_of_two() || chips + usize::from(first) > usize::from(system.chips()) {
            return Err(none(format!("it has {} chips, and groups have a power of two", system.chips())));
        }
        let end = |member: usize, link: u16| LinkEnd { chip: ChipId(first + member as u16), link };
        let peer = |x: usize| {
            let links = 0..system.chip().values().c2c_queues as u16;
            let serves = |link: &u16| {
                let class = |chip| (system.latency(end(chip, *link)), system.interval(end(chip, *link)));
                (0..chips)
                    .all(|chip| system.peer(end(chip, *link)) == Some(end(chip ^ x, *link)) && class(chip) == class(0))
            };
            let link = { links }.find(serves);
            let link = link.ok_or_else(|| none(format!("no link leads from every chip c to chip c xor {x}")))?;
            let (latency, interval) = (system.latency(end(0, link)), system.interval(end(0, link)));
            Ok::<_, CompileError>(Peer { link, latency, interval })
        };
        Ok(Self { peers: (1..chips).map(peer).collect::<Result<_, _>>()? })
    }

    /// Chips of the group.
    #[must_use]
    pub fn chips(&self) -> usize {
        self.peers.len() + 1
    }
}

/// The machine and the number formats that a graph is compiled for: what every stage after the graph depends on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Target {
    /// Geometry and delays.
    pub chip: Chip,
    /// Number formats.
    pub precision: Precision,
    /// The chips that share a schedule.
    pub group: Group,
    /// Sequences that have key-value rows.
    pub sequences: usize,
}

impl Target {
    /// One chip with these number formats, and key-value rows of one sequence.
    #[must_use]
    pub fn new(chip: &Chip, precision: Precision) -> Self {
        Self { chip: chip.clone(), precision, group: Group::default(), sequences: 1 }
    }

    /// More sequences than a chip holds: no bank has more rows than words.
    pub(crate) fn most_sequences(&self) -> usize {
        self.chip.values().words_per_bank as usize + 1
    }
}

/// What callers choose for a compilation: the formats of a [`Target`] and the context of its programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Number formats.
    pub precision: Precision,
    /// Tokens that the key-value rows of a sequence hold; rounded up to a multiple of 16.
    pub context: usize,
    /// Sequences that have key-value rows, at least 1. Each has programs of its own, which differ in these rows alone.
    pub sequences: usize,
    /// Chips that share every layer: 1, 2, 4 or 8; chosen where nothing is said.
    pub tensor_parallel: Option<usize>,
    /// Stages that follow one another, each on chips of its own; as few as hold the model where nothing is said.
    pub pipeline_parallel: Option<usize>,
}

impl Default for Options {
    /// `w8a16` for one sequence of 256 tokens, on as many chips as serve.
    fn default() -> Self {
        Self {
            precision: Precision::default(),
            context: 256,
            sequences: 1,
            tensor_parallel: None,
            pipeline_parallel: None,
        }
    }
}
