//! The contract between compiler, program file and host: which regions a program's host fills for a token and reads
//! after it, with what, and in which lanes. The compiler writes it, a file carries it, and the host fills ports by it
//! without a lane rule of its own.
//!
//! The module knows no engine and no file. Every program of a placement has the same ports; the programs differ in the
//! tokens they hold and in the sequence whose key-value rows they read and write.

use lpu_isa::Hemisphere;
use serde::{Deserialize, Serialize};

/// What the programs of one placement ask of their host and give back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Context buckets, ascending by tokens.
    pub buckets: Vec<Bucket>,
    /// Regions that the host fills before every run.
    pub inputs: Vec<Port>,
    /// Regions that the host reads after every run.
    pub outputs: Vec<Port>,
}

/// The programs of a context bucket, one a sequence, and the tokens that they attend to at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// By sequence: index among the programs. Written as one number where there is one.
    #[serde(rename = "program", with = "one_or_each")]
    pub programs: Vec<usize>,
    /// Tokens of context, this one included.
    pub tokens: usize,
}

/// A list that is written as its number where it has one.
mod one_or_each {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrEach {
        One(usize),
        Each(Vec<usize>),
    }

    pub(super) fn serialize<S: Serializer>(programs: &[usize], serializer: S) -> Result<S::Ok, S::Error> {
        match programs {
            [one] => one.serialize(serializer),
            each => each.serialize(serializer),
        }
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Vec<usize>, D::Error> {
        Ok(match OneOrEach::deserialize(deserializer)? {
            OneOrEach::One(one) => vec![one],
            OneOrEach::Each(each) => each,
        })
    }
}

/// A region of every program and its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Name of the region.
    pub region: String,
    /// Number of the chip that has it.
    pub chip: u16,
    /// Row of the value, 0 to its rows less one.
    pub row: u32,
    /// Elements of the whole value, of which a chip of a group may have a piece.
    pub width: usize,
    /// The element in each lane.
    pub lanes: Lanes,
    /// What the elements are.
    pub kind: PortKind,
}

/// Which element is in which lane of a region's vectors, lanes numbered through from the first vector to the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lanes {
    /// Elements in order, all of them `times` times; lanes after these have none.
    Repeated {
        /// Elements.
        elements: usize,
        /// Repetitions, at least 1.
        times: usize,
    },
    /// The element of each lane; lanes after the list have none.
    Listed(Vec<Option<u32>>),
}

impl Lanes {
    /// The elements in the lanes of vectors of `lanes` lanes.
    pub(crate) fn of(vectors: &[Vec<Option<u32>>], lanes: usize) -> Self {
        let mut listed: Vec<Option<u32>> = Vec::new();
        for tile in vectors {
            listed.resize(listed.len().next_multiple_of(lanes), None);
            listed.extend(tile);
        }
        while listed.last() == Some(&None) {
            listed.pop();
        }
        let plain = listed.iter().zip(0..).all(|(&element, lane)| element == Some(lane));
        if plain { Self::Repeated { elements: listed.len(), times: 1 } } else { Self::Listed(listed) }
    }

    /// Elements: one more than the last that some lane has.
    #[must_use]
    pub fn elements(&self) -> usize {
        match self {
            Self::Repeated { elements, .. } => *elements,
            Self::Listed(lanes) => lanes.iter().flatten().max().map_or(0, |&last| last as usize + 1),
        }
    }

    /// Lanes up to the last that has an element.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Repeated { elements, times } => elements.saturating_mul(*times),
            Self::Listed(lanes) => lanes.len(),
        }
    }

    /// The element of a lane.
    #[must_use]
    pub fn element(&self, lane: usize) -> Option<usize> {
        match self {
            Self::Repeated { elements, .. } => (lane < self.count()).then(|| lane % elements),
            Self::Listed(lanes) => lanes.get(lane).copied().flatten().map(|element| element as usize),
        }
    }
}

