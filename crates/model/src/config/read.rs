//! Reading a config: sizes, constants and what the family makes of the rest.

use serde_json::{Map, Value, json};

use super::Config;
use crate::decoder::Decoder;
use crate::family::{Rotary, Row};
use crate::fields::Fields;
use crate::json::{self, NoObject};
use crate::{Dtype, Family, ModelError, Rope};

/// Largest hidden, intermediate, head and vocabulary size taken: with it and [`LAYER_LIMIT`], the
/// bytes of a whole model stay countable in 64 bits.
const SIZE_LIMIT: usize = 1 << 22;
/// Most heads taken.
const HEAD_LIMIT: usize = 1 << 16;
/// Most layers taken; a graph has about fifteen nodes a layer.
const LAYER_LIMIT: usize = 1 << 12;
/// Most positions taken: every position fits a `u32`.
const POSITION_LIMIT: usize = 1 << 31;

impl Config {
    /// Reads the text of a `config.json`.
    ///
    /// Both spellings of the rotary parameters (`rope_theta` with `rope_scaling`, and
    /// `rope_parameters`) and of the type (`dtype`, `torch_dtype`) are taken. Absent fields have
    /// the values that the `transformers` package gives them, except that the sizes must be there.
    ///
    /// # Errors
    /// Syntax, a missing size, an impossible or unsupported value; each names the field.
    pub fn from_json(json: &[u8]) -> Result<Config, ModelError> {
        Config::from_object(parse_object(json)?)
    }

    fn from_object(object: Map<String, Value>) -> Result<Config, ModelError> {
        let architecture = Family::from_fields(&Fields::new(&object))?;
        let row = architecture.row();
        let names = &row.names;
        refuse_quantized(&Fields::new(&object))?;
        let text = text_part(&object, row)?;
        let fields = Fields::new(text.as_ref().unwrap_or(&object));

        let hidden = fields.required_size(names.hidden, SIZE_LIMIT)?;
        let HeadSizes { heads, kv_heads, head_dim } = HeadSizes::of(&fields, row, hidden)?;
        let intermediate = match (fields.size(names.intermediate, SIZE_LIMIT)?, row.widening) {
            (Some(given), _) => given,
            (None, Some(factor)) => factor * hidden,
            (None, None) => return Err(ModelError::MissingField { field: names.intermediate.to_owned() }),
        };
        let max_positions = fields.size(names.positions, POSITION_LIMIT)?.unwrap_or(row.max_positions);
        let learned = row.rotary == Rotary::Absent;
        let (ropes, share) = if learned { (Vec::new(), 0.0) } else { Rope::from_fields(&fields, row, max_positions)? };
        let rotary_dim = (head_dim as f64 * share) as usize;
        if !rotary_dim.is_multiple_of(2) || (rotary_dim == 0 && !learned) {
            return Err(ModelError::OddHeadDim { rotary_dim });
        }

        ropes.iter().try_for_each(|rope| rope.check(rotary_dim))?;

        let mut config = Config {
            architecture,
            vocab: fields.required_size("vocab_size", SIZE_LIMIT)?,
            hidden,
            intermediate,
            layers: fields.required_size(names.layers, LAYER_LIMIT)?,
            heads,
            kv_heads,
            head_dim,
            rotary_dim,
            norm_eps: norm_eps(&fields, row)?,
            tie_embeddings: fields.flag_or("tie_word_embeddings", row.tied)?,
            ropes,
            max_positions,
            learned_positions: learned.then_some(max_positions),
            bos: bos(&fields, row)?,
            stop_ids: stop_ids(&fields, row)?,
            dtype: match fields.text("dtype")? {
                Some(name) => Dtype::from_name(name),
                None => fields.text("torch_dtype")?.and_then(Dtype::from_name),
            },
            decoder: Decoder::empty(),
            source: Map::new(),
        };
        config.decoder = (row.describe)(&fields, &config)?;
        if config.tie_embeddings {
            // Of a table that both ends use, some files have the head's copy alone.
            config.decoder.embedding.alias.get_or_insert_with(|| "lm_head.weight".to_owned());
        }
        config.source = object;
        config.note_ids();
        Ok(config)
    }

    /// This config with a head of its own in place of the embedding table.
    pub(crate) fn untied(&self) -> Result<Config, ModelError> {
        let mut object = self.source.clone();
        object.insert("tie_word_embeddings".to_owned(), json!(false));
        Config::from_object(object)
    }

    /// Adds the stop ids of a `generation_config.json`.
    pub(crate) fn add_generation(&mut self, json: &[u8]) -> Result<(), ModelError> {
        let bad = |detail: String| ModelError::BadGenerationConfig { detail };
        let object = json::object(json).map_err(|fault| bad(fault.detail))?;
        let ids = Fields::new(&object).token_ids("eos_token_id");
        self.stop_ids
            .extend(ids.map_err(|_| bad("`eos_token_id` is neither a token id nor a list of token ids".to_owned()))?);
        self.stop_ids.sort_unstable();
        self.stop_ids.dedup();
        self.note_ids();
        Ok(())
    }
}

