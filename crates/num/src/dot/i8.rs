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
    let added = x.iter().fold(0i32, |sum, &x| sum.wrapping_add(128 * i32::from(x)));
    let (quads, rest) = out.as_chunks_mut::<4>();
    let (quad_rows, rest_rows) = weights.split_at(quads.len() * 4 * x.len());
    for (rows, out) in quad_rows.chunks_exact(4 * x.len()).zip(quads) {
        let (front, back) = rows.split_at(2 * x.len());
        let ((a, b), (c, d)) = (front.split_at(x.len()), back.split_at(x.len()));
        *out = rows_avx512([a, b, c, d], x).map(|sum| sum.wrapping_sub(added));
    }
    for (row, out) in rest_rows.chunks_exact(x.len()).zip(rest) {
        *out = rows_avx512([row], x)[0].wrapping_sub(added);
    }
}

/// The sums of `(w + 128) * x` of some rows, all as long as `x`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn rows_avx512<const ROWS: usize>(rows: [&[i8]; ROWS], x: &[i8]) -> [i32; ROWS] {
    let top = _mm512_set1_epi8(i8::MIN);
    let mut sums = [_mm512_setzero_si512(); ROWS];
    for start in (0..x.len()).step_by(64) {
        let live = u64::MAX >> 64usize.saturating_sub(x.len() - start);
        // SAFETY: the mask loads no lane at or beyond the end of `x`; lanes not loaded are zero.
        let x = unsafe { _mm512_maskz_loadu_epi8(live, x.as_ptr().add(start)) };
        for (row, sum) in rows.iter().zip(&mut sums) {
            // SAFETY: as above, for a row as long as `x`.
            let w = unsafe { _mm512_maskz_loadu_epi8(live, row.as_ptr().add(start)) };
            *sum = _mm512_dpbusd_epi32(*sum, _mm512_xor_si512(w, top), x);
        }
    }
    let mut out = [0; ROWS];
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = _mm512_reduce_add_epi32(sum);
    }
    out
}
