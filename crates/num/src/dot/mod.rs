//! One pass of a plane: the sum over lanes of weight times activation, for one row or a whole plane.
//!
//! [`dot_i8`] and [`dot_f16_exact`] are the definitions. [`plane_i8`] and [`PassF16`] return the same bits faster.

mod digits;
mod f16;
mod i8;
#[cfg(test)]
mod kernels_agree;
mod partial;
mod planes;
mod prefetch;

pub use digits::Digits;
pub use f16::PassF16;
pub use i8::{Octets, plane_i8};
pub use planes::{HalfWeights, Halves};
pub use prefetch::Prefetch;

use crate::fp32::NAN;

/// The sum of products of int8 lanes, modulo 2^32. It is exact below 2^17 lanes, since a product is at most 2^14 in
/// magnitude.
#[inline(always)]
pub fn dot_i8(w: &[i8], x: &[i8]) -> i32 {
    assert_eq!(w.len(), x.len(), "a weight for every lane");
    w.iter().zip(x).fold(0, |sum: i32, (&w, &x)| sum.wrapping_add(i32::from(w) * i32::from(x)))
}

/// The real sum of products rounded once to binary32, to nearest, ties to even, where each lane holds the binary32
/// value of an fp16 number. There is no order of summation. A zero sum is +0.
///
/// A NaN operand, zero times infinity, or infinite products of both signs give NaN; otherwise an infinite product gives
/// its infinity.
pub fn dot_f16_exact(w: &[f32], x: &[f32]) -> f32 {
    assert_eq!(w.len(), x.len(), "a weight for every lane");
    if w.iter().chain(x).any(|v| !v.is_finite()) {
        return non_finite(w, x);
    }
    // An fp16 number is an integer of at most 41 bits times 2^-24, so the sum is an integer times 2^-48.
    let units = |v: f32| {
        let scaled = f64::from(v) * 16_777_216.0;
        debug_assert!(scaled.abs() < 1_099_511_627_776.0 && scaled.trunc() == scaled, "{v:e} is no fp16 value");
        scaled as i64
    };
    let sum: i128 = w.iter().zip(x).map(|(&w, &x)| i128::from(units(w)) * i128::from(units(x))).sum();
    // The cast rounds, to nearest, ties to even; the scaling is exact, as 2^-48 is a normal number.
    sum as f32 * (1.0 / 281_474_976_710_656.0)
}

/// The greatest `|w|` of a row, or infinity if some weight is infinite or NaN: the bound that [`PassF16::row`] asks
/// for.
pub fn max_abs(w: &[f32]) -> f32 {
    // Without their signs, patterns are ordered as the values are, and NaN is above infinity.
    let bits = w.iter().fold(0, |max, v| (v.to_bits() & 0x7FFF_FFFF).max(max));
    f32::from_bits(bits.min(0x7F80_0000))
}

/// The sum when some operand is not finite. Products of finite operands stay finite and cannot matter.
#[cold]
fn non_finite(w: &[f32], x: &[f32]) -> f32 {
    let (mut positive, mut negative) = (false, false);
    for (&w, &x) in w.iter().zip(x) {
        let product = w * x;
        if product.is_nan() {
            return NAN;
        }
        positive |= product == f32::INFINITY;
        negative |= product == f32::NEG_INFINITY;
    }
    match (positive, negative) {
        (true, true) => NAN,
        (true, false) => f32::INFINITY,
        _ => f32::NEG_INFINITY,
    }
}
