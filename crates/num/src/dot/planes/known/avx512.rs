//! [`super::FiniteRows`] in 512-bit vectors.

use std::arch::x86_64::*;

use super::{FiniteRows, PARTS, RowBounds, TOGETHER};
use crate::dot::i8::join_avx512;
use crate::dot::planes::avx2::rounded;
use crate::dot::planes::steps::{WeightSteps, fetch};
use crate::dot::planes::{STEP, StepLanes};

impl FiniteRows<'_> {
    /// [`FiniteRows::rows`] on hosts with 512-bit vectors.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    pub(in crate::dot::planes) fn rows_avx512(
        &self,
        weights: impl WeightSteps,
        lanes: usize,
        most: u8,
        out: &mut [f32],
        otherwise: impl Fn(usize) -> f32,
    ) {
        self.rows(weights, lanes, most, out, otherwise, |rows, range, close| {
            self.four_avx512(rows, lanes, range, close)
        });
    }

    /// The sums of up to four rows rounded once, and a bit for each whose rounding its error does not change.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn four_avx512(
        &self,
        rows: [Option<impl WeightSteps>; TOGETHER],
        lanes: usize,
        range: &RowBounds,
        close: usize,
    ) -> ([f32; TOGETHER], u8) {
        let mut units = [_mm512_setzero_si512(); TOGETHER];
        let mut rests = [_mm512_setzero_ps(); TOGETHER];
        for ((units, rests), row) in units.iter_mut().zip(&mut rests).zip(rows) {
            let Some(row) = row else { continue };
            (*units, *rests) = self.row_avx512(row, lanes, range.start, close);
        }
        let starts = _mm_set1_epi32((range.start.to_bits() as i32).wrapping_mul(PARTS as i32));
        let units = _mm_sub_epi32(join_avx512(units), starts);
        let sums = _mm256_fmadd_pd(_mm256_cvtepi32_pd(units), _mm256_set1_pd(range.unit), _mm256_cvtps_pd(join(rests)));
        rounded(sums, _mm256_set1_pd(range.error))
    }

    /// A row's partial sums, two and two together: bit patterns of `high`, and `low`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn row_avx512(&self, row: impl WeightSteps, lanes: usize, start: f32, close: usize) -> (__m512i, __m512) {
        let mut sums = Sums { highs: [_mm512_set1_ps(start); 2], lows: [_mm512_setzero_ps(); 2] };
        let whole = lanes / STEP;
        for (step, x) in self.x.iter().take(whole).enumerate() {
            fetch(row.lines(step * STEP + close));
            // SAFETY: this host has it, and the step is whole.
            sums.add(x, unsafe { row.step(step * STEP) });
        }
        if let Some(x) = self.x.get(whole) {
            // SAFETY: this host has it.
            sums.add(x, unsafe { row.tail(whole * STEP) });
        }
        let [one, other] = sums.highs.map(|high| _mm512_castps_si512(high));
        (_mm512_add_epi32(one, other), _mm512_add_ps(sums.lows[0], sums.lows[1]))
    }
}

/// Partial sums of a row.
struct Sums {
    highs: [__m512; 2],
    lows: [__m512; 2],
}

impl Sums {
    /// Adds the products of a step.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn add(&mut self, x: &StepLanes, weights: [__m256i; 4]) {
        for (sixteen, (x, weights)) in x.0.iter().zip(weights).enumerate() {
            let weights = _mm512_cvt_roundph_ps::<_MM_FROUND_CUR_DIRECTION>(weights);
            // SAFETY: as many elements as a vector.
            let x = unsafe { _mm512_loadu_ps(x.as_ptr()) };
            let (high, low) = (&mut self.highs[sixteen % 2], &mut self.lows[sixteen % 2]);
            let sum = _mm512_fmadd_ps(weights, x, *high);
            let rest = _mm512_fmadd_ps(weights, x, _mm512_sub_ps(*high, sum));
            *low = _mm512_add_ps(*low, rest);
            *high = sum;
        }
    }
}

/// [`join_avx512`] of binary32 numbers.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl")]
fn join([a, b, c, d]: [__m512; TOGETHER]) -> __m128 {
    let two = |a, b| _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    let pairs = |v| _mm512_castps_pd(v);
    let (ab, cd) = (pairs(two(a, b)), pairs(two(c, d)));
    let numbers = |v| _mm512_castpd_ps(v);
    let four = _mm512_add_ps(numbers(_mm512_unpacklo_pd(ab, cd)), numbers(_mm512_unpackhi_pd(ab, cd)));
    let half = _mm256_add_ps(_mm512_castps512_ps256(four), _mm512_extractf32x8_ps::<1>(four));
    _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps::<1>(half))
}
