//! Building a graph node by node, and with it the list of tensors that it needs.

use smallvec::SmallVec;

use super::{Block, Cache, CacheId, Graph, Node, Op, Shard, Value, ValueId, WeightId};
use crate::decoder::Tensor;

/// A graph being built. Weight ids count in the order in which tensors are asked for.
#[derive(Default)]
pub(crate) struct GraphBuilder {
    pub(crate) graph: Graph,
    pub(crate) weights: Vec<Tensor>,
    /// The embedding table, once there.
    pub(crate) embedding: Option<WeightId>,
    /// The table of learned positions, if the model has one.
    pub(crate) positions: Option<WeightId>,
}

impl GraphBuilder {
    /// Asks for a tensor.
    pub(crate) fn weight(&mut self, tensor: &Tensor) -> WeightId {
        self.weights.push(tensor.clone());
        WeightId::new(self.weights.len() - 1)
    }

    /// Elements of a value.
    pub(crate) fn width(&self, value: ValueId) -> usize {
        self.graph.value(value).width
    }

    /// Adds an input of the graph.
    pub(crate) fn input(&mut self, name: &str, width: usize) -> ValueId {
        let id = self.value(name.to_owned(), width);
        self.graph.inputs.push(id);
        id
    }

    /// Adds a cache.
    pub(crate) fn cache(&mut self, cache: Cache) -> CacheId {
        self.graph.caches.push(cache);
        CacheId::new(self.graph.caches.len() - 1)
    }

    /// Adds a node named after its block, and its output of `width` elements.
    pub(crate) fn node(&mut self, block: Block, name: &str, op: Op, inputs: &[ValueId], width: usize) -> ValueId {
        let name = format!("{block}.{name}");
        let output = self.value(name.clone(), width);
        self.graph.nodes.push(Node { name, block, op, inputs: SmallVec::from_slice(inputs), output });
        output
    }

    fn value(&mut self, name: String, width: usize) -> ValueId {
        let rows = 1;
        self.graph.values.push(Value { name, width, rows, shard: Shard::Whole });
        ValueId::new(self.graph.values.len() - 1)
    }
}
