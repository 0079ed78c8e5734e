//! exp, tanh and rsqrt of binary32, and the table functions of binary64, against the standard library and against exact
//! arithmetic.

use lpu_num::{fp32, fp64};
use proptest::prelude::*;

/// Units in the last place between two binary32 values.
fn ulps32(a: f32, b: f32) -> u64 {
    let place = |x: f32| i64::from((x.to_bits() & 0x7FFF_FFFF) as i32) * if x.is_sign_negative() { -1 } else { 1 };
    place(a).abs_diff(place(b))
}

/// Units in the last place between two binary64 values; a NaN is far from all.
fn ulps64(a: f64, b: f64) -> u64 {
    let place = |x: f64| (x.to_bits() & (u64::MAX >> 1)) as i64 * if x.is_sign_negative() { -1 } else { 1 };
    if a.is_nan() || b.is_nan() { u64::MAX } else { place(a).abs_diff(place(b)) }
}

/// The error of `y` in units of its last place, where `exact` carries binary64 precision.
fn error32(y: f32, exact: f64) -> f64 {
    let magnitude = y.abs().to_bits();
    let unit = f64::from(f32::from_bits(magnitude + 1)) - f64::from(f32::from_bits(magnitude));
    (f64::from(y) - exact).abs() / unit
}

/// Every 251st binary32 pattern that is not NaN: exp and tanh stay within half a unit and a ten-thousandth.
#[test]
fn exp_and_tanh_along_the_line() {
    for bits in (0..=0x7F80_0000u32).step_by(251) {
        for x in [f32::from_bits(bits), -f32::from_bits(bits)] {
            let (y, exact) = (fp32::exp(x), f64::from(x).exp());
            if exact as f32 == f32::INFINITY {
                assert_eq!(y, f32::INFINITY, "exp {x:e}");
            } else {
                assert!(error32(y, exact) <= 0.5001, "exp {x:e} = {y:e}");
            }
            let (y, exact) = (fp32::tanh(x), f64::from(x).tanh());
            assert!(error32(y, exact) <= 0.5001 && y.is_sign_negative() == x.is_sign_negative(), "tanh {x:e} = {y:e}");
        }
    }
}

#[test]
fn ends_of_exp_and_tanh() {
    let inf = f32::INFINITY;
    let exp = [
        (0.0, 1.0),
        (-0.0, 1.0),
        (inf, inf),
        (-inf, 0.0),
        (88.722_84, inf),
        (-150.0, 0.0),
        (-103.9, f32::from_bits(1)),
    ];
    for (x, y) in exp {
        assert_eq!(fp32::exp(x).to_bits(), f32::to_bits(y), "exp {x}");
    }
    assert!(fp32::exp(88.72283).is_finite());
    // The last is the one number whose rounding hangs on the last term of the series.
    let bits = f32::from_bits;
    let decided = (bits(0x3BE4_6E2B), bits(0x3BE4_6D38));
    let tanh = [(0.0, 0.0), (-0.0, -0.0), (inf, 1.0), (-inf, -1.0), (20.0, 1.0), (bits(1), bits(1)), decided];
    for (x, y) in tanh {
        assert_eq!(fp32::tanh(x).to_bits(), f32::to_bits(y), "tanh {x}");
    }
    for f in [fp32::exp, fp32::tanh, fp32::rsqrt, fp32::recip] {
        assert_eq!(f(f32::from_bits(0xFF80_0001)).to_bits(), 0x7FC0_0000);
    }
}

/// rsqrt of every significand under both parities of exponent, held to the midpoints beside it in exact integers.
#[test]
fn rsqrt_is_correctly_rounded() {
    for bits in 0x3F80_0000u32..0x4080_0000 {
        let y = fp32::rsqrt(f32::from_bits(bits));
        // x = m * 2^-23 and y = n * 2^-25 in integers, so x y^2 = 1 reads m n^2 = 2^73; midpoints are n ± half its
        // unit.
        let m = u128::from((bits & 0x007F_FFFF) | 0x0080_0000) << ((bits >> 23) - 127);
        let half = f64::from(f32::from_bits(y.to_bits() + 1) - y) * 16_777_216.0;
        let n = f64::from(y) * 33_554_432.0;
        let (below, above) = (n - half, n + half);
        assert!(below.trunc() == below && above.trunc() == above);
        // At a power of two the lower midpoint is nearer; only y = 1 (x = 1) and y = 1/2 stand there, and both are
        // exact.
        assert!(m * (below as u128).pow(2) < 1 << 73 && m * (above as u128).pow(2) > 1 << 73, "{bits:x}");
    }
}

