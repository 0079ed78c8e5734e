//! Sums and maxima over lanes: trips to the switch units, with a tree of ALUs after each. The tree pairs values that
//! pass the VXM in one cycle, so it is built by the times of what is there already.

use lpu_isa::Hemisphere;

use super::timing::{Pace, Timing};
use super::{Chain, Feed, Node, Op, Sink};

impl Chain {
    /// Combines all lanes of the result of `op` on `sources` by `combine`; every lane of the node returned holds the
    /// total. First the lanes of each superlane, then the superlanes: each time all distances are shifted at once and
    /// a tree of ALUs combines them. As many distances in a cycle as the switch units and the ALUs' latches allow.
    pub(crate) fn reduce(&mut self, combine: Op, op: Op, sources: &[Feed]) -> Node {
        let (nodes, pace) = (self.nodes.len(), Pace::default());
        let before = Timing::of(self, &pace);
        let mut shifts = self.machine.switch_units;
        loop {
            let mut reduction = Reduction { chain: self, timing: before.clone(), pace: &pace, combine, shifts };
            let total = reduction.total(op, sources);
            // Latches are taken node by node, not in order of time, so not all of them can be.
            if shifts == 1 || reduction.timing.pressure(self) <= self.machine.alus * 3 / 4 {
                return total;
            }
            self.nodes.truncate(nodes);
            shifts -= 1;
        }
    }
}

/// A reduction being added to a chain.
struct Reduction<'a> {
    chain: &'a mut Chain,
    /// Times of the chain so far.
    timing: Timing,
    pace: &'a Pace,
    combine: Op,
    /// Distances that a side shifts by in one cycle.
    shifts: usize,
}

impl Reduction<'_> {
    fn total(&mut self, op: Op, sources: &[Feed]) -> Node {
        let machine = self.chain.machine;
        let lanes = self.all_distances(op, sources, false, machine.lanes_a_superlane);
        let (left, right) = self.tree(lanes);
        if machine.superlanes == 1 {
            return self.combined(left, right);
        }
        let superlanes = self.all_distances(self.combine, &[left, right], true, machine.superlanes);
        let (left, right) = self.tree(superlanes);
        self.combined(left, right)
    }

    fn op(&mut self, op: Op, sources: &[Feed]) -> Node {
        let node = self.chain.op(op, sources);
        self.timing.extend(self.chain, self.pace);
        node
    }

    fn combined(&mut self, left: Feed, right: Feed) -> Node {
        self.op(self.combine, &[left, right])
    }

    fn done(&self, node: Node) -> u64 {
        self.timing.done[node]
    }

    /// The result of `op` on `sources`, shifted by all distances from 0 to `count - 1`: the unshifted one takes the
    /// same way, so that no latch has to hold it.
    fn all_distances(&mut self, op: Op, sources: &[Feed], across: bool, count: usize) -> Vec<Node> {
        let mut found = Vec::new();
        let mut by = 0;
        let mut after = None;
        while by < count {
            for side in Hemisphere::BOTH {
                if by == count {
                    break;
                }
                let sent = self.chain.alu(op, sources, Sink::Switch(side), after);
                after = Some((sent, 0));
                for _ in 0..self.shifts.min(count - by) {
                    found.push(self.chain.shift(sent, side, across, by as i16));
                    by += 1;
                }
            }
            after = after.map(|(sent, _)| (sent, 1));
        }
        self.timing.extend(self.chain, self.pace);
        found
    }

    /// Combines the nodes in a tree down to the last two, which the caller combines. Shifted values pass once, so those
    /// that pass together are combined as they come; an odd one waits in a latch.
    fn tree(&mut self, mut passing: Vec<Node>) -> (Feed, Feed) {
        passing.sort_by_key(|&node| self.done(node));
        if let [first, second] = passing[..]
            && self.done(first) == self.done(second)
        {
            return (Feed::Node(first), Feed::Node(second));
        }
        let mut rest = Vec::new();
        let together: Vec<Vec<Node>> =
            passing.chunk_by(|&a, &b| self.done(a) == self.done(b)).map(<[Node]>::to_vec).collect();
        for pair in together.iter().flat_map(|group| group.chunks(2)) {
            let first = Feed::Node(pair[0]);
            rest.push(match (pair, self.combine) {
                (&[_, second], _) => self.combined(first, Feed::Node(second)),
                (_, Op::Max) => self.op(Op::Max, &[first, first]),
                _ => self.op(Op::Add, &[first, Feed::Immediate(0.0)]),
            });
        }
        while rest.len() > 2 {
            rest.sort_by_key(|&node| self.done(node));
            let second = rest.remove(1);
            let first = rest.remove(0);
            rest.push(self.combined(Feed::Node(first), Feed::Node(second)));
        }
        (Feed::Node(rest[0]), Feed::Node(rest[1]))
    }
}
