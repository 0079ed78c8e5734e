//! SmolLM3: Llama with layers without rotary embedding, by default every fourth.

use super::{Biases, Family, Row, activation, layers, llama, window, windowed_layers};
use crate::decoder::Decoder;
use crate::fields::Fields;
use crate::graph::Activation;
use crate::{Config, ModelError};

pub(super) const ROW: Row = Row {
    family: Family::SmolLm3,
    architectures: &["SmolLM3ForCausalLM", "SmolLM3Model"],
    model_type: "smollm3",
    tied: true,
    max_positions: 32_768,
    theta: 2_000_000.0,
    bos: Some(128_000),
    eos: Some(128_001),
    describe,
    ..llama::ROW
};

fn describe(fields: &Fields, config: &Config) -> Result<Decoder, ModelError> {
    let every = fields.size("no_rope_layer_interval", 1 << 12)?.unwrap_or(4);
    let rotated = match fields.counts("no_rope_layers")? {
        Some(given) if given.len() < config.layers => {
            return Err(ModelError::ListLength { field: "no_rope_layers", found: given.len(), layers: config.layers });
        }
        Some(given) => given.into_iter().map(|rotated| rotated != 0).collect::<Vec<bool>>(),
        None => (0..config.layers).map(|layer| (layer + 1) % every != 0).collect(),
    };
    let window = if fields.flag("use_sliding_window")? { window(fields, None)? } else { None };
    let windowed = windowed_layers(fields, config, |layer| window.is_some() && !rotated[layer])?;
    let bias = fields.flag("attention_bias")?;
    let biases = Biases { qkv: bias, o: bias, feed_forward: fields.flag("mlp_bias")? };
    let activation = activation(fields, "hidden_act", Activation::Silu)?;
    let layers = layers(config, biases, activation, |number, layer| {
        if !rotated[number] {
            layer.attention.rotary_dim = 0;
        }
        layer.attention.window = if windowed[number] { window } else { None };
    });
    Ok(Decoder::standard(config, layers))
}
