//! Hugging Face folders, GGUF files and tokenizers, read into a decode graph with its weights.
//!
//! The way of the data through this crate: a folder, a GGUF file or bytes embedded in a program become a
//! [`Checkpoint`], which owns
//!
//! - a [`Config`]: the checked contents of `config.json`, which also gives the rotary row of a position;
//! - a [`Graph`]: the decode step of one token as a list of operations over vectors;
//! - [`Weights`]: the tensors that the graph names, read in place from mapped files;
//! - a [`Tokenizer`], if there is a `tokenizer.json` and the feature `tokenizer` is on.
//!
//! Everything that can be wrong with a checkpoint is found by [`Checkpoint::open`] and reported as a
//! [`ModelError`]; after that, building graphs and reading rows cannot fail.

mod checkpoint;
mod config;
mod decode_step;
mod decoder;
mod dtype;
mod error;
mod family;
mod fields;
mod folder;
mod gguf;
mod graph;
mod header;
mod json;
mod rope;
mod shapes;
#[cfg(feature = "tokenizer")]
mod tokenizer;
mod weights;

pub use checkpoint::Checkpoint;
pub use config::Config;
pub use dtype::Dtype;
pub use error::ModelError;
pub use family::Family;
pub use gguf::GgufError;
pub use graph::{
    Activation, Block, Boundary, Cache, CacheId, Cuts, Graph, HeadShard, Mask, Node, NodeId, Op, Shard, ShardError,
    Value, ValueId, WeightId,
};
pub use rope::Rope;
pub use shapes::KnownShape;
#[cfg(feature = "tokenizer")]
pub use tokenizer::{TextStream, Tokenizer};
pub use weights::Weights;
