//! Mixtral: Mistral with experts in place of the feed-forward.

use super::{Biases, Family, Row, activation, check_experts, layers, llama, window};
use crate::decoder::{Decoder, ExpertFeedForward, FeedForward, Tensor};
use crate::fields::Fields;
use crate::graph::Activation;
use crate::{Config, ModelError};

pub(super) const ROW: Row = Row {
    family: Family::Mixtral,
    architectures: &["MixtralForCausalLM", "MixtralModel"],
    model_type: "mixtral",
    norm_eps: 1e-5,
    max_positions: 4096 * 32,
    theta: 1_000_000.0,
    describe,
    ..llama::ROW
};

fn describe(fields: &Fields, config: &Config) -> Result<Decoder, ModelError> {
    let &Config { hidden, intermediate, .. } = config;
    let window = window(fields, None)?;
    let activation = activation(fields, "hidden_act", Activation::Silu)?;
    let experts = fields.size("num_local_experts", super::EXPERT_LIMIT)?.unwrap_or(8);
    let active = fields.size("num_experts_per_tok", super::EXPERT_LIMIT)?.unwrap_or(2);
    check_experts(active, experts)?;
    let layers = layers(config, Biases::default(), activation, |number, layer| {
        let at = |name: &str| format!("model.layers.{number}.block_sparse_moe.{name}.weight");
        let stack = |name: &str, shape: [usize; 2], fields| {
            Tensor::experts(&at(&format!("experts.*.{name}")), [experts, shape[0], shape[1]], fields)
        };
        layer.attention.window = window;
        layer.feed_forward = FeedForward::Experts(ExpertFeedForward {
            router: Tensor::matrix(&at("gate"), [experts, hidden], "num_local_experts, hidden_size"),
            gate: stack("w1", [intermediate, hidden], "num_local_experts, intermediate_size, hidden_size"),
            up: stack("w3", [intermediate, hidden], "num_local_experts, intermediate_size, hidden_size"),
            down: stack("w2", [hidden, intermediate], "num_local_experts, hidden_size, intermediate_size"),
            activation,
            active,
            normalise: true,
            shared: None,
        });
    });
    Ok(Decoder::standard(config, layers))
}
