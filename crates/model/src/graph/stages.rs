//! Cutting a graph into pipeline stages: runs of nodes that follow one another, each on chips of its own.

use std::ops::Range;

use super::{Block, Boundary, CacheId, Graph, Node, NodeId, Op, Shard, Value, ValueId, WeightId};
use crate::Weights;

/// Values that may cross from a stage to the next besides the residual: one, that a matrix reads.
const MOST_CROSSING: usize = 2;

impl Graph {
    /// Numbers of nodes before which a stage may begin, in a graph that is cut over a group already: at the start of a
    /// block, and before a matrix that reads what an activation made. All that crosses there is a piece of each chip,
    /// and whole where a group is one chip.
    #[must_use]
    pub fn stage_starts(&self) -> Vec<usize> {
        let producers = self.producers();
        let producer = |value: ValueId| producers[value.index()].map(NodeId::index);
        let last_uses = self.last_uses();
        let begins = |number: usize| {
            let node = &self.nodes[number];
            let made = |value: ValueId| producer(value).map(|producer| &self.nodes[producer].op);
            // What an attention makes is in vectors of heads, which a graph without the attention does not know.
            let reads = matches!(made(node.inputs[0]), Some(Op::Gated { .. } | Op::Activate { .. }));
            node.block != self.nodes[number - 1].block || (matches!(node.op, Op::Linear { .. }) && reads)
        };
        let crosses = |number: usize| {
            let crossing = self.crossing(number, (&producers, &last_uses));
            let is_cut = |value: &Value| !matches!(value.shard, Shard::Pieces { .. } | Shard::Partial { .. });
            crossing.len() <= MOST_CROSSING
                && crossing.iter().all(|&value| producer(value).is_some() && is_cut(self.value(value)))
        };
        (1..self.nodes.len()).filter(|&number| begins(number) && crosses(number)).collect()
    }

    /// By value: the last node that reads it; for an output of the graph, the number of nodes.
    fn last_uses(&self) -> Vec<usize> {
        let mut last_uses = vec![0; self.values.len()];
        for (number, node) in self.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|input| last_uses[input.index()] = number);
        }
        self.outputs.iter().for_each(|output| last_uses[output.index()] = self.nodes.len());
        last_uses
    }

    /// Values that are there before a node and that it or a later one reads.
    fn crossing(&self, number: usize, (producers, last_uses): (&[Option<NodeId>], &[usize])) -> Vec<ValueId> {
        let made_before = |value: ValueId| producers[value.index()].is_none_or(|producer| producer.index() < number);
        let values = (0..self.values.len()).map(ValueId::new);
        values.filter(|&value| made_before(value) && last_uses[value.index()] >= number).collect()
    }

    /// The part of the graph made of a range of nodes. It hands on what parts before it make for parts after it.
    fn stage(&self, nodes: Range<usize>, uses: (&[Option<NodeId>], &[usize])) -> Graph {
        let mut stage = self.part(nodes.clone());
        let after = self.crossing(nodes.end, uses);
        for &value in self.crossing(nodes.start, uses).iter().filter(|value| after.contains(value)) {
            let value = self.value(value);
            let known = stage.inputs.iter().find(|&&input| stage.value(input).name == value.name).copied();
            let handed = known.unwrap_or_else(|| {
                stage.values.push(value.clone());
                let added = ValueId::new(stage.values.len() - 1);
                stage.inputs.push(added);
                added
            });
            stage.outputs.push(handed);
        }
        stage
    }

    /// The graph in `count` stages whose largest is as small as can be, by the size of each node; fewer where it cannot
    /// be cut so often.
    #[must_use]
    pub fn stages(&self, count: usize, sizes: &[u64]) -> Vec<Graph> {
        let bounds = balanced(sizes, &self.stage_starts(), count);
        let (producers, last_uses) = (self.producers(), self.last_uses());
        let of_stage = |bounds: &[usize]| self.stage(bounds[0]..bounds[1], (&producers, &last_uses));
        let mut stages: Vec<Graph> = bounds.windows(2).map(of_stage).collect();
        let last = stages.len() - 1;
        for (number, stage) in stages.iter_mut().enumerate() {
            stage.entry = if number == 0 { self.entry } else { Boundary::Chips };
            stage.exit = if number == last { self.exit } else { Boundary::Chips };
        }
        stages
    }

    /// Adds the nodes and values of the stage after this one. Its inputs stay values of their own.
    pub fn append(&mut self, next: &Graph) {
        let (values, caches) = (self.values.len(), self.caches.len());
        let moved = |value: ValueId| ValueId::new(value.index() + values);
        self.values.extend(next.values.iter().cloned());
        self.caches.extend(next.caches.iter().copied());
        for node in &next.nodes {
            let mut node = node.clone();
            node.inputs.iter_mut().for_each(|input| *input = moved(*input));
            node.output = moved(node.output);
            if let Op::Attention { cache, .. } = &mut node.op {
                *cache = CacheId::new(cache.index() + caches);
            }
            self.nodes.push(node);
        }
        self.outputs = next.outputs.iter().map(|&output| moved(output)).collect();
        self.exit = next.exit;
    }

    /// What the schedule of the graph depends on: operations and shapes, but neither names nor which weights.
    #[must_use]
    pub fn structure(&self, weights: &Weights) -> String {
        let mut text = format!("{:?} {:?} {:?} {:?}\n", self.entry, self.exit, self.inputs, self.outputs);
        for value in &self.values {
            text += &format!("{} {} {:?}\n", value.width, value.rows, value.shard);
        }
        let blocks = self.blocks();
        for Node { block, op, inputs, output, .. } in &self.nodes {
            let kind = match block {
                Block::Embed => 0,
                Block::Attention(_) => 1,
                Block::FeedForward(_) => 2,
                Block::Head => 3,
            };
            let at = blocks.iter().position(|found| found == block);
            let shapes: Vec<&[usize]> = op.weights().into_iter().flatten().map(|id| weights.shape(id)).collect();
            text += &format!("{kind} {at:?} {:?} {shapes:?} {inputs:?} {output:?}\n", op.without_weights());
        }
        text
    }
}

