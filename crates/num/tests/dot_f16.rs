//! The fp16 pass against its definition: equal bits on ordinary, cancelling, subnormal and non-finite lanes, and no
//! order of summation.

use lpu_num::dot::{PassF16, dot_f16_exact, max_abs};
use lpu_num::fp32::NAN;
use lpu_num::half::f16_to_f32;
use proptest::prelude::*;

/// fp16 values of every kind that is finite: any pattern, subnormals, a narrow range, a few with many equal magnitudes,
/// zeros.
fn finite() -> impl Strategy<Value = f32> {
    let any_sign = |range: std::ops::Range<u16>| {
        (range, any::<bool>()).prop_map(|(bits, minus)| bits | if minus { 0x8000 } else { 0 })
    };
    prop_oneof![
        4 => any_sign(0..0x7C00),
        2 => any_sign(0..0x400),
        4 => any_sign(0x3000..0x4000),
        2 => any_sign(0x7BF0..0x7C00),
        2 => Just(0u16),
        1 => Just(0x8000u16),
    ]
    .prop_map(f16_to_f32)
}

/// Any fp16 value, infinities and NaN among them.
fn any_f16() -> impl Strategy<Value = f32> {
    prop_oneof![20 => finite(), 1 => any::<u16>().prop_map(f16_to_f32), 1 => Just(f32::INFINITY),
        1 => Just(f32::NEG_INFINITY)]
}

fn lanes<T: std::fmt::Debug>(
    w: impl Strategy<Value = T>,
    x: impl Strategy<Value = T>,
) -> impl Strategy<Value = (Vec<T>, Vec<T>)> {
    proptest::collection::vec((w, x), 0..400).prop_map(|lanes| lanes.into_iter().unzip())
}

fn assert_same(w: &[f32], x: &[f32]) {
    let exact = dot_f16_exact(w, x);
    let fast = PassF16::new(x).row(w, max_abs(w));
    assert_eq!(fast.to_bits(), exact.to_bits(), "{fast:e} for {exact:e}");
}

