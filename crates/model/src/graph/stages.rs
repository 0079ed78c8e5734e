//! Cutting a graph into pipeline stages: runs of nodes that follow one another, each on chips of its own.

use std::collections::BTreeSet;
use std::ops::Range;

use super::{Block, Boundary, CacheId, Graph, Node, NodeId, Op, Shard, Value, ValueId, WeightId};
use crate::Weights;

impl Graph {
    /// Numbers of nodes before which a stage may begin, in a graph that is cut over a group already: at the start of a
    /// block, and before matrices that read what an activation made. All that crosses there is a piece of each chip, or
    /// whole on all of them.
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
            let is_matrix = matches!(node.op, Op::Linear { .. } | Op::ExpertLinear { .. });
            node.block != self.nodes[number - 1].block || (is_matrix && reads)
        };
        let crosses = |number: usize| {
            let crossing = self.crossing(number, (&producers, &last_uses));
            let is_cut = |value: &Value| !matches!(value.shard, Shard::Pieces { .. } | Shard::Partial { .. });
            crossing.iter().all(|&value| producer(value).is_some() && is_cut(self.value(value)))
        };
        // The choices of an expert's matrix are on one chip.
        let expert = |node: &Node| if let Op::ExpertLinear { weight, .. } = node.op { Some(weight) } else { None };
        let parts = |number: usize| {
            let after: BTreeSet<WeightId> = self.nodes[number..].iter().filter_map(expert).collect();
            self.nodes[..number].iter().filter_map(expert).any(|weight| after.contains(&weight))
        };
        let numbers = 1..self.nodes.len();
        numbers.filter(|&number| begins(number) && crosses(number) && !parts(number)).collect()
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

    /// Whether all nodes from a number on that read a value multiply a matrix by it, and the host does not read it.
    fn is_for_matrices(&self, value: ValueId, number: usize) -> bool {
        let reads = |node: &&Node| node.inputs.contains(&value);
        let multiplies = |node: &Node| {
            let is_matrix = matches!(node.op, Op::Linear { .. } | Op::ExpertLinear { .. });
            is_matrix && !node.inputs[1..].contains(&value)
        };
        !self.outputs.contains(&value) && self.nodes[number..].iter().filter(reads).all(multiplies)
    }

    /// The graph in which experts are chosen anew, of the same scores, after each bound at which their choice is known
    /// already and read later: the bounds move by what is added before them.
    fn choosing_anew(&self, bounds: &[usize]) -> (Graph, Vec<usize>) {
        let mut graph = self.clone();
        let mut moved = vec![0];
        for &bound in &bounds[1..bounds.len() - 1] {
            let mut bound = bound + graph.nodes.len() - self.nodes.len();
            moved.push(bound);
            let (producers, last_uses) = (graph.producers(), graph.last_uses());
            for value in graph.crossing(bound, (&producers, &last_uses)) {
                let Some(producer) = producers[value.index()] else { continue };
                let mut node = graph.nodes[producer.index()].clone();
                if !matches!(node.op, Op::Route { .. }) {
                    continue;
                }
                graph.values.push(graph.value(value).clone());
                node.output = ValueId::new(graph.values.len() - 1);
                node.block = graph.nodes[bound].block;
                let later = graph.nodes[bound..].iter_mut().flat_map(|node| &mut node.inputs);
                later.filter(|input| **input == value).for_each(|input| *input = node.output);
                graph.nodes.insert(bound, node);
                bound += 1;
            }
        }
        moved.push(graph.nodes.len());
        (graph, moved)
    }

    /// The part of the graph made of a range of nodes. It hands on what parts before it make for parts after it.
    fn stage(
        &self,
        nodes: Range<usize>,
        uses: (&[Option<NodeId>], &[usize]),
        for_matrices: &BTreeSet<ValueId>,
    ) -> Graph {
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
        let names: BTreeSet<&str> = for_matrices.iter().map(|&value| self.value(value).name.as_str()).collect();
        let ends = stage.inputs.iter().chain(&stage.outputs).copied();
        stage.for_matrices = ends.filter(|&value| names.contains(stage.value(value).name.as_str())).collect();
        stage
    }

    /// How the graph can be cut, by the size of each node.
    #[must_use]
    pub fn cuts(&self, sizes: &[u64]) -> Cuts<'_> {
        let (producers, last_uses) = (self.producers(), self.last_uses());
        let starts = self.stage_starts();
        let crossing = |&number: &usize| -> u64 {
            let values = self.crossing(number, (&producers, &last_uses)).into_iter();
            let bytes = |value| if self.is_for_matrices(value, number) { 2 } else { 4 };
            values.map(|value| bytes(value) * self.value(value).width as u64).sum()
        };
        let crossing = std::iter::once(0).chain(starts.iter().map(crossing)).collect();
        let bounds: Vec<usize> = std::iter::once(0).chain(starts).chain([sizes.len()]).collect();
        let pieces = bounds.windows(2).map(|bound| sizes[bound[0]..bound[1]].iter().sum()).collect();
        Cuts { graph: self, bounds, pieces, crossing }
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
        self.for_matrices.extend(next.for_matrices.iter().map(|&value| moved(value)));
        self.exit = next.exit;
    }

    /// What the schedule of the graph depends on: operations and shapes, but neither names nor which weights.
    #[must_use]
    pub fn structure(&self, weights: &Weights) -> String {
        let ends = (&self.inputs, &self.outputs, &self.for_matrices);
        let mut text = format!("{:?} {:?} {ends:?}\n", self.entry, self.exit);
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

/// The places at which a graph can be cut into stages, and what is between them.
pub struct Cuts<'a> {
    graph: &'a Graph,
    /// First nodes of the pieces, and the end.
    bounds: Vec<usize>,
    /// Size of each piece.
    pieces: Vec<u64>,
    /// By piece: bytes of the values that cross the cut before it, where matrices read fp16.
    crossing: Vec<u64>,
}

