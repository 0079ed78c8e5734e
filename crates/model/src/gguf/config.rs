//! The `config.json` that says what a GGUF file's metadata say.

use serde_json::{Map, Value, json};

use super::architecture::{Architecture, FieldKind, WINDOW};
use super::reader::{Metadata, MetadataValue as Item};
use super::{GgufError, SplitFile};
use crate::family::{Rotary, Row};

/// Metadata values that change the arithmetic, where no architecture reads them, the value that changes nothing, and
/// what others ask for.
const NEUTRAL: &[(&str, f64, &str)] = &[
    (WINDOW, 0.0, "a sliding window"),
    ("attention.scale", 0.0, "another scale of scores"),
    ("attention.max_alibi_bias", 0.0, "biases of positions"),
    ("attention.clamp_kqv", 0.0, "clamped queries, keys and values"),
    ("attn_logit_softcapping", 0.0, "a soft cap of scores"),
    ("final_logit_softcapping", 0.0, "a soft cap of logits"),
    ("router_logit_softcapping", 0.0, "a soft cap of the router"),
    ("embedding_scale", 1.0, "a scaled embedding"),
    ("residual_scale", 1.0, "scaled residual sums"),
    ("logit_scale", 1.0, "scaled logits"),
    ("expert_count", 0.0, "experts"),
    ("expert_shared_count", 0.0, "shared experts"),
    ("expert_shared_feed_forward_length", 0.0, "shared experts"),
    ("expert_gating_func", 1.0, "another function of the router"),
    ("expert_weights_scale", 1.0, "scaled experts"),
    ("leading_dense_block_count", 0.0, "layers without experts"),
    ("nextn_predict_layers", 0.0, "layers that predict further tokens"),
];

/// A factor of cosines and sines.
const ATTENTION_FACTOR: &str = "rope.scaling.attn_factor";

/// Most rotary factors taken: one for each pair of a head.
const FACTORS: usize = 1 << 12;

/// A config made from metadata.
pub(super) struct ConvertedConfig {
    pub(super) config: Value,
    /// Metadata keys (or tensors) by the config fields that were made from them.
    pub(super) keys: Keys,
}

/// What config fields are called in a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys(Vec<(String, String)>);

impl Keys {
    /// A message about config fields as one about metadata.
    pub(super) fn translate(&self, message: &str) -> String {
        let message = message.strip_prefix("config.json: ").unwrap_or(message);
        let mut text = String::new();
        for word in
            message.split_inclusive(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_' && letter != '.')
        {
            let name = word.trim_end_matches(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
            let key = self.0.iter().find(|(field, _)| field == name);
            text += key.map_or(name, |(_, key)| key);
            text += &word[name.len()..];
        }
        text
    }
}

struct Maker<'a> {
    parts: &'a [SplitFile],
    architecture: &'static Architecture,
    config: Map<String, Value>,
    keys: Vec<(String, String)>,
}

/// The metadata as a config.
pub(super) fn make(parts: &[SplitFile], architecture: &'static Architecture) -> Result<ConvertedConfig, GgufError> {
    let row = architecture.family.row();
    let mut maker = Maker { parts, architecture, config: Map::new(), keys: Vec::new() };
    maker.refuse()?;
    maker.sizes(row)?;
    maker.heads(row)?;
    if row.rotary != Rotary::Absent {
        maker.rope(row)?;
    }
    maker.own()?;
    maker.tokens()?;
    Ok(ConvertedConfig { config: Value::Object(maker.config), keys: Keys(maker.keys) })
}

impl Maker<'_> {
    fn metadata(&self) -> &Metadata {
        &self.parts[0].contents.metadata
    }

    /// Sets a field, made from a key, unless there is nothing to set.
    fn set(&mut self, field: &str, key: &str, value: Value) {
        self.keys.push((field.to_owned(), key.to_owned()));
        if !value.is_null() {
            self.config.insert(field.to_owned(), value);
        }
    }

    fn whole(&self, name: &str) -> Result<Option<u64>, GgufError> {
        self.metadata().whole_or_equal(&self.architecture.key(name))
    }

    fn number(&self, name: &str) -> Result<Option<f64>, GgufError> {
        self.metadata().number(&self.architecture.key(name))
    }

