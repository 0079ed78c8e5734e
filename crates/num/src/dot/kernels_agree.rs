//! Every kernel that the host can run against the definitions.

use proptest::prelude::*;

use super::digits::Digits;
use super::f16::Bounds;
use super::i8::Octets;
use super::planes::{HalfWeights, Halves};
use super::{PassF16, dot_f16_exact, dot_i8, max_abs, partial};
use crate::half::{f16_to_f32, f32_to_f16};
use crate::kernel::Kernel;

/// A row length, with whole steps of the kernels often.
fn lane_count() -> impl Strategy<Value = usize> {
    prop_oneof![0usize..200, (0usize..12).prop_map(|steps| 32 * steps)]
}

/// fp16 patterns of one of three kinds: near 1, any finite, any at all.
fn patterns() -> impl Strategy<Value = Vec<f32>> {
    let kind = prop_oneof![Just((0x3800u16, 0x0800)), Just((0, 0x7C00)), Just((0, 0x8000))];
    (kind, proptest::collection::vec(any::<u16>(), 1200)).prop_map(|((first, count), seed)| {
        seed.into_iter().map(|bits| f16_to_f32((bits & 0x8000) | (first + (bits & 0x7FFF) % count))).collect()
    })
}

/// Activations of which each ends in another place, and where it ends.
#[test]
fn sums_below_the_bound_count_as_exact() {
    let least = f32::exp2(-24.0);
    let cases = [
        (1.0, 0),
        (-1.0, 0),
        (1.5, -1),
        (65504.0, 5),
        (least, -24),
        (3.0 * least, -24),
        (1.0 + f32::exp2(-10.0), -10),
        (6.0, 1),
    ];
    for (x, last) in cases {
        let bounds = Bounds::new(&[x], partial::roundings(1));
        // Exactly between two binary32 numbers: any error decides the rounding.
        let between = 1.0 + f64::exp2(-24.0);
        let most = f32::exp2(29.0 + last as f32) / x.abs();
        assert_eq!(bounds.settle(between, most * 0.999), Some(1.0), "{x}");
        assert_eq!(bounds.settle(between, most * 1.001), None, "{x}");
    }
}

/// The first `given` elements of each row of `lanes`.
fn first<T: Copy>(rows: &[T], lanes: usize, given: usize) -> Vec<T> {
    rows.chunks(lanes.max(1)).flat_map(|row| &row[..given.min(row.len())]).copied().collect()
}

/// Low and high bytes in turn.
fn in_turn(low: &[u8], high: &[u8]) -> Vec<u8> {
    low.iter().zip(high).flat_map(|(&low, &high)| [low, high]).collect()
}

#[test]
fn roundings_grow_with_steps_and_tail() {
    for (lanes, roundings) in [(0, 6), (5, 6), (31, 32), (32, 7), (63, 32), (320, 16), (4096, 134)] {
        assert_eq!(partial::roundings(lanes), roundings, "{lanes} lanes");
    }
}

