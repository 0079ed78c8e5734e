//! The checked contents of `config.json`.
//!
//! Both generations of the file are read (see [`Config::from_json`]). [`Config::to_json`] writes the
//! fields that were read, so that a config kept in a compiled file goes through the same checks when it is read.

mod read;
mod rotary;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::decoder::Decoder;
use crate::{Dtype, Family, Rope};

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

    /// Writes the ids into the fields, as they are after defaults and additions.
    fn note_ids(&mut self) {
        self.source.insert("bos_token_id".to_owned(), json!(self.bos));
        self.source.insert("eos_token_id".to_owned(), json!(self.stop_ids));
    }

    /// The sliding windows of the layers, each once; `None` where a layer sees all positions.
    pub fn windows(&self) -> Vec<Option<usize>> {
        let mut windows: Vec<Option<usize>> = self.decoder.layers.iter().map(|layer| layer.attention.window).collect();
        windows.sort_unstable();
        windows.dedup();
        windows
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

impl From<Config> for Value {
    fn from(config: Config) -> Value {
        Value::Object(config.source)
    }
}
