//! Rows of fp16 weights in 256-bit vectors, in binary64.

use std::arch::x86_64::*;

use super::steps::fetch;
use super::{CLOSE, HalfWeights, Halves, STEP, StepLanes};
use crate::dot::prefetch::Prefetch;

/// Sixteen fp16 numbers of a step.
const SIXTEENS: usize = STEP / 16;

/// Calls `$each` with 64 fp16 numbers in binary64, four at a time in order, with their place. A macro, so that nothing
/// passes through memory.
macro_rules! widen_avx2 {
    ($sixteens:expr, $each:expr) => {{
        let mut each = $each;
        let mut place = 0;
        for sixteen in $sixteens {
            for eight in [_mm256_castsi256_si128(sixteen), _mm256_extracti128_si256::<1>(sixteen)] {
                let eight = _mm256_cvtph_ps(eight);
                each(place, _mm256_cvtps_pd(_mm256_castps256_ps128(eight)));
                each(place + 1, _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(eight)));
                place += 2;
            }
        }
    }};
}

pub(super) use widen_avx2;

impl Halves {
    /// The sum of a row, joined from 32 as [`crate::dot::partial::roundings`] allows, and the greatest high byte of its
    /// weights without their signs.
    #[target_feature(enable = "avx2,f16c,fma")]
    pub(super) fn row_avx2(&self, weights: HalfWeights<'_>, prefetch: &mut impl Prefetch) -> (f64, u8) {
        prefetch.rows();
        let mut sums = [_mm256_setzero_pd(); 8];
        let mut most = _mm256_setzero_si256();
        for (start, x) in (0..weights.count()).step_by(STEP).zip(&self.x) {
            prefetch.lines(2);
            fetch(weights.lines(start + CLOSE));
            let sixteens = weights.sixteens(start);
            // Zero weights add nothing to finite activations; rows of tokens that have not come are all zero.
            if self.bounds.finite() && !weighty(sixteens) {
                continue;
            }
            most = _mm256_max_epu8(most, highest(sixteens));
            widen_avx2!(sixteens, |place: usize, weights: __m256d| {
                sums[place % 8] = _mm256_fmadd_pd(weights, x.four(place), sums[place % 8]);
            });
        }
        let [a, b, c, d, e, f, g, h] = sums;
        let (ab, cd) = (_mm256_add_pd(a, b), _mm256_add_pd(c, d));
        let (ef, gh) = (_mm256_add_pd(e, f), _mm256_add_pd(g, h));
        let joined = _mm256_add_pd(_mm256_add_pd(ab, cd), _mm256_add_pd(ef, gh));
        let halves = _mm_add_pd(_mm256_castpd256_pd128(joined), _mm256_extractf128_pd::<1>(joined));
        (_mm_cvtsd_f64(halves) + _mm_cvtsd_f64(_mm_unpackhi_pd(halves, halves)), greatest_of_32(most))
    }
}

impl StepLanes {
    /// Four activations in binary64.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn four(&self, place: usize) -> __m256d {
        // SAFETY: the slice has four numbers.
        _mm256_cvtps_pd(unsafe { _mm_loadu_ps(self.0.as_flattened()[4 * place..][..4].as_ptr()) })
    }
}

/// Whether some weight of a step is another than zero.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn weighty([a, b, c, d]: [__m256i; SIXTEENS]) -> bool {
    let any = _mm256_or_si256(_mm256_or_si256(a, b), _mm256_or_si256(c, d));
    _mm256_testz_si256(any, any) == 0
}

/// The greatest high bytes of weights without their signs, with zeros between.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn highest([a, b, c, d]: [__m256i; SIXTEENS]) -> __m256i {
    let high = _mm256_set1_epi16(0x7f00);
    let (a, b, c, d) =
        (_mm256_and_si256(a, high), _mm256_and_si256(b, high), _mm256_and_si256(c, high), _mm256_and_si256(d, high));
    _mm256_max_epu8(_mm256_max_epu8(a, b), _mm256_max_epu8(c, d))
}

/// The greatest byte.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn greatest_of_32(bytes: __m256i) -> u8 {
    greatest(_mm_max_epu8(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes)))
}

/// The greatest byte.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn greatest(bytes: __m128i) -> u8 {
    // The least of the complements, over bytes paired into words whose high bytes are zero.
    let complement = _mm_xor_si128(bytes, _mm_set1_epi8(-1));
    let pairs = _mm_min_epu8(complement, _mm_srli_epi16::<8>(complement));
    let words = _mm_and_si128(pairs, _mm_set1_epi16(0xff));
    !(_mm_cvtsi128_si32(_mm_minpos_epu16(words)) as u8)
}

/// Sums rounded once, and a bit for each whose rounding no error of this size changes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn rounded(sums: __m256d, error: __m256d) -> ([f32; 4], u8) {
    let (below, above) = (_mm256_cvtpd_ps(_mm256_sub_pd(sums, error)), _mm256_cvtpd_ps(_mm256_add_pd(sums, error)));
    let mut values = [0.0; 4];
    // SAFETY: the array has four elements.
    unsafe { _mm_storeu_ps(values.as_mut_ptr(), below) };
    (values, _mm_movemask_ps(_mm_cmpeq_ps(below, above)) as u8)
}