    fn has(&self, tensors: &[&str]) -> bool {
        tensors.iter().any(|tensor| self.parts.iter().any(|part| part.contents.tensors.contains_key(*tensor)))
    }

    /// Refuses what would change the arithmetic and is not read.
    fn refuse(&self) -> Result<(), GgufError> {
        for &(name, neutral, what) in NEUTRAL {
            if self.architecture.reads(name) {
                continue;
            }
            let key = self.architecture.key(name);
            if let Some(found) = self.metadata().number(&key)?
                && found != neutral
            {
                return Err(GgufError::Unsupported { key, found: found.to_string(), what });
            }
        }
        let key = self.architecture.key("attention.causal");
        if self.metadata().flag(&key)? == Some(false) {
            return Err(GgufError::Unsupported { key, found: "false".to_owned(), what: "attention to later tokens" });
        }
        Ok(())
    }

    fn sizes(&mut self, row: &Row) -> Result<(), GgufError> {
        let (names, kind) = (&row.names, self.architecture);
        self.set("architectures", "general.architecture", json!([row.architectures[0]]));
        let mut sizes = vec![
            (names.hidden, "embedding_length"),
            (names.layers, "block_count"),
            (names.heads, "attention.head_count"),
            (names.intermediate, kind.width),
            (names.positions, "context_length"),
        ];
        sizes.extend(names.kv_heads.map(|name| (name, "attention.head_count_kv")));
        for (field, name) in sizes {
            let value = self.whole(name)?;
            self.set(field, &kind.key(name), json!(value));
        }
        let eps = self.number(kind.epsilon)?;
        self.set(names.norm_eps, &kind.key(kind.epsilon), json!(eps));
        let table = self.parts.iter().find_map(|part| part.contents.tensors.get("token_embd.weight"));
        let rows = table.and_then(|table| table.shape.get(1).copied());
        self.set("vocab_size", "rows of token_embd.weight", json!(rows));
        let tied = !self.has(&["output.weight"]);
        self.set("tie_word_embeddings", "output.weight", json!(tied));
        let biased = self.has(&["blk.0.attn_q.bias", "blk.0.attn_qkv.bias"]);
        self.set("attention_bias", "blk.0.attn_q.bias", json!(biased));
        let biased = self.has(&["blk.0.ffn_gate.bias", "blk.0.ffn_up.bias"]);
        self.set("mlp_bias", "blk.0.ffn_up.bias", json!(biased));
        Ok(())
    }

    /// Elements of a head, by default those of the width over all heads.
    fn heads(&mut self, row: &Row) -> Result<(), GgufError> {
        const KEYS: &str = "attention.key_length";
        const VALUES: &str = "attention.value_length";
        let stated = self.whole(KEYS)?;
        if let (Some(keys), Some(values)) = (stated, self.whole(VALUES)?)
            && keys != values
        {
            let key = self.architecture.key(VALUES);
            return Err(GgufError::Unsupported {
                key,
                found: values.to_string(),
                what: "values of another size than keys",
            });
        }
        let rotated = if row.rotary == Rotary::Whole { self.whole("rope.dimension_count")? } else { None };
        let width = match (self.whole("embedding_length")?, self.whole("attention.head_count")?) {
            (Some(hidden), Some(heads)) if heads > 0 && hidden % heads == 0 => Some(hidden / heads),
            _ => None,
        };
        let key = self.architecture.key(if stated.is_some() { KEYS } else { "rope.dimension_count" });
        self.set("head_dim", &key, json!(stated.or(rotated).or(width)));
        Ok(())
    }

