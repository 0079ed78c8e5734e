//! The families of models: one file a family, from its fields in `config.json` to the description of its decoder.
//!
//! A family is a [`Row`]: its names, its defaults (those of the `transformers` package), and a function that reads what
//! is its own and describes the decoder. A new family is one file and its line in `ROWS`.

mod cohere;
mod gemma;
mod gemma2;
mod gemma3;
mod gpt2;
mod gpt_neox;
mod granite;
mod granite_moe;
mod llama;
mod ministral;
mod mistral;
mod mixtral;
mod name;
mod olmo2;
mod olmo3;
mod phi;
mod phi3;
mod qwen2;
mod qwen2_moe;
mod qwen3;
mod qwen3_moe;
mod smollm3;
mod stablelm;
mod standard;

use crate::decoder::Decoder;
use crate::fields::Fields;
use crate::graph::Activation;
use crate::{Config, ModelError};
pub use name::Family;
use standard::{Biases, check_experts, inverse_root, layers};

/// What there is to know about a family. Defaults are those of the `transformers` package.
pub(crate) struct Row {
    pub(crate) family: Family,
    /// Names in `architectures`; the first is the one written.
    pub(crate) architectures: &'static [&'static str],
    /// Name in `model_type`, which decides when `architectures` is absent.
    pub(crate) model_type: &'static str,
    /// Prefix that the tensors of the bare model lack.
    pub(crate) prefix: &'static str,
    pub(crate) names: FieldNames,
    pub(crate) norm_eps: f64,
    pub(crate) tied: bool,
    /// Elements of a head when `head_dim` is absent; `hidden / heads` when this is, too.
    pub(crate) head_dim: Option<usize>,
    pub(crate) max_positions: usize,
    /// Width of the feed-forward over that of the stream when the config gives none; `None` where it must.
    pub(crate) widening: Option<usize>,
    pub(crate) rotary: Rotary,
    /// Rotary base when a config gives none.
    pub(crate) theta: f64,
    /// The base of layers with a window, in a family where they have another one.
    pub(crate) local_rotary: Option<LocalRotary>,
    /// Names of rotary types that mean another one here.
    pub(crate) rotary_kinds: &'static [(&'static str, &'static str)],
    /// Where the family is also the text part of a larger model (`text_config`): the sizes that its config may leave
    /// out there.
    pub(crate) wrapped: &'static [(&'static str, usize)],
    pub(crate) bos: Option<u32>,
    pub(crate) eos: Option<u32>,
    /// Reads what is the family's own. The config has everything but the description.
    pub(crate) describe: fn(&Fields, &Config) -> Result<Decoder, ModelError>,
}

/// Names of the fields that every family has under one name or another.
#[derive(Clone, Copy)]
pub(crate) struct FieldNames {
    pub(crate) hidden: &'static str,
    pub(crate) layers: &'static str,
    pub(crate) heads: &'static str,
    /// Absent where every query head has its own keys and values.
    pub(crate) kv_heads: Option<&'static str>,
    pub(crate) intermediate: &'static str,
    pub(crate) positions: &'static str,
    pub(crate) norm_eps: &'static str,
    pub(crate) theta: &'static str,
    /// Share of a head that is rotated.
    pub(crate) rotary_share: &'static str,
}

/// How much of a head a family rotates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rotary {
    /// Nothing: positions are learned.
    Absent,
    /// All of it.
    Whole,
    /// The share that the config gives, by default this.
    Share(f64),
}

/// The rotary base of layers with a window.
pub(crate) struct LocalRotary {
    /// Field that gives it, alongside a set of parameters of its own.
    pub(crate) name: Option<&'static str>,
    /// The base when a config gives none.
    pub(crate) theta: f64,
}

/// Most experts taken.
const EXPERT_LIMIT: usize = 1 << 12;
/// Largest width of an expert that every token takes.
const WIDTH_LIMIT: usize = 1 << 22;

const ROWS: [&Row; 22] = [
    &llama::ROW,
    &mistral::ROW,
    &qwen2::ROW,
    &qwen3::ROW,
    &gemma2::ROW,
    &phi3::ROW,
    &gpt2::ROW,
    &gpt_neox::ROW,
    &olmo2::ROW,
    &granite::ROW,
    &mixtral::ROW,
    &qwen3_moe::ROW,
    &gemma::ROW,
    &gemma3::ROW,
    &smollm3::ROW,
    &qwen2_moe::ROW,
    &stablelm::ROW,
    &phi::ROW,
    &cohere::ROW,
    &granite_moe::ROW,
    &olmo3::ROW,
    &ministral::ROW,
];

