//! A broken rule with its place and its numbers: the form in which the checker and the engines report.
//! Finding one is their business, not this crate's.

use std::fmt;

use thiserror::Error;

use crate::near::{Arrival, Landing, Near, Producer, advice};
use crate::operand::Stream;
use crate::program::{ChipId, SliceId, WordRun};
use crate::queue::Queue;
use crate::rule::Rule;
use crate::table::Instruction;

/// What is wrong, one variant a rule, with the numbers that a reader needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Fault {
    /// See [`Rule::RangeOverflow`].
    #[error("{what} {value} is out of range: the chip has {limit}")]
    RangeOverflow {
        /// What the operand names.
        what: &'static str,
        /// The number given.
        value: i64,
        /// How many there are, or the largest magnitude.
        limit: i64,
    },
    /// See [`Rule::RangeOverflow`]; of a chip that the system does not have.
    #[error("{held} needs chip {}, but the system has {chips}; use a system of more chips, or keep to chips below \
        {chips}", chip.0)]
    ChipAbsent {
        /// What is on it.
        held: Held,
        /// The chip.
        chip: ChipId,
        /// Chips of the system.
        chips: u16,
    },
    /// See [`Rule::QueueOverflow`].
    #[error("{items} instructions in a queue of depth {depth}")]
    QueueOverflow {
        /// Items in the queue.
        items: u64,
        /// The queue's depth.
        depth: u64,
    },
    /// See [`Rule::PortConflict`].
    #[error("slice {slice} is already accessed in this cycle by another {kind} (word {word})")]
    PortConflict {
        /// The slice.
        slice: SliceId,
        /// `read` or `write`.
        kind: &'static str,
        /// The word of the later access.
        word: u32,
    },
    /// See [`Rule::BankConflict`].
    #[error("a read and a write access bank {bank} of slice {slice} in this cycle")]
    BankConflict {
        /// The slice.
        slice: SliceId,
        /// The bank.
        bank: u32,
    },
    /// See [`Rule::RegisterEmpty`]; of a stream.
    #[error("stream {stream} carries no value at position {position}{}", advice(near))]
    RegisterEmpty {
        /// The first empty stream of those read.
        stream: Stream,
        /// Position of the register.
        position: i32,
        /// The value that misses it least, where that is known.
        near: Option<Near>,
    },
    /// See [`Rule::RegisterEmpty`]; of an ALU latch.
    #[error("no result of ALU {alu} has landed{}", advice(lands))]
    LatchEmpty {
        /// The ALU.
        alu: u16,
        /// The ALU's first result, where that is known.
        lands: Option<Landing>,
    },
    /// See [`Rule::WordUninitialised`].
    #[error("word {word} of slice {slice} is not initialised")]
    WordUninitialised {
        /// The slice.
        slice: SliceId,
        /// The first uninitialised word touched.
        word: u32,
    },
    /// See [`Rule::ProtectedWrite`].
    #[error("word {word} of slice {slice} belongs to a const or code region")]
    ProtectedWrite {
        /// The slice.
        slice: SliceId,
        /// The first protected word touched.
        word: u32,
    },
    /// See [`Rule::TwoProducers`].
    #[error(
        "its value meets that of {other} on stream {stream} at position {position} in this cycle; move one of them by \
        a cycle, or to another stream"
    )]
    TwoProducers {
        /// The stream.
        stream: Stream,
        /// Position of the register.
        position: i32,
        /// The producer before it, in order of queues.
        other: Producer,
    },
    /// See [`Rule::AluBookedTwice`].
    #[error("two results of ALU {alu} land in this cycle")]
    AluBookedTwice {
        /// The ALU.
        alu: u16,
    },
    /// See [`Rule::BufferNotFull`].
    #[error("an install of {rows} rows finds {found} of them and {beyond} beyond")]
    BufferNotFull {
        /// Rows to install.
        rows: u16,
        /// Rows of these in the buffer.
        found: u16,
        /// Rows in the buffer beyond these.
        beyond: u16,
    },
    /// See [`Rule::BufferOverwritten`].
    #[error("row {row} is not yet installed, or the rows loaded so far have another orientation")]
    BufferOverwritten {
        /// First row of the load.
        row: u16,
    },
    /// See [`Rule::WeightsMissing`].
    #[error("no weights are installed in plane {plane}")]
    WeightsMissing {
        /// The plane within its hemisphere.
        plane: u16,
    },
    /// See [`Rule::PlaneBusy`].
    #[error("plane {plane} is busy until cycle {until}")]
    PlaneBusy {
        /// The plane within its hemisphere.
        plane: u16,
        /// First free cycle.
        until: u64,
    },
    /// See [`Rule::AccumulatorMisuse`].
    #[error("{what}")]
    AccumulatorMisuse {
        /// What is missing.
        what: &'static str,
    },
    /// See [`Rule::CyclesMismatch`].
    #[error("the program states {stated} cycles, a run takes {derived}; state {derived}")]
    CyclesMismatch {
        /// Stated by the program.
        stated: u64,
        /// Derived from the queues.
        derived: u64,
    },
    /// See [`Rule::BarrierMissing`].
    #[error(
        "the queue is parked at a sync since cycle {since}, and no notify is left; add a notify at {since} or later"
    )]
    BarrierMissing {
        /// Dispatch of the sync.
        since: u64,
    },
    /// See [`Rule::ReceiveEarly`].
    #[error("no vector has arrived at link {link} that is not taken yet{}", advice(next))]
    ReceiveEarly {
        /// The link.
        link: u16,
        /// The next vector that arrives there, where that is known.
        next: Option<Arrival>,
    },
    /// See [`Rule::LinkBusy`].
    #[error("link {link} is busy until cycle {until}")]
    LinkBusy {
        /// The link.
        link: u16,
        /// First free cycle.
        until: u64,
    },
    /// See [`Rule::FetchNotCode`].
    #[error("stream {stream} at position {position} does not carry a word of a code region")]
    FetchNotCode {
        /// The first such stream.
        stream: Stream,
        /// Position of the register.
        position: i32,
    },
    /// See [`Rule::FetchInvalid`].
    #[error("byte {byte} of the two vectors fetched starts no instruction that can stand there")]
    FetchInvalid {
        /// Offset in the two vectors.
        byte: u32,
    },
}

