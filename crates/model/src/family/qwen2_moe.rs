//! Qwen2 with experts in every layer, and one more that every token takes to a share of its own.

use super::{
    Biases, Family, FieldNames, Row, activation, check_experts, expert_layers, layers, llama, qwen2, window,
    windowed_layers,
};
use crate::decoder::{
    Decoder, ExpertFeedForward, FeedForward, FusedRows, NARROW, Projection, SharedExpert, Tensor, WIDEN,
};
use crate::fields::Fields;
use crate::graph::Activation;
use crate::{Config, ModelError};

pub(super) const ROW: Row = Row {
    family: Family::Qwen2Moe,
    architectures: &["Qwen2MoeForCausalLM", "Qwen2MoeModel"],
    model_type: "qwen2_moe",
    // With experts in every layer the width of a dense feed-forward is the width of nothing.
    names: FieldNames { intermediate: "moe_intermediate_size", ..llama::NAMES },
    describe,
    ..qwen2::ROW
};

fn describe(fields: &Fields, config: &Config) -> Result<Decoder, ModelError> {
    let &Config { hidden, intermediate, .. } = config;
    expert_layers(fields)?;
    let window = if fields.flag("use_sliding_window")? { window(fields, Some(4096))? } else { None };
    let below = fields.count("max_window_layers")?.unwrap_or(28);
    let windowed = windowed_layers(fields, config, |layer| window.is_some() && layer % 2 == 0 && layer < below)?;
    let activation = activation(fields, "hidden_act", Activation::Silu)?;
    let experts = fields.size("num_experts", super::EXPERT_LIMIT)?.unwrap_or(60);
    let active = fields.size("num_experts_per_tok", super::EXPERT_LIMIT)?.unwrap_or(4);
    check_experts(active, experts)?;
    let normalise = fields.flag("norm_topk_prob")?;
    let always = fields.size("shared_expert_intermediate_size", super::WIDTH_LIMIT)?.unwrap_or(5632);
    let biases = Biases { qkv: fields.flag_or("qkv_bias", true)?, ..Biases::default() };
    let layers = layers(config, biases, activation, |number, layer| {
        let at = |name: &str| format!("model.layers.{number}.mlp.{name}");
        let stack = |name: &str, shape: [usize; 2], fields| {
            Tensor::experts(&at(&format!("experts.*.{name}_proj.weight")), [experts, shape[0], shape[1]], fields)
        };
        let shared = |name: &str, shape, fields| {
            Projection::new(&at(&format!("shared_expert.{name}_proj")), shape, fields, false)
        };
        let once = FusedRows { total: 1, start: 0, block: 1, stride: 0 };
        let share = Tensor::matrix(&at("shared_expert_gate.weight"), [hidden, hidden], "1, hidden_size");
        layer.attention.window = if windowed[number] { window } else { None };
        layer.feed_forward = FeedForward::Experts(ExpertFeedForward {
            router: Tensor::matrix(&at("gate.weight"), [experts, hidden], "num_experts, hidden_size"),
            gate: stack("gate", [intermediate, hidden], "num_experts, moe_intermediate_size, hidden_size"),
            up: stack("up", [intermediate, hidden], "num_experts, moe_intermediate_size, hidden_size"),
            down: stack("down", [hidden, intermediate], "num_experts, hidden_size, moe_intermediate_size"),
            activation,
            active,
            normalise,
            shared: Some(Box::new(SharedExpert {
                expert: FeedForward::Gated {
                    gate: shared("gate", [always, hidden], ["shared_expert_intermediate_size, hidden_size", WIDEN[1]]),
                    up: shared("up", [always, hidden], ["shared_expert_intermediate_size, hidden_size", WIDEN[1]]),
                    down: shared("down", [hidden, always], ["hidden_size, shared_expert_intermediate_size", NARROW[1]]),
                    activation,
                },
                share: share.viewed("", false, Some(once)),
            })),
        });
    });
    Ok(Decoder::standard(config, layers))
}