impl Op {
    /// The operation's tensors, as its fields have them.
    fn weights(mut self) -> [Option<WeightId>; 2] {
        self.weights_mut().map(|weight| weight.copied())
    }

    fn without_weights(mut self) -> Self {
        for weight in self.weights_mut().into_iter().flatten() {
            *weight = WeightId(0);
        }
        self
    }

    fn weights_mut(&mut self) -> [Option<&mut WeightId>; 2] {
        match self {
            Op::RmsNorm { weight, .. } | Op::HeadNorm { weight, .. } | Op::ExpertLinear { weight, .. } => {
                [Some(weight), None]
            }
            Op::LayerNorm { weight, bias, .. } | Op::Linear { weight, bias } => [Some(weight), bias.as_mut()],
            _ => [None, None],
        }
    }
}

/// First nodes of at most `count` runs and the end, so that the largest run is as small as can be.
fn balanced(sizes: &[u64], starts: &[usize], count: usize) -> Vec<usize> {
    let cuts: Vec<usize> = std::iter::once(0).chain(starts.iter().copied()).chain([sizes.len()]).collect();
    let pieces: Vec<u64> = cuts.windows(2).map(|cut| sizes[cut[0]..cut[1]].iter().sum()).collect();
    let count = count.clamp(1, pieces.len().max(1));
    // Runs of at most `most` each, from the front.
    let runs = |most: u64| {
        let (mut bounds, mut held) = (vec![0], 0u64);
        for (number, &piece) in pieces.iter().enumerate() {
            if held + piece > most && held > 0 {
                bounds.push(cuts[number]);
                held = 0;
            }
            held += piece;
        }
        bounds.push(sizes.len());
        bounds
    };
    let (mut low, mut high) = (pieces.iter().copied().max().unwrap_or(0), pieces.iter().sum::<u64>().max(1));
    while low < high {
        let middle = low.midpoint(high);
        if runs(middle).len() <= count + 1 { high = middle } else { low = middle + 1 }
    }
    let mut bounds = runs(low);
    // What is asked for is given, where there are so many places to cut: the largest runs are cut again.
    while bounds.len() < count + 1 {
        let size = |run: &usize| -> u64 { sizes[bounds[*run]..bounds[*run + 1]].iter().sum() };
        let inner = |run: usize| {
            let inside: Vec<usize> =
                cuts.iter().copied().filter(|&cut| bounds[run] < cut && cut < bounds[run + 1]).collect();
            inside.get(inside.len() / 2).copied()
        };
        let found = (0..bounds.len() - 1).filter(|&run| inner(run).is_some()).max_by_key(size);
        let Some(cut) = found.and_then(inner) else { break };
        bounds.push(cut);
        bounds.sort_unstable();
    }
    bounds
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::balanced;

    proptest! {
        #[test]
        fn stages_cover_all_blocks_in_order(
            sizes in prop::collection::vec(0u64..9, 1..20),
            every in 1usize..4,
            count in 1usize..12,
        ) {
            let starts: Vec<usize> = (1..sizes.len()).step_by(every).collect();
            let bounds = balanced(&sizes, &starts, count);
            prop_assert_eq!((bounds[0], bounds[bounds.len() - 1]), (0, sizes.len()));
            prop_assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(bounds[1..bounds.len() - 1].iter().all(|bound| starts.contains(bound)));
            prop_assert_eq!(bounds.len() - 1, count.min(starts.len() + 1), "{:?}", bounds);
        }
    }
}