impl Cuts<'_> {
    /// Pieces: the most stages there can be.
    #[must_use]
    pub fn most(&self) -> usize {
        self.pieces.len()
    }

    /// The size of the largest of `count` stages, where it is as small as can be.
    #[must_use]
    pub fn smallest(&self, count: usize) -> u64 {
        // Whether so many runs of at most `most` each hold all pieces.
        let holds = |most: u64| {
            let (mut runs, mut held) = (1, 0u64);
            for &piece in &self.pieces {
                if held + piece > most && held > 0 {
                    (runs, held) = (runs + 1, 0);
                }
                held += piece;
            }
            runs <= count.max(1)
        };
        let (mut low, mut high) = (self.pieces.iter().copied().max().unwrap_or(0), self.pieces.iter().sum::<u64>());
        while low < high {
            let middle = low.midpoint(high);
            if holds(middle) { high = middle } else { low = middle + 1 }
        }
        low
    }

    /// The graph in `count` stages, fewer where it cannot be cut so often. None is larger than `most`, or than
    /// [`Cuts::smallest`] where that is more; of all such cuts it is one over which the fewest bytes cross, of
    /// these one of the least sum of squares of sizes.
    #[must_use]
    pub fn stages(&self, count: usize, most: u64) -> Vec<Graph> {
        let count = count.clamp(1, self.most());
        let runs = runs(&self.pieces, &self.crossing, count, most.max(self.smallest(count)));
        let bounds: Vec<usize> = runs.into_iter().map(|piece| self.bounds[piece]).collect();
        let (graph, bounds) = self.graph.choosing_anew(&bounds);
        let (producers, last_uses) = (graph.producers(), graph.last_uses());
        let uses = (&producers[..], &last_uses[..]);
        let mut for_matrices = BTreeSet::new();
        for pair in bounds.windows(2) {
            // Where a value first leaves a stage decides for all that it goes through.
            let made_here = |value: &ValueId| uses.0[value.index()].is_some_and(|node| node.index() >= pair[0]);
            let leaving = graph.crossing(pair[1], uses).into_iter().filter(made_here);
            for_matrices.extend(leaving.filter(|&value| graph.is_for_matrices(value, pair[1])));
        }
        let of_stage = |pair: &[usize]| graph.stage(pair[0]..pair[1], uses, &for_matrices);
        let mut stages: Vec<Graph> = bounds.windows(2).map(of_stage).collect();
        let last = stages.len() - 1;
        for (number, stage) in stages.iter_mut().enumerate() {
            stage.entry = if number == 0 { self.graph.entry } else { Boundary::Chips };
            stage.exit = if number == last { self.graph.exit } else { Boundary::Chips };
        }
        stages
    }
}

