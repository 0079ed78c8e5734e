//! Ministral: Mistral whose layers have a window or none, as `layer_types` says.

use super::{Family, Row, mistral, window, windowed_layers};
use crate::decoder::Decoder;
use crate::fields::Fields;
use crate::{Config, ModelError};

pub(super) const ROW: Row = Row {
    family: Family::Ministral,
    architectures: &["MinistralForCausalLM", "MinistralModel"],
    model_type: "ministral",
    describe,
    ..mistral::ROW
};

fn describe(fields: &Fields, config: &Config) -> Result<Decoder, ModelError> {
    let window = window(fields, Some(4096))?;
    let windowed = windowed_layers(fields, config, |_| window.is_some())?;
    let mut decoder = mistral::describe(fields, config)?;
    for (layer, windowed) in decoder.layers.iter_mut().zip(windowed) {
        layer.attention.window = if windowed { window } else { None };
    }
    Ok(decoder)
}
