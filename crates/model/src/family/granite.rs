//! Granite: Llama with multipliers of embedding, scores, residual sums and logits.

use super::{Biases, Family, Row, activation, layers, llama};
use crate::decoder::Decoder;
use crate::fields::Fields;
use crate::graph::Activation;
use crate::{Config, ModelError};

pub(super) const ROW: Row = Row {
    family: Family::Granite,
    architectures: &["GraniteForCausalLM", "GraniteModel"],
    model_type: "granite",
    describe,
    ..llama::ROW
};

pub(super) fn describe(fields: &Fields, config: &Config) -> Result<Decoder, ModelError> {
    let factor = |key: &str| Ok::<f32, ModelError>(fields.positive(key)?.unwrap_or(1.0) as f32);
    let scale = factor("attention_multiplier")?;
    let residual_scale = factor("residual_multiplier")?;
    let bias = fields.flag("attention_bias")?;
    let biases = Biases { qkv: bias, o: bias, feed_forward: fields.flag("mlp_bias")? };
    let activation = activation(fields, "hidden_act", Activation::Silu)?;
    let layers = layers(config, biases, activation, |_, layer| {
        layer.attention.scale = scale;
        layer.residual_scale = residual_scale;
    });
    Ok(Decoder {
        embedding_scale: factor("embedding_multiplier")?,
        logits_scale: (1.0 / fields.positive("logits_scaling")?.unwrap_or(1.0)) as f32,
        ..Decoder::standard(config, layers)
    })
}
