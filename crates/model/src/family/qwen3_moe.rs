//! Qwen3 with experts in every layer.

use super::{Biases, Family, FieldNames, Row, activation, check_experts, expert_layers, layers, llama, window};
use crate::decoder::{Decoder, ExpertFeedForward, FeedForward, Tensor};
use crate::fields::Fields;
use crate::graph::Activation;
use crate::{Config, ModelError};

pub(super) const ROW: Row = Row {
    family: Family::Qwen3Moe,
    architectures: &["Qwen3MoeForCausalLM", "Qwen3MoeModel"],
    model_type: "qwen3_moe",
    // With experts in every layer the width of a dense feed-forward is the width of nothing.
    names: FieldNames { intermediate: "moe_intermediate_size", ..llama::NAMES },
    max_positions: 32_768,
    bos: None,
    eos: None,
    describe,
    ..llama::ROW
};

fn describe(fields: &Fields, config: &Config) -> Result<Decoder, ModelError> {
    let &Config { hidden, intermediate, .. } = config;
    expert_layers(fields)?;
    let window = if fields.flag("use_sliding_window")? { window(fields, Some(4096))? } else { None };
    let activation = activation(fields, "hidden_act", Activation::Silu)?;
    let stored = if fields.get("num_experts").is_some() { "num_experts" } else { "num_local_experts" };
    let experts = fields.size(stored, super::EXPERT_LIMIT)?.unwrap_or(128);
    let active = fields.size("num_experts_per_tok", super::EXPERT_LIMIT)?.unwrap_or(8);
    check_experts(active, experts)?;
    let normalise = fields.flag("norm_topk_prob")?;
    let bias = fields.flag("attention_bias")?;
    let biases = Biases { qkv: bias, o: bias, feed_forward: false };
    let layers = layers(config, biases, activation, |number, layer| {
        let at = |name: &str| format!("model.layers.{number}.mlp.{name}.weight");
        let stack = |name: &str, shape: [usize; 2], fields| {
            Tensor::experts(&at(&format!("experts.*.{name}_proj")), [experts, shape[0], shape[1]], fields)
        };
        layer.attention.window = window;
        layer.norm_each_head(config, number);
        layer.feed_forward = FeedForward::Experts(ExpertFeedForward {
            router: Tensor::matrix(&at("gate"), [experts, hidden], "num_experts, hidden_size"),
            gate: stack("gate", [intermediate, hidden], "num_experts, moe_intermediate_size, hidden_size"),
            up: stack("up", [intermediate, hidden], "num_experts, moe_intermediate_size, hidden_size"),
            down: stack("down", [hidden, intermediate], "num_experts, hidden_size, moe_intermediate_size"),
            activation,
            active,
            shared: None,
            normalise,
        });
    });
    Ok(Decoder::standard(config, layers))
}
