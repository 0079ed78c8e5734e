//! Sums of int8 weights in 256-bit vectors: weights and factors as 16-bit integers, of which an instruction adds the
//! products two by two.

use std::arch::x86_64::*;

use super::{CLOSE, by_rows};
use crate::dot::prefetch::Prefetch;

/// Lanes of a step: a line of weights.
pub(in crate::dot) const STEP: usize = 64;
/// Lanes of a vector of 16-bit integers.
const SIXTEEN: usize = 16;

/// What weights are multiplied by: integers of at most 16 bits.
pub(in crate::dot) trait Factor: Copy + Default {
    /// Sixteen of them as 16-bit integers.
    ///
    /// # Safety
    /// The host has AVX2, and there are sixteen.
    unsafe fn sixteen(at: *const Self) -> __m256i;
}

impl Factor for i8 {
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn sixteen(at: *const Self) -> __m256i {
        // SAFETY: the caller's duty.
        _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(at.cast()) })
    }
}

impl Factor for i16 {
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn sixteen(at: *const Self) -> __m256i {
        // SAFETY: the caller's duty.
        unsafe { _mm256_loadu_si256(at.cast()) }
    }
}

/// Lanes up to the last that is not zero, in whole steps.
pub(super) fn live(x: &[i8]) -> usize {
    let last = x.chunks(STEP).rposition(|step| step.iter().fold(0, |all, &x| all | x) != 0);
    last.map_or(0, |last| ((last + 1) * STEP).min(x.len()))
}

/// The sum of each of some rows of so many weights, over the lanes of `x`, modulo 2^32.
#[target_feature(enable = "avx2")]
pub(super) fn rows(weights: &[i8], lanes: usize, x: &[i8], out: &mut [i32], prefetch: &mut impl Prefetch) {
    let mut fours = weights.chunks(4 * lanes);
    let (whole, rest) = out.as_chunks_mut::<4>();
    for (out, rows) in whole.iter_mut().zip(&mut fours) {
        let [sums] = sums(by_rows::<4>(rows, lanes, x.len()), [x], prefetch);
        // SAFETY: the array has four sums.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), join(sums)) };
    }
    for (out, row) in rest.iter_mut().zip(fours.flat_map(|rows| rows.chunks_exact(lanes))) {
        let [[sum]] = sums([&row[..x.len()]], [x], prefetch);
        *out = _mm_cvtsi128_si32(join([sum; 4]));
    }
}

/// Eight partial sums, modulo 2^32, of each of some rows with each of some factors, all of one length.
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::dot) fn sums<const ROWS: usize, const XS: usize, X: Factor>(
    rows: [&[i8]; ROWS],
    xs: [&[X]; XS],
    prefetch: &mut impl Prefetch,
) -> [[__m256i; ROWS]; XS] {
    prefetch.rows();
    let mut sums = [[_mm256_setzero_si256(); ROWS]; XS];
    let lanes = xs[0].len();
    assert!(rows.iter().all(|row| row.len() == lanes) && xs.iter().all(|x| x.len() == lanes), "all of one length");
    for start in (0..lanes / STEP * STEP).step_by(STEP) {
        prefetch.lines(ROWS);
        let rows = rows.map(|row| row.as_ptr().wrapping_add(start));
        for row in rows {
            _mm_prefetch::<_MM_HINT_T0>(row.wrapping_add(CLOSE));
        }
        // SAFETY: a whole step from here is in every row and all factors.
        unsafe { step(rows, xs.map(|x| x.as_ptr().wrapping_add(start)), &mut sums) };
    }
    if !lanes.is_multiple_of(STEP) {
        prefetch.lines(ROWS);
        let (rows, xs) = (rows.map(last), xs.map(last));
        // SAFETY: every array is a step.
        unsafe { step(rows.each_ref().map(|row| row.as_ptr()), xs.each_ref().map(|x| x.as_ptr()), &mut sums) };
    }
    sums
}

/// What is left after the whole steps, and zeros.
#[inline]
fn last<T: Copy + Default>(all: &[T]) -> [T; STEP] {
    let mut step = [T::default(); STEP];
    let rest = all.chunks_exact(STEP).remainder();
    step[..rest.len()].copy_from_slice(rest);
    step
}

/// Adds the products of a step.
///
/// # Safety
/// A step can be read from every pointer.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn step<const ROWS: usize, const XS: usize, X: Factor>(
    rows: [*const i8; ROWS],
    xs: [*const X; XS],
    sums: &mut [[__m256i; ROWS]; XS],
) {
    for lane in (0..STEP).step_by(SIXTEEN) {
        // SAFETY: sixteen lanes of a step, which the caller answers for.
        let (xs, weights) =
            unsafe { (xs.map(|x| X::sixteen(x.add(lane))), rows.map(|row| i8::sixteen(row.add(lane)))) };
        for (x, sums) in xs.into_iter().zip(&mut *sums) {
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(weights, x));
            }
        }
    }
}

/// The sum of each of four vectors, modulo 2^32.
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::dot) fn join([a, b, c, d]: [__m256i; 4]) -> __m128i {
    let ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let cd = _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    let all = _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
    _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256::<1>(all))
}