impl Fault {
    /// The other instruction that the fault names, if it names one.
    #[must_use]
    pub fn producer(&self) -> Option<Producer> {
        match self {
            Fault::RegisterEmpty { near, .. } => near.and_then(|near| near.producer()),
            Fault::LatchEmpty { lands, .. } => lands.map(|lands| lands.from),
            Fault::TwoProducers { other, .. } => Some(*other),
            Fault::ReceiveEarly { next, .. } => next.map(|next| next.from),
            _ => None,
        }
    }

    /// The broken rule.
    #[must_use]
    pub const fn rule(&self) -> Rule {
        match self {
            Fault::RangeOverflow { .. } | Fault::ChipAbsent { .. } => Rule::RangeOverflow,
            Fault::QueueOverflow { .. } => Rule::QueueOverflow,
            Fault::PortConflict { .. } => Rule::PortConflict,
            Fault::BankConflict { .. } => Rule::BankConflict,
            Fault::RegisterEmpty { .. } | Fault::LatchEmpty { .. } => Rule::RegisterEmpty,
            Fault::WordUninitialised { .. } => Rule::WordUninitialised,
            Fault::ProtectedWrite { .. } => Rule::ProtectedWrite,
            Fault::TwoProducers { .. } => Rule::TwoProducers,
            Fault::AluBookedTwice { .. } => Rule::AluBookedTwice,
            Fault::BufferNotFull { .. } => Rule::BufferNotFull,
            Fault::BufferOverwritten { .. } => Rule::BufferOverwritten,
            Fault::WeightsMissing { .. } => Rule::WeightsMissing,
            Fault::PlaneBusy { .. } => Rule::PlaneBusy,
            Fault::AccumulatorMisuse { .. } => Rule::AccumulatorMisuse,
            Fault::CyclesMismatch { .. } => Rule::CyclesMismatch,
            Fault::BarrierMissing { .. } => Rule::BarrierMissing,
            Fault::ReceiveEarly { .. } => Rule::ReceiveEarly,
            Fault::LinkBusy { .. } => Rule::LinkBusy,
            Fault::FetchNotCode { .. } => Rule::FetchNotCode,
            Fault::FetchInvalid { .. } => Rule::FetchInvalid,
        }
    }
}

/// What a program or an image has on a chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// A queue.
    Queue,
    /// A run of a region.
    Region(WordRun),
    /// A place of an extent of the image.
    Extent(WordRun),
    /// Nothing but the number of chips that a program states.
    Program,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Held::Queue => f.write_str("the queue"),
            Held::Region(run) => write!(f, "the region at {run}"),
            Held::Extent(place) => write!(f, "the image at {place}"),
            Held::Program => f.write_str("the program"),
        }
    }
}

/// Where a fault is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// The queue.
    pub queue: Queue,
    /// Index of the item in the queue.
    pub item: u32,
    /// The instruction as issued.
    pub instruction: Instruction,
}

/// A fault, when and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub struct Violation {
    /// Cycle in which it is observed.
    pub cycle: u64,
    /// The chip.
    pub chip: ChipId,
    /// Chips of the system; where there are several, the message names the chip.
    pub chips: u16,
    /// The queue and item; none for the program as a whole.
    pub site: Option<Site>,
    /// What is wrong.
    pub fault: Fault,
}

impl Violation {
    /// What orders violations: the first is the verdict.
    #[must_use]
    pub fn key(&self) -> (u64, ChipId, Option<Queue>, Rule, u32) {
        let item = self.site.map_or(0, |site| site.item);
        (self.cycle, self.chip, self.site.map(|site| site.queue), self.fault.rule(), item)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cycle {}", self.cycle)?;
        if self.chips > 1 {
            write!(f, ", chip {}", self.chip.0)?;
        }
        if let Some(Site { queue, instruction, .. }) = self.site {
            write!(f, ", {queue} ({})", instruction.row().mnemonic)?;
        }
        write!(f, ": {}: {}", self.fault.rule(), self.fault)
    }
}
