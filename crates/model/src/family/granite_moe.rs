//! Granite with experts in every layer, all experts of a layer in one tensor, gate over up.

use super::{Family, Row, check_experts, granite};
use crate::decoder::{Decoder, ExpertFeedForward, FeedForward, FusedRows, Tensor};
use crate::fields::Fields;
use crate::graph::Activation;
use crate::{Config, ModelError};

pub(super) const ROW: Row = Row {
    family: Family::GraniteMoe,
    architectures: &["GraniteMoeForCausalLM", "GraniteMoeModel"],
    model_type: "granitemoe",
    describe,
    ..granite::ROW
};

fn describe(fields: &Fields, config: &Config) -> Result<Decoder, ModelError> {
    let &Config { hidden, intermediate, .. } = config;
    let experts = fields.size("num_local_experts", super::EXPERT_LIMIT)?.unwrap_or(8);
    let active = fields.size("num_experts_per_tok", super::EXPERT_LIMIT)?.unwrap_or(2);
    check_experts(active, experts)?;
    let activation = super::activation(fields, "hidden_act", Activation::Silu)?;
    let mut decoder = granite::describe(fields, config)?;
    for (number, layer) in decoder.layers.iter_mut().enumerate() {
        let at = |name: &str| format!("model.layers.{number}.block_sparse_moe.{name}");
        let half = |part, start| {
            let fields = "num_local_experts, 2 * intermediate_size, hidden_size";
            let rows = FusedRows::slice(start, intermediate, 2 * intermediate);
            let both = Tensor::experts(&at("input_linear.weight"), [experts, intermediate, hidden], fields);
            both.or(&at("experts.gate_up_proj")).viewed(part, false, Some(rows))
        };
        let down = Tensor::experts(
            &at("output_linear.weight"),
            [experts, hidden, intermediate],
            "num_local_experts, hidden_size, intermediate_size",
        );
        let router = Tensor::matrix(&at("router.layer.weight"), [experts, hidden], "num_local_experts, hidden_size");
        layer.feed_forward = FeedForward::Experts(ExpertFeedForward {
            router: router.or(&at("router.weight")),
            gate: half("gate", 0),
            up: half("up", intermediate),
            down: down.or(&at("experts.down_proj")),
            activation,
            active,
            normalise: true,
            shared: None,
        });
    }
    Ok(decoder)
}
