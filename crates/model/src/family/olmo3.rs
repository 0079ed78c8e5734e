//! OLMo 3: OLMo 2 with windows in three of four layers, which keep the plain rotary frequencies when those of the
//! others are scaled.

use super::{Family, LocalRotary, Row, olmo2, window, windowed_layers};
use crate::decoder::Decoder;
use crate::fields::Fields;
use crate::{Config, ModelError};

pub(super) const ROW: Row = Row {
    family: Family::Olmo3,
    architectures: &["Olmo3ForCausalLM", "Olmo3Model"],
    model_type: "olmo3",
    theta: 500_000.0,
    local_rotary: Some(LocalRotary { name: None, theta: 500_000.0 }),
    describe,
    ..olmo2::ROW
};

fn describe(fields: &Fields, config: &Config) -> Result<Decoder, ModelError> {
    let window = window(fields, Some(4096))?;
    let windowed = windowed_layers(fields, config, |layer| (layer + 1) % 4 != 0)?;
    let mut decoder = olmo2::describe(fields, config)?;
    for (layer, windowed) in decoder.layers.iter_mut().zip(windowed) {
        layer.attention.window = if windowed { window } else { None };
        layer.attention.rotary_table = usize::from(windowed);
    }
    Ok(decoder)
}
