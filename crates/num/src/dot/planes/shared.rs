//! Rows that several activations share: their weights are widened once for three, in binary64.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::{Halves, Planes};
#[cfg(target_arch = "x86_64")]
use super::{STEP, WIDENED, greatest_avx512, magnitude, rounded, widen};
use crate::dot::ahead::Ahead;
use crate::dot::i8::given;
#[cfg(target_arch = "x86_64")]
use crate::kernel::Kernel;

/// Activations that look at rows together.
const MOST: usize = 12;

/// The activations of a step in binary64.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Wide([f64; STEP]);

impl Halves {
    /// [`Halves::rows`] for several activations of one length at once: `out` holds the sums of the first, then of the next. Rows that `blank` knows to
    /// be all zero need not be read.
    pub fn rows_of(all: &[&Self], weights: Planes<'_>, blank: impl Fn(usize) -> bool, out: &mut [f32], ahead: &mut impl Ahead) -> u8 {
        let rows = out.len() / all.len().max(1);
        let Some(first) = all.first() else { return 0 };
        assert!(all.iter().all(|halves| halves.lanes == first.lanes), "activations of one length");
        let lanes = given(weights.count(), rows, first.lanes).unwrap_or(0);
        let mut greatest = 0;
        for (all, out) in all.chunks(MOST).zip(out.chunks_mut(MOST * rows.max(1))) {
            let alike = Self::alike(all);
            #[cfg(target_arch = "x86_64")]
            if alike && first.kernel == Kernel::Avx512 && lanes <= 64 * STEP {
                // SAFETY: a kernel exists only on a host with its instructions.
                greatest = greatest.max(unsafe { by_threes_avx512(all, weights, lanes, &blank, out, ahead) });
                continue;
            }
            for row in 0..rows {
                // Zero weights add nothing to finite activations.
                if alike && blank(row) {
                    (0..all.len()).for_each(|number| out[number * rows + row] = 0.0);
                    continue;
                }
                for (number, halves) in all.iter().enumerate() {
                    let (sum, most) = halves.row(weights.row(row, lanes), ahead);
                    greatest = greatest.max(most);
                    out[number * rows + row] = sum;
                }
            }
        }
        greatest
    }
}

/// Rows with at most [`MOST`] finite activations, three at a time; gives back the greatest high byte of the weights.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn by_threes_avx512(
    all: &[&Halves],
    weights: Planes<'_>,
    lanes: usize,
    blank: &impl Fn(usize) -> bool,
    out: &mut [f32],
    ahead: &mut impl Ahead,
) -> u8 {
    let rows = out.len() / all.len();
    let mut order: [usize; MOST] = std::array::from_fn(|number| number);
    let order = &mut order[..all.len()];
    // Those that take the same steps of rows do so together.
    order.sort_unstable_by_key(|&number| (all[number].active, number));
    let (threes, rest) = order.as_chunks::<3>();
    let active = |three: &[usize; 3]| three.iter().fold(0, |steps, &number| steps | all[number].active);
    let mut wide = [[Wide([0.0; STEP]); 3]; MOST / 3];
    for (three, wide) in threes.iter().zip(&mut wide).filter(|(three, _)| active(three).is_power_of_two()) {
        let step = active(three).trailing_zeros() as usize;
        for (&number, wide) in three.iter().zip(wide) {
            for place in 0..STEP / 8 {
                // SAFETY: eight elements for each of eight places lie in the array.
                unsafe { _mm512_store_pd(wide.0.as_mut_ptr().add(8 * place), all[number].x[step].eight(place)) };
            }
        }
    }
    let mut greatest = 0;
    for row in 0..rows {
        // Zero weights add nothing to finite activations.
        if blank(row) {
            (0..all.len()).for_each(|number| out[number * rows + row] = 0.0);
            continue;
        }
        let weights = weights.row(row, lanes);
        let (weighty, most) = if threes.is_empty() { (0, 0) } else { look_avx512(weights, ahead) };
        greatest = greatest.max(most);
        let magnitude = magnitude(most);
        for (three, wide) in threes.iter().zip(&wide) {
            let active = active(three);
            // Finite weights add nothing to activations that are zero.
            let steps = if magnitude.is_finite() { weighty & active } else { weighty };
            let wide = Some(wide).filter(|_| steps == active && active.is_power_of_two());
            let of = three.map(|number| all[number]);
            let errors = of.map(|halves| halves.bounds.error(magnitude));
            let (sums, values, settled) = three_avx512(of, wide, weights, steps, errors);
            for (place, (number, halves)) in three.iter().zip(of).enumerate() {
                let settle = || halves.settle(sums[place], most, weights);
                out[number * rows + row] = if settled >> place & 1 == 1 { values[place] } else { settle() };
            }
        }
        for &number in rest {
            let (sum, most) = all[number].row(weights, ahead);
            greatest = greatest.max(most);
            out[number * rows + row] = sum;
        }
    }
    greatest
}

