//! Passes by columns in 256-bit vectors: a few rows are widened into binary64, then all activations add them, a few
//! lanes at a time.

use std::arch::x86_64::*;

use super::{Halves, STEP, THREES};
use crate::dot::planes::avx2::greatest;

/// Rows that are widened at once: half of what the nearest cache holds.
const SOME: usize = 16;
/// Lanes whose sums are in registers, for three activations.
const LANES: usize = 16;
/// Binary64 numbers of a vector.
const FOUR: usize = 4;

/// Some rows in binary64.
#[repr(align(64))]
struct WideRows([[f64; STEP]; SOME]);

/// Sums by columns for groups of activations, at most [`THREES`], and the greatest high byte of the weights that count.
#[target_feature(enable = "avx2,f16c,fma")]
pub(in crate::dot::planes) fn columns<'a, const XS: usize>(
    groups: &[[&Halves; XS]],
    rows: usize,
    row: &impl Fn(usize) -> (&'a [u8], &'a [u8]),
    blank: &impl Fn(usize) -> bool,
    lanes: usize,
    sums: &mut [[[f64; STEP]; XS]],
) -> u8 {
    assert!(groups.len() <= THREES && groups.len() <= sums.len() && lanes <= STEP, "room for all sums");
    let mut most = _mm_setzero_si128();
    let finite = groups.as_flattened().iter().all(|halves| halves.bounds.finite());
    let mut inputs = (0..rows).filter(|&input| !(finite && blank(input)));
    // Rows are anywhere in memory: the next few are on their way while some are added.
    let mut few = || {
        let mut few = [(0, &[][..], &[][..]); SOME];
        let mut count = 0;
        for (place, input) in few.iter_mut().zip(inputs.by_ref()) {
            let (low, high) = row(input);
            for row in [low, high] {
                _mm_prefetch::<_MM_HINT_T0>(row.as_ptr().cast());
            }
            *place = (input, &low[..lanes], &high[..lanes]);
            count += 1;
        }
        (few, count)
    };
    let mut wide = WideRows([[0.0; STEP]; SOME]);
    let (mut now, mut count) = few();
    while count > 0 {
        let (next, coming) = few();
        let (mut inputs, mut weighty) = ([0; SOME], 0);
        for &(input, low, high) in &now[..count] {
            let greatest = widen(low, high, &mut wide.0[weighty]);
            most = _mm_max_epu8(most, greatest);
            // Zero weights add nothing to finite activations.
            if !finite || _mm_testz_si128(greatest, greatest) == 0 || low.iter().chain(high).any(|&byte| byte != 0) {
                inputs[weighty] = input;
                weighty += 1;
            }
        }
        for (group, sums) in groups.iter().zip(&mut *sums) {
            add(group, &inputs[..weighty], &wide.0, lanes, sums);
        }
        (now, count) = (next, coming);
    }
    greatest(most)
}

/// Widens a row of at most 64 weights; gives back the greatest high bytes.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn widen(low: &[u8], high: &[u8], out: &mut [f64; STEP]) -> __m128i {
    let mut most = _mm_setzero_si128();
    let mut place: [[u8; LANES]; 2];
    let sixteens = low.chunks(LANES).zip(high.chunks(LANES));
    for ((low, high), out) in sixteens.zip(out.as_chunks_mut::<LANES>().0) {
        let [low, high] = match (low.try_into(), high.try_into()) {
            (Ok(low), Ok(high)) => [low, high],
            _ => {
                place = [[0; LANES]; 2];
                place[0][..low.len()].copy_from_slice(low);
                place[1][..high.len()].copy_from_slice(high);
                place.each_ref()
            }
        }
        // SAFETY: there are sixteen bytes.
        .map(|bytes: &[u8; LANES]| unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) });
        most = _mm_max_epu8(most, _mm_and_si128(high, _mm_set1_epi8(0x7f)));
        let eights = [_mm_unpacklo_epi8(low, high), _mm_unpackhi_epi8(low, high)];
        for (eight, out) in eights.into_iter().zip(out.as_chunks_mut::<{ 2 * FOUR }>().0) {
            let eight = _mm256_cvtph_ps(eight);
            let fours = [_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight)];
            for (four, out) in fours.into_iter().zip(out.as_chunks_mut::<FOUR>().0) {
                // SAFETY: the array has four numbers.
                unsafe { _mm256_storeu_pd(out.as_mut_ptr(), _mm256_cvtps_pd(four)) };
            }
        }
    }
    most
}

/// Four numbers from a lane on.
#[inline]
#[target_feature(enable = "avx2")]
fn four(of: &[f64; STEP], lane: usize) -> __m256d {
    // SAFETY: the slice has four numbers.
    unsafe { _mm256_loadu_pd(of[lane..lane + FOUR].as_ptr()) }
}

/// Adds some rows, each times the activation of its input.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add<const XS: usize>(
    group: &[&Halves; XS],
    inputs: &[usize],
    rows: &[[f64; STEP]; SOME],
    lanes: usize,
    sums: &mut [[f64; STEP]; XS],
) {
    let mut x = [[0.0; XS]; SOME];
    for (x, &input) in x.iter_mut().zip(inputs) {
        *x = group.map(|halves| f64::from(halves.x(input)));
    }
    for lane in (0..lanes).step_by(LANES) {
        let mut totals = [[_mm256_setzero_pd(); LANES / FOUR]; XS];
        for (sums, totals) in sums.iter().zip(&mut totals) {
            for (number, total) in totals.iter_mut().enumerate() {
                *total = four(sums, lane + FOUR * number);
            }
        }
        for (row, x) in rows.iter().zip(&x[..inputs.len()]) {
            let mut wide = [_mm256_setzero_pd(); XS];
            wide.iter_mut().zip(x).for_each(|(wide, &x)| *wide = _mm256_set1_pd(x));
            for number in 0..LANES / FOUR {
                let weights = four(row, lane + FOUR * number);
                for (totals, x) in totals.iter_mut().zip(wide) {
                    totals[number] = _mm256_fmadd_pd(weights, x, totals[number]);
                }
            }
        }
        for (sums, totals) in sums.iter_mut().zip(totals) {
            for (number, total) in totals.into_iter().enumerate() {
                // SAFETY: four numbers from each of these places on are in the array.
                unsafe { _mm256_storeu_pd(sums.as_mut_ptr().add(lane + FOUR * number), total) };
            }
        }
    }
}

/// Sums rounded once, and a bit for each whose rounding no error of this size changes.
#[target_feature(enable = "avx2")]
pub(super) fn settle(error: f64, sums: &[f64; STEP]) -> ([f32; STEP], u64) {
    let error = _mm256_set1_pd(error);
    let (mut values, mut settled) = ([0.0; STEP], 0);
    for (number, (sums, out)) in sums.as_chunks::<FOUR>().0.iter().zip(values.as_chunks_mut::<FOUR>().0).enumerate() {
        // SAFETY: the array has four numbers.
        let (four, bits) = crate::dot::planes::avx2::rounded(unsafe { _mm256_loadu_pd(sums.as_ptr()) }, error);
        *out = four;
        settled |= u64::from(bits) << (FOUR * number);
    }
    (values, settled)
}
