//! Phi-1, Phi-1.5 and Phi-2: one layer norm before attention and feed-forward side by side, biases everywhere (in the
//! head, too), part of each head rotated, a plain GELU feed-forward.

use super::{Biases, Family, FieldNames, Rotary, Row, activation, layers, llama, refuse};
use crate::decoder::{Decoder, FeedForward, NARROW, Norm, OUTPUT, Projection, Tensor, WIDEN};
use crate::fields::Fields;
use crate::graph::Activation;
use crate::{Config, ModelError};

pub(super) const ROW: Row = Row {
    family: Family::Phi,
    architectures: &["PhiForCausalLM", "PhiModel"],
    model_type: "phi",
    names: FieldNames { norm_eps: "layer_norm_eps", ..llama::NAMES },
    norm_eps: 1e-5,
    rotary: Rotary::Share(0.5),
    describe,
    ..llama::ROW
};

fn describe(fields: &Fields, config: &Config) -> Result<Decoder, ModelError> {
    refuse(fields, &["qk_layernorm"], "norms of queries and keys")?;
    let &Config { hidden, intermediate, heads, head_dim, .. } = config;
    let activation = activation(fields, "hidden_act", Activation::GeluTanh)?;
    let biases = Biases { qkv: true, o: true, feed_forward: true };
    let layers = layers(config, biases, activation, |number, layer| {
        let at = |name: &str| format!("model.layers.{number}.{name}");
        layer.attention_norm = Some(Norm::layer(config, &at("input_layernorm")));
        layer.attention.o = Projection::new(&at("self_attn.dense"), [hidden, heads * head_dim], OUTPUT, true);
        layer.feed_forward_norm = None;
        layer.feed_forward = FeedForward::Plain {
            up: Projection::new(&at("mlp.fc1"), [intermediate, hidden], WIDEN, true),
            down: Projection::new(&at("mlp.fc2"), [hidden, intermediate], NARROW, true),
            activation,
        };
        layer.parallel = true;
    });
    Ok(Decoder {
        norm: Norm::layer(config, "model.final_layernorm"),
        head_bias: Some(Tensor::vector("lm_head.bias", config.vocab, "vocab_size")),
        ..Decoder::standard(config, layers)
    })
}
