//! A chain under construction with the virtual registers that it reads and makes.

use lpu_isa::Hemisphere;

use crate::chain::{Chain, Feed, Op};
use crate::task::{Out, VReg};

/// A vector being made: an operation not yet added to the chain, or something held already.
#[derive(Clone, Debug)]
pub(super) enum Def {
    Op(Op, Vec<Feed>),
    Held(Feed),
}

/// A chain with its inputs and outputs.
pub(super) struct ChainBuilder {
    pub(super) chain: Chain,
    pub(super) inputs: Vec<VReg>,
    pub(super) outputs: Vec<Out>,
    parity: usize,
}

impl ChainBuilder {
    /// A builder whose first output goes to the east for an even `parity`, else to the west.
    pub(super) fn new(chain: Chain, parity: usize) -> Self {
        Self { chain, inputs: Vec::new(), outputs: Vec::new(), parity }
    }

    /// The feed of a virtual register.
    pub(super) fn input(&mut self, vreg: VReg) -> Feed {
        let found = self.inputs.iter().position(|&input| input == vreg);
        Feed::Value(found.unwrap_or_else(|| {
            self.inputs.push(vreg);
            self.inputs.len() - 1
        }))
    }

    /// Adds an operation.
    pub(super) fn op(&mut self, op: Op, sources: &[Feed]) -> Feed {
        Feed::Node(self.chain.op(op, sources))
    }

    /// Adds an operation and stores its result in `virtual register`.
    pub(super) fn store(&mut self, op: Op, sources: &[Feed], vreg: VReg, side: Option<Hemisphere>) -> Feed {
        let side = side.unwrap_or(Hemisphere::BOTH[(self.parity + self.outputs.len()) % 2]);
        self.outputs.push(Out { vreg, bytes: op.result_bytes(), side });
        Feed::Node(self.chain.store(op, sources, self.outputs.len() - 1, side))
    }

    /// What is made, to be used once.
    pub(super) fn feed(&mut self, def: Def) -> Feed {
        match def {
            Def::Op(op, sources) => self.op(op, &sources),
            Def::Held(feed) => feed,
        }
    }

    /// What is made, held.
    pub(super) fn latch(&mut self, def: Def) -> Feed {
        match def {
            Def::Op(op, sources) => self.op(op, &sources),
            // What arrives on streams passes once, so it is taken into a latch: the larger of a number and itself.
            Def::Held(feed @ Feed::Arrival(_)) => self.op(Op::Max, &[feed, feed]),
            Def::Held(feed) => feed,
        }
    }

    /// What is made, held and stored.
    pub(super) fn latch_and_store(&mut self, def: Def, vreg: VReg, side: Option<Hemisphere>) -> Feed {
        match def {
            Def::Op(op, sources) => self.store(op, &sources, vreg, side),
            Def::Held(feed) => self.store(Op::Max, &[feed, feed], vreg, side),
        }
    }
}
