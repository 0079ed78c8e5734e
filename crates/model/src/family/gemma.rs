//! Gemma: Llama with norm weights stored less 1, the embedding scaled by the root of its width, tanh GELU.

use super::{Biases, Family, Row, activation, layers, llama, refuse};
use crate::decoder::Decoder;
use crate::fields::Fields;
use crate::graph::Activation;
use crate::{Config, ModelError};

pub(super) const ROW: Row = Row {
    family: Family::Gemma,
    architectures: &["GemmaForCausalLM", "GemmaModel"],
    model_type: "gemma",
    tied: true,
    head_dim: Some(256),
    max_positions: 8192,
    bos: Some(2),
    eos: Some(1),
    describe,
    ..llama::ROW
};

fn describe(fields: &Fields, config: &Config) -> Result<Decoder, ModelError> {
    refuse(fields, &["use_bidirectional_attention"], "attention to later tokens")?;
    // Older configs say `gelu` and mean its approximation; `hidden_activation` is a later name that stayed without
    // effect.
    let activation = match activation(fields, "hidden_act", Activation::GeluTanh)? {
        Activation::Gelu => Activation::GeluTanh,
        other => other,
    };
    let bias = fields.flag("attention_bias")?;
    let biases = Biases { qkv: bias, o: bias, feed_forward: false };
    let layers = layers(config, biases, activation, |_, layer| {
        for norm in [&mut layer.attention_norm, &mut layer.feed_forward_norm] {
            *norm = norm.take().map(|norm| norm.plus_one());
        }
    });
    let standard = Decoder::standard(config, layers);
    let embedding_scale = (config.hidden as f64).sqrt() as f32;
    Ok(Decoder { embedding_scale, norm: standard.norm.clone().plus_one(), ..standard })
}
