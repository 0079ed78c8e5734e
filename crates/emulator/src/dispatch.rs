//! One dispatch of an instruction.

use lpu_isa::Instruction;

/// One dispatch of an instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dispatch {
    /// Cycle of dispatch.
    pub(crate) cycle: u64,
    pub(crate) chip: u16,
    /// The queue's number among all queues of a chip, in order.
    pub(crate) queue: u16,
    /// Index of the item in the queue.
    pub(crate) item: u32,
    /// Lanes that are powered.
    pub(crate) live: u32,
    pub(crate) instruction: Instruction,
}
