//! Making activations ready, in one look at each.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::{Halves, STEP};
use crate::dot::digits::{PLACES, SHIFT};
use crate::dot::f16::Bounds;
use crate::dot::partial;

/// Partial sums: of numbers whose lanes have the same place in every so many.
pub(super) const PARTS: usize = 32;
/// Lanes of a vector of binary32 numbers, and of one of binary64 numbers.
#[cfg(target_arch = "x86_64")]
const SIXTEEN: usize = 16;
#[cfg(target_arch = "x86_64")]
const EIGHT: usize = 8;

impl Halves {
    /// Lays activations down, with their bounds and the steps that have others than zero. Steps of
    /// zeros are left as they are if they were so before: writing takes their lines from threads that read them.
    #[inline(always)]
    pub(super) fn load_portable(&mut self, x: &[f32]) {
        let mut parts = [0.0f64; PARTS];
        let mut integers = 0;
        let before = std::mem::take(&mut self.active);
        self.live = 0;
        for ((number, step), x) in self.x.iter_mut().enumerate().zip(x.chunks(STEP)) {
            let bit = 1u64.checked_shl(number as u32).unwrap_or(0);
            // Without its sign, zero alone has no bit.
            if x.iter().fold(0, |all, x| all | x.to_bits() << 1) != 0 {
                self.active |= bit;
                self.live = number + 1;
            } else if bit != 0 && before & bit == 0 {
                continue;
            }
            let mut numbers = [0.0f32; STEP];
            numbers[..x.len()].copy_from_slice(x);
            step.0.as_flattened_mut().copy_from_slice(&numbers);
            for numbers in numbers.as_chunks::<PARTS>().0 {
                for (part, &x) in parts.iter_mut().zip(numbers) {
                    *part += f64::from(x).abs();
                    integers |= (f64::from(x) * PLACES + SHIFT).to_bits();
                }
            }
        }
        self.part = parts.iter().fold(0.0, |most, &part| if part > most { part } else { most });
        let lowest = (integers & ((1 << 42) - 1)).trailing_zeros() as i32;
        self.bounds =
            Bounds::of(parts.iter().sum(), (lowest < 64).then_some(lowest - 24), x.len(), partial::roundings(x.len()));
    }

    /// The portable code, compiled for wider vectors.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    pub(super) fn load_avx2(&mut self, x: &[f32]) {
        self.load_portable(x);
    }

    /// [`Halves::load_portable`] in 512-bit vectors.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512dq")]
    pub(super) fn load_avx512(&mut self, x: &[f32]) {
        let lanes = x.len();
        let mut parts = [_mm512_setzero_pd(); PARTS / EIGHT];
        let (scale, shift) = (_mm512_set1_pd(PLACES), _mm512_set1_pd(SHIFT));
        let mut integers = _mm512_setzero_si512();
        let before = std::mem::take(&mut self.active);
        self.live = 0;
        for ((number, step), x) in self.x.iter_mut().enumerate().zip(x.chunks(STEP)) {
            let sixteens = [0, 1, 2, 3].map(|sixteen: usize| {
                let left = x.len().saturating_sub(SIXTEEN * sixteen).min(SIXTEEN);
                // SAFETY: the mask loads no number at or beyond the end of the step.
                unsafe {
                    _mm512_maskz_loadu_ps(((1u32 << left) - 1) as u16, x.as_ptr().wrapping_add(SIXTEEN * sixteen))
                }
            });
            let some = sixteens
                .into_iter()
                .fold(0, |some, x| some | _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(x, _mm512_setzero_ps()));
            let bit = 1u64.checked_shl(number as u32).unwrap_or(0);
            if some != 0 {
                self.active |= bit;
                self.live = number + 1;
            } else if bit != 0 && before & bit == 0 {
                continue;
            }
            for (sixteen, (numbers, place)) in sixteens.into_iter().zip(&mut step.0).enumerate() {
                // SAFETY: the array has sixteen numbers.
                unsafe { _mm512_storeu_ps(place.as_mut_ptr(), numbers) };
                let eights = [_mm512_castps512_ps256(numbers), _mm512_extractf32x8_ps::<1>(numbers)];
                for (half, eight) in eights.into_iter().enumerate() {
                    let numbers = _mm512_cvtps_pd(eight);
                    let part = &mut parts[(2 * sixteen + half) % (PARTS / EIGHT)];
                    *part = _mm512_add_pd(*part, _mm512_abs_pd(numbers));
                    integers = _mm512_or_si512(integers, _mm512_castpd_si512(_mm512_fmadd_pd(numbers, scale, shift)));
                }
            }
        }
        let [a, b, c, d] = parts;
        self.part = _mm512_reduce_max_pd(_mm512_max_pd(_mm512_max_pd(a, b), _mm512_max_pd(c, d)));
        let sum = _mm512_reduce_add_pd(_mm512_add_pd(_mm512_add_pd(a, b), _mm512_add_pd(c, d)));
        let lowest = (_mm512_reduce_or_epi64(integers) & ((1 << 42) - 1)).trailing_zeros() as i32;
        self.bounds = Bounds::of(sum, (lowest < 64).then_some(lowest - 24), lanes, partial::roundings(lanes));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::half::f16_to_f32;
    use crate::kernel::Kernel;

    proptest! {
        #[test]
        fn activations_and_bounds_are_those_of_any_order(
            bits in proptest::collection::vec(any::<u16>(), 0..300),
            zero in 0usize..300,
            small: bool,
            others in proptest::collection::vec((0usize..300, 0usize..300), 0..3),
        ) {
            let value = |bits: u16| f16_to_f32(if small { bits & 0x83ff } else { bits });
            let number = |(lane, &bits): (usize, &u16)| if lane >= zero { 0.0 } else { value(bits) };
            let x: Vec<f32> = bits.iter().enumerate().map(number).collect();
            let expected = Bounds::new(&x, partial::roundings(x.len()));
            for kernel in Kernel::all_of_host() {
                let mut halves = Halves::on(kernel);
                // What was there before leaves nothing after, be it longer or shorter, with more steps of zeros or
                // fewer.
                for &(lanes, zero) in &others {
                    let other: Vec<f32> = (0..lanes).map(|lane| if lane < zero { 1.5 } else { 0.0 }).collect();
                    halves.load(&other);
                }
                halves.load(&x);
                let places = halves.x.len() * STEP;
                let same = |place: usize, x: f32| x == halves.x(place) || x.to_bits() == halves.x(place).to_bits();
                prop_assert!((0..places).all(|place| same(place, x.get(place).copied().unwrap_or(0.0))), "{:?}",
                    kernel);
                prop_assert_eq!(halves.bounds.finite(), expected.finite());
                if expected.finite() {
                    prop_assert_eq!(halves.bounds, expected, "{:?}", kernel);
                }
                let last = x.iter().rposition(|&x| x != 0.0).map_or(0, |last| last + 1);
                prop_assert_eq!(halves.live, last.div_ceil(STEP));
                let steps = x.chunks(STEP).enumerate().filter(|(_, step)| step.iter().any(|&x| x != 0.0));
                prop_assert_eq!(halves.active, steps.fold(0, |all, (step, _)| all | 1 << step));
            }
        }
    }
}
