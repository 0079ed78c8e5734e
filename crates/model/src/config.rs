//! The checked contents of `config.json`.
//!
//! Both generations of the file are read (see [`Config::from_json`]). [`Config::to_json`] writes the
//! fields that were read, so that a config kept in a compiled file goes through the same checks when it is read.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

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

/// Shape and constants of a model. All sizes are in elements and at least 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
#[non_exhaustive]
pub struct Config {
    /// The family, which decides the graph.
    pub architecture: Family,
    /// Number of token ids, and of logits.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width inside a feed-forward, or inside one expert.
    pub intermediate: usize,
    /// Number of layers.
    pub layers: usize,
    /// Query heads; a multiple of `kv_heads`.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Elements of one head; `heads * head_dim` need not be `hidden`.
    pub head_dim: usize,
    /// Elements of a head that are rotated, even; 0 in a model without rotary embedding.
    pub rotary_dim: usize,
    /// Added to the mean square, or the variance, in every norm; finite, not negative.
    pub norm_eps: f32,
    /// Whether the head uses the embedding table.
    pub tie_embeddings: bool,
    /// Rotary frequencies, by the number that rotations in the graph name: one set, or two where layers with a window
    /// have their own.
    pub ropes: Vec<Rope>,
    /// Positions that the model was made for. It limits nothing here unless positions are learned.
    pub max_positions: usize,
    /// Rows of the table of learned positions, which no position may reach; `None` in a model without one.
    pub learned_positions: Option<usize>,
    /// Id that starts a text, if the model has one.
    pub bos: Option<u32>,
    /// Ids that end a text, ascending, each once.
    pub stop_ids: Vec<u32>,
    /// Type in which the config says that the weights are stored. The tensors' own types count.
    pub dtype: Option<Dtype>,
    /// What the family makes of the rest.
    pub(crate) decoder: Decoder,
    /// The fields as they were read.
    source: Map<String, Value>,
}

impl Config {
    /// The greatest position that has a rotary row: its angle, in radians, is at most the greatest that
    /// `lpu_num` takes the sine of.
    pub const LAST_POSITION: u32 = (lpu_num::fp64::ANGLE_LIMIT * crate::rope::LEAST_FACTOR) as u32;

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
            None if hidden % heads == 0 => hidden / heads,
            None => return Err(ModelError::HiddenNotDivisible { hidden, heads }),
        };
        if heads * head_dim > SIZE_LIMIT {
            return Err(ModelError::TooLarge {
                field: "num_attention_heads * head_dim".to_owned(),
                value: (heads * head_dim) as u64,
                limit: SIZE_LIMIT as u64,
            });
        }
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

    /// Writes the ids into the fields, as they are after defaults and additions.
    fn note_ids(&mut self) {
        self.source.insert("bos_token_id".to_owned(), json!(self.bos));
        self.source.insert("eos_token_id".to_owned(), json!(self.stop_ids));
    }

    /// This config with a head of its own in place of the embedding table.
    pub(crate) fn untied(&self) -> Result<Config, ModelError> {
        let mut object = self.source.clone();
        object.insert("tie_word_embeddings".to_owned(), json!(false));
        Config::from_object(object)
    }

    /// The sliding windows of the layers, each once; `None` where a layer sees all positions.
    pub fn windows(&self) -> Vec<Option<usize>> {
        let mut windows: Vec<Option<usize>> = self.decoder.layers.iter().map(|layer| layer.attention.window).collect();
        windows.sort_unstable();
        windows.dedup();
        windows
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

    /// This config as the text of a `config.json` that [`Config::from_json`] reads back as the one that was read: its
    /// fields, with the ids as they are.
    pub fn to_json(&self) -> String {
        Value::Object(self.source.clone()).to_string()
    }

    /// Numbers of the sets of [`Config::ropes`] that some layer uses, ascending.
    pub fn rotary_tables(&self) -> Vec<usize> {
        let rotated = self.decoder.layers.iter().filter(|layer| layer.attention.rotary_dim > 0);
        let mut tables: Vec<usize> = rotated.map(|layer| layer.attention.rotary_table).collect();
        tables.sort_unstable();
        tables.dedup();
        tables
    }

    /// Cosines and sines that rotate queries and keys at a position with a set of [`Config::ropes`], in a program
    /// compiled for a context: two vectors of `rotary_dim / 2`, for the pairs (i, i + rotary_dim / 2) of every head.
    ///
    /// # Panics
    /// If the position is above [`Config::LAST_POSITION`], or there is no such set.
    pub fn rotary_row(&self, table: usize, pos: u32, context: usize) -> (Vec<f32>, Vec<f32>) {
        assert!(pos <= Config::LAST_POSITION, "position {pos}");
        self.ropes[table].row(self.rotary_dim, pos, context)
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

impl From<Config> for Value {
    fn from(config: Config) -> Value {
        Value::Object(config.source)
    }
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