/// A sum that is next to the middle of two binary32 numbers by products that get lost in a partial sum.
#[test]
fn lost_products_decide_the_rounding() {
    let power = |k: i32| f32::exp2(k as f32);
    let tiny = power(-24);
    let mut products = vec![(0.0, 0.0); 320];
    // Lanes 0 and 32 of every step share a partial sum of 512-bit kernels.
    products[..4].copy_from_slice(&[
        (power(-12), power(-12)),
        (0.75, 1.0),
        (-power(-12), power(-12)),
        (-4.0 * tiny, tiny),
    ]);
    products[32] = (power(-12), power(-13));
    for lane in [64, 96, 128, 160, 192, 224, 256, 288] {
        products[lane] = (tiny, tiny);
    }
    let (w, x): (Vec<f32>, Vec<f32>) = products.into_iter().unzip();
    assert_eq!(dot_f16_exact(&w, &x), 0.75 + tiny);
    let (low, high): (Vec<u8>, Vec<u8>) =
        w.iter().map(|&w| f32_to_f16(w).to_le_bytes()).map(|[low, high]| (low, high)).unzip();
    for kernel in Kernel::all_of_host() {
        let mut halves = Halves::on(kernel);
        halves.load(&x);
        let mut out = [0.0];
        let paired = in_turn(&low, &high);
        for weights in [HalfWeights::Apart(&low, &high), HalfWeights::Pairs(&paired)] {
            let most = halves.rows(weights, None, &mut out, &mut ());
            assert_eq!(out, [0.75 + tiny], "{kernel:?}");
            halves.rows(weights, Some(most), &mut out, &mut ());
            assert_eq!(out, [0.75 + tiny], "{kernel:?}, known");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn f16_kernels_are_the_definition(
        lanes in lane_count(),
        rows in 0usize..9,
        x in patterns(),
        w in patterns(),
        same in any::<bool>(),
    ) {
        let x = &x[..lanes];
        let rows = rows.min(w.len() / lanes.max(1));
        // Rows that mirror the activations put sums next to binary32 midpoints and cancel often.
        let w: Vec<f32> = if same {
            (0..rows).flat_map(|_| x.iter().enumerate().map(|(lane, &v)| if lane % 2 == 0 { v } else { -v })).collect()
        } else {
            w[..lanes * rows].to_vec()
        };
        let row = |row: usize| &w[row * lanes..][..lanes];
        let row_max: Vec<f32> = (0..rows).map(|index| max_abs(row(index))).collect();
        let pass = PassF16::new(x);
        for kernel in Kernel::all_of_host() {
            let mut out = vec![f32::NAN; rows];
            pass.plane_on(kernel, &w, &row_max, &mut out);
            for (index, out) in out.into_iter().enumerate() {
                prop_assert_eq!(out.to_bits(), dot_f16_exact(row(index), x).to_bits(), "{:?}", kernel);
            }
        }
    }

    /// The error that [`PassF16`] allows for holds for the sums of each kernel, by comparison with the exact sum.
    #[test]
    fn partial_sums_keep_their_bound(lanes in lane_count(), x in patterns(), w in patterns()) {
        let finite = |v: &f32| if v.is_finite() { *v } else { 1.0 };
        let x: Vec<f32> = x[..lanes].iter().map(finite).collect();
        let w: Vec<f32> = w[..lanes].iter().map(finite).collect();
        let units = |v: f32| (f64::from(v) * 16_777_216.0) as i128;
        let exact: i128 = w.iter().zip(&x).map(|(&w, &x)| units(w) * units(x)).sum();
        let size: i128 = w.iter().zip(&x).map(|(&w, &x)| (units(w) * units(x)).abs()).sum();
        let wide: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
        for kernel in Kernel::all_of_host() {
            let sum = match kernel {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: a kernel exists only on a host with its instructions.
                Kernel::Avx512 => unsafe { partial::sum_avx512(&w, &wide) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: a kernel exists only on a host with its instructions.
                Kernel::Avx2 => unsafe { partial::sum_avx2(&w, &wide) },
                Kernel::Portable => partial::sum(&w, &wide),
            };
            let error = ((sum * 281_474_976_710_656.0) as i128 - exact).abs();
            // Sums are multiples of 2^-48, so the scaled one is an integer and the cast exact.
            let allowed = (size * (partial::roundings(lanes) as i128)) / (1 << 53);
            prop_assert!(error <= allowed + 1, "{:?}: {} over {}", kernel, error, allowed);
        }
    }

    #[test]
    fn byte_planes_are_the_definition(
        lanes in lane_count(),
        rows in 0usize..9,
        x in patterns(),
        w in proptest::collection::vec(any::<u16>(), 1200),
        kind in 0..5,
        more in 0u8..20,
        zero in 0usize..400,
        given in 0usize..400,
    ) {
        let mut x = x[..lanes].to_vec();
        x.iter_mut().skip(zero).for_each(|x| *x = 0.0);
        let x = &x[..];
        let rows = rows.min(w.len() / lanes.max(1));
        // Any patterns; finite ones; weights that mirror the activations, so that sums cancel or are next to midpoints;
        // small ones; zeros.
        let weight = |index: usize| match kind {
            0 => w[index],
            1 => w[index] & 0xbbff & if w[index / lanes.max(1)].is_multiple_of(2) { 0 } else { u16::MAX },
            2 => f32_to_f16(if index.is_multiple_of(2) { x[index % lanes] } else { -x[index % lanes] }),
            3 => w[index] & 0x83ff | 0x2800,
            _ => 0,
        };
        let given = given.min(lanes);
        let patterns: Vec<u16> = (0..lanes * rows).map(|index| if index % lanes < given { weight(index) } else { 0 })
            .collect();
        let (low, high): (Vec<u8>, Vec<u8>) = patterns.iter()
            .map(|bits| (bits.to_le_bytes()[0], bits.to_le_bytes()[1])).unzip();
        let (short_low, short_high) = (first(&low, lanes, given), first(&high, lanes, given));
        let (paired, short_paired) = (in_turn(&low, &high), in_turn(&short_low, &short_high));
        let values: Vec<f32> = patterns.iter().map(|&bits| f16_to_f32(bits)).collect();
        for kernel in Kernel::all_of_host() {
            let mut halves = Halves::on(kernel);
            halves.load(x);
            let mut out = vec![f32::NAN; rows];
            let greatest = halves.rows(HalfWeights::Apart(&low, &high), None, &mut out, &mut ());
            prop_assert_eq!(greatest, high.iter().map(|high| high & 0x7f).max().unwrap_or(0), "{:?}", kernel);
            let planes = [
                HalfWeights::Apart(&low, &high),
                HalfWeights::Pairs(&paired),
                HalfWeights::Apart(&short_low, &short_high),
                HalfWeights::Pairs(&short_paired),
            ];
            for (weights, most) in planes.into_iter().flat_map(|planes| [None, Some(greatest),
                Some(greatest.saturating_add(more))].map(|most| (planes, most))) {
                let mut out = vec![f32::NAN; rows];
                let found = halves.rows(weights, most, &mut out, &mut ());
                prop_assert!(found == greatest || Some(found) == most, "{:?}, {:?} known, {} \
                    found", kernel, most, found);
                for (index, out) in out.into_iter().enumerate() {
                    prop_assert_eq!(out.to_bits(), dot_f16_exact(&values[index * lanes..][..lanes], x).to_bits(),
                        "{:?}, {:?} known", kernel, most);
                }
            }
            let turned: Vec<f32> = x.iter().rev().copied().collect();
            let mut other = Halves::on(kernel);
            other.load(&turned);
            let blank = |row: &[u8]| row.iter().all(|&byte| byte == 0);
            let (low_of, high_of) = (|row: usize| &low[row * lanes..][..lanes],
                |row: usize| &high[row * lanes..][..lanes]);
            for weights in planes {
                let mut out = vec![f32::NAN; 5 * rows];
                Halves::rows_of(&[&halves, &other, &halves, &other, &halves], weights, |row| blank(low_of(row))
                    && blank(high_of(row)), &mut out, &mut ());
                for (index, out) in out.into_iter().enumerate() {
                    let x = if index / rows % 2 == 1 { &turned } else { x };
                    prop_assert_eq!(out.to_bits(), dot_f16_exact(&values[index % rows * lanes..][..lanes], x)
                        .to_bits(), "{:?}, five", kernel);
                }
            }
        }
    }

    #[test]
    fn columns_are_the_definition(
        inputs in 0usize..200,
        lanes in 1usize..=64,
        rows in 0usize..200,
        x in patterns(),
        w in proptest::collection::vec(any::<u16>(), 12800),
        kind in 0..3,
    ) {
        let (x, rows) = (&x[..inputs], rows.min(inputs));
        let weight = |index: usize| match kind {
            0 => w[index],
            1 => w[index] & 0xbbff & if w[index / lanes].is_multiple_of(2) { 0 } else { u16::MAX },
            _ => f32_to_f16(if (index / lanes).is_multiple_of(2) { 1.0 } else { -1.0 }),
        };
        let patterns: Vec<u16> = (0..lanes * rows).map(weight).collect();
        let (low, high): (Vec<u8>, Vec<u8>) = patterns.iter()
            .map(|bits| (bits.to_le_bytes()[0], bits.to_le_bytes()[1])).unzip();
        for kernel in Kernel::all_of_host() {
            let mut halves = Halves::on(kernel);
            halves.load(x);
            let turned: Vec<f32> = x.iter().rev().copied().collect();
            let mut other = Halves::on(kernel);
            other.load(&turned);
            // Two groups of three and one more.
            let all = [&halves, &other, &halves, &other, &halves, &other, &halves];
            let mut out = vec![f32::NAN; all.len() * lanes];
            let row = |row: usize| (&low[row * lanes..][..lanes], &high[row * lanes..][..lanes]);
            let blank = |number: usize| row(number).0.iter().chain(row(number).1).all(|&byte| byte == 0);
            Halves::columns(&all, rows, row, blank, &mut out);
            for (index, out) in out.into_iter().enumerate() {
                let lane = index % lanes;
                let column: Vec<f32> =
                    (0..inputs).map(|row| if row < rows { f16_to_f32(patterns[row * lanes + lane]) } else { 0.0 })
                        .collect();
                let x = if index / lanes % 2 == 1 { &turned } else { x };
                prop_assert_eq!(out.to_bits(), dot_f16_exact(&column, x).to_bits(), "{:?}", kernel);
            }
        }
    }

    #[test]
    fn digits_are_the_definition(
        lanes in 0usize..400,
        rows in 0usize..11,
        x in patterns(),
        extreme: bool,
        given in 0usize..400,
        seed in proptest::collection::vec(any::<i8>(), 4400),
    ) {
        let (x, given) = (&x[..lanes], given.min(lanes));
        let value = |v: &i8| if extreme { if *v < 0 { -128 } else { 127 } } else { *v };
        let w: Vec<i8> = (0..lanes * rows).map(|index| if index % lanes < given { value(&seed[index]) } else { 0 })
            .collect();
        let values: Vec<f32> = w.iter().map(|&w| f32::from(w)).collect();
        for kernel in Kernel::all_of_host() {
            let mut digits = Digits::on(kernel);
            digits.load(x);
            for w in [&w, &first(&w, lanes, given)] {
                let mut out = vec![f32::NAN; rows];
                digits.rows(w, &mut out, &mut ());
                for (row, out) in out.into_iter().enumerate() {
                    prop_assert_eq!(out.to_bits(), dot_f16_exact(&values[row * lanes..][..lanes], x).to_bits(), "{:?}",
                        kernel);
                }
            }
        }
    }

    /// Rows of so many lanes that sums of products leave 32 bits.
    #[test]
    fn digits_of_long_rows_are_the_definition(
        lanes in 1900usize..4700,
        rows in 1usize..6,
        x in patterns(),
        least: bool,
        w in proptest::sample::select(vec![-128i8, -127, 127]),
    ) {
        let mut x: Vec<f32> = x.iter().copied().cycle().take(lanes).collect();
        if least {
            // Digits of the greatest magnitude there is, over a last place that one lane has.
            x.fill(-f32::exp2(-9.0));
            (x[0], x[1]) = (-65504.0, f32::exp2(-24.0));
        }
        let weights = vec![w; lanes * rows];
        let expected = dot_f16_exact(&vec![f32::from(w); lanes], &x);
        for kernel in Kernel::all_of_host() {
            let mut digits = Digits::on(kernel);
            digits.load(&x);
            let mut out = vec![f32::NAN; rows];
            digits.rows(&weights, &mut out, &mut ());
            prop_assert!(out.iter().all(|out| out.to_bits() == expected.to_bits()), "{:?}: {:?}, not \
                {}", kernel, out, expected);
        }
    }

    #[test]
    fn i8_kernels_are_the_definition(
        lanes in 0usize..400,
        rows in 0usize..11,
        extreme: bool,
        given in 0usize..400,
        seed in proptest::collection::vec(any::<i8>(), 4400),
    ) {
        let value = |v: &i8| if extreme { if *v < 0 { -128 } else { 127 } } else { *v };
        let (x, given): (Vec<i8>, usize) = (seed[4000..][..lanes].iter().map(value).collect(), given.min(lanes));
        let all: Vec<i8> = (0..lanes * rows).map(|index| if index % lanes < given { value(&seed[index]) } else { 0 })
            .collect();
        for kernel in Kernel::all_of_host() {
            for w in [&all, &first(&all, lanes, given)] {
                let mut out = vec![-1; rows];
                Octets::on(kernel, &x).rows(w, &mut out, &mut ());
                let expected: Vec<i32> = (0..rows).map(|row| dot_i8(&all[row * lanes..][..lanes], &x)).collect();
                prop_assert_eq!(out, expected, "{:?}", kernel);
            }
        }
    }
}