impl Family {
    /// The family that a config asks for.
    pub(crate) fn from_fields(fields: &Fields) -> Result<Family, ModelError> {
        let names = fields.texts("architectures")?;
        let model_type = fields.text("model_type")?;
        let row = ROWS.iter().find(|row| match names.first() {
            Some(name) => row.architectures.contains(name),
            None => model_type == Some(row.model_type),
        });
        row.map(|row| row.family).ok_or_else(|| {
            let supported: Vec<&str> = ROWS.iter().map(|row| row.architectures[0]).collect();
            let found = match (names.first(), model_type) {
                (Some(name), _) => format!("\"{name}\""),
                (None, Some(name)) => format!("of `model_type` \"{name}\""),
                (None, None) => "(neither `architectures` nor `model_type` is given)".to_owned(),
            };
            ModelError::UnknownArchitecture { found, supported: supported.join(", ") }
        })
    }

    /// The name in `architectures`, for example `LlamaForCausalLM`.
    pub fn architecture(self) -> &'static str {
        self.row().architectures[0]
    }

    /// The name in `model_type`, for example `llama`.
    pub fn model_type(self) -> &'static str {
        self.row().model_type
    }

    /// All families.
    pub fn all() -> impl Iterator<Item = Family> {
        ROWS.iter().map(|row| row.family)
    }

    pub(crate) fn row(self) -> &'static Row {
        ROWS.iter().find(|row| row.family == self).expect("every family has a row")
    }
}

/// The function that a field names.
fn activation(fields: &Fields, key: &str, default: Activation) -> Result<Activation, ModelError> {
    let Some(name) = fields.text(key)? else { return Ok(default) };
    Activation::from_name(name).ok_or_else(|| ModelError::UnknownActivation {
        field: fields.name(key),
        found: name.to_owned(),
        supported: Activation::names(),
    })
}

/// A sliding window; `default` when the field is absent, none when it is `null`.
fn window(fields: &Fields, default: Option<usize>) -> Result<Option<usize>, ModelError> {
    if fields.has("sliding_window") { fields.size("sliding_window", 1 << 31) } else { Ok(default) }
}

/// The layers that `layer_types` gives a window; `default` decides for each layer when the field is absent.
fn windowed_layers(fields: &Fields, config: &Config, default: impl Fn(usize) -> bool) -> Result<Vec<bool>, ModelError> {
    let types = fields.texts("layer_types")?;
    if types.is_empty() {
        return Ok((0..config.layers).map(default).collect());
    }
    if types.len() != config.layers {
        return Err(ModelError::LayerTypes { found: types.len(), layers: config.layers });
    }
    let windowed = |kind: &&str| match *kind {
        "sliding_attention" => Ok(true),
        "full_attention" => Ok(false),
        other => Err(ModelError::UnknownLayerType { found: other.to_owned() }),
    };
    types.iter().map(windowed).collect()
}

/// The window of each layer in the way of Qwen: none unless `use_sliding_window`, then from layer `max_window_layers`
/// on.
fn qwen_windows(fields: &Fields, config: &Config) -> Result<Vec<Option<usize>>, ModelError> {
    let window = if fields.flag("use_sliding_window")? { window(fields, Some(4096))? } else { None };
    let from = fields.count("max_window_layers")?.unwrap_or(28);
    let windowed = windowed_layers(fields, config, |layer| window.is_some() && layer >= from)?;
    let given = windowed.into_iter().map(|windowed| if windowed { window } else { None });
    Ok(given.collect())
}

/// Refuses a config with experts in some layers only.
fn expert_layers(fields: &Fields) -> Result<(), ModelError> {
    refuse(fields, &["mlp_only_layers"], "layers without experts")?;
    match fields.count("decoder_sparse_step")? {
        None | Some(1) => Ok(()),
        _ => Err(ModelError::UnsupportedField {
            field: fields.name("decoder_sparse_step"),
            what: "layers without experts",
        }),
    }
}

/// Refuses a field that is set to something other than `false`, nothing or an empty list.
fn refuse(fields: &Fields, keys: &[&str], what: &'static str) -> Result<(), ModelError> {
    let set = |key: &&&str| match fields.get(key) {
        None | Some(serde_json::Value::Bool(false)) => false,
        Some(serde_json::Value::Array(items)) => !items.is_empty(),
        Some(_) => true,
    };
    match keys.iter().find(set) {
        Some(key) => Err(ModelError::UnsupportedField { field: fields.name(key), what }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_belong_to_one_family() {
        let mut names: Vec<&str> = ROWS.iter().flat_map(|row| row.architectures).copied().collect();
        names.extend(ROWS.iter().map(|row| row.model_type));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for row in ROWS {
            assert_eq!(row.family.row().model_type, row.model_type);
        }
    }
}
