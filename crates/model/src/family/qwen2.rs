//! Qwen2 and Qwen2.5: Llama with biases on queries, keys and values, and windows in the upper layers if asked for.

use super::{Biases, Family, Row, activation, layers, llama, qwen_windows};
use crate::decoder::Decoder;
use crate::fields::Fields;
use crate::graph::Activation;
use crate::{Config, ModelError};

pub(super) const ROW: Row = Row {
    family: Family::Qwen2,
    architectures: &["Qwen2ForCausalLM", "Qwen2Model"],
    model_type: "qwen2",
    max_positions: 32_768,
    bos: None,
    eos: None,
    describe,
    ..llama::ROW
};

fn describe(fields: &Fields, config: &Config) -> Result<Decoder, ModelError> {
    let windows = qwen_windows(fields, config)?;
    let activation = activation(fields, "hidden_act", Activation::Silu)?;
    let biases = Biases { qkv: true, ..Biases::default() };
    Ok(Decoder::standard(
        config,
        layers(config, biases, activation, |number, layer| layer.attention.window = windows[number]),
    ))
}
