//! Digits of sixteen bits, for 256-bit vectors: they are multiplied as fast as those of eight, and half as many.

use std::arch::x86_64::*;

use super::{Digits, PLACES, SHIFT};
use crate::dot::i8::avx2::{STEP, sums};
use crate::dot::i8::by_rows;
use crate::dot::prefetch::Prefetch;

/// Bits of a digit.
const BITS: usize = 16;
/// Half of each digit's range, as [`super::BIAS`].
const BIAS: i64 = 0x8000_8000_8000;
/// Lanes whose products are summed in 32 bits: an instruction adds two products, each of at most 2^22, to one of eight
/// sums.
const MOST_LANES: usize = 2048;

impl Digits {
    /// Cuts activations into digits.
    #[target_feature(enable = "avx2")]
    pub(super) fn cut_avx2(&mut self, x: &[f32]) {
        let places = |v: f32, places: f64| (f64::from(v) * places + SHIFT).to_bits() as i64 - SHIFT.to_bits() as i64;
        let (mut all, mut last) = (0, 0);
        for (number, step) in x.chunks(STEP).enumerate() {
            let some = step.iter().fold(0, |some, &v| some | places(v, PLACES));
            last = if some == 0 { last } else { number + 1 };
            all |= some;
        }
        self.live = x.len().min(last * STEP);
        // Without the places that no activation has: a division by a power of two, which is exact.
        let scale = PLACES / (1u64 << self.shift(all)) as f64;
        let x = &x[..self.live];
        let all = x.iter().fold(0, |all, &v| all | ((places(v, scale) + BIAS) ^ BIAS));
        self.count = (i64::BITS - all.leading_zeros()).div_ceil(BITS as u32) as usize;
        for (place, digits) in self.twos.iter_mut().enumerate().take(self.count) {
            digits.clear();
            digits.extend(x.iter().map(|&v| ((places(v, scale) + BIAS) >> (BITS * place) ^ 0x8000) as i16));
        }
    }

    /// The sum of each of some rows of so many weights, to as many activations; the other activations meet zeros.
    #[target_feature(enable = "avx2")]
    pub(super) fn rows_avx2(&self, weights: &[i8], lanes: usize, out: &mut [f32], prefetch: &mut impl Prefetch) {
        match self.count {
            0 => out.fill(0.0),
            1 => self.twos_avx2::<1>(weights, lanes, out, prefetch),
            2 => self.twos_avx2::<2>(weights, lanes, out, prefetch),
            _ => self.twos_avx2::<3>(weights, lanes, out, prefetch),
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn twos_avx2<const TWOS: usize>(
        &self,
        weights: &[i8],
        lanes: usize,
        out: &mut [f32],
        prefetch: &mut impl Prefetch,
    ) {
        let live = self.live.min(lanes);
        let twos: [&[i16]; TWOS] = std::array::from_fn(|place| &self.twos[place][..live]);
        let mut fours = weights.chunks(4 * lanes);
        let (whole, rest) = out.as_chunks_mut::<4>();
        for (out, rows) in whole.iter_mut().zip(&mut fours) {
            *out = total(by_rows::<4>(rows, lanes, live), twos, prefetch).map(|total| self.rounded(total));
        }
        for (out, row) in rest.iter_mut().zip(fours.flat_map(|rows| rows.chunks_exact(lanes))) {
            let [sum, ..] = total([&row[..live]], twos, prefetch);
            *out = self.rounded(sum);
        }
    }
}

/// The exact sums of at most four rows.
#[inline]
#[target_feature(enable = "avx2")]
fn total<const ROWS: usize, const TWOS: usize>(
    rows: [&[i8]; ROWS],
    twos: [&[i16]; TWOS],
    prefetch: &mut impl Prefetch,
) -> [i64; 4] {
    let mut totals = _mm256_setzero_si256();
    for start in (0..rows[0].len()).step_by(MOST_LANES) {
        let end = rows[0].len().min(start + MOST_LANES);
        let parts = sums(rows.map(|row| &row[start..end]), twos.map(|digits| &digits[start..end]), prefetch);
        for (place, parts) in parts.into_iter().enumerate() {
            let mut four = [_mm256_setzero_si256(); 4];
            for (four, part) in four.iter_mut().zip(parts) {
                let (one, other) = (_mm256_castsi256_si128(part), _mm256_extracti128_si256::<1>(part));
                *four = _mm256_add_epi64(_mm256_cvtepi32_epi64(one), _mm256_cvtepi32_epi64(other));
            }
            totals = _mm256_add_epi64(totals, _mm256_sll_epi64(join(four), _mm_cvtsi32_si128((BITS * place) as i32)));
        }
    }
    let mut sums = [0; 4];
    // SAFETY: the array has four sums.
    unsafe { _mm256_storeu_si256(sums.as_mut_ptr().cast(), totals) };
    sums
}

/// The sum of each of four vectors of 64-bit integers.
#[inline]
#[target_feature(enable = "avx2")]
fn join([a, b, c, d]: [__m256i; 4]) -> __m256i {
    let two = |a, b| _mm256_add_epi64(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    let (ab, cd) = (two(a, b), two(c, d));
    _mm256_add_epi64(_mm256_permute2x128_si256::<0x20>(ab, cd), _mm256_permute2x128_si256::<0x31>(ab, cd))
}
