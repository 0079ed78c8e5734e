//! Rows of fp16 weights of which the greatest is known, with finite activations.
//!
//! Products of fp16 numbers are exact in binary32, of which a vector holds twice as many as of binary64. Each partial sum is a pair: `high`
//! begins at `1.5 * 2^k`, so far above its products that it stays between `2^k` and `2^(k+1)` and is always a multiple of `2^(k-23)`, the
//! unit. What an addition to it rounds away is at most half a unit, is exact in binary32 (products have 22 bits), and is added to `low`. So
//! bit patterns of `high` count units, as integers; only additions to `low` round, each by a 2^24th part of some halves of a unit.

use std::arch::x86_64::*;

use super::{CLOSE, STEP, Step, magnitude, rounded};
use crate::dot::ahead::Ahead;
use crate::dot::i8::join_avx512;

/// Rows whose sums are joined at once.
const TOGETHER: usize = 4;
/// Partial sums of a row: two vectors.
pub(super) const PARTS: usize = 32;
/// Lanes up to which the bounds of [`Known::range`] hold, and more than any chip has.
pub(super) const MOST_LANES: usize = 1 << 16;

/// The activations of such rows.
pub(super) struct Known<'a> {
    /// Activations in the order in which steps widen weights, up to the last step that has one other than zero.
    pub(super) x: &'a [Step],
    /// At least the greatest sum of `|x|` that one partial sum takes.
    pub(super) part: f64,
}

/// How sums over a run of rows begin, and what is known of their ends.
struct Range {
    start: f32,
    unit: f64,
    /// At least the error of a sum.
    error: f64,
}

