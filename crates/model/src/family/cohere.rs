//! Cohere: one layer norm without bias before attention and feed-forward side by side, neighbouring elements of a head
//! rotated together, scaled logits.

use super::{Biases, Family, FieldNames, Row, activation, layers, llama, refuse};
use crate::decoder::{Decoder, Norm};
use crate::fields::Fields;
use crate::graph::Activation;
use crate::{Config, ModelError};

pub(super) const ROW: Row = Row {
    family: Family::Cohere,
    architectures: &["CohereForCausalLM", "CohereModel"],
    model_type: "cohere",
    names: FieldNames { norm_eps: "layer_norm_eps", ..llama::NAMES },
    norm_eps: 1e-5,
    tied: true,
    max_positions: 8192,
    theta: 500_000.0,
    bos: Some(5),
    eos: Some(255_001),
    describe,
    ..llama::ROW
};

fn describe(fields: &Fields, config: &Config) -> Result<Decoder, ModelError> {
    refuse(fields, &["use_qk_norm"], "norms of single heads with weights of their own")?;
    let bias = fields.flag("attention_bias")?;
    let biases = Biases { qkv: bias, o: bias, feed_forward: false };
    let activation = activation(fields, "hidden_act", Activation::Silu)?;
    let layers = layers(config, biases, activation, |number, layer| {
        layer.attention_norm =
            Some(Norm::layer(config, &format!("model.layers.{number}.input_layernorm")).without_bias());
        layer.feed_forward_norm = None;
        layer.parallel = true;
        for projection in [&mut layer.attention.q, &mut layer.attention.k] {
            for tensor in std::iter::once(&mut projection.weight).chain(&mut projection.bias) {
                tensor.view.paired = Some(config.head_dim);
            }
        }
    });
    Ok(Decoder {
        norm: Norm::layer(config, "model.norm").without_bias(),
        logits_scale: fields.positive("logit_scale")?.unwrap_or(0.0625) as f32,
        ..Decoder::standard(config, layers)
    })
}
