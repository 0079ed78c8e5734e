//! OLMo 2: norms after each half instead of before, and of whole queries and keys.

use super::{Biases, Family, Row, activation, layers, llama};
use crate::decoder::{Decoder, HeadNorm, Norm, Tensor};
use crate::fields::Fields;
use crate::graph::Activation;
use crate::{Config, ModelError};

pub(super) const ROW: Row = Row {
    family: Family::Olmo2,
    architectures: &["Olmo2ForCausalLM", "Olmo2Model"],
    model_type: "olmo2",
    norm_eps: 1e-5,
    bos: None,
    eos: Some(50_279),
    describe,
    ..llama::ROW
};

pub(super) fn describe(fields: &Fields, config: &Config) -> Result<Decoder, ModelError> {
    let activation = activation(fields, "hidden_act", Activation::Silu)?;
    let bias = fields.flag("attention_bias")?;
    let biases = Biases { qkv: bias, o: bias, feed_forward: false };
    let layers = layers(config, biases, activation, |number, layer| {
        let at = |name: &str| format!("model.layers.{number}.{name}");
        let whole = |name: &str, heads: usize, fields| HeadNorm::Whole {
            weight: Tensor::vector(&at(&format!("self_attn.{name}.weight")), heads * config.head_dim, fields),
            eps: config.norm_eps,
        };
        layer.attention_norm = None;
        layer.after_attention = Some(Norm::rms(config, &at("post_attention_layernorm")));
        layer.feed_forward_norm = None;
        layer.after_feed_forward = Some(Norm::rms(config, &at("post_feedforward_layernorm")));
        let norms = [
            whole("q_norm", config.heads, "num_attention_heads * head_dim"),
            whole("k_norm", config.kv_heads, "num_key_value_heads * head_dim"),
        ];
        layer.attention.head_norms = Some(norms);
    });
    Ok(Decoder::standard(config, layers))
}
