//! Rows of fp16 weights of which the greatest is known, with finite activations.
//!
//! Products of fp16 numbers are exact in binary32, of which a vector holds twice as many as of binary64. Each partial sum is a pair: `high`
//! begins at `1.5 * 2^k`, so far above its products that it stays between `2^k` and `2^(k+1)` and is always a multiple of `2^(k-23)`, the
//! unit. What an addition to it rounds away is at most half a unit, is exact in binary32 (products have 22 bits), and is added to `low`. So
//! bit patterns of `high` count units, as integers; only additions to `low` round, each by a 2^24th part of some halves of a unit.

use std::arch::x86_64::*;

use super::{CLOSE, STEP, Step, magnitude, rounded};
use crate::dot::i8::join_avx512;

/// Rows whose sums are joined at once, one of each quarter of all: a quarter is a stretch of memory, and the processor fetches ahead in several by itself.
const TOGETHER: usize = 4;
/// Partial sums of a row: two vectors.
pub(super) const PARTS: usize = 32;
/// Lanes up to which the bounds of [`Known::range`] hold, and more than any chip has.
pub(super) const MOST_LANES: usize = 1 << 16;

/// The activations of such rows.
pub(super) struct Known<'a> {
    /// Activations up to the last step that has one other than zero.
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

    /// The exact sum rounded once for each row of so many lanes, of weights whose greatest high byte without sign is at most `most`, all finite;
    /// `otherwise` gives the sums that cannot be settled here.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    pub(super) fn rows(&self, weights: impl Weights, lanes: usize, most: u8, out: &mut [f32], otherwise: impl Fn(usize) -> f32) {
        if self.x.is_empty() {
            // Finite weights add nothing to activations that are zero.
            out.fill(0.0);
            return;
        }
        assert!(self.x.len() <= lanes.div_ceil(STEP), "weights for every step");
        let quarter = out.len() / TOGETHER;
        // What lies behind a quarter is read much later, if ever, or was read before: rows fetch within it.
        for first in quarters(0, quarter) {
            let weights = weights.row(first, lanes);
            (0..(quarter * lanes).min(CLOSE)).step_by(STEP).for_each(|lane| fetch(weights.lines(lane)));
        }
        let range = self.range(most);
        let starts = _mm_set1_epi32((range.start.to_bits() as i32).wrapping_mul(PARTS as i32));
        let (unit, error) = (_mm256_set1_pd(range.unit), _mm256_set1_pd(range.error));
        let rest: [usize; TOGETHER] = std::array::from_fn(|number| quarter * TOGETHER + number);
        for (place, rows) in (0..quarter).map(|row| quarters(row, quarter)).chain([rest]).enumerate() {
            if rows[0] >= out.len() {
                break;
            }
            let close = if quarter.saturating_sub(place) * lanes > CLOSE { CLOSE } else { 0 };
            let mut units = [_mm512_setzero_si512(); TOGETHER];
            let mut rests = [_mm512_setzero_ps(); TOGETHER];
            for ((units, rests), row) in units.iter_mut().zip(&mut rests).zip(rows).filter(|(_, row)| *row < out.len()) {
                (*units, *rests) = self.row(weights.row(row, lanes), lanes, range.start, close);
            }
            let units = _mm_sub_epi32(join_avx512(units), starts);
            let sums = _mm256_fmadd_pd(_mm256_cvtepi32_pd(units), unit, _mm256_cvtps_pd(join(rests)));
            let (values, settled) = rounded(sums, error);
            for (number, (row, value)) in rows.into_iter().zip(values).enumerate() {
                let Some(out) = out.get_mut(row) else { break };
                *out = if settled >> number & 1 == 1 { value } else { otherwise(row) };
            }
        }
    }

    /// A row's partial sums, two and two together: bit patterns of `high`, and `low`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn row(&self, row: impl Weights, lanes: usize, start: f32, close: usize) -> (__m512i, __m512) {
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

/// The rows of number `row` of each quarter of so many rows.
#[inline(always)]
fn quarters(row: usize, quarter: usize) -> [usize; TOGETHER] {
    std::array::from_fn(|number| number * quarter + row)
}

