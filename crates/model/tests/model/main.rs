//! Tests of this crate through its public items, in one binary.

mod bad_tensors;
mod config;
mod families;
mod gguf;
mod graph;
mod interpret;
mod logits;
mod open;
mod parallel;
mod rotary;
mod shapes;
mod support;
#[cfg(feature = "tokenizer")]
mod tokenizer;
