//! Binary32 operations of the vector unit: arithmetic, sign, order, comparison.
//!
//! Each result is the IEEE 754 result rounded once, to nearest, ties to even, with subnormals kept. A NaN result is
//! always [`NAN`], whatever payload or sign the operands carried.

mod elementary;

pub use elementary::{exp, recip, rsqrt, tanh};

/// The one NaN that any operation returns.
pub const NAN: f32 = f32::from_bits(0x7FC0_0000);

/// `x` with any NaN replaced by [`NAN`].
#[inline]
pub fn canonical(x: f32) -> f32 {
    if x.is_nan() { NAN } else { x }
}

/// `a + b`.
#[inline]
pub fn add(a: f32, b: f32) -> f32 {
    canonical(a + b)
}

/// `a - b`.
#[inline]
pub fn sub(a: f32, b: f32) -> f32 {
    canonical(a - b)
}

/// `a * b`.
#[inline]
pub fn mul(a: f32, b: f32) -> f32 {
    canonical(a * b)
}

/// The greater operand, with -0 below +0; NaN if either is NaN.
#[inline]
pub fn max(a: f32, b: f32) -> f32 {
    if a > b {
        a
    } else if b > a {
        b
    } else if a == b {
        // Equal operands have equal bits unless they are zeros of two signs; `and` keeps the sign only if both have it.
        f32::from_bits(a.to_bits() & b.to_bits())
    } else {
        NAN
    }
}

/// The lesser operand, with -0 below +0; NaN if either is NaN.
#[inline]
pub fn min(a: f32, b: f32) -> f32 {
    if a < b {
        a
    } else if b < a {
        b
    } else if a == b {
        f32::from_bits(a.to_bits() | b.to_bits())
    } else {
        NAN
    }
}

/// `x` with its sign flipped.
#[inline]
pub fn neg(x: f32) -> f32 {
    canonical(-x)
}

/// `x` with its sign cleared.
#[inline]
pub fn abs(x: f32) -> f32 {
    canonical(x.abs())
}

/// `max(x, +0)`: -0 becomes +0.
#[inline]
pub fn relu(x: f32) -> f32 {
    max(x, 0.0)
}

#[inline]
fn truth(holds: bool) -> f32 {
    if holds { 1.0 } else { 0.0 }
}

/// 1 if `a == b`, else 0. Zeros of both signs are equal; NaN equals nothing.
#[inline]
pub fn eq(a: f32, b: f32) -> f32 {
    truth(a == b)
}

/// 1 if `a != b`, else 0; 1 if either is NaN.
#[inline]
pub fn ne(a: f32, b: f32) -> f32 {
    truth(a != b)
}

/// 1 if `a > b`, else 0; 0 if either is NaN.
#[inline]
pub fn gt(a: f32, b: f32) -> f32 {
    truth(a > b)
}

/// 1 if `a >= b`, else 0; 0 if either is NaN.
#[inline]
pub fn ge(a: f32, b: f32) -> f32 {
    truth(a >= b)
}

/// 1 if `a < b`, else 0; 0 if either is NaN.
#[inline]
pub fn lt(a: f32, b: f32) -> f32 {
    truth(a < b)
}

/// 1 if `a <= b`, else 0; 0 if either is NaN.
#[inline]
pub fn le(a: f32, b: f32) -> f32 {
    truth(a <= b)
}
