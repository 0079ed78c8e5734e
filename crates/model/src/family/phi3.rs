//! Phi-3 and Phi-4: Llama with queries, keys and values in one matrix, gate and up in another; both are read row by row
//! as separate ones.

use super::{Biases, Family, Rotary, Row, activation, layers, llama, window};
use crate::decoder::{Decoder, FeedForward, FusedRows, KEY, Projection, QUERY, WIDEN};
use crate::fields::Fields;
use crate::graph::Activation;
use crate::{Config, ModelError};

pub(super) const ROW: Row = Row {
    family: Family::Phi3,
    architectures: &["Phi3ForCausalLM", "Phi3Model"],
    model_type: "phi3",
    norm_eps: 1e-5,
    max_positions: 4096,
    rotary: Rotary::Share(1.0),
    rotary_kinds: &[("su", "longrope"), ("yarn", "longrope")],
    eos: Some(32_000),
    describe,
    ..llama::ROW
};

fn describe(fields: &Fields, config: &Config) -> Result<Decoder, ModelError> {
    let &Config { hidden, heads, kv_heads, head_dim, intermediate, .. } = config;
    let window = window(fields, None)?;
    let activation = activation(fields, "hidden_act", Activation::Silu)?;
    let (queries, keys) = (heads * head_dim, kv_heads * head_dim);
    let all = queries + 2 * keys;
    let layers = layers(config, Biases::default(), activation, |number, layer| {
        let part = |module: &str, part, fields, start, count, total| {
            let module = format!("model.layers.{number}.{module}");
            Projection::new(&module, [count, hidden], fields, false).viewed(
                part,
                false,
                Some(FusedRows::slice(start, count, total)),
            )
        };
        layer.attention.q = part("self_attn.qkv_proj", "q", QUERY, 0, queries, all);
        layer.attention.k = part("self_attn.qkv_proj", "k", KEY, queries, keys, all);
        layer.attention.v = part("self_attn.qkv_proj", "v", KEY, queries + keys, keys, all);
        layer.attention.window = window;
        if let FeedForward::Gated { gate, up, .. } = &mut layer.feed_forward {
            *gate = part("mlp.gate_up_proj", "gate", WIDEN, 0, intermediate, 2 * intermediate);
            *up = part("mlp.gate_up_proj", "up", WIDEN, intermediate, intermediate, 2 * intermediate);
        }
    });
    Ok(Decoder::standard(config, layers))
}
