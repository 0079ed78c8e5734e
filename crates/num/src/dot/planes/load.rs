//! Making activations ready for 512-bit kernels, in one look at each.

use std::arch::x86_64::*;

use super::known::PARTS;
use super::{Halves, STEP};
use crate::dot::f16::Bounds;
use crate::dot::partial;

/// Lanes of a vector of binary32 numbers, and of one of binary64 numbers.
const SIXTEEN: usize = 16;
const EIGHT: usize = 8;

impl Halves {
    /// Lays activations down in the order in which kernels widen weights, in both widths, with their bounds and the steps that have others than zero.
    #[target_feature(enable = "avx512f,avx512dq")]
    pub(super) fn load_avx512(&mut self) {
        let lanes = self.x.len();
        self.known.x.clear();
        self.known.x.resize(lanes.next_multiple_of(STEP), 0.0);
        let mut parts = [_mm512_setzero_pd(); PARTS / EIGHT];
        // An fp16 number is an integer of at most 41 bits times 2^-24. Added to 1.5 * 2^52, an integer stands in the low bits.
        let (scale, shift) = (_mm512_set1_pd(16_777_216.0), _mm512_set1_pd(6_755_399_441_055_744.0));
        let mut integers = _mm512_setzero_si512();
        self.active = 0;
        let mut live = 0;
        let steps = self.wide.as_chunks_mut::<STEP>().0.iter_mut().zip(self.known.x.as_chunks_mut::<STEP>().0);
        for ((number, (wide, narrow)), x) in steps.enumerate().zip(self.x.chunks(STEP)) {
            let [a, b, c, d] = [0, 1, 2, 3].map(|sixteen: usize| {
                let left = x.len().saturating_sub(SIXTEEN * sixteen).min(SIXTEEN);
                // SAFETY: the mask loads no number at or beyond the end of the step.
                unsafe { _mm512_maskz_loadu_ps(((1u32 << left) - 1) as u16, x.as_ptr().wrapping_add(SIXTEEN * sixteen)) }
            });
            let (low, high) = (|a, b| _mm512_shuffle_f32x4::<0b01_00_01_00>(a, b), |a, b| _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b));
            let ordered = [low(a, b), low(c, d), high(a, b), high(c, d)];
            let mut some = 0;
            for (sixteen, numbers) in ordered.into_iter().enumerate() {
                some |= _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(numbers, _mm512_setzero_ps());
                // SAFETY: a step has sixteen elements for each of four vectors.
                unsafe { _mm512_storeu_ps(narrow.as_mut_ptr().add(SIXTEEN * sixteen), numbers) };
                let eights = [_mm512_castps512_ps256(numbers), _mm512_extractf32x8_ps::<1>(numbers)];
                for (half, eight) in eights.into_iter().enumerate() {
                    let numbers = _mm512_cvtps_pd(eight);
                    let place = 2 * sixteen + half;
                    // SAFETY: a step has eight elements for each of eight vectors.
                    unsafe { _mm512_storeu_pd(wide.as_mut_ptr().add(EIGHT * place), numbers) };
                    let part = &mut parts[place % (PARTS / EIGHT)];
                    *part = _mm512_add_pd(*part, _mm512_abs_pd(numbers));
                    integers = _mm512_or_si512(integers, _mm512_castpd_si512(_mm512_fmadd_pd(numbers, scale, shift)));
                }
            }
            if some != 0 {
                self.active |= if number < 64 { 1 << number } else { 0 };
                live = (number + 1) * STEP;
            }
        }
        let [a, b, c, d] = parts;
        self.known.l1 = _mm512_reduce_max_pd(_mm512_max_pd(_mm512_max_pd(a, b), _mm512_max_pd(c, d)));
        self.known.x.truncate(live);
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
        fn bounds_are_those_of_any_order(bits in proptest::collection::vec(any::<u16>(), 0..300), zero in 0usize..300, small: bool) {
            let number = |(lane, &bits): (usize, &u16)| if lane >= zero { 0.0 } else { f16_to_f32(if small { bits & 0x83ff } else { bits }) };
            let x: Vec<f32> = bits.iter().enumerate().map(number).collect();
            let expected = Bounds::new(&x, partial::roundings(x.len()));
            for kernel in Kernel::all_of_host() {
                let mut halves = Halves::on(kernel);
                halves.load(&x);
                prop_assert_eq!(halves.bounds.finite(), expected.finite());
                if expected.finite() {
                    prop_assert_eq!(halves.bounds, expected, "{:?}", kernel);
                }
                if kernel == Kernel::Avx512 {
                    let last = x.iter().rposition(|&x| x != 0.0).map_or(0, |last| last + 1);
                    prop_assert_eq!(halves.known.x.len(), last.next_multiple_of(STEP));
                    let steps = x.chunks(STEP).enumerate().filter(|(_, step)| step.iter().any(|&x| x != 0.0));
                    prop_assert_eq!(halves.active, steps.fold(0, |all, (step, _)| all | 1 << step));
                }
            }
        }
    }
}
