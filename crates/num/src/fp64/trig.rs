//! sin and cos: the angle is reduced by multiples of pi/2 held to 185 bits, then a series is summed in binary64.

use super::NAN;
use super::double::Double;
use super::power::nearest;

/// The greatest angle, in radians, that [`sin`] and [`cos`] reduce.
pub const ANGLE_LIMIT: f64 = 1_048_576.0; // 2^20

/// pi/2 in five parts, all but the last of 33 bits, so that their products with a count of quarter turns below 2^20 are
/// exact.
const QUARTER_PARTS: [f64; 5] = [
    f64::from_bits(0x3FF9_21FB_5440_0000),
    f64::from_bits(0x3DD0_B461_1A60_0000),
    f64::from_bits(0x3BA3_198A_2E00_0000),
    f64::from_bits(0x397B_839A_2520_0000),
    f64::from_bits(0x3712_7044_533E_63A0),
];

/// The sine of `x` radians within 1 ulp for `|x| <= ANGLE_LIMIT`; NaN beyond.
pub fn sin(x: f64) -> f64 {
    if x == 0.0 {
        return x;
    }
    turned(x, 0)
}

/// The cosine of `x` radians within 1 ulp for `|x| <= ANGLE_LIMIT`; NaN beyond.
pub fn cos(x: f64) -> f64 {
    turned(x, 1)
}

/// The sine of `x` plus a number of quarter turns.
fn turned(x: f64, quarters: i64) -> f64 {
    // Written so that NaN fails.
    if !matches!(x.abs().partial_cmp(&ANGLE_LIMIT), Some(order) if order.is_le()) {
        return NAN;
    }
    let count = nearest(x * std::f64::consts::FRAC_2_PI);
    let mut r = Double::from(x);
    for part in QUARTER_PARTS {
        r = r + Double::from(-count * part);
    }
    match (count as i64 + quarters) & 3 {
        0 => sine(r),
        1 => cosine(r),
        2 => -sine(r),
        _ => -cosine(r),
    }
}

/// `sum of c[i] z^i`, by Horner's rule.
fn polynomial(z: f64, coefficients: &[f64]) -> f64 {
    coefficients.iter().rev().fold(0.0, |sum, c| sum * z + c)
}

/// Sine for `|r|` up to pi/4 and a little over: Taylor to r^19.
fn sine(r: Double) -> f64 {
    const TERMS: [f64; 9] = [
        -1.0 / 6.0,
        1.0 / 120.0,
        -1.0 / 5_040.0,
        1.0 / 362_880.0,
        -1.0 / 39_916_800.0,
        1.0 / 6_227_020_800.0,
        -1.0 / 1_307_674_368_000.0,
        1.0 / 355_687_428_096_000.0,
        -1.0 / 121_645_100_408_832_000.0,
    ];
    let z = r.high * r.high;
    r.high + (r.high * z * polynomial(z, &TERMS) + r.low * (1.0 - 0.5 * z))
}

/// Cosine for `|r|` up to pi/4 and a little over: Taylor to r^18, with the rounding of `1 - z/2` added back.
fn cosine(r: Double) -> f64 {
    const TERMS: [f64; 8] = [
        1.0 / 24.0,
        -1.0 / 720.0,
        1.0 / 40_320.0,
        -1.0 / 3_628_800.0,
        1.0 / 479_001_600.0,
        -1.0 / 87_178_291_200.0,
        1.0 / 20_922_789_888_000.0,
        -1.0 / 6_402_373_705_728_000.0,
    ];
    let z = r.high * r.high;
    let half = 0.5 * z;
    let head = 1.0 - half;
    head + (((1.0 - head) - half) + (z * z * polynomial(z, &TERMS) - r.high * r.low))
}