/// A power of four only moves the exponent of rsqrt.
#[test]
fn rsqrt_scales_and_ends() {
    for bits in (0x3F80_0000u32..0x4080_0000).step_by(99_991) {
        let x = f32::from_bits(bits);
        for k in -62..62 {
            assert_eq!(fp32::rsqrt(x * 4f32.powi(k)), fp32::rsqrt(x) * 2f32.powi(-k));
        }
    }
    let cases = [
        (0.0, f32::INFINITY),
        (-0.0, f32::NEG_INFINITY),
        (f32::INFINITY, 0.0),
        (-1.0, f32::NAN),
        (f32::NEG_INFINITY, f32::NAN),
        (4.0, 0.5),
        (f32::from_bits(8), 2f32.powi(73)),
    ];
    for (x, y) in cases {
        assert_eq!(fp32::rsqrt(x).to_bits(), fp32::canonical(y).to_bits(), "rsqrt {x}");
    }
}

fn assert_close(y: f64, oracle: f64) -> Result<(), TestCaseError> {
    prop_assert!(ulps64(y, oracle) <= 1, "{:e} for {:e}", y, oracle);
    Ok(())
}

/// Every multiple of pi/2 in range, rounded to binary64: where the reduction loses the most digits.
#[test]
fn sin_cos_near_quarter_turns() {
    for quarters in 0..=600_000 {
        let x = f64::from(quarters) * std::f64::consts::FRAC_PI_2;
        for (y, oracle) in [(fp64::sin(x), x.sin()), (fp64::cos(x), x.cos())] {
            assert!(ulps64(y, oracle) <= 1, "{y:e} for {oracle:e} at {quarters}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn exp_within_an_ulp(x in -100.0f32..90.0) {
        prop_assert!(ulps32(fp32::exp(x), f64::from(x).exp() as f32) <= 1);
        prop_assert!(ulps32(fp32::tanh(x / 10.0), f64::from(x / 10.0).tanh() as f32) <= 1);
    }

    #[test]
    fn tables_sin_cos(x in prop_oneof![-1e6..1e6, -10.0..10.0, -1e-3..1e-3], quarters in -600_000i32..600_000) {
        // Angles near a multiple of pi/2 lose the most digits to the reduction.
        for x in [x, f64::from(quarters) * std::f64::consts::FRAC_PI_2] {
            assert_close(fp64::sin(x), x.sin())?;
            assert_close(fp64::cos(x), x.cos())?;
        }
    }

    #[test]
    fn tables_exp_ln(
        x in prop_oneof![-745.0..709.7, -1.0..1.0, -1e-9..1e-9],
        bits in 1u64..0x7FF0_0000_0000_0000,
        near in -1e-6..1e-6,
    ) {
        assert_close(fp64::exp(x), x.exp())?;
        for x in [f64::from_bits(bits), 1.0 + near] {
            assert_close(fp64::ln(x), x.ln())?;
        }
    }

    #[test]
    fn tables_pow(
        base in prop_oneof![1e-3..1e3f64, 1e4..1e6, 0.999..1.001],
        exponent in prop_oneof![-1.0..1.0, -40.0..40.0, -3e5..3e5],
        whole in -20i32..20,
    ) {
        for (base, exponent) in [(base, exponent), (base, f64::from(whole)), (-base, f64::from(whole))] {
            assert_close(fp64::pow(base, exponent), base.powf(exponent))?;
        }
    }

    /// Special operands of pow follow IEEE 754, as the standard library does.
    #[test]
    fn pow_of_special_operands(at in 0usize..16, other in 0usize..16) {
        let inf = f64::INFINITY;
        let special = [0.0, -0.0, 1.0, -1.0, inf, -inf, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 1e300, -1e300, 1e-310,
            f64::NAN];
        let (base, exponent) = (special[at], special[other]);
        let (y, oracle) = (fp64::pow(base, exponent), base.powf(exponent));
        if oracle.is_nan() {
            prop_assert_eq!(y.to_bits(), fp64::NAN.to_bits());
        } else {
            prop_assert!(ulps64(y, oracle) <= 1 && y.is_sign_negative() == oracle.is_sign_negative(), "{}^{} = \
                {}", base, exponent, y);
        }
    }
}

#[test]
fn ends_of_table_functions() {
    let nan = fp64::NAN.to_bits();
    let (inf, limit) = (f64::INFINITY, fp64::ANGLE_LIMIT);
    assert_eq!(
        (fp64::exp(710.0), fp64::exp(inf), fp64::exp(-inf), fp64::exp(-746.0), fp64::exp(0.0)),
        (inf, inf, 0.0, 0.0, 1.0)
    );
    assert_eq!((fp64::ln(0.0), fp64::ln(-0.0), fp64::ln(inf), fp64::ln(1.0).to_bits()), (-inf, -inf, inf, 0));
    assert_eq!((fp64::sin(-0.0).to_bits(), fp64::cos(-0.0)), ((-0.0f64).to_bits(), 1.0));
    assert_eq!((ulps64(fp64::sin(limit), limit.sin()), ulps64(fp64::cos(-limit), limit.cos())), (0, 0));
    let bad = [
        fp64::sin(limit.next_up()),
        fp64::cos(-inf),
        fp64::sin(-f64::NAN),
        fp64::ln(-1.0),
        fp64::ln(-f64::NAN),
        fp64::exp(-f64::NAN),
    ];
    assert_eq!(bad.map(f64::to_bits), [nan; 6]);
}
