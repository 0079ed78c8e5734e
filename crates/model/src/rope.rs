//! Rotary position embedding: which frequencies a model uses, and the cosines and sines of a position.
//!
//! The arithmetic follows the `transformers` package step by step in float32, because these tables
//! are part of the model: every product and quotient below is one float32 operation, in its order.
//! Power, sine and cosine are taken in float64 from `lpu_num` and rounded to float32.

use crate::ModelError;

/// Least divisor of a frequency of `longrope`; it bounds the angle of a position.
pub(crate) const LEAST_FACTOR: f64 = 0.5;

/// The rotary frequencies of a model.
///
/// The frequencies of [`Rope::Dynamic`] and [`Rope::LongRope`] depend on the length of the sequence. Keys are stored
/// rotated, so one length decides for a whole program: the context that it is compiled for. (`transformers` takes the
/// length of each forward, so its logits are the same when the sequence is as long as the context, or both are on one
/// side of the first training's length.)
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
    /// The default frequencies of a base that grows with a context beyond that of the training.
    Dynamic {
        /// The base of a context of at most `max_positions`.
        theta: f64,
        /// How fast the base grows.
        factor: f64,
        /// Context of the training, in positions.
        max_positions: usize,
    },
    /// Slow pairs divided by a factor, fast ones kept, a ramp between; cosines and sines multiplied.
    Yarn {
        /// The base, above 1.
        theta: f64,
        /// The divisor of slow pairs.
        factor: f64,
        /// Pairs with more turns than this in the context of the first training are fast.
        beta_fast: f64,
        /// Pairs with fewer turns than this are slow.
        beta_slow: f64,
        /// Whether the ends of the ramp are whole pairs.
        truncate: bool,
        /// Context of the first training, in positions.
        original_max: usize,
        /// Factor of cosines and sines.
        attention_factor: f64,
    },
    /// Each frequency divided by a factor of its own: of one list up to the context of the first training, of another
    /// beyond; cosines and sines multiplied.
    LongRope {
        /// The base.
        theta: f64,
        /// Divisors up to `original_max`, one a pair.
        short_factors: Vec<f64>,
        /// Divisors beyond it, one a pair.
        long_factors: Vec<f64>,
        /// Context of the first training, in positions.
        original_max: usize,
        /// Factor of cosines and sines.
        attention_factor: f64,
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
    /// Checks that there is a factor for each of the pairs that `rotary_dim` elements make.
    pub(crate) fn check(&self, rotary_dim: usize) -> Result<(), ModelError> {
        let Rope::LongRope { short_factors, long_factors, .. } = self else { return Ok(()) };
        for (field, factors) in [("short_factor", short_factors), ("long_factor", long_factors)] {
            if factors.len() != rotary_dim / 2 {
                return Err(ModelError::RopeFactors { field, found: factors.len(), pairs: rotary_dim / 2 });
            }
        }
        Ok(())
    }

    /// The angle, in radians, by which each pair of a head turns from one position to the next in a program for a
    /// context: `rotary_dim / 2` values, fastest first. Pair `i` is made of the elements `i` and `i + rotary_dim / 2`.
    pub fn inv_freq(&self, rotary_dim: usize, context: usize) -> Vec<f32> {
        (0..rotary_dim / 2).map(|pair| self.frequency(pair, rotary_dim, context)).collect()
    }

    /// What cosines and sines are multiplied by.
    pub fn attention_factor(&self) -> f32 {
        match *self {
            Rope::Yarn { attention_factor, .. } | Rope::LongRope { attention_factor, .. } => attention_factor as f32,
            _ => 1.0,
        }
    }

    fn frequency(&self, pair: usize, rotary_dim: usize, context: usize) -> f32 {
        let exponent = (2 * pair) as f32 / rotary_dim as f32;
        let wave = |theta: f32| power(theta, exponent);
        let base = |theta: f64| 1.0 / wave(theta as f32);
        match *self {
            Rope::Default { theta } => base(theta),
            Rope::Linear { theta, factor } => base(theta) / factor as f32,
            Rope::Factors { theta, ref factors } => {
                base(theta) / factors.get(pair).map_or(1.0, |factor| *factor as f32)
            }
            Rope::Dynamic { theta, factor, max_positions } => {
                if context <= max_positions {
                    return base(theta);
                }
                let longer = context as f32 * factor as f32 / max_positions as f32 - (factor - 1.0) as f32;
                let growth = power(longer, (rotary_dim as f64 / (rotary_dim as f64 - 2.0)) as f32);
                1.0 / wave(growth * theta as f32)
            }
            Rope::Yarn { theta, factor, beta_fast, beta_slow, truncate, original_max, .. } => {
                let turns = |turns: f64| {
                    let waves = lpu_num::fp64::ln(original_max as f64 / (turns * 2.0 * std::f64::consts::PI));
                    rotary_dim as f64 * waves / (2.0 * lpu_num::fp64::ln(theta))
                };
                let (low, high) = (turns(beta_fast), turns(beta_slow));
                let (low, high) = if truncate { (low.floor(), high.ceil()) } else { (low, high) };
                let (low, high) = (low.max(0.0), high.min(rotary_dim as f64 - 1.0));
                let high = if low == high { high + 0.001 } else { high };
                let ramp = ((pair as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
                let (kept, wave) = (1.0 - ramp, wave(theta as f32));
                1.0 / (factor as f32 * wave) * (1.0 - kept) + 1.0 / wave * kept
            }
            Rope::LongRope { theta, ref short_factors, ref long_factors, original_max, .. } => {
                let factors = if context > original_max { long_factors } else { short_factors };
                1.0 / (factors.get(pair).map_or(1.0, |factor| *factor as f32) * wave(theta as f32))
            }
            Rope::Llama3 { theta, factor, low_freq_factor, high_freq_factor, original_max } => {
                let frequency = base(theta);
                let first = original_max as f64;
                let wave = (1.0 / frequency) * (2.0 * std::f64::consts::PI) as f32;
                if wave > (first / low_freq_factor) as f32 {
                    frequency / factor as f32
                } else if wave < (first / high_freq_factor) as f32 {
                    frequency
                } else {
                    let smooth = ((1.0 / wave) * first as f32 - low_freq_factor as f32)
                        / (high_freq_factor - low_freq_factor) as f32;
                    (1.0 - smooth) * frequency / factor as f32 + smooth * frequency
                }
            }
        }
    }

    /// Cosines and sines of the angles at a position, `rotary_dim / 2` of each, times [`Rope::attention_factor`]. Bases
    /// are at least 1 and divisors at least [`LEAST_FACTOR`], so no angle is above the position over that.
    pub(crate) fn row(&self, rotary_dim: usize, position: u32, context: usize) -> (Vec<f32>, Vec<f32>) {
        let factor = self.attention_factor();
        self.inv_freq(rotary_dim, context)
            .into_iter()
            .map(|frequency| {
                let angle = f64::from(position as f32 * frequency);
                (lpu_num::fp64::cos(angle) as f32 * factor, lpu_num::fp64::sin(angle) as f32 * factor)
            })
            .unzip()
    }
}

fn power(base: f32, exponent: f32) -> f32 {
    lpu_num::fp64::pow(f64::from(base), f64::from(exponent)) as f32
}
