//! Double-double numbers: the unevaluated sum of two binary64 values, some 104 significant bits.

use std::ops::{Add, Div, Mul};

/// `high + low`, where `high` is the sum rounded to binary64.
#[derive(Clone, Copy, Debug)]
pub(super) struct Double {
    pub(super) high: f64,
    pub(super) low: f64,
}

impl Double {
    pub(super) const fn from_bits(high: u64, low: u64) -> Self {
        Self { high: f64::from_bits(high), low: f64::from_bits(low) }
    }

    /// The exact sum of two binary64 values.
    pub(super) fn sum(a: f64, b: f64) -> Self {
        let high = a + b;
        let from_b = high - a;
        Self { high, low: (a - (high - from_b)) + (b - from_b) }
    }

    /// The exact sum when `|a| >= |b|` or `a` is zero.
    fn ordered_sum(a: f64, b: f64) -> Self {
        let high = a + b;
        Self { high, low: b - (high - a) }
    }

    /// The exact product of two binary64 values of moderate size, each split into halves of 26 bits.
    pub(super) fn product(a: f64, b: f64) -> Self {
        let split = |x: f64| {
            let scaled = x * 134_217_729.0; // 2^27 + 1
            let top = scaled - (scaled - x);
            (top, x - top)
        };
        let high = a * b;
        let ((a1, a0), (b1, b0)) = (split(a), split(b));
        Self { high, low: ((a1 * b1 - high) + a1 * b0 + a0 * b1) + a0 * b0 }
    }

    /// The value rounded to binary64.
    pub(super) fn value(self) -> f64 {
        self.high + self.low
    }
}

impl From<f64> for Double {
    fn from(x: f64) -> Self {
        Self { high: x, low: 0.0 }
    }
}

impl Add for Double {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let high = Self::sum(self.high, other.high);
        let low = Self::sum(self.low, other.low);
        let carried = Self::ordered_sum(high.high, high.low + low.high);
        Self::ordered_sum(carried.high, carried.low + low.low)
    }
}

impl Mul for Double {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let product = Self::product(self.high, other.high);
        Self::ordered_sum(product.high, product.low + (self.high * other.low + self.low * other.high))
    }
}

impl Div for Double {
    type Output = Self;

    fn div(self, other: Self) -> Self {
        let quotient = self.high / other.high;
        let back = other * Self::from(-quotient);
        let rest = self + back;
        Self::ordered_sum(quotient, rest.value() / other.high)
    }
}