impl Known<'_> {
    fn range(&self, most: u8) -> Range {
        // Room for the rounding of the bound itself and for half a unit from every addition, of which a partial sum takes at most 2^11.
        let reach = self.part * f64::from(magnitude(most)) * (1.0 + 1.0 / 1024.0);
        let exponent = (reach.to_bits() >> 52) as i32 - 1023;
        let k = (exponent + 2).max(-60);
        let power = |k: i32| f64::from_bits(((1023 + k) as u64) << 52);
        // One partial sum's i-th addition to `low` errs by at most 2^-24 of i halves of a unit. Five additions join all of them, each of
        // values that make up `PARTS * n` halves at most. Then binary64 rounds numbers below 2^(k+5) three times.
        let n = (self.x.len() * STEP / PARTS) as f64;
        let parts = PARTS as f64;
        let additions = parts * n * (n + 1.0) / 2.0 + 5.0 * parts * n;
        let unit = power(k - 23);
        Range { start: (1.5 * power(k)) as f32, unit, error: unit * power(-25) * (additions * (1.0 + 1.0 / 1024.0) + 16.0) }
    }

    /// The exact sum rounded once for each row, of weights whose greatest high byte without sign is at most `most`, all finite; `otherwise` gives the sums
    /// that cannot be settled here.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    pub(super) fn rows(
        &self,
        [low, high]: [&[u8]; 2],
        lanes: usize,
        most: u8,
        out: &mut [f32],
        ahead: &mut impl Ahead,
        otherwise: impl Fn(usize) -> f32,
    ) {
        if self.x.is_empty() {
            // Finite weights add nothing to activations that are zero.
            out.fill(0.0);
            return;
        }
        assert!(
            low.len() == out.len() * lanes && high.len() == low.len() && self.x.len() <= lanes.div_ceil(STEP),
            "a row of bytes for every output"
        );
        // What lies behind a run is read much later, if ever: rows fetch within it.
        for line in (0..low.len().min(CLOSE)).step_by(64) {
            for plane in [low, high] {
                _mm_prefetch::<_MM_HINT_T0>(plane.as_ptr().wrapping_add(line).cast());
            }
        }
        let range = self.range(most);
        let starts = _mm_set1_epi32((range.start.to_bits() as i32).wrapping_mul(PARTS as i32));
        let (unit, error) = (_mm256_set1_pd(range.unit), _mm256_set1_pd(range.error));
        let mut rows = low.chunks_exact(lanes).zip(high.chunks_exact(lanes));
        let mut left = low.len();
        for (group, out) in out.chunks_mut(TOGETHER).enumerate() {
            let mut units = [_mm512_setzero_si512(); TOGETHER];
            let mut rests = [_mm512_setzero_ps(); TOGETHER];
            for ((units, rests), (low, high)) in units.iter_mut().zip(&mut rests).zip(&mut rows) {
                let close = if left > CLOSE { CLOSE } else { 0 };
                left -= lanes;
                (*units, *rests) = self.row(low, high, range.start, close, ahead);
            }
            let units = _mm_sub_epi32(join_avx512(units), starts);
            let sums = _mm256_fmadd_pd(_mm256_cvtepi32_pd(units), unit, _mm256_cvtps_pd(join(rests)));
            let (values, settled) = rounded(sums, error);
            if let (Ok(out), 0xf) = (<&mut [f32; TOGETHER]>::try_from(&mut *out), settled) {
                *out = values;
                continue;
            }
            for (row, (out, value)) in out.iter_mut().zip(values).enumerate() {
                *out = if settled >> row & 1 == 1 { value } else { otherwise(group * TOGETHER + row) };
            }
        }
    }

    /// A row's partial sums, two and two together: bit patterns of `high`, and `low`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn row(&self, low: &[u8], high: &[u8], start: f32, close: usize, ahead: &mut impl Ahead) -> (__m512i, __m512) {
        ahead.rows();
        let mut sums = Pairs { highs: [_mm512_set1_ps(start); 2], lows: [_mm512_setzero_ps(); 2] };
        let steps = self.x;
        let ((lows, low_tail), (highs, high_tail)) = (low.as_chunks::<STEP>(), high.as_chunks::<STEP>());
        for ((x, low), high) in steps.iter().zip(lows).zip(highs) {
            ahead.lines(2);
            // SAFETY: a step has as many bytes as a vector; a prefetch of any address is harmless.
            let (low, high) = unsafe {
                _mm_prefetch::<_MM_HINT_T0>(low.as_ptr().wrapping_add(close).cast());
                _mm_prefetch::<_MM_HINT_T0>(high.as_ptr().wrapping_add(close).cast());
                (_mm512_loadu_epi8(low.as_ptr().cast()), _mm512_loadu_epi8(high.as_ptr().cast()))
            };
            sums.add(x, low, high);
        }
        if let Some(x) = steps.get(lows.len()) {
            ahead.lines(2);
            let live = (1 << low_tail.len()) - 1;
            // SAFETY: the mask loads no byte at or beyond the end of the rows.
            let (low, high) = unsafe {
                (_mm512_maskz_loadu_epi8(live, low_tail.as_ptr().cast()), _mm512_maskz_loadu_epi8(live, high_tail.as_ptr().cast()))
            };
            sums.add(x, low, high);
        }
        let [one, other] = sums.highs.map(|high| _mm512_castps_si512(high));
        (_mm512_add_epi32(one, other), _mm512_add_ps(sums.lows[0], sums.lows[1]))
    }
}

/// Partial sums of a row.
struct Pairs {
    highs: [__m512; 2],
    lows: [__m512; 2],
}

impl Pairs {
    /// Adds the products of a step.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn add(&mut self, x: &Step, low: __m512i, high: __m512i) {
        let pairs = [_mm512_unpacklo_epi8(low, high), _mm512_unpackhi_epi8(low, high)];
        for (sixteen, x) in x.0.iter().enumerate() {
            let pairs = pairs[sixteen / 2];
            let halves = if sixteen % 2 == 0 { _mm512_castsi512_si256(pairs) } else { _mm512_extracti64x4_epi64::<1>(pairs) };
            let weights = _mm512_cvtph_ps(halves);
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
