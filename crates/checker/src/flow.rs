//! The resolved dataflow of a program: each consumer tied to its producer, time taken out.

use crate::issues::Issue;

/// One stream or latch that an instruction takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feed {
    /// The issue that fed it.
    pub producer: u32,
    /// Which stream of the group that the producer feeds; 0 for a latch, which is taken whole.
    pub byte: u8,
}

/// Who feeds whom. Issues are named by their place in [`Flow::issues`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// All issues within the chip's ranges, in order of cycle, chip, queue, item.
    pub issues: Vec<Issue>,
    pub(crate) starts: Vec<u32>,
    pub(crate) feeds: Vec<Feed>,
    /// What planes take beside streams, as (consumer, producer) in order of the consumer: an `iw` its `lw`s in order of landing, an `abc` the
    /// `iw` of its plane (fp16: even plane, then odd plane), an `acc` its `abc`.
    pub ties: Vec<(u32, u32)>,
}

impl Flow {
    /// What an issue takes: its streams in the order of [`lpu_isa::Instruction::streams`], then its latches in operand order.
    #[must_use]
    pub fn feeds(&self, issue: usize) -> &[Feed] {
        &self.feeds[self.starts[issue] as usize..self.starts[issue + 1] as usize]
    }
}
