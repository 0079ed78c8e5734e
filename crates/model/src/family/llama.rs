//! Llama, and what is stored as Llama: SmolLM2, TinyLlama, Yi and others.

use super::{Biases, Family, FieldNames, Rotary, Row, activation, layers, refuse};
use crate::decoder::Decoder;
use crate::fields::Fields;
use crate::graph::Activation;
use crate::{Config, ModelError};

pub(super) const NAMES: FieldNames = FieldNames {
    hidden: "hidden_size",
    layers: "num_hidden_layers",
    heads: "num_attention_heads",
    kv_heads: Some("num_key_value_heads"),
    intermediate: "intermediate_size",
    positions: "max_position_embeddings",
    norm_eps: "rms_norm_eps",
    theta: "rope_theta",
    rotary_share: "partial_rotary_factor",
};

pub(super) const ROW: Row = Row {
    family: Family::Llama,
    architectures: &["LlamaForCausalLM", "LlamaModel"],
    model_type: "llama",
    prefix: "model.",
    names: NAMES,
    norm_eps: 1e-6,
    tied: false,
    head_dim: None,
    max_positions: 2048,
    widening: None,
    rotary: Rotary::Whole,
    theta: 10_000.0,
    local_rotary: None,
    rotary_kinds: &[],
    wrapped: &[],
    bos: Some(1),
    eos: Some(2),
    describe,
};

fn describe(fields: &Fields, config: &Config) -> Result<Decoder, ModelError> {
    refuse(fields, &["no_rope_layers", "no_rope_layer_interval"], "layers without rotary embedding")?;
    let bias = fields.flag("attention_bias")?;
    let biases = Biases { qkv: bias, o: bias, feed_forward: fields.flag("mlp_bias")? };
    let activation = activation(fields, "hidden_act", Activation::Silu)?;
    Ok(Decoder::standard(config, layers(config, biases, activation, |_, _| {})))
}
