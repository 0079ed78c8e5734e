//! The int8 pass against its definition, and the definition against sums in int64.

use lpu_num::dot::{dot_i8, plane_i8};
use proptest::prelude::*;

/// Any int8, with the ends of the range often.
fn lane() -> impl Strategy<Value = i8> {
    prop_oneof![3 => any::<i8>(), 1 => Just(i8::MIN), 1 => Just(i8::MAX)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn dot_is_exact(pairs in proptest::collection::vec((lane(), lane()), 0..700)) {
        let (w, x): (Vec<i8>, Vec<i8>) = pairs.into_iter().unzip();
        let sum: i64 = w.iter().zip(&x).map(|(&w, &x)| i64::from(w) * i64::from(x)).sum();
        prop_assert_eq!(i64::from(dot_i8(&w, &x)), sum);
    }

    #[test]
    fn plane_is_its_rows(
        x in proptest::collection::vec(lane(), 0..400),
        rows in 0usize..11,
        seed in proptest::collection::vec(lane(), 4000),
    ) {
        let weights = &seed[..rows * x.len()];
        let mut out = vec![-1; rows];
        plane_i8(weights, x.len(), &x, &mut out);
        for (row, out) in out.into_iter().enumerate() {
            prop_assert_eq!(out, dot_i8(&weights[row * x.len()..][..x.len()], &x));
        }
    }
}

/// The greatest lane count that cannot wrap, at the greatest product; one lane more wraps.
#[test]
fn range_of_exactness() {
    let low = vec![i8::MIN; 1 << 17];
    assert_eq!(dot_i8(&low[1..], &low[1..]), i32::MAX - 16383);
    assert_eq!(dot_i8(&low, &low), i32::MIN);
    let mut out = [0];
    plane_i8(&low, low.len(), &low, &mut out);
    assert_eq!(out[0], i32::MIN);
}
