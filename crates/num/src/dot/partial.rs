//! Sums of products in binary64, for lanes that hold fp16 values. Each product is exact, each addition rounds; kernels
//! differ in order and so in the last bits of a sum, but none exceeds [`roundings`] on the path of any product.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// The lanes that every kernel takes in one step, each into a partial sum of its own.
const STEP: usize = 32;

/// At most this many additions are between any product and the sum.
pub(super) fn roundings(lanes: usize) -> usize {
    // A product passes through one partial sum and the five joins of 32 into one, or through the tail; then the two
    // meet.
    (lanes / STEP + STEP.ilog2() as usize).max(lanes % STEP) + 1
}

/// The sum in portable code.
pub(super) fn sum(w: &[f32], x: &[f64]) -> f64 {
    let mut sums = [0.0; STEP];
    let ((w, w_tail), (x, x_tail)) = (w.as_chunks::<STEP>(), x.as_chunks::<STEP>());
    for (w, x) in w.iter().zip(x) {
        for lane in 0..STEP {
            sums[lane] += f64::from(w[lane]) * x[lane];
        }
    }
    let mut width = STEP / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0] + tail(w_tail, x_tail)
}

/// The lanes after the last whole step, in order.
fn tail(w: &[f32], x: &[f64]) -> f64 {
    w.iter().zip(x).fold(0.0, |sum, (&w, &x)| sum + f64::from(w) * x)
}

/// [`sum`] in four vectors of eight. A fused multiply-add rounds as the addition alone does, since the product is
/// exact.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
pub(super) fn sum_avx512(w: &[f32], x: &[f64]) -> f64 {
    let mut sums = [_mm512_setzero_pd(); 4];
    let ((w, w_tail), (x, x_tail)) = (w.as_chunks::<STEP>(), x.as_chunks::<STEP>());
    for (w, x) in w.iter().zip(x) {
        for (group, sum) in sums.iter_mut().enumerate() {
            // SAFETY: group is below 4, so both loads are within their arrays of 32; unaligned loads ask for no
            // alignment.
            let (w, x) =
                unsafe { (_mm256_loadu_ps(w.as_ptr().add(8 * group)), _mm512_loadu_pd(x.as_ptr().add(8 * group))) };
            *sum = _mm512_fmadd_pd(_mm512_cvtps_pd(w), x, *sum);
        }
    }
    let joined = _mm512_add_pd(_mm512_add_pd(sums[0], sums[1]), _mm512_add_pd(sums[2], sums[3]));
    _mm512_reduce_add_pd(joined) + tail(w_tail, x_tail)
}

/// [`sum`] in eight vectors of four.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
pub(super) fn sum_avx2(w: &[f32], x: &[f64]) -> f64 {
    let mut sums = [_mm256_setzero_pd(); 8];
    let ((w, w_tail), (x, x_tail)) = (w.as_chunks::<STEP>(), x.as_chunks::<STEP>());
    for (w, x) in w.iter().zip(x) {
        for (group, sum) in sums.iter_mut().enumerate() {
            // SAFETY: group is below 8, so both loads are within their arrays of 32; unaligned loads ask for no
            // alignment.
            let (w, x) =
                unsafe { (_mm_loadu_ps(w.as_ptr().add(4 * group)), _mm256_loadu_pd(x.as_ptr().add(4 * group))) };
            *sum = _mm256_add_pd(*sum, _mm256_mul_pd(_mm256_cvtps_pd(w), x));
        }
    }
    let [a, b, c, d, e, f, g, h] = sums;
    let (low, high) = (join(join(a, b), join(c, d)), join(join(e, f), join(g, h)));
    let joined = join(low, high);
    let halves = _mm_add_pd(_mm256_castpd256_pd128(joined), _mm256_extractf128_pd::<1>(joined));
    _mm_cvtsd_f64(halves) + _mm_cvtsd_f64(_mm_unpackhi_pd(halves, halves)) + tail(w_tail, x_tail)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn join(a: __m256d, b: __m256d) -> __m256d {
    _mm256_add_pd(a, b)
}
