//! The parts of a decoder that most families start from: those of Llama, sized by a config.

use crate::decoder::{
    Attention, Decoder, FeedForward, HeadNorm, KEY, Layer, NARROW, Norm, OUTPUT, Projection, QUERY, Tensor, WIDEN,
};
use crate::graph::Activation;
use crate::{Config, ModelError};

/// Which projections of a standard layer have biases.
#[derive(Clone, Copy, Default)]
pub(crate) struct Biases {
    pub(crate) qkv: bool,
    pub(crate) o: bool,
    pub(crate) feed_forward: bool,
}

impl Decoder {
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
}

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

/// Standard layers, each changed by `change`.
pub(super) fn layers(
    config: &Config,
    biases: Biases,
    activation: Activation,
    change: impl Fn(usize, &mut Layer),
) -> Vec<Layer> {
    Layer::all(config, |number| {
        let mut layer = Layer::standard(config, number, biases, activation);
        change(number, &mut layer);
        layer
    })
}

/// `1 / sqrt(x)` rounded once to float32.
pub(crate) fn inverse_root(x: f64) -> f32 {
    (1.0 / x.sqrt()) as f32
}

/// Refuses a config whose `active` experts a token are more than there are.
pub(crate) fn check_experts(active: usize, experts: usize) -> Result<(), ModelError> {
    if active <= experts { Ok(()) } else { Err(ModelError::TooManyActive { active, experts }) }
}
