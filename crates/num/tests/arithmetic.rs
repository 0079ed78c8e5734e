//! Binary32 and int32 operations against binary64 and int64.

use lpu_num::{fp32, int};
use proptest::prelude::*;

/// Any binary32 pattern, with special values and close pairs often.
fn any_f32() -> impl Strategy<Value = f32> {
    let special = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::from_bits(0xFFA0_0001),
        f32::MAX,
        f32::from_bits(1),
    ];
    prop_oneof![2 => any::<u32>().prop_map(f32::from_bits), 1 => proptest::sample::select(special.to_vec()),
        1 => -4.0f32..4.0]
}

/// Equal bits, where any NaN of the oracle stands for the one NaN.
fn same(y: f32, oracle: f64) -> bool {
    if oracle.is_nan() { y.to_bits() == 0x7FC0_0000 } else { y.to_bits() == (oracle as f32).to_bits() }
}

/// A number that orders values as the line does, with -0 below +0.
fn place(x: f32) -> i64 {
    let bits = i64::from(x.to_bits() & 0x7FFF_FFFF);
    if x.is_sign_negative() { -1 - bits } else { bits }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// Binary64 has more than twice the digits of binary32, so rounding its sum, product or quotient again is rounding
    /// once.
    #[test]
    fn arithmetic_is_rounded_once(a in any_f32(), b in any_f32()) {
        let (wide_a, wide_b) = (f64::from(a), f64::from(b));
        prop_assert!(same(fp32::add(a, b), wide_a + wide_b));
        prop_assert!(same(fp32::sub(a, b), wide_a - wide_b));
        prop_assert!(same(fp32::mul(a, b), wide_a * wide_b));
        prop_assert!(same(fp32::recip(a), 1.0 / wide_a));
        prop_assert!(same(fp32::neg(a), -wide_a));
        prop_assert!(same(fp32::abs(a), wide_a.abs()));
    }

    #[test]
    fn order_puts_minus_zero_below_zero(a in any_f32(), b in any_f32()) {
        let (greater, lesser) = if place(a) > place(b) { (a, b) } else { (b, a) };
        let nan = a.is_nan() || b.is_nan();
        let [greater, lesser] = [greater, lesser].map(|v| if nan { f64::NAN } else { f64::from(v) });
        prop_assert!(same(fp32::max(a, b), greater));
        prop_assert!(same(fp32::min(a, b), lesser));
        let rectified = if a > 0.0 || a.is_nan() { f64::from(a) } else { 0.0 };
        prop_assert!(same(fp32::relu(a), rectified));
    }

    #[test]
    fn comparisons(a in any_f32(), b in any_f32()) {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let order = a.partial_cmp(&b);
        let table = [
            (fp32::eq(a, b), order == Some(Equal)),
            (fp32::ne(a, b), order != Some(Equal)),
            (fp32::gt(a, b), order == Some(Greater)),
            (fp32::ge(a, b), matches!(order, Some(Greater | Equal))),
            (fp32::lt(a, b), order == Some(Less)),
            (fp32::le(a, b), matches!(order, Some(Less | Equal))),
        ];
        for (y, holds) in table {
            prop_assert_eq!(y.to_bits(), f32::from(u8::from(holds)).to_bits());
        }
    }

    #[test]
    fn integers(
        a in prop_oneof![any::<i32>(), -3i32..4, Just(i32::MIN)],
        b in prop_oneof![any::<i32>(), -3i32..4, Just(i32::MIN)],
    ) {
        let (wide_a, wide_b) = (i64::from(a), i64::from(b));
        let results = [
            (int::add_sat(a, b), int::add_mod(a, b), wide_a + wide_b),
            (int::sub_sat(a, b), int::sub_mod(a, b), wide_a - wide_b),
            (int::mul_sat(a, b), int::mul_mod(a, b), wide_a * wide_b),
            (int::neg_sat(a), int::neg_mod(a), -wide_a),
            (int::abs_sat(a), int::abs_mod(a), wide_a.abs()),
        ];
        for (saturated, modulo, exact) in results {
            prop_assert_eq!(i64::from(saturated), exact.clamp(i64::from(i32::MIN), i64::from(i32::MAX)));
            prop_assert_eq!((i64::from(modulo) - exact).rem_euclid(1 << 32), 0);
        }
        prop_assert_eq!((int::max(a, b), int::min(a, b)), if a > b { (a, b) } else { (b, a) });
    }
}