/// Asks for lines, into the nearest cache.
#[inline(always)]
pub(super) fn fetch(lines: [*const u8; 2]) {
    // SAFETY: a prefetch of any address is harmless.
    lines.into_iter().for_each(|line| unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) });
}

/// Rows of weights, read by steps.
pub(super) trait Weights: Copy {
    /// Row `row` of rows of so many lanes.
    fn row(self, row: usize, lanes: usize) -> Self;

    /// The lines of a step from a lane on, be it beyond the end.
    fn lines(self, lane: usize) -> [*const u8; 2];

    /// A step from a lane on, sixteen numbers each.
    ///
    /// # Safety
    /// The host has AVX-512 BW, and the step is whole.
    unsafe fn step(self, start: usize) -> [__m256i; 4];

    /// Less than a step from a lane on to the end, and zeros.
    ///
    /// # Safety
    /// The host has AVX-512 BW.
    unsafe fn tail(self, start: usize) -> [__m256i; 4];
}

/// [`super::Planes::Apart`].
#[derive(Clone, Copy)]
pub(super) struct Apart<'a>(pub(super) &'a [u8], pub(super) &'a [u8]);

impl Weights for Apart<'_> {
    #[inline(always)]
    fn row(self, row: usize, lanes: usize) -> Self {
        Self(&self.0[row * lanes..][..lanes], &self.1[row * lanes..][..lanes])
    }

    #[inline(always)]
    fn lines(self, lane: usize) -> [*const u8; 2] {
        [self.0, self.1].map(|plane| plane.as_ptr().wrapping_add(lane))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn step(self, start: usize) -> [__m256i; 4] {
        // SAFETY: the caller's duty.
        let [low, high] = [self.0, self.1].map(|plane| unsafe { _mm512_loadu_epi8(plane.as_ptr().add(start).cast()) });
        in_turn(low, high)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn tail(self, start: usize) -> [__m256i; 4] {
        let [low, high] = [self.0, self.1].map(|plane| first(&plane[start..]));
        in_turn(low, high)
    }
}

/// [`super::Planes::Pairs`].
#[derive(Clone, Copy)]
pub(super) struct Pairs<'a>(pub(super) &'a [u8]);

impl Weights for Pairs<'_> {
    #[inline(always)]
    fn row(self, row: usize, lanes: usize) -> Self {
        Self(&self.0[2 * row * lanes..][..2 * lanes])
    }

    #[inline(always)]
    fn lines(self, lane: usize) -> [*const u8; 2] {
        [0, 64].map(|line| self.0.as_ptr().wrapping_add(2 * lane + line))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn step(self, start: usize) -> [__m256i; 4] {
        // SAFETY: the caller's duty.
        [0, 16, 32, 48].map(|lane| unsafe { _mm256_loadu_si256(self.0.as_ptr().add(2 * (start + lane)).cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn tail(self, start: usize) -> [__m256i; 4] {
        sixteens([0, 64].map(|line| first(self.0.get(2 * start + line..).unwrap_or(&[]))))
    }
}

/// The first 64 bytes, or all there are and zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn first(bytes: &[u8]) -> __m512i {
    let live = u64::MAX.checked_shr(64 - bytes.len().min(64) as u32).unwrap_or(0);
    // SAFETY: the mask loads no byte at or beyond the end.
    unsafe { _mm512_maskz_loadu_epi8(live, bytes.as_ptr().cast()) }
}

/// Numbers of which these are the low and the high bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn in_turn(low: __m512i, high: __m512i) -> [__m256i; 4] {
    // Eights of bytes in the order in which the halves of each quarter are joined with those of the other plane.
    let order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
    let [low, high] = [low, high].map(|plane| _mm512_permutexvar_epi64(order, plane));
    sixteens([_mm512_unpacklo_epi8(low, high), _mm512_unpackhi_epi8(low, high)])
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn sixteens([one, other]: [__m512i; 2]) -> [__m256i; 4] {
    let halves = |v| [_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64::<1>(v)];
    let ([a, b], [c, d]) = (halves(one), halves(other));
    [a, b, c, d]
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
    fn add(&mut self, x: &Step, weights: [__m256i; 4]) {
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
