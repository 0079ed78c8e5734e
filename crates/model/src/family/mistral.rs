//! Mistral: Llama with a sliding window in every layer.

use super::{Biases, Family, Row, activation, layers, llama, window};
use crate::decoder::Decoder;
use crate::fields::Fields;
use crate::graph::Activation;
use crate::{Config, ModelError};

pub(super) const ROW: Row = Row {
    family: Family::Mistral,
    architectures: &["MistralForCausalLM", "MistralModel"],
    model_type: "mistral",
    max_positions: 4096 * 32,
    describe,
    ..llama::ROW
};

pub(super) fn describe(fields: &Fields, config: &Config) -> Result<Decoder, ModelError> {
    let window = window(fields, Some(4096))?;
    let activation = activation(fields, "hidden_act", Activation::Silu)?;
    Ok(Decoder::standard(
        config,
        layers(config, Biases::default(), activation, |_, layer| layer.attention.window = window),
    ))
}
