//! The checked contents of `config.json`.
//!
//! Both generations of the file are read (see [`Config::from_json`]). [`Config::to_json`] writes the
//! current one, so that a config kept in a compiled file goes through the same checks when it is read.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::fields::Fields;
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
    /// Width inside a feed-forward.
    pub intermediate: usize,
    /// Number of layers.
    pub layers: usize,
    /// Query heads; a multiple of `kv_heads`.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Elements of one head, even; `heads * head_dim` need not be `hidden`.
    pub head_dim: usize,
    /// Added to the mean square in every norm; finite, not negative.
    pub norm_eps: f32,
    /// Whether the head uses the embedding table.
    pub tie_embeddings: bool,
    /// Whether the four projections of attention have biases.
    pub attention_bias: bool,
    /// Whether the three projections of the feed-forward have biases.
    pub mlp_bias: bool,
    /// Rotary frequencies.
    pub rope: Rope,
    /// Positions that the model was made for. It limits nothing here.
    pub max_positions: usize,
    /// Id that starts a text, if the model has one.
    pub bos: Option<u32>,
    /// Ids that end a text, ascending, each once.
    pub stop_ids: Vec<u32>,
    /// Type in which the config says that the weights are stored. The tensors' own types count.
    pub dtype: Option<Dtype>,
}

impl Config {
    /// The greatest position that has a rotary row: as an angle in radians, the greatest that
    /// `lpu_num` takes the sine of.
    pub const LAST_POSITION: u32 = lpu_num::fp64::ANGLE_LIMIT as u32;

    /// Reads the text of a `config.json`.
    ///
    /// Both spellings of the rotary parameters (`rope_theta` with `rope_scaling`, and
    /// `rope_parameters`) and of the type (`dtype`, `torch_dtype`) are taken. Absent fields have
    /// the values that the `transformers` package gives them, except that the sizes must be there.
    ///
    /// # Errors
    /// Syntax, a missing size, an impossible or unsupported value; each names the field.
    pub fn from_json(json: &[u8]) -> Result<Config, ModelError> {
        Config::from_object(&parse_object(json)?)
    }

    fn from_object(object: &Map<String, Value>) -> Result<Config, ModelError> {
        let fields = Fields::new(object);
        let architecture = Family::from_fields(&fields)?;
        if fields.get("quantization_config").is_some() {
            return Err(ModelError::Quantized);
        }
        match fields.text("hidden_act")? {
            None | Some("silu") => {}
            Some(other) => {
                return Err(ModelError::UnknownActivation { found: other.to_owned() });
            }
        }

        let hidden = fields.required_size("hidden_size", SIZE_LIMIT)?;
        let heads = fields.required_size("num_attention_heads", HEAD_LIMIT)?;
        let kv_heads = fields.size("num_key_value_heads", HEAD_LIMIT)?.unwrap_or(heads);
        if heads % kv_heads != 0 {
            return Err(ModelError::HeadsNotDivisible { heads, kv_heads });
        }
        let head_dim = match fields.size("head_dim", SIZE_LIMIT)? {
            Some(head_dim) => head_dim,
            None if hidden % heads == 0 => hidden / heads,
            None => return Err(ModelError::HiddenNotDivisible { hidden, heads }),
        };
        if head_dim % 2 != 0 {
            return Err(ModelError::OddHeadDim { head_dim });
        }
        if heads * head_dim > SIZE_LIMIT {
            return Err(ModelError::TooLarge {
                field: "num_attention_heads * head_dim".to_owned(),
                value: (heads * head_dim) as u64,
                limit: SIZE_LIMIT as u64,
            });
        }
        let max_positions = fields.size("max_position_embeddings", POSITION_LIMIT)?.unwrap_or(2048);

        Ok(Config {
            architecture,
            vocab: fields.required_size("vocab_size", SIZE_LIMIT)?,
            hidden,
            intermediate: fields.required_size("intermediate_size", SIZE_LIMIT)?,
            layers: fields.required_size("num_hidden_layers", LAYER_LIMIT)?,
            heads,
            kv_heads,
            head_dim,
            norm_eps: norm_eps(&fields)?,
            tie_embeddings: fields.flag("tie_word_embeddings")?,
            attention_bias: fields.flag("attention_bias")?,
            mlp_bias: fields.flag("mlp_bias")?,
            rope: Rope::from_fields(&fields, max_positions)?,
            max_positions,
            bos: bos(&fields)?,
            stop_ids: stop_ids(&fields)?,
            dtype: match fields.text("dtype")? {
                Some(name) => Dtype::from_name(name),
                None => fields.text("torch_dtype")?.and_then(Dtype::from_name),
            },
        })
    }