/// Heads of an attention and their size.
struct HeadSizes {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl HeadSizes {
    fn of(fields: &Fields, row: &Row, hidden: usize) -> Result<Self, ModelError> {
        let names = &row.names;
        let heads = fields.required_size(names.heads, HEAD_LIMIT)?;
        let kv_heads = names.kv_heads.map_or(Ok(None), |name| fields.size(name, HEAD_LIMIT))?.unwrap_or(heads);
        if heads % kv_heads != 0 {
            return Err(ModelError::HeadsNotDivisible { heads, kv_heads });
        }
        // A family whose matrices are square has no `head_dim` of its own.
        let stated =
            if names.kv_heads.is_some() { fields.size("head_dim", SIZE_LIMIT)?.or(row.head_dim) } else { None };
        let head_dim = match stated {
            Some(head_dim) => head_dim,
            None if hidden.is_multiple_of(heads) => hidden / heads,
            None => return Err(ModelError::HiddenNotDivisible { hidden, heads }),
        };
        if heads * head_dim > SIZE_LIMIT {
            return Err(ModelError::TooLarge {
                field: "num_attention_heads * head_dim".to_owned(),
                value: (heads * head_dim) as u64,
                limit: SIZE_LIMIT as u64,
            });
        }
        Ok(Self { heads, kv_heads, head_dim })
    }
}

/// Refuses tensors in a quantised format.
fn refuse_quantized(fields: &Fields) -> Result<(), ModelError> {
    for key in ["quantization", "quantization_config"] {
        if fields.get(key).is_none() {
            continue;
        }
        if let Some(object) = fields.object(key)?
            && let (Some(group_size), Some(bits)) = (object.count("group_size")?, object.count("bits")?)
            && object.get("quant_method").is_none()
        {
            return Err(ModelError::MlxQuantized { field: key, group_size, bits });
        }
        return Err(ModelError::Quantized { field: key });
    }
    Ok(())
}

/// The fields of a text model inside a larger one's config, with the ids and types that are alongside it; nothing for a
/// config of its own.
fn text_part(object: &Map<String, Value>, row: &Row) -> Result<Option<Map<String, Value>>, ModelError> {
    const BESIDE: [&str; 5] = ["bos_token_id", "eos_token_id", "tie_word_embeddings", "dtype", "torch_dtype"];
    if row.wrapped.is_empty() || Fields::new(object).object("text_config")?.is_none() {
        return Ok(None);
    }
    let Some(Value::Object(inner)) = object.get("text_config") else { return Ok(None) };
    let mut text = inner.clone();
    for key in BESIDE {
        if let Some(value) = object.get(key) {
            text.insert(key.to_owned(), value.clone());
        }
    }
    for &(key, size) in row.wrapped {
        text.entry(key).or_insert(json!(size));
    }
    Ok(Some(text))
}

fn parse_object(json: &[u8]) -> Result<Map<String, Value>, ModelError> {
    json::object(json).map_err(|NoObject { detail, hint }| ModelError::ConfigSyntax { detail, hint })
}

fn norm_eps(fields: &Fields, row: &Row) -> Result<f32, ModelError> {
    let name = row.names.norm_eps;
    let value = fields.number(name)?.unwrap_or(row.norm_eps);
    let eps = value as f32;
    if eps.is_finite() && eps >= 0.0 {
        return Ok(eps);
    }
    Err(ModelError::OutOfRange { field: name.to_owned(), value, rule: "at least 0 and finite in float32" })
}

/// Absent means the family's, `null` means none.
fn bos(fields: &Fields, row: &Row) -> Result<Option<u32>, ModelError> {
    if !fields.has("bos_token_id") {
        return Ok(row.bos);
    }
    Ok(fields.token_ids("bos_token_id")?.first().copied())
}

/// Absent means the family's, `null` means none.
fn stop_ids(fields: &Fields, row: &Row) -> Result<Vec<u32>, ModelError> {
    if !fields.has("eos_token_id") {
        return Ok(row.eos.into_iter().collect());
    }
    let mut ids = fields.token_ids("eos_token_id")?;
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

impl TryFrom<Value> for Config {
    type Error = ModelError;

    fn try_from(value: Value) -> Result<Config, ModelError> {
        match value {
            Value::Object(object) => Config::from_object(object),
            other => {
                let detail = format!("expected an object, found {}", json::kind(&other));
                Err(ModelError::ConfigSyntax { detail, hint: "it must be one JSON object" })
            }
        }
    }
}
