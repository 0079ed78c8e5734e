//! Int32 arithmetic in its two forms, saturating (`_sat`) and modulo 2^32 (`_mod`), and conversions between integers
//! and binary32.
//!
//! A conversion from binary32 rounds to the nearest integer, ties to even, then saturates; NaN gives 0.

/// `a + b`, clamped to the range of int32.
#[inline]
pub fn add_sat(a: i32, b: i32) -> i32 {
    a.saturating_add(b)
}

/// `a - b`, clamped to the range of int32.
#[inline]
pub fn sub_sat(a: i32, b: i32) -> i32 {
    a.saturating_sub(b)
}

/// `a * b`, clamped to the range of int32.
#[inline]
pub fn mul_sat(a: i32, b: i32) -> i32 {
    a.saturating_mul(b)
}

/// `-x`; the negation of the least value is the greatest.
#[inline]
pub fn neg_sat(x: i32) -> i32 {
    x.saturating_neg()
}

/// `|x|`; the magnitude of the least value is the greatest.
#[inline]
pub fn abs_sat(x: i32) -> i32 {
    x.saturating_abs()
}

/// `a + b` modulo 2^32.
#[inline]
pub fn add_mod(a: i32, b: i32) -> i32 {
    a.wrapping_add(b)
}

/// `a - b` modulo 2^32.
#[inline]
pub fn sub_mod(a: i32, b: i32) -> i32 {
    a.wrapping_sub(b)
}

/// `a * b` modulo 2^32.
#[inline]
pub fn mul_mod(a: i32, b: i32) -> i32 {
    a.wrapping_mul(b)
}

/// `-x` modulo 2^32; the least value is its own negation.
#[inline]
pub fn neg_mod(x: i32) -> i32 {
    x.wrapping_neg()
}

/// `|x|` modulo 2^32; the least value stays as it is.
#[inline]
pub fn abs_mod(x: i32) -> i32 {
    x.wrapping_abs()
}

/// The greater operand.
#[inline]
pub fn max(a: i32, b: i32) -> i32 {
    a.max(b)
}

/// The lesser operand.
#[inline]
pub fn min(a: i32, b: i32) -> i32 {
    a.min(b)
}

/// `x` rounded to an integer, ties to even. From 2^51 up the sum is no longer exact, but every binary32 value of that
/// size saturates.
#[inline]
fn nearest(x: f32) -> f64 {
    const SHIFT: f64 = 6_755_399_441_055_744.0; // 1.5 * 2^52
    (f64::from(x) + SHIFT) - SHIFT
}

/// The nearest int32.
#[inline]
pub fn f32_to_i32(x: f32) -> i32 {
    nearest(x) as i32
}

/// The nearest int16.
#[inline]
pub fn f32_to_i16(x: f32) -> i16 {
    nearest(x) as i16
}

/// The nearest int8.
#[inline]
pub fn f32_to_i8(x: f32) -> i8 {
    nearest(x) as i8
}

/// The binary32 value nearest to `x`, ties to even.
#[inline]
pub fn i32_to_f32(x: i32) -> f32 {
    x as f32
}

/// The fp16 pattern nearest to `x`, ties to even; 65520 and beyond give infinity.
#[inline]
pub fn i32_to_f16(x: i32) -> u16 {
    // Binary32 holds every integer below 2^24, and from 65520 on the result is an infinity either way, so only one step
    // rounds.
    crate::half::f32_to_f16(x as f32)
}

/// The bf16 pattern nearest to `x`, ties to even, rounded once.
#[inline]
pub fn i32_to_bf16(x: i32) -> u16 {
    let bits = f64::from(x).to_bits();
    if x == 0 {
        return 0;
    }
    let sign = ((bits >> 48) & 0x8000) as u16;
    let magnitude = bits & !(1 << 63);
    let to_even = (magnitude >> 45) & 1;
    let rounded = (magnitude + (1 << 44) - 1 + to_even) >> 45;
    sign | (rounded - ((1023 - 127) << 7)) as u16
}

/// `x` clamped to the range of int16.
#[inline]
pub fn i32_to_i16(x: i32) -> i16 {
    x.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
}

/// `x` clamped to the range of int8.
#[inline]
pub fn i32_to_i8(x: i32) -> i8 {
    x.clamp(i32::from(i8::MIN), i32::from(i8::MAX)) as i8
}
