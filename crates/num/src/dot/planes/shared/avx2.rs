//! Three activations through a row, in 256-bit vectors.

use std::arch::x86_64::*;

use super::{Looks, Three, WideStep};
use crate::dot::planes::avx2::{greatest_of_32, highest, rounded, weighty, widen_avx2};
use crate::dot::planes::{HalfWeights, Halves, STEP};
use crate::dot::prefetch::Prefetch;

/// Partial sums of each activation: there are no registers for more.
const PARTS: usize = 16;

/// Rows with some finite activations, three at a time; gives back the greatest high byte of the weights.
#[target_feature(enable = "avx2,f16c,fma")]
pub(super) fn by_threes<A: Prefetch>(
    all: &[&Halves],
    weights: HalfWeights<'_>,
    lanes: usize,
    blank: &impl Fn(usize) -> bool,
    out: &mut [f32],
    prefetch: &mut A,
) -> u8 {
    // A product passes through one partial sum, and the joins of all.
    let roundings = lanes.next_multiple_of(STEP) / PARTS + PARTS.ilog2() as usize;
    let kernel = Looks {
        roundings,
        look: |weights: HalfWeights<'_>, prefetch: &mut A| look(weights, prefetch),
        three: |three: Three<'_>| self::three(three),
    };
    super::by_threes(all, weights, lanes, blank, out, prefetch, kernel)
}

/// The steps of a row that have weights other than zero, a bit each, and the greatest high byte of the weights.
#[inline]
#[target_feature(enable = "avx2")]
fn look(weights: HalfWeights<'_>, prefetch: &mut impl Prefetch) -> (u64, u8) {
    prefetch.rows();
    let (mut steps, mut most) = (0, _mm256_setzero_si256());
    for (step, start) in (0..weights.count()).step_by(STEP).enumerate() {
        prefetch.lines(2);
        let sixteens = weights.sixteens(start);
        steps |= u64::from(weighty(sixteens)) << step;
        most = _mm256_max_epu8(most, highest(sixteens));
    }
    (steps, greatest_of_32(most))
}

/// As [`Three`] says, each sum joined from [`PARTS`].
#[inline]
#[target_feature(enable = "avx2,f16c,fma")]
fn three(Three { all, wide, weights, mut steps, errors }: Three<'_>) -> ([f64; 4], [f32; 4], u8) {
    let mut sums = [[_mm256_setzero_pd(); 4]; 3];
    while steps != 0 {
        let start = steps.trailing_zeros() as usize * STEP;
        steps &= steps - 1;
        let x = all.map(|halves| &halves.x[start / STEP]);
        let sixteens = weights.sixteens(start);
        match wide {
            Some(wide) => widen_avx2!(sixteens, |place: usize, weights: __m256d| {
                for (WideStep(x), sums) in wide.iter().zip(&mut sums) {
                    // SAFETY: four elements for each of sixteen places are in the array.
                    let x = unsafe { _mm256_load_pd(x.as_ptr().add(4 * place)) };
                    sums[place % 4] = _mm256_fmadd_pd(weights, x, sums[place % 4]);
                }
            }),
            None => widen_avx2!(sixteens, |place: usize, weights: __m256d| {
                for (x, sums) in x.iter().zip(&mut sums) {
                    sums[place % 4] = _mm256_fmadd_pd(weights, x.four(place), sums[place % 4]);
                }
            }),
        }
    }
    let [a, b, c] = sums.map(|[a, b, c, d]| _mm256_add_pd(_mm256_add_pd(a, b), _mm256_add_pd(c, d)));
    let two = |a, b| _mm256_add_pd(_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
    let (ab, c) = (two(a, b), two(c, _mm256_setzero_pd()));
    let joined = _mm256_add_pd(_mm256_permute2f128_pd::<0x20>(ab, c), _mm256_permute2f128_pd::<0x31>(ab, c));
    let (values, settled) = rounded(joined, _mm256_setr_pd(errors[0], errors[1], errors[2], 0.0));
    let mut sums = [0.0; 4];
    // SAFETY: the array has four elements.
    unsafe { _mm256_storeu_pd(sums.as_mut_ptr(), joined) };
    (sums, values, settled)
}
