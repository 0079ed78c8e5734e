//! What a decoder is made of, as its family describes it: the one description from which every graph is built.
//!
//! A family fills in a [`Decoder`] from `config.json`; most start from [`Layer::standard`], the Llama layer, and change
//! what is theirs. The graph builder (`build`) turns any description into nodes and knows no family.

mod build;
mod tensor;

use crate::graph::Activation;
use crate::{Config, ModelError};

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
    /// Number of the set of [`Config::ropes`] that rotates.
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
    /// The gated form with one matrix an expert, of which a router takes `active`, and perhaps one that every token
    /// takes.
    Experts {
        router: Tensor,
        gate: Tensor,
        up: Tensor,
        down: Tensor,
        activation: Activation,
        active: usize,
        normalise: bool,
        shared: Option<Box<SharedExpert>>,
    },
}

/// An expert that every token takes: `sigmoid(share x) * expert(x)`, added to those that are chosen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SharedExpert {
    pub(crate) expert: FeedForward,
    /// The one stored row of the share, once an output of the expert.
    pub(crate) share: Tensor,
}

/// Which projections of a standard layer have biases.
#[derive(Clone, Copy, Default)]
pub(crate) struct Biases {
    pub(crate) qkv: bool,
    pub(crate) o: bool,
    pub(crate) feed_forward: bool,
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

    /// A decoder with the tensor names of Llama: `model.embed_tokens`, `model.norm`, `lm_head`.
    pub(crate) fn standard(config: &Config, layers: Vec<Layer>) -> Decoder {
        let table = |name: &str| Tensor::matrix(name, [config.vocab, config.hidden], "vocab_size, hidden_size");
        Decoder {
            embedding: table("model.embed_tokens.weight"),
            positions: None,
            embedding_scale: 1.0,
            layers,
            norm: Norm::rms(config, "model.norm"),
            head: (!config.tie_embeddings).then(|| table("lm_head.weight")),
            head_bias: None,
            logits_scale: 1.0,
            logits_cap: None,
        }
    }
}

impl Norm {
    /// An RMS norm over `hidden` with the config's epsilon.
    pub(crate) fn rms(config: &Config, module: &str) -> Norm {
        Norm::Rms {
            weight: Tensor::vector(&format!("{module}.weight"), config.hidden, "hidden_size"),
            eps: config.norm_eps,
        }
    }

    /// A layer norm over `hidden` with bias and the config's epsilon.
    pub(crate) fn layer(config: &Config, module: &str) -> Norm {
        let vector = |name: &str| Tensor::vector(&format!("{module}.{name}"), config.hidden, "hidden_size");
        Norm::Layer { weight: vector("weight"), bias: Some(vector("bias")), eps: config.norm_eps }
    }

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

impl Layer {
    /// The layer of Llama: RMS norms before each half, rotary grouped-query attention, gated feed-forward.
    pub(crate) fn standard(config: &Config, layer: usize, biases: Biases, activation: Activation) -> Layer {
        let &Config { hidden, heads, kv_heads, head_dim, intermediate, .. } = config;
        let (queries, keys) = (heads * head_dim, kv_heads * head_dim);
        let at = |name: &str| format!("model.layers.{layer}.{name}");
        let attention = |name: &str, shape, fields, bias| {
            Projection::new(&at(&format!("self_attn.{name}_proj")), shape, fields, bias)
        };
        let mlp = |name: &str, shape, fields| {
            Projection::new(&at(&format!("mlp.{name}_proj")), shape, fields, biases.feed_forward)
        };
        Layer {
            attention_norm: Some(Norm::rms(config, &at("input_layernorm"))),
            attention: Attention {
                q: attention("q", [queries, hidden], QUERY, biases.qkv),
                k: attention("k", [keys, hidden], KEY, biases.qkv),
                v: attention("v", [keys, hidden], KEY, biases.qkv),
                o: attention("o", [hidden, queries], OUTPUT, biases.o),
                head_norms: None,
                rotary_dim: config.rotary_dim,
                rotary_table: 0,
                scale: inverse_root(head_dim as f64),
                window: None,
                softcap: None,
            },
            after_attention: None,
            feed_forward_norm: Some(Norm::rms(config, &at("post_attention_layernorm"))),
            feed_forward: FeedForward::Gated {
                gate: mlp("gate", [intermediate, hidden], WIDEN),
                up: mlp("up", [intermediate, hidden], WIDEN),
                down: mlp("down", [hidden, intermediate], NARROW),
                activation,
            },
            after_feed_forward: None,
            parallel: false,
            residual_scale: 1.0,
        }
    }

    /// All layers, each made by `layer`.
    pub(crate) fn all(config: &Config, layer: impl FnMut(usize) -> Layer) -> Vec<Layer> {
        (0..config.layers).map(layer).collect()
    }

    /// Adds the norms of each query and key head, `self_attn.q_norm` and `k_norm`.
    pub(crate) fn norm_each_head(&mut self, config: &Config, layer: usize) {
        let norm = |name: &str| HeadNorm::Each {
            weight: Tensor::vector(
                &format!("model.layers.{layer}.self_attn.{name}.weight"),
                config.head_dim,
                "head_dim",
            ),
            eps: config.norm_eps,
        };
        self.attention.head_norms = Some([norm("q_norm"), norm("k_norm")]);
    }
}

/// `1 / sqrt(x)` rounded once to float32.
pub(crate) fn inverse_root(x: f64) -> f32 {
    (1.0 / x.sqrt()) as f32
}

/// Refuses a config whose `active` experts a token are more than there are.
pub(crate) fn check_experts(active: usize, experts: usize) -> Result<(), ModelError> {
    if active <= experts { Ok(()) } else { Err(ModelError::TooManyActive { active, experts }) }
}
