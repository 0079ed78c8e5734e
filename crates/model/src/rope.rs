//! Rotary position embedding: which frequencies a model uses, and the cosines and sines of a position.
//!
//! The arithmetic follows the `transformers` package step by step in float32, because these tables
//! are part of the model: every product and quotient below is one float32 operation, in its order.
//! Power, sine and cosine are taken in float64 from `lpu_num` and rounded to float32.

use serde_json::Map;

use crate::ModelError;
use crate::family::{Rotary, Row};
use crate::fields::Fields;

/// Longest context that a config may state, in positions.
const POSITION_LIMIT: usize = 1 << 31;

/// The rotary frequencies of a model.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Rope {
    /// Frequencies theta^(-2i/head_dim).
    Default {
        /// The base.
        theta: f64,
    },
    /// The default frequencies divided by a factor.
    Linear {
        /// The base.
        theta: f64,
        /// The divisor.
        factor: f64,
    },
    /// The default frequencies, each divided by a factor of its own, as GGUF files store them.
    Factors {
        /// The base.
        theta: f64,
        /// One divisor a pair, each at least 1; pairs beyond the last keep their frequency.
        factors: Vec<f64>,
    },
    /// Long waves divided by a factor, short ones kept, a smooth passage between.
    Llama3 {
        /// The base.
        theta: f64,
        /// The divisor of long waves.
        factor: f64,
        /// Waves longer than `original_max / low_freq_factor` are long.
        low_freq_factor: f64,
        /// Waves shorter than `original_max / high_freq_factor` are short.
        high_freq_factor: f64,
        /// Context of the first training, in positions.
        original_max: usize,
    },
}

impl Rope {
    /// Reads both spellings: `rope_theta` with `rope_scaling`, and `rope_parameters`; with the share of a head that is rotated.
    pub(crate) fn from_fields(config: &Fields, row: &Row, max_positions: usize) -> Result<(Rope, f64), ModelError> {
        let empty = Map::new();
        let mut found = None;
        for key in ["rope_scaling", "rope_parameters"] {
            let object = config.object(key)?;
            found = found.or(object.filter(|fields| fields.entries().next().is_some()));
        }
        let rope = found.unwrap_or(Fields::new(&empty));
        if let Some((key, _)) = rope.entries().find(|(_, value)| value.is_object()) {
            return Err(ModelError::NestedRope { field: rope.path(), key: key.clone() });
        }
        let names = &row.names;
        let share = match (rope.number(names.rotary_share)?, rope.number("partial_rotary_factor")?) {
            (Some(share), _) | (None, Some(share)) => Some(share),
            _ => config.number(names.rotary_share)?,
        };
        let share = match (row.rotary, share) {
            (Rotary::Share(default), share) => share.unwrap_or(default),
            (_, Some(value)) if value != 1.0 => return Err(ModelError::PartialRotary { value }),
            _ => 1.0,
        };
        if !(share > 0.0 && share <= 1.0) {
            return Err(ModelError::OutOfRange { field: names.rotary_share.to_owned(), value: share, rule: "above 0 and at most 1" });
        }

        let theta = match rope.at_least_one("rope_theta")? {
            Some(theta) => theta,
            None => config.at_least_one(names.theta)?.unwrap_or(row.theta),
        };
        let kind = match rope.text("rope_type")? {
            Some(kind) => kind,
            None => rope.text("type")?.unwrap_or("default"),
        };
        let rope = match kind {
            "default" => Rope::Default { theta },
            "linear" => Rope::Linear { theta, factor: rope.required_at_least_one("factor")? },
            "factors" => Rope::Factors { theta, factors: rope.factors("factors")? },
            "llama3" => {
                const KEY: &str = "original_max_position_embeddings";
                let low_freq_factor = rope.required_positive("low_freq_factor")?;
                let high_freq_factor = rope.required_positive("high_freq_factor")?;
                if high_freq_factor as f32 <= low_freq_factor as f32 {
                    return Err(ModelError::OutOfRange {
                        field: rope.name("high_freq_factor"),
                        value: high_freq_factor,
                        rule: "above `low_freq_factor`",
                    });
                }
                let original_max = match config.size(KEY, POSITION_LIMIT)? {
                    Some(outer) => outer,
                    None => rope.size(KEY, POSITION_LIMIT)?.unwrap_or(max_positions),
                };
                Rope::Llama3 { theta, factor: rope.required_at_least_one("factor")?, low_freq_factor, high_freq_factor, original_max }
            }
            other => return Err(ModelError::UnknownRope { found: other.to_owned() }),
        };
        Ok((rope, share))
    }

    /// The angle, in radians, by which each pair of a head turns from one position to the next:
    /// `rotary_dim / 2` values, fastest first. Pair `i` is made of the elements `i` and `i + rotary_dim / 2`.
    pub fn inv_freq(&self, rotary_dim: usize) -> Vec<f32> {
        (0..rotary_dim / 2).map(|pair| self.frequency(pair, rotary_dim)).collect()
    }

    fn frequency(&self, pair: usize, rotary_dim: usize) -> f32 {
        let exponent = (2 * pair) as f32 / rotary_dim as f32;
        let base = |theta: f64| 1.0 / power(theta as f32, exponent);
        match *self {
            Rope::Default { theta } => base(theta),
            Rope::Linear { theta, factor } => base(theta) / factor as f32,
            Rope::Factors { theta, ref factors } => base(theta) / factors.get(pair).map_or(1.0, |factor| *factor as f32),
            Rope::Llama3 { theta, factor, low_freq_factor, high_freq_factor, original_max } => {
                let frequency = base(theta);
                let context = original_max as f64;
                let wave = (1.0 / frequency) * (2.0 * std::f64::consts::PI) as f32;
                if wave > (context / low_freq_factor) as f32 {
                    frequency / factor as f32
                } else if wave < (context / high_freq_factor) as f32 {
                    frequency
                } else {
                    let smooth = ((1.0 / wave) * context as f32 - low_freq_factor as f32) / (high_freq_factor - low_freq_factor) as f32;
                    (1.0 - smooth) * frequency / factor as f32 + smooth * frequency
                }
            }
        }
    }

    /// Cosines and sines of the angles at a position, `rotary_dim / 2` of each. Base and divisor are
    /// at least 1, so no frequency is above 1 and no angle above the position.
    pub(crate) fn row(&self, rotary_dim: usize, position: u32) -> (Vec<f32>, Vec<f32>) {
        self.inv_freq(rotary_dim)
            .into_iter()
            .map(|frequency| {
                let angle = f64::from(position as f32 * frequency);
                (lpu_num::fp64::cos(angle) as f32, lpu_num::fp64::sin(angle) as f32)
            })
            .unzip()
    }
}

fn power(base: f32, exponent: f32) -> f32 {
    lpu_num::fp64::pow(f64::from(base), f64::from(exponent)) as f32
}
