//! [`super::FiniteRows`] in 256-bit vectors.

use std::arch::x86_64::*;

use super::{FiniteRows, PARTS, RowBounds, TOGETHER};
use crate::dot::i8::avx2::join as join_units;
use crate::dot::planes::avx2::rounded;
use crate::dot::planes::steps::fetch;
use crate::dot::planes::{HalfWeights, STEP, StepLanes};

/// Lanes of a vector of binary32 numbers.
const EIGHT: usize = 8;

impl FiniteRows<'_> {
    /// [`FiniteRows::rows`] on hosts without 512-bit vectors.
    #[target_feature(enable = "avx2,f16c,fma")]
    pub(in crate::dot::planes) fn rows_avx2(
        &self,
        weights: HalfWeights<'_>,
        lanes: usize,
        most: u8,
        out: &mut [f32],
        otherwise: impl Fn(usize) -> f32,
    ) {
        self.rows(weights, lanes, most, out, otherwise, |rows, range, close| self.four_avx2(rows, range, close));
    }

    /// The sums of up to four rows rounded once, and a bit for each whose rounding its error does not change.
    #[inline]
    #[target_feature(enable = "avx2,f16c,fma")]
    fn four_avx2(
        &self,
        rows: [Option<HalfWeights<'_>>; TOGETHER],
        range: &RowBounds,
        close: usize,
    ) -> ([f32; TOGETHER], u8) {
        let mut units = [_mm256_setzero_si256(); TOGETHER];
        let mut rests = [_mm256_setzero_ps(); TOGETHER];
        for ((units, rests), row) in units.iter_mut().zip(&mut rests).zip(rows) {
            let Some(row) = row else { continue };
            (*units, *rests) = self.row_avx2(row, range.start, close);
        }
        let starts = _mm_set1_epi32((range.start.to_bits() as i32).wrapping_mul(PARTS as i32));
        let units = _mm_sub_epi32(join_units(units), starts);
        let sums = _mm256_fmadd_pd(_mm256_cvtepi32_pd(units), _mm256_set1_pd(range.unit), _mm256_cvtps_pd(join(rests)));
        rounded(sums, _mm256_set1_pd(range.error))
    }

    /// A row's partial sums, four and four together: bit patterns of `high`, and `low`.
    #[inline]
    #[target_feature(enable = "avx2,f16c,fma")]
    fn row_avx2(&self, row: HalfWeights<'_>, start: f32, close: usize) -> (__m256i, __m256) {
        let mut highs = [_mm256_set1_ps(start); PARTS / EIGHT];
        let mut lows = [_mm256_setzero_ps(); PARTS / EIGHT];
        for (step, x) in self.x.iter().enumerate() {
            fetch(row.lines(step * STEP + close));
            add(x, row.sixteens(step * STEP), &mut highs, &mut lows);
        }
        let [a, b, c, d] = highs.map(|high| _mm256_castps_si256(high));
        let units = _mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d));
        let [a, b, c, d] = lows;
        (units, _mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d)))
    }
}

/// Adds the products of a step.
#[inline]
#[target_feature(enable = "avx2,f16c,fma")]
fn add(
    x: &StepLanes,
    weights: [__m256i; STEP / 16],
    highs: &mut [__m256; PARTS / EIGHT],
    lows: &mut [__m256; PARTS / EIGHT],
) {
    for (sixteen, (x, weights)) in x.0.iter().zip(weights).enumerate() {
        let halves = [_mm256_castsi256_si128(weights), _mm256_extracti128_si256::<1>(weights)];
        for (half, (x, weights)) in x.as_chunks::<EIGHT>().0.iter().zip(halves).enumerate() {
            let weights = _mm256_cvtph_ps(weights);
            // SAFETY: as many elements as a vector.
            let x = unsafe { _mm256_loadu_ps(x.as_ptr()) };
            let part = (2 * sixteen + half) % (PARTS / EIGHT);
            let sum = _mm256_fmadd_ps(weights, x, highs[part]);
            let rest = _mm256_fmadd_ps(weights, x, _mm256_sub_ps(highs[part], sum));
            lows[part] = _mm256_add_ps(lows[part], rest);
            highs[part] = sum;
        }
    }
}

/// [`join_units`] of binary32 numbers.
#[inline]
#[target_feature(enable = "avx2")]
fn join([a, b, c, d]: [__m256; TOGETHER]) -> __m128 {
    let two = |a, b| _mm256_castps_pd(_mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b)));
    let (ab, cd) = (two(a, b), two(c, d));
    let numbers = |v| _mm256_castpd_ps(v);
    let four = _mm256_add_ps(numbers(_mm256_unpacklo_pd(ab, cd)), numbers(_mm256_unpackhi_pd(ab, cd)));
    _mm_add_ps(_mm256_castps256_ps128(four), _mm256_extractf128_ps::<1>(four))
}
