//! The int8 pass at speed: exact integer sums, so any order gives the bits of [`dot_i8`](super::dot_i8).

use super::dot_i8;

/// [`dot_i8`] of each row and `x`: `weights` holds `out.len()` rows of `lanes` weights.
pub fn plane_i8(weights: &[i8], lanes: usize, x: &[i8], out: &mut [i32]) {
    assert_eq!(lanes, x.len(), "as many lanes as activations");
    assert_eq!(weights.len(), lanes * out.len(), "a row of weights for every output");
    if lanes == 0 {
        out.fill(0);
        return;
    }
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512bw") {
            // SAFETY: the host has AVX-512BW, all that the function asks for.
            return unsafe { plane_avx512(weights, x, out) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the host has AVX2, all that the function asks for.
            return unsafe { plane_avx2(weights, x, out) };
        }
    }
    plane_in_order(weights, x, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
fn plane_avx512(weights: &[i8], x: &[i8], out: &mut [i32]) {
    plane_in_order(weights, x, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn plane_avx2(weights: &[i8], x: &[i8], out: &mut [i32]) {
    plane_in_order(weights, x, out);
}

/// The scalar form of every vector variant, compiled into each with its instruction set.
#[inline(always)]
fn plane_in_order(weights: &[i8], x: &[i8], out: &mut [i32]) {
    for (w, out) in weights.chunks_exact(x.len()).zip(out) {
        *out = dot_i8(w, x);
    }
}
