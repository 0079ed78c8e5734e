//! The models whose shapes are known by name, with what they take: what `lpu models` lists.

use lpu_compiler::{Precision, weight_bytes};
use lpu_model::{KnownShape, ModelError};
use serde::Serialize;

/// A model whose shape is known by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KnownModel {
    /// The name that commands take.
    pub name: &'static str,
    /// Its family, the `model_type` of its config.
    pub family: &'static str,
    /// Elements of all tensors; a tied embedding counts once.
    pub parameters: usize,
    /// What chips hold of its weights.
    pub bytes: WeightBytes,
    /// Layers.
    pub layers: usize,
    /// Positions that it was made for.
    pub context: usize,
    /// Where its figures are published.
    pub source: &'static str,
}

/// Bytes of weights on chips by number format, as [`lpu_compiler::weight_bytes`] counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct WeightBytes {
    /// int8 weights and activations.
    pub w8a8: u64,
    /// int8 weights, fp16 activations.
    pub w8a16: u64,
    /// fp16 weights and activations.
    pub f16: u64,
}

impl KnownModel {
    /// All models, by name.
    ///
    /// # Errors
    /// [`ModelError`] when a shape is refused.
    pub fn all() -> Result<Vec<Self>, ModelError> {
        KnownShape::all().iter().map(Self::new).collect()
    }

    fn new(shape: &'static KnownShape) -> Result<Self, ModelError> {
        let checkpoint = shape.checkpoint()?;
        let bytes = |precision| weight_bytes(&checkpoint, precision);
        Ok(Self {
            name: &shape.name,
            family: checkpoint.config.architecture.model_type(),
            parameters: checkpoint.weights().parameters(),
            bytes: WeightBytes {
                w8a8: bytes(Precision::W8A8),
                w8a16: bytes(Precision::W8A16),
                f16: bytes(Precision::F16),
            },
            layers: checkpoint.config.layers,
            context: checkpoint.config.max_positions,
            source: &shape.source,
        })
    }
}
