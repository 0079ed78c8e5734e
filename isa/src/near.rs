//! What a fault missed, and by how much: the value, result or vector nearest to the one that was not there.

use std::fmt;

use crate::operand::Stream;
use crate::program::ChipId;
use crate::queue::Queue;

/// An instruction that puts a value on a stream, into a latch or on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    /// The chip.
    pub chip: ChipId,
    /// The queue.
    pub queue: Queue,
    /// Index of the item in the queue.
    pub item: u32,
    /// Cycle of dispatch.
    pub cycle: u64,
}

impl fmt::Display for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "what {} issues in cycle {}", self.queue, self.cycle)
    }
}

/// The value that an empty stream register misses by least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Near {
    /// The same stream carries a value at that position in another cycle.
    Cycle {
        /// The stream.
        stream: Stream,
        /// Cycle in which the value arrives at the position.
        passes: u64,
        /// Cycle of the read.
        read: u64,
        /// What put it on the stream.
        from: Producer,
    },
    /// Another stream carries a value at that position in that cycle.
    Stream {
        /// The other stream.
        stream: Stream,
        /// What put it on the stream.
        from: Producer,
    },
    /// The stream is fed, but its values flow away from the position.
    Past {
        /// Position of the producer.
        position: i32,
        /// Positions from the read to the producer.
        past: u32,
        /// What put it on the stream.
        from: Producer,
    },
    /// No instruction feeds the stream on that chip.
    Unfed,
}

impl Near {
    /// What put the value on its stream.
    #[must_use]
    pub const fn producer(&self) -> Option<Producer> {
        match self {
            Near::Cycle { from, .. } | Near::Stream { from, .. } | Near::Past { from, .. } => Some(*from),
            Near::Unfed => None,
        }
    }
}

impl fmt::Display for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Near::Cycle { stream, passes, read, from } => {
                let (by, way) = (passes.abs_diff(*read), if passes > read { "later" } else { "earlier" });
                let cycles = if by == 1 { "1 cycle" } else { &format!("{by} cycles") };
                write!(
                    f,
                    "{stream} carries a value here in cycle {passes}, {cycles} {way}, fed by {from}; take it then, or \
                    feed it to match"
                )
            }
            Near::Stream { stream, from } => {
                write!(
                    f,
                    "in this cycle {stream} carries a value here, fed by {from}; take that stream, or feed the one \
                    that is taken"
                )
            }
            Near::Past { position, past, from } => {
                let positions = if *past == 1 { "1 position" } else { &format!("{past} positions") };
                let where_from = if *past == 0 {
                    "here".to_owned()
                } else {
                    format!("at position {position}, {positions} downstream")
                };
                write!(
                    f,
                    "it is fed {where_from}, by {from}, and flows away; feed it upstream, or take a stream of the \
                    other direction"
                )
            }
            Near::Unfed => f.write_str("no instruction feeds it; feed it, or take another stream"),
        }
    }
}

/// A result of an ALU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Landing {
    /// Cycle in which it lands.
    pub cycle: u64,
    /// What computes it.
    pub from: Producer,
}

impl fmt::Display for Landing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the first lands in cycle {}, from {}; read it then or later", self.cycle, self.from)
    }
}

/// A vector on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Cycle from which it waits at the receiving end.
    pub cycle: u64,
    /// What sends it.
    pub from: Producer,
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cycle, from) = (self.cycle, self.from);
        write!(f, "the next arrives in cycle {cycle}, sent by {from} on chip {}; receive it then or later", from.chip.0)
    }
}

/// The end of a message: what is near, if it is known.
pub(crate) fn advice<T: fmt::Display>(near: &Option<T>) -> String {
    near.as_ref().map(|near| format!("; {near}")).unwrap_or_default()
}
