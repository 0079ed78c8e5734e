//! What a run shows to its observers.

use lpu_isa::{ChipId, Instruction, Queue, SliceId, Stream};

/// Watches a run; the default methods do nothing and cost nothing.
pub trait Observer {
    /// Whether [`Observer::compute`] is called.
    const COMPUTES: bool = false;
    /// An instruction dispatches.
    fn dispatch(&mut self, _cycle: u64, _chip: ChipId, _queue: Queue, _item: u32, _instruction: &Instruction) {}
    /// A value is put on a stream register.
    fn stream_write(
        &mut self,
        _cycle: u64,
        _chip: ChipId,
        _queue: Queue,
        _stream: Stream,
        _position: i32,
        _value: &[u8],
    ) {
    }
    /// A bank is accessed.
    fn bank_access(&mut self, _cycle: u64, _chip: ChipId, _slice: SliceId, _bank: u32, _word: u32, _write: bool) {}
    /// An instruction made a result: an operation of an ALU from its operands, an fp16 pass from its activation in
    /// binary32, or an accumulation of such passes from what it adds. All have 32 bits a lane; the cycle is that of the
    /// dispatch.
    fn compute(
        &mut self,
        _cycle: u64,
        _chip: ChipId,
        _queue: Queue,
        _by: &Instruction,
        _from: &[&[u32]],
        _result: &[u32],
    ) {
    }
}

impl Observer for () {}
