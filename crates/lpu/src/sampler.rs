//! Choosing a token by its logits.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Chooses tokens: the likeliest one, or one by chance. The same seed gives the same choices on every machine.
#[derive(Clone, Debug)]
pub struct Sampler {
    temperature: f32,
    chance: ChaCha8Rng,
}

impl Sampler {
    /// Takes the likeliest token.
    #[must_use]
    pub fn greedy() -> Self {
        Self::new(0.0, 0)
    }

    /// Takes a token with the probability that softmax of logits over `temperature` gives it; at 0, below it, or where
    /// it is no number, the likeliest one.
    #[must_use]
    pub fn new(temperature: f32, seed: u64) -> Self {
        Self { temperature, chance: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// The next token id; of equal logits the lowest id is the likeliest. Without logits, 0.
    #[must_use]
    pub fn next(&mut self, logits: &[f32]) -> u32 {
        let best = (0..logits.len()).reduce(|best, id| if logits[id] > logits[best] { id } else { best }).unwrap_or(0);
        if self.temperature.is_nan() || self.temperature <= 0.0 || logits.is_empty() {
            return best as u32;
        }
        let temperature = f64::from(self.temperature);
        let weight = |logit: f32| lpu_num::fp64::exp((f64::from(logit) - f64::from(logits[best])) / temperature);
        let total: f64 = logits.iter().map(|&logit| weight(logit)).sum();
        let mut point = (self.chance.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * total;
        for (id, &logit) in logits.iter().enumerate() {
            point -= weight(logit);
            if point < 0.0 {
                return id as u32;
            }
        }
        best as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_lowest_id() {
        for logits in [&[1.0, 3.0, 3.0][..], &[-2.0, -1.0, -1.0, -1.0]] {
            assert_eq!(Sampler::greedy().next(logits), 1);
        }
        assert_eq!(Sampler::greedy().next(&[]), 0);
        assert_eq!(Sampler::new(1.0, 7).next(&[]), 0);
    }

    #[test]
    fn choices_follow_the_distribution_and_the_seed() {
        let logits = [0.0, 1.0, 2.0, -1.0];
        let draw = |seed| {
            let mut sampler = Sampler::new(1.0, seed);
            (0..20_000).map(|_| sampler.next(&logits)).collect::<Vec<_>>()
        };
        let drawn = draw(3);
        assert_eq!(drawn, draw(3));
        assert_ne!(drawn, draw(4));
        let total: f64 = logits.iter().map(|&logit: &f32| f64::from(logit).exp()).sum();
        for (id, &logit) in logits.iter().enumerate() {
            let share = drawn.iter().filter(|&&drawn| drawn as usize == id).count() as f64 / drawn.len() as f64;
            let expected = f64::from(logit).exp() / total;
            // Five standard deviations.
            assert!((share - expected).abs() < 5.0 * (expected * (1.0 - expected) / 20_000.0).sqrt(), "{id}: {share}");
        }
    }
}