/// What the elements of a port are. fp32 where nothing else is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortKind {
    /// The raw embedding row of the token.
    Embedding,
    /// The row of the token's learned position.
    Position,
    /// Cosines or sines of the token's position; elements after those of the model's row rotate by nothing.
    Rotary {
        /// Number of the model's set of rotary frequencies.
        table: usize,
        /// Which of the two.
        part: RotaryPart,
    },
    /// By token of the context: 0 where it is attended to, minus infinity where not, as in lanes without a token.
    Mask {
        /// Tokens that are seen at most, the last one included; all where there is none.
        window: Option<usize>,
    },
    /// Addresses (int16) of the key-value rows that the token is written to, one a slice: token `t` goes to row `t /
    /// slices` of slice `t % slices`, and the other slices write their spare row.
    KvAddress {
        /// The side of the slices.
        side: Side,
        /// Slices that tokens go to in turn.
        slices: usize,
        /// The spare row.
        spare: u16,
    },
    /// A value of the graph, for parts of one.
    Activation {
        /// The value's name.
        value: String,
    },
    /// Logits of the vocabulary.
    Logits {
        /// Token id of the first element.
        first: u32,
    },
}

/// A half of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RotaryPart {
    /// Cosines.
    Cos,
    /// Sines.
    Sin,
}

/// A hemisphere by its name in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The east.
    East,
    /// The west.
    West,
}

impl From<Hemisphere> for Side {
    fn from(side: Hemisphere) -> Self {
        match side {
            Hemisphere::East => Self::East,
            Hemisphere::West => Self::West,
        }
    }
}

/// Name of the region of a row: that of row 0 is the plain name.
fn of_row(name: &str, row: usize) -> String {
    if row == 0 { name.to_owned() } else { format!("{name}.row{row}") }
}

/// Name of a region on a chip of a group: that on chip 0 is the plain name.
pub(crate) fn on_chip(name: &str, chip: u16) -> String {
    if chip == 0 { name.to_owned() } else { format!("{name}.chip{chip}") }
}

/// Name of the value that a chip's piece of an input belongs to.
pub(crate) fn whole_name(value: &str) -> &str {
    value.strip_suffix(".piece").unwrap_or(value)
}

/// Name of the region of a row of an input or output value of a graph.
pub(crate) fn region_name(value: &str, row: usize) -> String {
    of_row(value.strip_prefix("head.").unwrap_or(value), row)
}

/// Name of the region of a half of a set of rotary frequencies, for a row.
pub(crate) fn rotary_name(table: usize, part: RotaryPart, row: usize) -> String {
    let set = if table == 0 { String::new() } else { format!("{table}.") };
    let part = match part {
        RotaryPart::Cos => "cos",
        RotaryPart::Sin => "sin",
    };
    of_row(&format!("rotary.{set}{part}"), row)
}

/// Name of the region of the mask of a window, for a row.
pub(crate) fn mask_name(window: Option<usize>, row: usize) -> String {
    of_row(&window.map_or_else(|| "mask".into(), |window| format!("mask.{window}")), row)
}

/// Name of the region of a side's key-value addresses, for a row.
pub(crate) fn address_name(side: Hemisphere, row: usize) -> String {
    of_row(&format!("kv_address.{}", side.letter()), row)
}

impl Interface {
    /// Index among the buckets of the shortest that holds a position; nothing where the position is after the context.
    #[must_use]
    pub fn bucket(&self, position: usize) -> Option<usize> {
        self.buckets.iter().position(|bucket| position < bucket.tokens)
    }

    /// Sequences that have programs and key-value rows of their own.
    #[must_use]
    pub fn sequences(&self) -> usize {
        self.buckets.first().map_or(0, |bucket| bucket.programs.len())
    }

    /// Index among the programs of the one that a sequence runs for the token at a position; nothing where there is no
    /// such sequence, or the position is after the context.
    #[must_use]
    pub fn program(&self, sequence: usize, position: usize) -> Option<usize> {
        self.buckets[self.bucket(position)?].programs.get(sequence).copied()
    }

    /// Tokens of the longest bucket.
    #[must_use]
    pub fn context(&self) -> usize {
        self.buckets.last().map_or(0, |bucket| bucket.tokens)
    }
}
