//! What a run shows to its observers.

use lpu_isa::{ChipId, Instruction, Queue, SliceId, Stream};

/// A value that is put on a stream register.
#[derive(Clone, Copy, Debug)]
pub struct StreamWrite<'a> {
    /// Cycle in which the value is at the register.
    pub cycle: u64,
    /// The chip.
    pub chip: ChipId,
    /// The queue whose instruction made the value.
    pub queue: Queue,
    /// The stream.
    pub stream: Stream,
    /// Position of the register.
    pub position: i32,
    /// One byte a lane.
    pub value: &'a [u8],
}

/// An access of a bank of a slice.
#[derive(Clone, Copy, Debug)]
pub struct BankAccess {
    /// Cycle of the access.
    pub cycle: u64,
    /// The chip.
    pub chip: ChipId,
    /// The slice.
    pub slice: SliceId,
    /// Number of the bank in the slice.
    pub bank: u32,
    /// Number of the word in the slice.
    pub word: u32,
    /// Whether the word is written, not read.
    pub write: bool,
}

/// The result of an instruction: an operation of an ALU, an fp16 pass, or an accumulation of such passes.
#[derive(Clone, Copy, Debug)]
pub struct Computation<'a> {
    /// Cycle of the dispatch.
    pub cycle: u64,
    /// The chip.
    pub chip: ChipId,
    /// The queue.
    pub queue: Queue,
    /// The instruction.
    pub by: &'a Instruction,
    /// What it took, 32 bits a lane: the operands of an operation, the activation of a pass in binary32, what an
    /// accumulation adds.
    pub from: &'a [&'a [u32]],
    /// What it made, 32 bits a lane.
    pub result: &'a [u32],
}

/// Watches a run; the default methods do nothing and cost nothing.
pub trait Observer {
    /// Whether [`Observer::compute`] is called.
    const COMPUTES: bool = false;
    /// An instruction dispatches.
    fn dispatch(&mut self, _cycle: u64, _chip: ChipId, _queue: Queue, _item: u32, _instruction: &Instruction) {}
    /// A value is put on a stream register.
    fn stream_write(&mut self, _write: StreamWrite<'_>) {}
    /// A bank is accessed.
    fn bank_access(&mut self, _access: BankAccess) {}
    /// An instruction made a result.
    fn compute(&mut self, _computation: Computation<'_>) {}
}

impl Observer for () {}
