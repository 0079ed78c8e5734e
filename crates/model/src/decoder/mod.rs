//! What a decoder is made of, as its family describes it: the one description from which every graph is built.
//!
//! A family fills in a [`Decoder`] from `config.json`; most start from [`Layer::standard`], the Llama layer, and change
//! what is theirs. `decode_step` turns any description into nodes and knows no family.

mod tensor;

use crate::graph::Activation;

pub(crate) use tensor::{FusedRows, Tensor, View};

/// A whole decode step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decoder {
    /// Token rows, `[vocab, hidden]`, supplied by the host.
    pub(crate) embedding: Tensor,
    /// Position rows, `[positions, hidden]`, supplied by the host and added to the token's.
    pub(crate) positions: Option<Tensor>,
    /// Factor of the embedding row.
    pub(crate) embedding_scale: f32,
    pub(crate) layers: Vec<Layer>,
    /// Before the head.
    pub(crate) norm: Norm,
    /// `[vocab, hidden]`; the embedding's when absent.
    pub(crate) head: Option<Tensor>,
    /// `[vocab]`.
    pub(crate) head_bias: Option<Tensor>,
    /// Factor of the logits.
    pub(crate) logits_scale: f32,
    /// `cap tanh(logits / cap)`.
    pub(crate) logits_cap: Option<f32>,
}

/// Attention and feed-forward with their norms, each added to the residual stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Layer {
    pub(crate) attention_norm: Option<Norm>,
    pub(crate) attention: Attention,
    /// Between attention and its residual sum.
    pub(crate) after_attention: Option<Norm>,
    pub(crate) feed_forward_norm: Option<Norm>,
    pub(crate) feed_forward: FeedForward,
    /// Between feed-forward and its residual sum.
    pub(crate) after_feed_forward: Option<Norm>,
    /// Whether the feed-forward reads the layer's input, not the sum after attention; without a norm of its own it
    /// reads what attention reads.
    pub(crate) parallel: bool,
    /// Factor of what is added to the residual stream.
    pub(crate) residual_scale: f32,
}

/// A norm over a whole vector.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Norm {
    /// `weight x / sqrt(mean(x^2) + eps)`.
    Rms { weight: Tensor, eps: f32 },
    /// `weight (x - mean) / sqrt(variance + eps) + bias`.
    Layer { weight: Tensor, bias: Option<Tensor>, eps: f32 },
}

/// A matrix with its bias.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Projection {
    pub(crate) weight: Tensor,
    pub(crate) bias: Option<Tensor>,
}

/// A norm of queries or keys before they are rotated.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum HeadNorm {
    /// Each head by itself, with one weight `[head_dim]` for all.
    Each { weight: Tensor, eps: f32 },
    /// The whole projection.
    Whole { weight: Tensor, eps: f32 },
}

/// Grouped-query attention with its projections.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Attention {
    pub(crate) q: Projection,
    pub(crate) k: Projection,
    pub(crate) v: Projection,
    pub(crate) o: Projection,
    /// Norms of queries and of keys.
    pub(crate) head_norms: Option<[HeadNorm; 2]>,
    /// Elements of a head that are rotated; 0 for a model without rotary embedding.
    pub(crate) rotary_dim: usize,
    /// Number of the set of [`crate::Config::ropes`] that rotates.
    pub(crate) rotary_table: usize,
    pub(crate) scale: f32,
    pub(crate) window: Option<usize>,
    pub(crate) softcap: Option<f32>,
}

/// The second half of a layer.
#[allow(clippy::large_enum_variant, reason = "there is one a layer, and it stays where it is made")]
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FeedForward {
    /// `down (act(gate x) * up x)`.
    Gated { gate: Projection, up: Projection, down: Projection, activation: Activation },
    /// `down act(up x)`.
    Plain { up: Projection, down: Projection, activation: Activation },
    /// Experts of which every token takes some.
    Experts(ExpertFeedForward),
}

/// The gated form with one matrix an expert, of which a router takes `active`, and perhaps one that every token takes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExpertFeedForward {
    pub(crate) router: Tensor,
    pub(crate) gate: Tensor,
    pub(crate) up: Tensor,
    pub(crate) down: Tensor,
    pub(crate) activation: Activation,
    pub(crate) active: usize,
    pub(crate) normalise: bool,
    pub(crate) shared: Option<Box<SharedExpert>>,
}

/// An expert that every token takes: `sigmoid(share x) * expert(x)`, added to those that are chosen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SharedExpert {
    pub(crate) expert: FeedForward,
    /// The one stored row of the share, once an output of the expert.
    pub(crate) share: Tensor,
}

impl Decoder {
    /// A decoder without layers, a placeholder for a description that is still to come.
    pub(crate) fn empty() -> Decoder {
        let table = || Tensor::vector("", 0, "");
        let norm = Norm::Rms { weight: table(), eps: 0.0 };
        Decoder {
            embedding: table(),
            positions: None,
            embedding_scale: 1.0,
            layers: Vec::new(),
            norm,
            head: None,
            head_bias: None,
            logits_scale: 1.0,
            logits_cap: None,
        }
    }
}

impl Norm {
    /// This norm without a bias.
    pub(crate) fn without_bias(mut self) -> Norm {
        if let Norm::Layer { bias, .. } = &mut self {
            *bias = None;
        }
        self
    }

    /// This norm with 1 added to each stored weight.
    pub(crate) fn plus_one(mut self) -> Norm {
        let (Norm::Rms { weight, .. } | Norm::Layer { weight, .. }) = &mut self;
        weight.view.shift = 1.0;
        self
    }
}

impl Projection {
    /// `{module}.weight` of `[out, in]` and, with `bias`, `{module}.bias`.
    pub(crate) fn new(module: &str, [out, columns]: [usize; 2], fields: [&'static str; 2], bias: bool) -> Projection {
        let [both, outputs] = fields;
        Projection {
            weight: Tensor::matrix(&format!("{module}.weight"), [out, columns], both),
            bias: bias.then(|| Tensor::vector(&format!("{module}.bias"), out, outputs)),
        }
    }

    /// This projection read through a view of the stored tensors, named `part` in messages.
    pub(crate) fn viewed(mut self, part: &str, transposed: bool, rows: Option<FusedRows>) -> Projection {
        self.weight = self.weight.viewed(part, transposed, rows);
        self.bias = self.bias.map(|bias| bias.viewed(part, false, rows));
        self
    }
}

/// Config fields that give the shape of a query projection and of its bias.
pub(crate) const QUERY: [&str; 2] = ["num_attention_heads * head_dim, hidden_size", "num_attention_heads * head_dim"];
/// The same of a key or value projection.
pub(crate) const KEY: [&str; 2] = ["num_key_value_heads * head_dim, hidden_size", "num_key_value_heads * head_dim"];
/// The same of an output projection.
pub(crate) const OUTPUT: [&str; 2] = ["hidden_size, num_attention_heads * head_dim", "hidden_size"];
/// The same of a projection into the feed-forward.
pub(crate) const WIDEN: [&str; 2] = ["intermediate_size, hidden_size", "intermediate_size"];
/// The same of a projection out of the feed-forward.
pub(crate) const NARROW: [&str; 2] = ["hidden_size, intermediate_size", "hidden_size"];
