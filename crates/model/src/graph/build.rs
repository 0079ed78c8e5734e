//! Building a graph node by node, and with it the list of tensors that it needs.

use smallvec::SmallVec;

use super::{Block, Cache, CacheId, Graph, Node, Op, Value, ValueId, WeightId};

/// A tensor that a graph needs.
#[derive(Clone, Debug)]
pub(crate) struct WeightSpec {
    /// Full name in the checkpoint.
    pub(crate) name: String,
    /// `[out, in]` of a matrix, `[n]` of a vector.
    pub(crate) shape: Vec<usize>,
    /// The config fields that give the shape, for messages.
    pub(crate) fields: &'static str,
}

/// A graph being built. Weight ids count in the order in which tensors are asked for.
#[derive(Default)]
pub(crate) struct Builder {
    pub(crate) graph: Graph,
    pub(crate) weights: Vec<WeightSpec>,
    /// The embedding table, once there.
    pub(crate) embedding: Option<WeightId>,
}

impl Builder {
    /// Asks for a tensor.
    pub(crate) fn weight(&mut self, name: String, shape: &[usize], fields: &'static str) -> WeightId {
        self.weights.push(WeightSpec { name, shape: shape.to_vec(), fields });
        WeightId::new(self.weights.len() - 1)
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
        self.graph.values.push(Value { name, width, rows });
        ValueId::new(self.graph.values.len() - 1)
    }
}