/// First pieces of exactly `count` runs of at most `most` each, and the end: by dynamic programming over the number of
/// runs and the pieces that they hold.
fn runs(pieces: &[u64], crossing: &[u64], count: usize, most: u64) -> Vec<usize> {
    type Cost = (u64, u128);
    // By runs and pieces that they hold: the least cost, and the first piece of the last run.
    let mut best: Vec<Vec<Option<(Cost, usize)>>> = vec![vec![None; pieces.len() + 1]; count + 1];
    best[0][0] = Some(((0, 0), 0));
    for run in 1..=count {
        for end in run..=pieces.len() {
            let mut held = 0;
            for first in (run - 1..end).rev() {
                held += pieces[first];
                if held > most {
                    break;
                }
                let Some(((crossed, squares), _)) = best[run - 1][first] else { continue };
                let cost = (crossed + crossing[first], squares + u128::from(held).pow(2));
                if best[run][end].is_none_or(|(found, _)| cost < found) {
                    best[run][end] = Some((cost, first));
                }
            }
        }
    }
    let mut bounds = vec![pieces.len()];
    for run in (1..=count).rev() {
        let end = bounds[bounds.len() - 1];
        let (_, first) = best[run][end].expect("pieces no larger than the smallest limit make any number of runs");
        bounds.push(first);
    }
    bounds.reverse();
    bounds
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::runs;

    /// The least largest run and the least crossing of `count` runs of at most `most`, by trying all.
    fn tried(pieces: &[u64], crossing: &[u64], count: usize, most: u64) -> Option<(u64, u64)> {
        if count == 1 {
            let size = pieces.iter().sum();
            return (size <= most).then_some((size, crossing[0]));
        }
        let with_first = |first: usize| {
            let size = pieces[..first].iter().sum();
            let (largest, crossed) = tried(&pieces[first..], &crossing[first..], count - 1, most)?;
            (size <= most).then_some((largest.max(size), crossed + crossing[0]))
        };
        let found = (1..pieces.len()).filter_map(with_first);
        found.reduce(|one, other| (one.0.min(other.0), one.1.min(other.1)))
    }

    proptest! {
        #[test]
        fn stages_cover_all_pieces_in_order_and_the_least_crosses(
            pieces in prop::collection::vec((0u64..9, 0u64..4), 1..9),
            count in 1usize..6,
            more in 0u64..6,
        ) {
            let (pieces, crossing): (Vec<u64>, Vec<u64>) = pieces.into_iter().unzip();
            let count = count.min(pieces.len());
            let (smallest, _) = tried(&pieces, &crossing, count, u64::MAX).expect("there is no limit");
            let most = smallest + more;
            let bounds = runs(&pieces, &crossing, count, most);
            prop_assert_eq!((bounds.len(), bounds[0], bounds[count]), (count + 1, 0, pieces.len()));
            prop_assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(bounds.windows(2).all(|pair| pieces[pair[0]..pair[1]].iter().sum::<u64>() <= most));
            let crossed: u64 = bounds[..count].iter().map(|&first| crossing[first]).sum();
            prop_assert_eq!(Some(crossed), tried(&pieces, &crossing, count, most).map(|(_, crossed)| crossed));
        }
    }
}
