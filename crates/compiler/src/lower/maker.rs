//! A chain under construction with the slots that it reads and makes.

use lpu_isa::Hemisphere;

use crate::chain::{Chain, Feed, Op};
use crate::engine::{Out, Slot};

/// A vector being made: an operation not yet added to the chain, or something held already.
#[derive(Clone, Debug)]
pub(super) enum Made {
    Op(Op, Vec<Feed>),
    Held(Feed),
}

/// A chain with its inputs and outputs.
pub(super) struct Maker {
    pub(super) chain: Chain,
    pub(super) inputs: Vec<Slot>,
    pub(super) outputs: Vec<Out>,
    turn: usize,
}

impl Maker {
    /// A maker whose first output goes to the east for an even `turn`, else to the west.
    pub(super) fn new(chain: Chain, turn: usize) -> Self {
        Self { chain, inputs: Vec::new(), outputs: Vec::new(), turn }
    }

    /// The feed of a slot.
    pub(super) fn input(&mut self, slot: Slot) -> Feed {
        let found = self.inputs.iter().position(|&input| input == slot);
        Feed::Value(found.unwrap_or_else(|| {
            self.inputs.push(slot);
            self.inputs.len() - 1
        }))
    }

    /// Adds an operation.
    pub(super) fn op(&mut self, op: Op, sources: &[Feed]) -> Feed {
        Feed::Node(self.chain.op(op, sources))
    }

    /// Adds an operation and parks its result in `slot`.
    pub(super) fn park(&mut self, op: Op, sources: &[Feed], slot: Slot, side: Option<Hemisphere>) -> Feed {
        let side = side.unwrap_or(Hemisphere::BOTH[(self.turn + self.outputs.len()) % 2]);
        self.outputs.push(Out { slot, bytes: op.result_bytes(), side });
        Feed::Node(self.chain.park(op, sources, self.outputs.len() - 1, side))
    }

    /// What is made, to be used once.
    pub(super) fn feed(&mut self, made: Made) -> Feed {
        match made {
            Made::Op(op, sources) => self.op(op, &sources),
            Made::Held(feed) => feed,
        }
    }

    /// What is made, held.
    pub(super) fn hold(&mut self, made: Made) -> Feed {
        match made {
            Made::Op(op, sources) => self.op(op, &sources),
            // What arrives on streams passes once, so it is taken into a latch: the larger of a number and itself.
            Made::Held(feed @ Feed::Arrival(_)) => self.op(Op::Max, &[feed, feed]),
            Made::Held(feed) => feed,
        }
    }

    /// What is made, held and parked.
    pub(super) fn hold_and_park(&mut self, made: Made, slot: Slot, side: Option<Hemisphere>) -> Feed {
        match made {
            Made::Op(op, sources) => self.park(op, &sources, slot, side),
            Made::Held(feed) => self.park(Op::Max, &[feed, feed], slot, side),
        }
    }
}
