//! exp, ln and pow, evaluated in double-double and rounded to binary64.

use super::NAN;
use super::double::Double;

/// ln 2 in double-double.
const LN2: Double = Double::from_bits(0x3FE6_2E42_FEFA_39EF, 0x3C7A_BC9E_3B39_803F);

/// ln 2 in three parts, the first two of 40 bits, so that their products with an exponent are exact.
const LN2_PARTS: [f64; 3] = [
    f64::from_bits(0x3FE6_2E42_FEFA_2000),
    f64::from_bits(0x3D69_EF35_793C_6000),
    f64::from_bits(0x3AE6_7300_7E5E_D5E8),
];

/// `e^x` within 0.51 ulp, and within 1 ulp where the result is subnormal.
pub fn exp(x: f64) -> f64 {
    if x.is_nan() { NAN } else { exp_double(Double::from(x)) }
}

/// The natural logarithm within 0.51 ulp; `ln(±0)` is -inf, and anything below zero gives NaN.
pub fn ln(x: f64) -> f64 {
    if x == 0.0 {
        f64::NEG_INFINITY
    } else if x == f64::INFINITY {
        x
    } else if x > 0.0 {
        ln_double(x).value()
    } else {
        NAN
    }
}

/// `base^exponent` within 0.51 ulp, and within 1 ulp where the result is subnormal; the special cases are those of IEEE
/// 754 `pow`.
pub fn pow(base: f64, exponent: f64) -> f64 {
    if exponent == 0.0 || base == 1.0 {
        return 1.0;
    }
    if base.is_nan() || exponent.is_nan() {
        return NAN;
    }
    let integral = exponent.trunc() == exponent;
    let odd = integral && exponent.is_finite() && (exponent * 0.5).trunc() != exponent * 0.5;
    if base < 0.0 && base.is_finite() && !integral {
        return NAN;
    }
    let magnitude = positive_pow(base.abs(), exponent);
    if base.is_sign_negative() && odd { -magnitude } else { magnitude }
}

/// `base^exponent` for a base that carries no sign, neither operand NaN and the exponent not zero.
fn positive_pow(base: f64, exponent: f64) -> f64 {
    if base == 1.0 {
        return 1.0;
    }
    if base == 0.0 || base.is_infinite() || exponent.is_infinite() {
        return if (base > 1.0) == (exponent > 0.0) { f64::INFINITY } else { 0.0 };
    }
    let log = ln_double(base);
    let rough = log.high * exponent;
    if rough.abs() > 800.0 {
        return if rough > 0.0 { f64::INFINITY } else { 0.0 };
    }
    exp_double(log * Double::from(exponent))
}

/// `e^x` rounded to binary64, for `x` of any size but NaN.
fn exp_double(x: Double) -> f64 {
    if x.high > 710.0 {
        return f64::INFINITY;
    }
    if x.high < -746.0 {
        return 0.0;
    }
    let k = nearest(x.high * std::f64::consts::LOG2_E);
    let mut r = x;
    for part in LN2_PARTS {
        r = r + Double::from(-k * part);
    }
    // Taylor, innermost term first: with |r| <= 0.35 the terms beyond the 24th are below 2^-110.
    let one = Double::from(1.0);
    let mut sum = one;
    for n in (1..=24).rev() {
        sum = one + sum * r / Double::from(f64::from(n));
    }
    scale(sum.value(), k as i32)
}

/// `ln x` in double-double, for finite `x` above zero.
fn ln_double(x: f64) -> Double {
    // A subnormal is first brought into the normal range.
    let (x, lift) = if x < f64::MIN_POSITIVE { (x * 18_014_398_509_481_984.0, 54) } else { (x, 0) };
    // The significand m is in [0.75, 1.5), where 1 is not near an end.
    let bits = x.to_bits();
    let above = i64::from(bits & 0x000F_FFFF_FFFF_FFFF >= 0x0008_0000_0000_0000);
    let exponent = (bits >> 52) as i64 - 1023 + above;
    let m = f64::from_bits((bits & 0x000F_FFFF_FFFF_FFFF) | ((1023 - above) as u64) << 52);
    // ln m = 2 artanh(s) = 2 (s + s^3/3 + s^5/5 + ...), |s| <= 1/5: the terms beyond s^47 are below 2^-110 of the
    // first.
    let s = Double::sum(m, -1.0) / Double::sum(m, 1.0);
    let square = s * s;
    let mut sum = Double::from(0.0);
    for n in (0..=23).rev() {
        sum = sum * square + Double::from(1.0) / Double::from(f64::from(2 * n + 1));
    }
    let log_m = s * sum * Double::from(2.0);
    LN2 * Double::from((exponent - lift) as f64) + log_m
}

/// `x * 2^k` for `x` near 1, rounded once: the first half of the power never leaves the normal range.
fn scale(x: f64, k: i32) -> f64 {
    let power = |k: i32| f64::from_bits(((1023 + k) as u64) << 52);
    x * power(k / 2) * power(k - k / 2)
}

/// `x` rounded to an integer, ties to even, for `|x| < 2^51`.
pub(super) fn nearest(x: f64) -> f64 {
    const SHIFT: f64 = 6_755_399_441_055_744.0; // 1.5 * 2^52
    (x + SHIFT) - SHIFT
}
