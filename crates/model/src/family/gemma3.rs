//! Gemma 3, its text model: Gemma 2 with a norm of each query and key head, five layers with a window for each one
//! without, and another rotary base in those that have one.

use super::{Family, LocalRotary, Row, gemma2, windowed_layers};
use crate::decoder::{Decoder, HeadNorm};
use crate::fields::Fields;
use crate::{Config, ModelError};

pub(super) const ROW: Row = Row {
    family: Family::Gemma3,
    architectures: &["Gemma3ForCausalLM", "Gemma3TextModel", "Gemma3ForConditionalGeneration"],
    model_type: "gemma3_text",
    max_positions: 131_072,
    theta: 1_000_000.0,
    local_rotary: Some(LocalRotary { name: Some("rope_local_base_freq"), theta: 10_000.0 }),
    wrapped: &[("vocab_size", 262_208), ("num_attention_heads", 8), ("num_key_value_heads", 4)],
    describe,
    ..gemma2::ROW
};

fn describe(fields: &Fields, config: &Config) -> Result<Decoder, ModelError> {
    let every = fields.size("sliding_window_pattern", 1 << 12)?.unwrap_or(6);
    let windowed = windowed_layers(fields, config, |layer| (layer + 1) % every != 0)?;
    let mut decoder = gemma2::with(fields, config, &windowed, [None, None])?;
    for (number, layer) in decoder.layers.iter_mut().enumerate() {
        layer.norm_each_head(config, number);
        for norm in layer.attention.head_norms.iter_mut().flatten() {
            let (HeadNorm::Each { weight, .. } | HeadNorm::Whole { weight, .. }) = norm;
            weight.view.shift = 1.0;
        }
        layer.attention.rotary_table = usize::from(windowed[number]);
    }
    Ok(decoder)
}
