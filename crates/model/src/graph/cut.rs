//! Cutting a graph at block boundaries into parts that compile by themselves.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{CacheId, Graph, Op, ValueId};

impl Graph {
    /// The part of the graph made of a range of [`Graph::blocks`].
    ///
    /// The part has its own value and cache ids; names, layers and weight ids stay. Its inputs are
    /// the values that it reads and does not make, in the order of first use; its outputs are
    /// those of its values that the rest of the graph, or the host, reads. Feeding each part the
    /// outputs of the parts before it, by name, computes the whole graph.
    ///
    /// # Panics
    /// If the range ends beyond the number of blocks, or starts after its end.
    pub fn cut(&self, blocks: Range<usize>) -> Graph {
        let all = self.blocks();
        let first = |number: usize| match all.get(number) {
            Some(block) => self.nodes.iter().position(|node| node.block == *block).unwrap_or(0),
            None => self.nodes.len(),
        };
        assert!(blocks.start <= blocks.end && blocks.end <= all.len(), "the graph has {} blocks", all.len());
        self.part(first(blocks.start)..first(blocks.end))
    }

    /// The part of the graph made of a range of nodes, as [`Graph::cut`].
    pub(crate) fn part(&self, nodes: Range<usize>) -> Graph {
        let mut part = Graph::default();
        let mut value_ids: BTreeMap<ValueId, ValueId> = BTreeMap::new();
        let mut cache_ids: BTreeMap<CacheId, CacheId> = BTreeMap::new();
        for node in &self.nodes[nodes.clone()] {
            let mut node = node.clone();
            for input in &mut node.inputs {
                let id = *value_ids.entry(*input).or_insert_with(|| {
                    let id = part.add_value(self, *input);
                    part.inputs.push(id);
                    id
                });
                *input = id;
            }
            let output = part.add_value(self, node.output);
            value_ids.insert(node.output, output);
            node.output = output;
            if let Op::Attention { cache, .. } = &mut node.op {
                let id = *cache_ids.entry(*cache).or_insert_with(|| {
                    part.caches.push(self.caches[cache.index()]);
                    CacheId::new(part.caches.len() - 1)
                });
                *cache = id;
            }
            part.nodes.push(node);
        }

        let mut read_outside = vec![false; self.values.len()];
        let readers = self.nodes[..nodes.start].iter().chain(&self.nodes[nodes.end..]);
        let outside = readers.flat_map(|node| &node.inputs).chain(&self.outputs);
        for value in outside {
            read_outside[value.index()] = true;
        }
        for node in &self.nodes[nodes] {
            if read_outside[node.output.index()] {
                part.outputs.push(value_ids[&node.output]);
            }
        }
        part
    }

    fn add_value(&mut self, whole: &Graph, id: ValueId) -> ValueId {
        self.values.push(whole.values[id.index()].clone());
        ValueId::new(self.values.len() - 1)
    }
}