/// The same lanes twice, the second time negated, around a remainder: everything but the remainder cancels.
fn cancelling((w, x): (Vec<f32>, Vec<f32>), (w_rest, x_rest): (Vec<f32>, Vec<f32>)) -> (Vec<f32>, Vec<f32>) {
    let minus = w.iter().map(|v| -v);
    let all_w = w.iter().copied().chain(w_rest).chain(minus).collect();
    let all_x = x.iter().chain(&x_rest).chain(&x).copied().collect();
    (all_w, all_x)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn finite_lanes_agree((w, x) in lanes(finite(), finite())) {
        assert_same(&w, &x);
    }

    #[test]
    fn cancelling_lanes_agree(pairs in lanes(finite(), finite()), rest in lanes(finite(), finite())) {
        let (w, x) = cancelling(pairs, rest);
        assert_same(&w, &x);
    }

    #[test]
    fn lanes_that_cancel_wholly_give_plus_zero(pairs in lanes(finite(), finite())) {
        let (w, x) = cancelling(pairs, (vec![], vec![]));
        assert_same(&w, &x);
        prop_assert_eq!(dot_f16_exact(&w, &x).to_bits(), 0);
    }

    #[test]
    fn infinities_and_nan_agree((w, x) in lanes(any_f16(), any_f16())) {
        assert_same(&w, &x);
    }

    #[test]
    fn one_bad_lane_agrees(
        (mut w, mut x) in lanes(finite(), finite()),
        at in any::<proptest::sample::Index>(),
        bad in any_f16(),
        weight: bool,
    ) {
        prop_assume!(!w.is_empty());
        let at = at.index(w.len());
        if weight { w[at] = bad } else { x[at] = bad }
        assert_same(&w, &x);
    }

    /// A sum that stands next to a midpoint of binary32, off it by less than the last place of binary64.
    #[test]
    fn sums_next_to_a_midpoint_agree(
        odd in 0u16..0x400,
        shift in 0u16..5,
        off in 0usize..3,
        (w, x) in lanes(finite(), finite()),
    ) {
        // 65504 * 65504 needs 22 bits; halves of its last binary32 place and a unit of 2^-48 decide the rounding.
        let big = f16_to_f32(0x7800 | odd);
        let mut lanes_w = vec![big, f16_to_f32(0x4C00 + (shift << 10)), [0.0, f16_to_f32(1), -f16_to_f32(1)][off]];
        let mut lanes_x = vec![big, f16_to_f32(0x4800), f16_to_f32(1)];
        let (more_w, more_x) = cancelling((w, x), (vec![], vec![]));
        lanes_w.extend(more_w);
        lanes_x.extend(more_x);
        assert_same(&lanes_w, &lanes_x);
    }

    #[test]
    fn no_order_of_summation(
        pairs in proptest::collection::vec((any_f16(), any_f16()), 0..100)
            .prop_flat_map(|pairs| (Just(pairs.clone()), Just(pairs).prop_shuffle()))
    ) {
        let (before, after) = pairs;
        let split = |pairs: Vec<(f32, f32)>| pairs.into_iter().unzip::<f32, f32, Vec<_>, Vec<_>>();
        let ((w, x), (w2, x2)) = (split(before), split(after));
        prop_assert_eq!(dot_f16_exact(&w, &x).to_bits(), dot_f16_exact(&w2, &x2).to_bits());
        prop_assert_eq!(PassF16::new(&x).row(&w, max_abs(&w)).to_bits(), PassF16::new(&x2).row(&w2, max_abs(&w2))
            .to_bits());
    }

    /// A looser bound costs time, never bits, and a plane is its rows.
    #[test]
    fn plane_is_its_rows(
        x in proptest::collection::vec(finite(), 1..100),
        seed in proptest::collection::vec(any_f16(), 700),
        slack in 1.0f32..100.0,
    ) {
        let rows = seed.len() / x.len();
        let weights = &seed[..rows * x.len()];
        let row_max: Vec<f32> = weights.chunks(x.len()).map(|w| max_abs(w) * slack).collect();
        let mut out = vec![f32::NAN; rows];
        PassF16::new(&x).plane(weights, x.len(), &row_max, &mut out);
        for (w, out) in weights.chunks(x.len()).zip(out) {
            prop_assert_eq!(out.to_bits(), dot_f16_exact(w, &x).to_bits());
        }
    }

    /// Reloading a pass leaves nothing of the old activations.
    #[test]
    fn load_replaces((w, x) in lanes(any_f16(), any_f16()), old in proptest::collection::vec(any_f16(), 0..400)) {
        let mut pass = PassF16::new(&old);
        pass.load(&x);
        prop_assert_eq!(pass.lanes(), x.len());
        prop_assert_eq!(pass.row(&w, max_abs(&w)).to_bits(), dot_f16_exact(&w, &x).to_bits());
    }

    /// Small sums are exact in binary64, which makes an oracle that shares nothing with integer sums.
    #[test]
    fn small_sums_are_binary64_sums(
        pairs in proptest::collection::vec((-2048i16..=2048, -2048i16..=2048, 0u32..2), 0..300),
    ) {
        let scale = |v: i16, e: u32| f32::from(v) / (1u32 << (8 * e)) as f32;
        let (w, x): (Vec<f32>, Vec<f32>) = pairs.iter().map(|&(w, x, e)| (scale(w, e), scale(x, 1 - e))).unzip();
        let sum: f64 = w.iter().zip(&x).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum();
        prop_assert_eq!(dot_f16_exact(&w, &x), sum as f32);
    }
}

#[test]
fn max_abs_marks_rows_that_are_not_finite() {
    assert_eq!(max_abs(&[]), 0.0);
    assert_eq!(max_abs(&[-3.0, 2.0, -0.0]), 3.0);
    assert_eq!(max_abs(&[1.0, f32::NEG_INFINITY, 2.0]), f32::INFINITY);
    assert!(!max_abs(&[1.0, NAN, 2.0, f32::INFINITY]).is_finite());
    assert!(!max_abs(&[NAN; 40]).is_finite());
}

#[test]
fn named_cases() {
    let inf = f32::INFINITY;
    let tiny = f16_to_f32(1);
    let cases: [(&[f32], &[f32], f32); 12] = [
        (&[], &[], 0.0),
        (&[-0.0, 0.0], &[1.0, -1.0], 0.0),
        (&[1.0, -1.0], &[3.0, 3.0], 0.0),
        (&[tiny], &[tiny], 1.0 / 281_474_976_710_656.0),
        (&[65504.0, tiny, -65504.0], &[65504.0, tiny, 65504.0], 1.0 / 281_474_976_710_656.0),
        (&[4096.0, 1.0], &[4096.0, 1.0], 16_777_216.0),
        (&[4096.0, 1.0, tiny], &[4096.0, 1.0, tiny], 16_777_218.0),
        (&[inf, 1.0], &[1.0, -65504.0], inf),
        (&[inf, 1.0], &[-1.0, 65504.0], -inf),
        (&[inf, inf], &[1.0, -1.0], NAN),
        (&[inf, 1.0], &[0.0, 1.0], NAN),
        (&[NAN, 0.0], &[0.0, 1.0], NAN),
    ];
    for (w, x, sum) in cases {
        assert_eq!(dot_f16_exact(w, x).to_bits(), sum.to_bits(), "{w:?} . {x:?}");
        assert_same(w, x);
    }
}