/// The steps of a row that have weights other than zero, a bit each, and the greatest high byte of the weights.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn look_avx512(weights: Planes<'_>, ahead: &mut impl Ahead) -> (u64, u8) {
    ahead.rows();
    let (mut steps, mut most) = (0, _mm512_setzero_si512());
    for (step, start) in (0..weights.count()).step_by(STEP).enumerate() {
        ahead.lines(2);
        let (low, high) = weights.step(start);
        let either = _mm512_or_si512(low, high);
        steps |= u64::from(_mm512_test_epi8_mask(either, either) != 0) << step;
        most = _mm512_max_epu8(most, _mm512_and_si512(high, _mm512_set1_epi8(0x7f)));
    }
    (steps, greatest_avx512(most))
}

/// The sums over some steps of a row, a bit each, with three finite activations of one length. Each sum is joined from 32, as
/// [`crate::dot::partial::roundings`] allows; `wide` are the activations of the step, if it is one. Gives back the sums, the sums rounded once, and a bit for each whose rounding its error does not change.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn three_avx512(
    all: [&Halves; 3],
    wide: Option<&[Wide; 3]>,
    weights: Planes<'_>,
    mut steps: u64,
    errors: [f64; 3],
) -> ([f64; 4], [f32; 4], u8) {
    let mut sums = [[_mm512_setzero_pd(); 4]; 3];
    while steps != 0 {
        let start = steps.trailing_zeros() as usize * STEP;
        steps &= steps - 1;
        let (low, high) = weights.step(start);
        let x = all.map(|halves| &halves.x[start / STEP]);
        let eight = |number: usize, eight: usize| match wide {
            // SAFETY: eight elements for each of eight places lie in the array.
            Some(wide) => unsafe { _mm512_load_pd(wide[number].0.as_ptr().add(8 * eight)) },
            None => x[number].eight(eight),
        };
        widen!(low, high, |place: usize, weights: __m512d| {
            for (number, sums) in sums.iter_mut().enumerate() {
                sums[place % 4] = _mm512_fmadd_pd(weights, eight(number, WIDENED[place]), sums[place % 4]);
            }
        });
    }
    let [a, b, c] = sums.map(|[a, b, c, d]| _mm512_add_pd(_mm512_add_pd(a, b), _mm512_add_pd(c, d)));
    let two = |a, b| _mm512_add_pd(_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b));
    let (ab, c) = (two(a, b), two(c, _mm512_setzero_pd()));
    let (low, high) = (_mm512_shuffle_f64x2::<0b01_00_01_00>(ab, c), _mm512_shuffle_f64x2::<0b11_10_11_10>(ab, c));
    let fours = _mm512_add_pd(low, high);
    let swapped = _mm512_shuffle_f64x2::<0b10_11_00_01>(fours, fours);
    let eights = _mm512_add_pd(fours, swapped);
    let joined = _mm256_insertf128_pd::<1>(_mm512_castpd512_pd256(eights), _mm512_extractf64x2_pd::<2>(eights));
    let (values, settled) = rounded(joined, _mm256_setr_pd(errors[0], errors[1], errors[2], 0.0));
    let mut sums = [0.0; 4];
    // SAFETY: the array has four elements.
    unsafe { _mm256_storeu_pd(sums.as_mut_ptr(), joined) };
    (sums, values, settled)
}
