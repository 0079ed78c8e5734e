//! Qwen3: Llama with a norm of each query and key head.

use super::{Biases, Family, Row, activation, layers, llama, qwen_windows};
use crate::decoder::Decoder;
use crate::fields::Fields;
use crate::graph::Activation;
use crate::{Config, ModelError};

pub(super) const ROW: Row = Row {
    family: Family::Qwen3,
    architectures: &["Qwen3ForCausalLM", "Qwen3Model"],
    model_type: "qwen3",
    head_dim: Some(128),
    max_positions: 32_768,
    bos: None,
    eos: None,
    describe,
    ..llama::ROW
};

fn describe(fields: &Fields, config: &Config) -> Result<Decoder, ModelError> {
    let windows = qwen_windows(fields, config)?;
    let activation = activation(fields, "hidden_act", Activation::Silu)?;
    let bias = fields.flag("attention_bias")?;
    let biases = Biases { qkv: bias, o: bias, feed_forward: false };
    let layers = layers(config, biases, activation, |number, layer| {
        layer.attention.window = windows[number];
        layer.norm_each_head(config, number);
    });
    Ok(Decoder::standard(config, layers))
}
