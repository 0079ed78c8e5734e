//! The decode graph: what is computed for one token, as operations over vectors.
//!
//! A graph names its parts by ids that index its lists. Nodes are in an order in which every
//! value is made before it is used. What the host supplies besides the graph's input values is
//! the same for every family: the cosines and sines of the position ([`crate::Config::rotary_row`])
//! for [`Op::Rotary`], and the position and its masks (one a window) for [`Op::Attention`].
//!
//! A model with learned positions has a second input, `position`: like the rotary row it depends on the position
//! alone, and the host supplies it from [`crate::Checkpoint::position_row`].

mod activation;
mod build;
mod cut;
mod mask;
mod parallel;
mod shard;
mod stages;
mod text;

use std::fmt;

use smallvec::SmallVec;

pub use activation::Activation;
pub(crate) use build::GraphBuilder;
pub use mask::Mask;
pub use parallel::ShardError;
pub use shard::{HeadShard, Shard};
pub use stages::Cuts;

macro_rules! id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $name {
            /// The id of the part at `index`.
            ///
            /// # Panics
            /// If `index` does not fit 32 bits.
            pub fn new(index: usize) -> Self {
                Self(u32::try_from(index).expect("a graph has fewer than 2^32 parts"))
            }

            /// Place in the list that the id belongs to.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

id! {
    /// A node of a graph: index into [`Graph::nodes`].
    NodeId
}
id! {
    /// A value of a graph: index into [`Graph::values`].
    ValueId
}
id! {
    /// A key-value cache of a graph: index into [`Graph::caches`].
    CacheId
}
id! {
    /// A tensor of a checkpoint, for [`crate::Weights`]. It stays the same in every part of a cut graph.
    WeightId
}

/// The part of a model that a node belongs to. A graph can be cut between two blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Block {
    /// Work on the embedding row before the first layer. A family that only looks the row up has
    /// no node here, since the host supplies the row.
    Embed,
    /// Norm, attention and residual sum of a layer.
    Attention(usize),
    /// Norm, feed-forward and residual sum of a layer.
    FeedForward(usize),
    /// Last norm and logits.
    Head,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Block::Embed => f.write_str("embed"),
            Block::Attention(layer) => write!(f, "layers.{layer}.attention"),
            Block::FeedForward(layer) => write!(f, "layers.{layer}.feed_forward"),
            Block::Head => f.write_str("head"),
        }
    }
}

/// What a node computes. `y` is its output; inputs are in the order given.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Op {
    /// Input x. `y = weight * x / sqrt(mean(x^2) + eps)`.
    RmsNorm {
        /// Shape `[width]`.
        weight: WeightId,
        /// Added to the mean square.
        eps: f32,
    },
    /// Input x. `y = weight * (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) + bias`.
    LayerNorm {
        /// Shape `[width]`.
        weight: WeightId,
        /// Shape `[width]`.
        bias: Option<WeightId>,
        /// Added to the variance.
        eps: f32,
    },
    /// Input x, `heads` heads of `head_dim`. Each head is normalised as by [`Op::RmsNorm`], all with one weight.
    HeadNorm {
        /// Shape `[head_dim]`.
        weight: WeightId,
        /// Heads in x.
        heads: usize,
        /// Elements of one head.
        head_dim: usize,
        /// Added to the mean square.
        eps: f32,
    },
    /// Input x. `y = weight x + bias`.
    Linear {
        /// Shape `[out, in]`.
        weight: WeightId,
        /// Shape `[out]`.
        bias: Option<WeightId>,
    },
    /// Input x, `heads` heads of `head_dim`. With `a` and `b` the elements `i` and `i + rotary_dim / 2` of a head,
    /// i below `rotary_dim / 2`, `y` has `a cos_i - b sin_i` and `b cos_i + a sin_i` there, and x elsewhere.
    Rotary {
        /// Heads in x.
        heads: usize,
        /// Elements of one head.
        head_dim: usize,
        /// Elements of a head that are rotated, even, at most `head_dim`.
        rotary_dim: usize,
        /// Number of the set of frequencies, of [`crate::Config::ropes`].
        table: usize,
    },
    /// Inputs q, k, v. Appends k and v to the cache, then for each query head
    /// `y = sum over p of softmax(cap(scale q . K_p)) V_p` over the positions p that `mask` leaves;
    /// query head h uses key-value head `h / (heads / kv_heads)`.
    Attention {
        /// The cache of the layer.
        cache: CacheId,
        /// Heads in q and y.
        heads: usize,
        /// Heads in k and v.
        kv_heads: usize,
        /// Elements of one head.
        head_dim: usize,
        /// Factor of the scores before softmax.
        scale: f32,
        /// The positions p that take part.
        mask: Mask,
        /// `cap(s) = softcap tanh(s / softcap)`; `s` itself when absent.
        softcap: Option<f32>,
    },
    /// Inputs a, b. `y = a + b`.
    Add,
    /// Input x. `y = factor x`.
    Scale {
        /// Not 1.
        factor: f32,
    },
    /// Input x. `y = cap tanh(x / cap)`.
    SoftCap {
        /// Above 0.
        cap: f32,
    },
    /// Input x. `y = activation(x)`.
    Activate {
        /// The function.
        activation: Activation,
    },
    /// Inputs gate, up. `y = activation(gate) * up`.
    Gated {
        /// The function.
        activation: Activation,
    },
    /// Input: a score an expert. With `p = softmax(scores)`, `y` has `p` at the `active` experts of the greatest scores
    /// (of equal ones those of lower number) and 0 elsewhere; `normalise` divides by the sum of what is left.
    Route {
        /// Experts taken, at least 1 and at most all.
        active: usize,
        /// Whether the gate weights taken add up to 1.
        normalise: bool,
    },
    /// Inputs x, gate weights (from [`Op::Route`]). `y = weight[e] x`, with e the expert whose gate weight `choice`
    /// others precede: greater ones, and equal ones of lower number.
    ExpertLinear {
        /// Shape `[experts, out, in]`.
        weight: WeightId,
        /// Below the route's `active`.
        choice: usize,
    },
    /// Inputs x, gate weights (from [`Op::Route`]). `y = gate[e] x`, with e as for [`Op::ExpertLinear`].
    ExpertScale {
        /// Below the route's `active`.
        choice: usize,
    },
    /// Input: terms x ([`Shard::Partial`]). `y` is the chip's piece of the sum of x over the chips of the group, added
    /// up in pairs of chips, then in pairs of pairs, by chip number.
    ReduceScatter,
    /// Input: a piece x. `y` has the pieces of all chips of the group, in fp16.
    AllGather,
}