    /// The rotary parameters; factors of single frequencies are in a tensor.
    fn rope(&mut self, row: &Row) -> Result<(), GgufError> {
        let head_dim = self.config.get("head_dim").and_then(Value::as_u64);
        let theta = self.number("rope.freq_base")?.unwrap_or(10_000.0);
        let mut parameters = Map::from_iter([("rope_theta".to_owned(), json!(theta))]);
        self.rotated_share(row, head_dim, &mut parameters)?;
        let kind = self.metadata().text(&self.architecture.key("rope.scaling.type"))?;
        let own = self.attention_factor()?;
        let scaling = self.scaling(kind, own)?;
        let original = self.whole("rope.scaling.original_context_length")?;
        let entries = scaling.into_iter().chain([("original_max_position_embeddings", json!(original))]);
        parameters.extend(entries.filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.to_owned(), value)));
        for (field, name) in [("rope_theta", "rope.freq_base"), ("factor", "rope.scaling.factor")] {
            self.keys.push((format!("rope_parameters.{field}"), self.architecture.key(name)));
        }
        self.keys.push(("rope_parameters.factors".to_owned(), "rope_freqs.weight".to_owned()));
        let takes = matches!(parameters.get("rope_type").and_then(Value::as_str), Some("yarn" | "longrope"));
        if let Some(found) = own.filter(|own| *own != 1.0 && !takes) {
            let key = self.architecture.key(ATTENTION_FACTOR);
            return Err(GgufError::Unsupported {
                key,
                found: found.to_string(),
                what: "scaled rotations without `yarn` or `longrope`",
            });
        }
        // Some architectures have the field outside.
        if let Some(original) = original {
            self.set(
                "original_max_position_embeddings",
                &self.architecture.key("rope.scaling.original_context_length"),
                json!(original),
            );
        }
        self.set("rope_parameters", &self.architecture.key("rope.scaling.type"), Value::Object(parameters));
        Ok(())
    }

    /// How much of a head is rotated, where the family leaves it open.
    fn rotated_share(
        &mut self,
        row: &Row,
        head_dim: Option<u64>,
        parameters: &mut Map<String, Value>,
    ) -> Result<(), GgufError> {
        const DIMENSIONS: &str = "rope.dimension_count";
        if let (Some(head_dim), Some(rotated)) = (head_dim, self.whole(DIMENSIONS)?)
            && head_dim != rotated
        {
            let key = self.architecture.key(DIMENSIONS);
            if !matches!(row.rotary, Rotary::Share(_)) || rotated > head_dim {
                return Err(GgufError::Unsupported {
                    key,
                    found: rotated.to_string(),
                    what: "heads of which a part is rotated",
                });
            }
            parameters.insert("partial_rotary_factor".to_owned(), json!(share(rotated, head_dim)));
            self.keys.push((row.names.rotary_share.to_owned(), key));
        } else if matches!(row.rotary, Rotary::Share(_)) {
            parameters.insert("partial_rotary_factor".to_owned(), json!(1.0));
        }
        Ok(())
    }

    /// The kind of the rotary frequencies with its fields, `null` where the file has none.
    fn scaling(&self, kind: Option<&str>, own: Option<f64>) -> Result<Vec<(&'static str, Value)>, GgufError> {
        let [freqs, short, long] = ["rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight"]
            .map(|tensor| self.vector(tensor));
        Ok(match (kind, freqs?, short?, long?) {
            (_, Some(factors), ..) => vec![("rope_type", json!("factors")), ("factors", json!(factors))],
            (_, None, Some(short), Some(long)) => vec![
                ("rope_type", json!("longrope")),
                ("short_factor", json!(short)),
                ("long_factor", json!(long)),
                ("attention_factor", json!(own)),
            ],
            (None | Some("none"), ..) => {
                // Files before `rope.scaling.type` have the factor alone.
                let factor = self.number("rope.scale_linear")?.filter(|factor| *factor != 1.0);
                let kind = if factor.is_some() { "linear" } else { "default" };
                vec![("rope_type", json!(kind)), ("factor", json!(factor))]
            }
            (Some(kind), ..) => {
                let factor = self.number("rope.scaling.factor")?;
                let mut fields = vec![("rope_type", json!(kind)), ("factor", json!(factor))];
                if kind == "yarn" {
                    // As llama.cpp has it: a factor of the file times that of the scaling.
                    let scaling = factor.filter(|factor| *factor > 1.0).unwrap_or(1.0);
                    let times = 0.1 * lpu_num::fp64::ln(scaling) + 1.0;
                    fields.extend([
                        ("beta_fast", json!(self.number("rope.scaling.yarn_beta_fast")?)),
                        ("beta_slow", json!(self.number("rope.scaling.yarn_beta_slow")?)),
                        ("attention_factor", json!(own.filter(|own| *own != 1.0).map(|own| own * times))),
                    ]);
                }
                fields
            }
        })
    }

    /// A factor of cosines and sines that the file gives.
    fn attention_factor(&self) -> Result<Option<f64>, GgufError> {
        let factor = self.number(ATTENTION_FACTOR)?;
        match factor {
            Some(factor) if !(factor > 0.0 && factor.is_finite()) => Err(GgufError::ValueKind {
                key: self.architecture.key(ATTENTION_FACTOR),
                expected: "a finite number above 0",
            }),
            _ => Ok(factor),
        }
    }

    /// The numbers of a tensor that stands for metadata.
    fn vector(&self, name: &str) -> Result<Option<Vec<f32>>, GgufError> {
        let found = self.parts.iter().find_map(|part| Some((part, part.contents.tensors.get(name)?)));
        let Some((part, tensor)) = found else { return Ok(None) };
        match (tensor.dtype, &tensor.shape[..]) {
            (Some(dtype), [count]) if *count <= FACTORS => {
                Ok(Some((0..*count).map(|index| dtype.element(&part.bytes[tensor.start..], index)).collect()))
            }
            _ => Err(GgufError::Vector {
                tensor: name.to_owned(),
                kind: tensor.type_name.clone(),
                shape: tensor.shape.clone(),
            }),
        }
    }

    /// The family's own fields.
    fn own(&mut self) -> Result<(), GgufError> {
        for &(field, name, kind) in self.architecture.fields {
            let key = self.architecture.key(name);
            let value = match kind {
                FieldKind::Number => json!(self.number(name)?),
                FieldKind::Whole => json!(self.whole(name)?),
                FieldKind::Flag => json!(self.metadata().flag(&key)?),
                FieldKind::Has => json!(self.has(&[&format!("blk.0.{name}")])),
                FieldKind::Lacks => json!(!self.has(&[&format!("blk.0.{name}")])),
                FieldKind::Windowed => json!(self.metadata().list(&key, "a list of truth values", windowed)?),
                FieldKind::Window => {
                    // No window is a `null` that is there.
                    let window = self.whole(name)?.filter(|window| *window > 0);
                    self.config.insert(field.to_owned(), json!(window));
                    json!(window)
                }
            };
            self.set(field, &key, value);
        }
        (self.architecture.complete)(&mut self.config);
        Ok(())
    }

    fn tokens(&mut self) -> Result<(), GgufError> {
        let id = |name: &str| self.metadata().whole(&format!("tokenizer.ggml.{name}_token_id"));
        let bos = id("bos")?;
        let stops: Vec<u64> = [id("eos")?, id("eot")?].into_iter().flatten().collect();
        self.set("bos_token_id", "tokenizer.ggml.bos_token_id", Value::Null);
        self.set("eos_token_id", "tokenizer.ggml.eos_token_id", json!(stops));
        self.config.insert("bos_token_id".to_owned(), json!(bos));
        Ok(())
    }
}

/// The layer type of a truth value: whether the layer has a window.
fn windowed(item: &Item) -> Option<&'static str> {
    match item {
        Item::Bool(true) => Some("sliding_attention"),
        Item::Bool(false) => Some("full_attention"),
        _ => None,
    }
}

/// The share that gives back `part` of `whole` when it is multiplied and cut to a whole number.
fn share(part: u64, whole: u64) -> f64 {
    let share = part as f64 / whole as f64;
    if ((whole as f64 * share) as u64) < part { share.next_up() } else { share }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_give_back_the_parts() {
        for whole in 1..=512u64 {
            for part in 1..=whole {
                assert_eq!((whole as f64 * share(part, whole)) as u64, part, "{part} of {whole}");
            }
        }
    }

    #[test]
    fn messages_name_what_the_file_names() {
        let keys = Keys(vec![("hidden_size".into(), "llama.embedding_length".into()), ("a.b".into(), "c.d".into())]);
        assert_eq!(
            keys.translate("config.json: `hidden_size` is missing; add it."),
            "`llama.embedding_length` is missing; add it."
        );
        assert_eq!(keys.translate("x_hidden_size, a.b. hidden_size"), "x_hidden_size, c.d. llama.embedding_length");
    }
}
