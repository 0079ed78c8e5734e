//! Three activations through a row, in 512-bit vectors.

use std::arch::x86_64::*;

use super::{Looks, Three};
use crate::dot::partial;
use crate::dot::planes::avx2::rounded;
use crate::dot::planes::{HalfWeights, Halves, STEP, WIDENED, greatest_avx512, widen};
use crate::dot::prefetch::Prefetch;

/// Rows with some finite activations, three at a time; gives back the greatest high byte of the weights.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn by_threes<A: Prefetch>(
    all: &[&Halves],
    weights: HalfWeights<'_>,
    lanes: usize,
    blank: &impl Fn(usize) -> bool,
    out: &mut [f32],
    prefetch: &mut A,
) -> u8 {
    let roundings = all.first().map_or(0, |halves| partial::roundings(halves.lanes));
    let kernel = Looks {
        roundings,
        look: |weights: HalfWeights<'_>, prefetch: &mut A| look(weights, prefetch),
        three: |three: Three<'_>| self::three(three),
    };
    super::by_threes(all, weights, lanes, blank, out, prefetch, kernel)
}

/// The steps of a row that have weights other than zero, a bit each, and the greatest high byte of the weights.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn look(weights: HalfWeights<'_>, prefetch: &mut impl Prefetch) -> (u64, u8) {
    prefetch.rows();
    let (mut steps, mut most) = (0, _mm512_setzero_si512());
    for (step, start) in (0..weights.count()).step_by(STEP).enumerate() {
        prefetch.lines(2);
        let (low, high) = weights.step(start);
        let either = _mm512_or_si512(low, high);
        steps |= u64::from(_mm512_test_epi8_mask(either, either) != 0) << step;
        most = _mm512_max_epu8(most, _mm512_and_si512(high, _mm512_set1_epi8(0x7f)));
    }
    (steps, greatest_avx512(most))
}

/// As [`Three`] says, each sum joined from 32 as [`partial::roundings`] allows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn three(Three { all, wide, weights, mut steps, errors }: Three<'_>) -> ([f64; 4], [f32; 4], u8) {
    let mut sums = [[_mm512_setzero_pd(); 4]; 3];
    while steps != 0 {
        let start = steps.trailing_zeros() as usize * STEP;
        steps &= steps - 1;
        let (low, high) = weights.step(start);
        let x = all.map(|halves| &halves.x[start / STEP]);
        let eight = |number: usize, eight: usize| match wide {
            // SAFETY: eight elements for each of eight places are in the array.
            Some(wide) => unsafe { _mm512_load_pd(wide[number].0.as_ptr().add(8 * eight)) },
            None => x[number].eight(eight),
        };
        widen!(low, high, |place: usize, weights: __m512d| {
            for (number, sums) in sums.iter_mut().enumerate() {
                sums[place % 4] = _mm512_fmadd_pd(weights, eight(number, WIDENED[place]), sums[place % 4]);
            }
        });
    }
    let [a, b, c] = sums.map(|[a, b, c, d]| _mm512_add_pd(_mm512_add_pd(a, b), _mm512_add_pd(c, d)));
    let two = |a, b| _mm512_add_pd(_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b));
    let (ab, c) = (two(a, b), two(c, _mm512_setzero_pd()));
    let (low, high) = (_mm512_shuffle_f64x2::<0b01_00_01_00>(ab, c), _mm512_shuffle_f64x2::<0b11_10_11_10>(ab, c));
    let fours = _mm512_add_pd(low, high);
    let swapped = _mm512_shuffle_f64x2::<0b10_11_00_01>(fours, fours);
    let eights = _mm512_add_pd(fours, swapped);
    let joined = _mm256_insertf128_pd::<1>(_mm512_castpd512_pd256(eights), _mm512_extractf64x2_pd::<2>(eights));
    let (values, settled) = rounded(joined, _mm256_setr_pd(errors[0], errors[1], errors[2], 0.0));
    let mut sums = [0.0; 4];
    // SAFETY: the array has four elements.
    unsafe { _mm256_storeu_pd(sums.as_mut_ptr(), joined) };
    (sums, values, settled)
}