/// A vector in flight, or `rows` of them (one a token).
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Unique in the graph; that of the node that makes it.
    pub name: String,
    /// Elements of a row.
    pub width: usize,
    /// Tokens worked on at once; 1 in a decode step.
    pub rows: usize,
    /// Which elements of the whole value these are, in a graph that is cut over chips ([`Graph::tensor_parallel`]).
    pub shard: Shard,
}

impl Value {
    /// Elements of each of the pieces that the value is made of; all of them where it is not.
    #[must_use]
    pub fn piece(&self) -> usize {
        self.shard.piece(self.width)
    }
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Unique in the graph.
    pub name: String,
    /// The block that it belongs to.
    pub block: Block,
    /// What it computes.
    pub op: Op,
    /// Operands, in the order that the operation gives.
    pub inputs: SmallVec<[ValueId; 3]>,
    /// The result.
    pub output: ValueId,
}

/// The keys and values of one layer for all positions so far: for each of the two,
/// `kv_heads * head_dim` elements a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    /// The layer, counted in the whole model.
    pub layer: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Elements of one head.
    pub head_dim: usize,
}

/// What is on the other side of the inputs or outputs of a graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Boundary {
    /// The host, which supplies and receives whole values.
    #[default]
    Host,
    /// Other chips, which run the graph before or after this one; each chip of a group has its piece.
    Chips,
}

/// The computation of one decode step, or of a part of it ([`Graph::cut`]).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// Operations, each after those that make its inputs.
    pub nodes: Vec<Node>,
    /// Values that nodes read and make.
    pub values: Vec<Value>,
    /// Values that the host supplies; in a whole graph `embedding` and, with learned positions, `position`.
    pub inputs: Vec<ValueId>,
    /// Values that the host receives; in a whole graph the logits alone.
    pub outputs: Vec<ValueId>,
    /// Key-value caches.
    pub caches: Vec<Cache>,
    /// Where the inputs come from.
    pub entry: Boundary,
    /// Where the outputs go.
    pub exit: Boundary,
    /// Inputs and outputs that stages may hand on in the precision that matrices read, as nothing else reads them
    /// there.
    pub for_matrices: Vec<ValueId>,
}

impl Graph {
    /// The blocks that have nodes, in order.
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks: Vec<Block> = self.nodes.iter().map(|node| node.block).collect();
        blocks.dedup();
        blocks
    }

    /// The node of an id.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// The value of an id.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// The cache of an id.
    pub fn cache(&self, id: CacheId) -> &Cache {
        &self.caches[id.index()]
    }

    /// The node that makes each value, by [`ValueId::index`]; `None` for an input of the graph.
    pub fn producers(&self) -> Vec<Option<NodeId>> {
        let mut producers = vec![None; self.values.len()];
        for (number, node) in self.nodes.iter().enumerate() {
            producers[node.output.index()] = Some(NodeId::new(number));
        }
        producers
    }
}
