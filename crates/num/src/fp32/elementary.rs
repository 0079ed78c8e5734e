//! Reciprocal, reciprocal square root, exp and tanh of binary32, computed in binary64 and rounded once to binary32.
//!
//! All are free of branches on data, so loops over them vectorise.

use super::{NAN, canonical};

/// `1 / x`, correctly rounded; `1 / ±0` is the infinity of that sign.
#[inline]
pub fn recip(x: f32) -> f32 {
    canonical(1.0 / x)
}

/// The binary64 quotient `1 / sqrt(x)` rounded to binary32, which is correctly rounded for every `x`.
///
/// `rsqrt(±0)` is the infinity of that sign, `rsqrt(+inf)` is +0, anything below zero gives NaN.
#[inline]
pub fn rsqrt(x: f32) -> f32 {
    canonical((1.0 / f64::from(x).sqrt()) as f32)
}

/// `e^x` within 0.5001 ulp: overflow gives infinity, underflow a rounded subnormal or +0.
#[inline]
pub fn exp(x: f32) -> f32 {
    // e^±200 is beyond binary32 on both sides, so the clamp changes no rounded result.
    let y = exp_f64(f64::from(x).clamp(-200.0, 200.0)) as f32;
    if x.is_nan() { NAN } else { y }
}

/// The hyperbolic tangent within 0.5001 ulp; the sign of zero is kept.
#[inline]
pub fn tanh(x: f32) -> f32 {
    let wide = f64::from(x);
    let square = wide * wide;
    // Below 2^-7 the fractional form loses digits, and the next term of the series, 62/2835 x^9, is below 2^-61 of the
    // value.
    let series = wide * (1.0 + square * (-1.0 / 3.0 + square * (2.0 / 15.0 + square * (-17.0 / 315.0))));
    let decay = exp_f64((-2.0 * wide.abs()).clamp(-200.0, 0.0));
    let fraction = ((1.0 - decay) / (1.0 + decay)).copysign(wide);
    let y = if wide.abs() < 0.0078125 { series } else { fraction } as f32;
    if x.is_nan() { NAN } else { y }
}

/// `e^x` in binary64 for `|x| <= 200`, with relative error below 2^-46.
#[inline]
fn exp_f64(x: f64) -> f64 {
    /// Adding this leaves the nearest integer in the low bits of the significand.
    const SHIFT: f64 = 6_755_399_441_055_744.0; // 1.5 * 2^52
    /// ln 2 to 33 bits, so that its product with a small integer is exact, and the rest.
    const LN2_HIGH: f64 = f64::from_bits(0x3FE6_2E42_FEF0_0000);
    const LN2_LOW: f64 = f64::from_bits(0x3DD4_73DE_6AF2_78ED);
    let shifted = x * std::f64::consts::LOG2_E + SHIFT;
    let k = shifted - SHIFT;
    let r = (x - k * LN2_HIGH) - k * LN2_LOW;
    // Taylor to r^11: with |r| <= 0.347 the rest is below 2^-47.
    let mut sum = 1.0 / 39_916_800.0;
    for coefficient in [
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        sum = sum * r + coefficient;
    }
    // The integer in the low bits of `shifted`, moved to the exponent field, is 2^k once the bias of 1023 is added.
    let scale = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
    sum * scale
}