    /// Adds the stop ids of a `generation_config.json`.
    pub(crate) fn add_generation(&mut self, json: &[u8]) -> Result<(), ModelError> {
        let bad = |detail: String| ModelError::BadGenerationConfig { detail };
        let object: Map<String, Value> = serde_json::from_slice(json).map_err(|error| bad(error.to_string()))?;
        let ids = Fields::new(&object).token_ids("eos_token_id");
        self.stop_ids.extend(ids.map_err(|_| bad("`eos_token_id` is neither a token id nor a list of token ids".to_owned()))?);
        self.stop_ids.sort_unstable();
        self.stop_ids.dedup();
        Ok(())
    }

    /// This config as the text of a `config.json` that [`Config::from_json`] reads back as `self`.
    pub fn to_json(&self) -> String {
        Value::from(self.clone()).to_string()
    }

    /// Cosines and sines that rotate queries and keys at a position: two vectors of
    /// `head_dim / 2`, for the pairs (i, i + head_dim / 2) of every head.
    ///
    /// # Panics
    /// If the position is above [`Config::LAST_POSITION`].
    pub fn rotary_row(&self, pos: u32) -> (Vec<f32>, Vec<f32>) {
        assert!(pos <= Config::LAST_POSITION, "position {pos}");
        self.rope.row(self.head_dim, pos)
    }
}

fn parse_object(json: &[u8]) -> Result<Map<String, Value>, ModelError> {
    serde_json::from_slice(json).map_err(|error| ModelError::ConfigSyntax { detail: error.to_string() })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn norm_eps(fields: &Fields) -> Result<f32, ModelError> {
    let value = fields.number("rms_norm_eps")?.unwrap_or(1e-6);
    let eps = value as f32;
    if eps.is_finite() && eps >= 0.0 {
        return Ok(eps);
    }
    Err(ModelError::OutOfRange { field: "rms_norm_eps".to_owned(), value, rule: "at least 0 and finite in float32" })
}

/// Absent means 1, `null` means none.
fn bos(fields: &Fields) -> Result<Option<u32>, ModelError> {
    if !fields.has("bos_token_id") {
        return Ok(Some(1));
    }
    Ok(fields.token_ids("bos_token_id")?.first().copied())
}

/// Absent means 2, `null` means none.
fn stop_ids(fields: &Fields) -> Result<Vec<u32>, ModelError> {
    if !fields.has("eos_token_id") {
        return Ok(vec![2]);
    }
    let mut ids = fields.token_ids("eos_token_id")?;
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

impl From<Config> for Value {
    fn from(config: Config) -> Value {
        json!({
            "architectures": [config.architecture.architecture()],
            "model_type": config.architecture.model_type(),
            "vocab_size": config.vocab,
            "hidden_size": config.hidden,
            "intermediate_size": config.intermediate,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
            "num_key_value_heads": config.kv_heads,
            "head_dim": config.head_dim,
            "hidden_act": "silu",
            "rms_norm_eps": f64::from(config.norm_eps),
            "tie_word_embeddings": config.tie_embeddings,
            "attention_bias": config.attention_bias,
            "mlp_bias": config.mlp_bias,
            "rope_parameters": config.rope.to_value(),
            "max_position_embeddings": config.max_positions,
            "bos_token_id": config.bos,
            "eos_token_id": config.stop_ids,
            "dtype": config.dtype.map(Dtype::name),
        })
    }
}

impl TryFrom<Value> for Config {
    type Error = ModelError;

    fn try_from(value: Value) -> Result<Config, ModelError> {
        match value {
            Value::Object(object) => Config::from_object(&object),
            other => Err(ModelError::ConfigSyntax { detail: format!("expected an object, found {}", kind(&other)) }),
        }
    }
}
