//! Gemma 2: norms before and after each half with weights stored less 1, soft caps on scores and logits, every other
//! layer with a window, the embedding scaled by the root of its width, tanh GELU.

use super::{Biases, Family, Row, activation, inverse_root, layers, llama, refuse, window, windowed_layers};
use crate::decoder::{Decoder, Norm};
use crate::fields::Fields;
use crate::graph::Activation;
use crate::{Config, ModelError};

pub(super) const ROW: Row = Row {
    family: Family::Gemma2,
    architectures: &["Gemma2ForCausalLM", "Gemma2Model"],
    model_type: "gemma2",
    tied: true,
    head_dim: Some(256),
    max_positions: 8192,
    bos: Some(2),
    eos: Some(1),
    describe,
    ..llama::ROW
};

/// A soft cap: `default` when the field is absent, none when it is `null`.
fn cap(fields: &Fields, key: &str, default: Option<f32>) -> Result<Option<f32>, ModelError> {
    if !fields.has(key) {
        return Ok(default);
    }
    Ok(fields.positive(key)?.map(|cap| cap as f32))
}

fn describe(fields: &Fields, config: &Config) -> Result<Decoder, ModelError> {
    let windowed = windowed_layers(fields, config, |layer| layer % 2 == 0)?;
    with(fields, config, &windowed, [Some(50.0), Some(30.0)])
}

/// The description with these layers windowed, and these soft caps of scores and logits when the config gives none.
pub(super) fn with(
    fields: &Fields,
    config: &Config,
    windowed: &[bool],
    caps: [Option<f32>; 2],
) -> Result<Decoder, ModelError> {
    refuse(fields, &["use_bidirectional_attention"], "attention to later tokens")?;
    let window = window(fields, Some(4096))?;
    let scale = inverse_root(fields.positive("query_pre_attn_scalar")?.unwrap_or(256.0));
    let softcap = cap(fields, "attn_logit_softcapping", caps[0])?;
    let logits_cap = cap(fields, "final_logit_softcapping", caps[1])?;
    let activation = activation(fields, "hidden_activation", Activation::GeluTanh)?;
    let bias = fields.flag("attention_bias")?;
    let biases = Biases { qkv: bias, o: bias, feed_forward: false };
    let layers = layers(config, biases, activation, |number, layer| {
        let norm = |name: &str| Some(Norm::rms(config, &format!("model.layers.{number}.{name}")).plus_one());
        layer.attention_norm = norm("input_layernorm");
        layer.after_attention = norm("post_attention_layernorm");
        layer.feed_forward_norm = norm("pre_feedforward_layernorm");
        layer.after_feed_forward = norm("post_feedforward_layernorm");
        layer.attention.scale = scale;
        layer.attention.softcap = softcap;
        layer.attention.window = if windowed[number] { window } else { None };
    });
    let standard = Decoder::standard(config, layers);
    let embedding_scale = (config.hidden as f64).sqrt() as f32;
    Ok(Decoder { embedding_scale, norm: standard.norm.clone().plus_one(), logits_cap, ..standard })
}
