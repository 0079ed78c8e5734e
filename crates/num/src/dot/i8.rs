//! The int8 pass at speed: integer sums modulo 2^32, so any order gives the bits of [`dot_i8`].

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::dot_i8;
use super::kernel::Kernel;

/// [`dot_i8`] of each row and `x`: `weights` holds `out.len()` rows of `lanes` weights.
pub fn plane_i8(weights: &[i8], lanes: usize, x: &[i8], out: &mut [i32]) {
    assert_eq!(lanes, x.len(), "as many lanes as activations");
    plane_on(Kernel::of_host(), weights, x, out);
}

/// [`plane_i8`] on one kernel.
pub(super) fn plane_on(kernel: Kernel, weights: &[i8], x: &[i8], out: &mut [i32]) {
    assert_eq!(weights.len(), x.len() * out.len(), "a row of weights for every output");
    if x.is_empty() {
        out.fill(0);
        return;
    }
    match kernel {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a kernel exists only on a host with its instructions.
        Kernel::Avx512 => unsafe { plane_avx512(weights, x, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a kernel exists only on a host with its instructions.
        Kernel::Avx2 => unsafe { plane_avx2(weights, x, out) },
        Kernel::Portable => plane_portable(weights, x, out),
    }
}

#[inline(always)]
fn plane_portable(weights: &[i8], x: &[i8], out: &mut [i32]) {
    for (w, out) in weights.chunks_exact(x.len()).zip(out) {
        *out = dot_i8(w, x);
    }
}

/// The portable code, compiled for wider vectors.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn plane_avx2(weights: &[i8], x: &[i8], out: &mut [i32]) {
    plane_portable(weights, x, out);
}

/// The dot-product instruction takes one factor unsigned: `w + 128`, which is `w` with its top bit flipped. What that adds, `128 * sum(x)`, is
/// taken off again.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn plane_avx512(weights: &[i8], x: &[i8], out: &mut [i32]) {
    let (added, live) = activations_avx512(x);
    let (quads, rest) = out.as_chunks_mut::<4>();
    let (quad_rows, rest_rows) = weights.split_at(quads.len() * 4 * x.len());
    for (rows, out) in quad_rows.chunks_exact(4 * x.len()).zip(quads) {
        let (front, back) = rows.split_at(2 * x.len());
        let ((a, b), (c, d)) = (front.split_at(x.len()), back.split_at(x.len()));
        let [sums] = sums_avx512([a, b, c, d].map(|row| &row[..live]), [&x[..live]]);
        *out = join_avx512(sums).map(|sum| sum.wrapping_sub(added));
    }
    for (row, out) in rest_rows.chunks_exact(x.len()).zip(rest) {
        let [[sums]] = sums_avx512([&row[..live]], [&x[..live]]);
        *out = _mm512_reduce_add_epi32(sums).wrapping_sub(added);
    }
}

/// `128 * sum(x)`, and the lanes up to the last that is not zero, in whole vectors: activations that are zero to the end, as behind the last live
/// lane, need no weights.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn activations_avx512(x: &[i8]) -> (i32, usize) {
    let mut sum = _mm512_setzero_si512();
    let mut live = 0;
    for start in (0..x.len()).step_by(64) {
        let lanes = u64::MAX >> 64usize.saturating_sub(x.len() - start);
        // SAFETY: the mask loads no lane at or beyond the end of `x`; lanes not loaded are zero.
        let x = unsafe { _mm512_maskz_loadu_epi8(lanes, x.as_ptr().add(start)) };
        sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), x);
        if _mm512_test_epi8_mask(x, x) != 0 {
            live = start + 64;
        }
    }
    (_mm512_reduce_add_epi32(sum).wrapping_mul(128), live.min(x.len()))
}

/// Bytes that loads of weights run ahead of their use.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 8192;

/// Sixteen partial sums of `(w + 128) * x` of each of some rows with each of some activations, all of one length.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn sums_avx512<const ROWS: usize, const XS: usize>(rows: [&[i8]; ROWS], xs: [&[i8]; XS]) -> [[__m512i; ROWS]; XS] {
    let top = _mm512_set1_epi8(i8::MIN);
    let mut sums = [[_mm512_setzero_si512(); ROWS]; XS];
    let lanes = xs[0].len();
    assert!(rows.iter().chain(&xs).all(|row| row.len() == lanes), "all of one length");
    for start in (0..lanes).step_by(64) {
        let live = u64::MAX >> 64usize.saturating_sub(lanes - start);
        let weights = rows.map(|row| {
            // SAFETY: the mask loads no lane at or beyond the end of a row; a prefetch of any address is harmless.
            unsafe {
                let at = row.as_ptr().add(start);
                _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(AHEAD));
                _mm512_xor_si512(_mm512_maskz_loadu_epi8(live, at), top)
            }
        });
        for (x, sums) in xs.iter().zip(&mut sums) {
            // SAFETY: as above; lanes not loaded are zero.
            let x = unsafe { _mm512_maskz_loadu_epi8(live, x.as_ptr().add(start)) };
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = _mm512_dpbusd_epi32(*sum, weights, x);
            }
        }
    }
    sums
}

/// The sum of each of four vectors.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn join_avx512([a, b, c, d]: [__m512i; 4]) -> [i32; 4] {
    let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    let all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    let half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64::<1>(all));
    let mut sums = [0; 4];
    // SAFETY: the array has four sums.
    unsafe { _mm_storeu_si128(sums.as_mut_ptr().cast(), _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half))) };
    sums
}
