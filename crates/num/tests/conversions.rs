//! Conversions against oracles that share no code with them: the number line of the target format, and integer
//! arithmetic on f64.

use lpu_num::fp32::NAN;
use lpu_num::half::{BF16_NAN, F16_NAN, bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use lpu_num::int::{f32_to_i8, f32_to_i16, f32_to_i32, i32_to_bf16, i32_to_f16, i32_to_f32, i32_to_i8, i32_to_i16};
use proptest::prelude::*;

/// The value that a pattern of a 16-bit format means, from the definition of its fields; the top exponent counts on as
/// if finite.
fn meaning(bits: u16, significand: u32, bias: i32) -> f64 {
    let fraction = f64::from(bits & ((1 << significand) - 1)) / f64::from(1u32 << significand);
    let exponent = i32::from((bits & 0x7FFF) >> significand);
    let magnitude =
        if exponent == 0 { fraction * 2f64.powi(1 - bias) } else { (1.0 + fraction) * 2f64.powi(exponent - bias) };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

/// The pattern nearest to `x`, ties to even, by search along the number line.
fn nearest_pattern(x: f32, significand: u32, bias: i32) -> u16 {
    let infinity = (0x7FFFu16 >> significand) << significand;
    let target = f64::from(x).abs();
    let (mut low, mut high) = (0, infinity);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if meaning(middle, significand, bias) <= target { low = middle } else { high = middle }
    }
    let (below, above) = (target - meaning(low, significand, bias), meaning(high, significand, bias) - target);
    let magnitude = if below < above || (below == above && low % 2 == 0) { low } else { high };
    magnitude | if x.is_sign_negative() { 0x8000 } else { 0 }
}

/// Any binary32 pattern, with values near those of 16-bit formats and small halves often.
fn any_f32() -> impl Strategy<Value = f32> {
    prop_oneof![
        3 => any::<u32>().prop_map(f32::from_bits),
        3 => (any::<u16>(), -2i32..=2).prop_map(|(bits, off)| f32::from_bits(f16_to_f32(bits).to_bits()
            .wrapping_add(off as u32))),
        3 => (any::<u16>(), 0u16..3, -1i32..=1).prop_map(|(bits, half, off)| {
            let value = f16_to_f32(bits & 0x7BFF).to_bits() + (u32::from(half) << 12);
            f32::from_bits(value.wrapping_add(off as u32) | (u32::from(bits & 1) << 31))
        }),
        2 => (any::<i32>(), 0u32..31).prop_map(|(n, shift)| (n >> shift) as f32 * 0.5),
    ]
}

#[test]
fn every_f16_pattern() {
    for bits in 0..=u16::MAX {
        let value = f16_to_f32(bits);
        match bits & 0x7FFF {
            0x7C00 => assert!(value.is_infinite() && value.is_sign_negative() == (bits >= 0x8000)),
            0x7C01.. => {
                assert_eq!(value.to_bits(), NAN.to_bits());
                assert_eq!(f32_to_f16(value), F16_NAN);
                continue;
            }
            _ => assert_eq!(f64::from(value).to_bits(), meaning(bits, 10, 15).to_bits()),
        }
        assert_eq!(f32_to_f16(value), bits);
    }
}

#[test]
fn every_bf16_pattern() {
    for bits in 0..=u16::MAX {
        let value = bf16_to_f32(bits);
        match bits & 0x7FFF {
            0x7F80 => assert!(value.is_infinite() && value.is_sign_negative() == (bits >= 0x8000)),
            0x7F81.. => {
                assert_eq!(value.to_bits(), NAN.to_bits());
                assert_eq!(f32_to_bf16(value), BF16_NAN);
                continue;
            }
            _ => assert_eq!(f64::from(value).to_bits(), meaning(bits, 7, 127).to_bits()),
        }
        assert_eq!(f32_to_bf16(value), bits);
    }
}

/// The midpoint of each pair of neighbours in fp16, and the binary32 values to its sides.
#[test]
fn every_f16_midpoint() {
    for low in 0..0x7C00u16 {
        let middle = ((meaning(low, 10, 15) + meaning(low + 1, 10, 15)) / 2.0) as f32;
        assert_eq!(f32_to_f16(middle), low + low % 2);
        assert_eq!(f32_to_f16(middle.next_down()), low);
        assert_eq!(f32_to_f16(-middle.next_up()), (low + 1) | 0x8000);
    }
}

/// `x` as an integer, nearest, ties to even, in whole arithmetic.
fn nearest_integer(x: f32) -> i64 {
    if x.is_nan() {
        return 0;
    }
    let doubled_floor = (f64::from(x).clamp(-1e12, 1e12) * 2.0).floor() as i64;
    let inexact = (doubled_floor as f64) != f64::from(x).clamp(-1e12, 1e12) * 2.0;
    let floor = doubled_floor.div_euclid(2);
    let above_half = doubled_floor.rem_euclid(2) == 1 && (inexact || floor % 2 != 0);
    floor + i64::from(above_half)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn narrowing_is_nearest_even(x in any_f32()) {
        if x.is_nan() {
            prop_assert_eq!((f32_to_f16(x), f32_to_bf16(x)), (F16_NAN, BF16_NAN));
        } else {
            prop_assert_eq!(f32_to_f16(x), nearest_pattern(x, 10, 15));
            prop_assert_eq!(f32_to_bf16(x), nearest_pattern(x, 7, 127));
        }
    }

    #[test]
    fn to_integers(x in any_f32()) {
        let n = nearest_integer(x);
        prop_assert_eq!(i64::from(f32_to_i32(x)), n.clamp(i64::from(i32::MIN), i64::from(i32::MAX)));
        prop_assert_eq!(i64::from(f32_to_i16(x)), n.clamp(-32768, 32767));
        prop_assert_eq!(i64::from(f32_to_i8(x)), n.clamp(-128, 127));
    }

    #[test]
    fn from_integers(n: i32, shift in 0u32..32) {
        let n = n >> shift;
        let y = i32_to_f32(n);
        // Nearest: no neighbour is closer, and on a tie the significand is even.
        let distance = |y: f32| (f64::from(y) - f64::from(n)).abs();
        // Far from the integer, neighbours of y are as far as y.
        prop_assert!(distance(y) <= f64::from(n).abs() / 16_777_216.0);
        for neighbour in [y.next_up(), y.next_down()] {
            prop_assert!(distance(y) < distance(neighbour)
                || (distance(y) == distance(neighbour) && y.to_bits().is_multiple_of(2)));
        }
        prop_assert_eq!(i32::from(i32_to_i16(n)), n.clamp(-32768, 32767));
        prop_assert_eq!(i32::from(i32_to_i8(n)), n.clamp(-128, 127));
    }
}

#[test]
fn named_cases() {
    let to_f16 = [
        (65519.996, 0x7BFF),
        (65520.0, 0x7C00),
        (f32::INFINITY, 0x7C00),
        (-1e30, 0xFC00),
        (-0.0, 0x8000),
        (2f32.powi(-25), 0),
        (2f32.powi(-25).next_up(), 1),
        (-2f32.powi(-14), 0x8400),
        (f32::from_bits(1), 0),
    ];
    for (x, bits) in to_f16 {
        assert_eq!(f32_to_f16(x), bits, "{x:e}");
    }
    let to_bf16 =
        [(f32::MAX, 0x7F80), (-f32::MAX, 0xFF80), (f32::from_bits(0x0000_8000), 0), (f32::from_bits(0x0001_8000), 2)];
    for (x, bits) in to_bf16 {
        assert_eq!(f32_to_bf16(x), bits, "{x:e}");
    }
    let to_i32 = [
        (0.5, 0),
        (1.5, 2),
        (-2.5, -2),
        (-0.0, 0),
        (2147483648.0, i32::MAX),
        (f32::NEG_INFINITY, i32::MIN),
        (f32::NAN, 0),
    ];
    for (x, n) in to_i32 {
        assert_eq!(f32_to_i32(x), n, "{x:e}");
    }
    let from_i32 = [
        (16_777_217, 16_777_216.0),
        (16_777_219, 16_777_220.0),
        (i32::MAX, 2_147_483_648.0),
        (-1, -1.0),
        (i32::MIN, -2_147_483_648.0),
    ];
    for (n, x) in from_i32 {
        assert_eq!(i32_to_f32(n), x, "{n}");
    }
    assert_eq!((f32_to_i8(127.5), f32_to_i8(126.5), f32_to_i8(-128.5), f32_to_i8(-1e9)), (127, 126, -128, -128));
    assert_eq!((f32_to_i16(32767.5), f32_to_i16(f32::INFINITY), f32_to_i16(-32769.0)), (32767, 32767, -32768));
}

/// The pattern nearest to an integer, found among all patterns of the format without a step through binary32.
fn pattern_of_integer(x: i32, significand: u32, bias: i32) -> u16 {
    let infinity = (0x7FFFu16 >> significand) << significand;
    let target = f64::from(x).abs();
    let distance = |bits: u16| (meaning(bits, significand, bias) - target).abs();
    let first =
        (0..=infinity).collect::<Vec<u16>>().partition_point(|&bits| meaning(bits, significand, bias) < target) as u16;
    let candidates = [first.saturating_sub(1), first.min(infinity)];
    let magnitude = match distance(candidates[0]).total_cmp(&distance(candidates[1])) {
        std::cmp::Ordering::Less => candidates[0],
        std::cmp::Ordering::Greater => candidates[1],
        std::cmp::Ordering::Equal => candidates.into_iter().find(|bits| bits % 2 == 0).unwrap_or(candidates[0]),
    };
    magnitude | if x < 0 { 0x8000 } else { 0 }
}

#[test]
fn integers_round_once() {
    // 2^24 + 2^16 + 1 lies above a tie of bf16 that binary32 would have rounded it onto.
    let mut cases = vec![
        0,
        1,
        -1,
        i32::MAX,
        i32::MIN,
        65519,
        65520,
        65521,
        -65520,
        (1 << 24) + (1 << 16) + 1,
        (1 << 30) + (1 << 22) + 1,
    ];
    cases.extend(
        (0..31).flat_map(|shift| [(1 << shift) - 1, 1 << shift, -(1 << shift) - 1, (0x0101 << shift >> 1) + 1]),
    );
    for x in cases {
        assert_eq!(i32_to_f16(x), pattern_of_integer(x, 10, 15), "f16 of {x}");
        assert_eq!(i32_to_bf16(x), pattern_of_integer(x, 7, 127), "bf16 of {x}");
    }
}
