//! StableLM: Llama with layer norms, part of each head rotated, and attention and feed-forward side by side if asked
//! for.

use super::{Biases, Family, FieldNames, Rotary, Row, activation, layers, llama, refuse};
use crate::decoder::{Decoder, Norm};
use crate::fields::Fields;
use crate::graph::Activation;
use crate::{Config, ModelError};

pub(super) const ROW: Row = Row {
    family: Family::StableLm,
    architectures: &["StableLmForCausalLM", "StableLmModel"],
    model_type: "stablelm",
    names: FieldNames { norm_eps: "layer_norm_eps", ..llama::NAMES },
    norm_eps: 1e-5,
    max_positions: 4096,
    rotary: Rotary::Share(0.25),
    bos: Some(0),
    eos: Some(0),
    describe,
    ..llama::ROW
};

fn describe(fields: &Fields, config: &Config) -> Result<Decoder, ModelError> {
    refuse(fields, &["qk_layernorm"], "norms of single heads with weights of their own")?;
    let parallel = fields.flag("use_parallel_residual")?;
    let biases = Biases { qkv: fields.flag("use_qkv_bias")?, ..Biases::default() };
    let activation = activation(fields, "hidden_act", Activation::Silu)?;
    let layers = layers(config, biases, activation, |number, layer| {
        let norm = |name: &str| Norm::layer(config, &format!("model.layers.{number}.{name}"));
        layer.attention_norm = Some(norm("input_layernorm"));
        layer.feed_forward_norm = (!parallel).then(|| norm("post_attention_layernorm"));
        layer.parallel = parallel;
    });
    Ok(Decoder { norm: Norm::layer(config, "model.norm"), ..Decoder::standard(config, layers) })
}
