//! Rows that several activations share: their weights are widened once for three, in binary64.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

use super::{HalfWeights, Halves};
#[cfg(target_arch = "x86_64")]
use super::{STEP, magnitude};
use crate::dot::i8::given;
use crate::dot::prefetch::Prefetch;
#[cfg(target_arch = "x86_64")]
use crate::kernel::Kernel;

/// Activations that look at rows together.
const MOST: usize = 12;

/// The activations of a step in binary64.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
#[repr(align(64))]
struct WideStep([f64; STEP]);

impl Halves {
    /// [`Halves::rows`] for several activations of one length at once: `out` holds the sums of the first, then of the
    /// next. Rows that `blank` knows to be all zero need not be read.
    pub fn rows_of(
        all: &[&Self],
        weights: HalfWeights<'_>,
        blank: impl Fn(usize) -> bool,
        out: &mut [f32],
        prefetch: &mut impl Prefetch,
    ) -> u8 {
        let rows = out.len() / all.len().max(1);
        let Some(first) = all.first() else { return 0 };
        assert!(all.iter().all(|halves| halves.lanes == first.lanes), "activations of one length");
        let lanes = given(weights.count(), rows, first.lanes).unwrap_or(0);
        let mut greatest = 0;
        for (all, out) in all.chunks(MOST).zip(out.chunks_mut(MOST * rows.max(1))) {
            let alike = Self::alike(all);
            #[cfg(target_arch = "x86_64")]
            if alike && first.kernel != Kernel::Portable && lanes <= 64 * STEP {
                // SAFETY: a kernel exists only on a host with its instructions.
                greatest = greatest.max(unsafe {
                    match first.kernel {
                        Kernel::Avx512 => avx512::by_threes(all, weights, lanes, &blank, out, prefetch),
                        _ => avx2::by_threes(all, weights, lanes, &blank, out, prefetch),
                    }
                });
                continue;
            }
            for row in 0..rows {
                // Zero weights add nothing to finite activations.
                if alike && blank(row) {
                    (0..all.len()).for_each(|number| out[number * rows + row] = 0.0);
                    continue;
                }
                for (number, halves) in all.iter().enumerate() {
                    let (sum, most) = halves.row(weights.row(row, lanes), prefetch);
                    greatest = greatest.max(most);
                    out[number * rows + row] = sum;
                }
            }
        }
        greatest
    }
}

/// Three finite activations of one length, and the steps of a row, a bit each, that are to be summed with them.
#[cfg(target_arch = "x86_64")]
struct Three<'a> {
    all: [&'a Halves; 3],
    /// The activations of the step, if it is one.
    wide: Option<&'a [WideStep; 3]>,
    weights: HalfWeights<'a>,
    steps: u64,
    errors: [f64; 3],
}

/// How a kernel looks at a row.
#[cfg(target_arch = "x86_64")]
struct Looks<Look, Sum> {
    /// At most so many additions are between any product and a sum.
    roundings: usize,
    /// The steps of a row that have weights other than zero, a bit each, and the greatest high byte of the weights.
    look: Look,
    /// The sums, the sums rounded once, and a bit for each whose rounding its error does not change.
    three: Sum,
}

/// Rows with at most [`MOST`] finite activations, three at a time; gives back the greatest high byte of the weights.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn by_threes<A: Prefetch>(
    all: &[&Halves],
    weights: HalfWeights<'_>,
    lanes: usize,
    blank: &impl Fn(usize) -> bool,
    out: &mut [f32],
    prefetch: &mut A,
    Looks { roundings, look, three: sum }: Looks<
        impl Fn(HalfWeights<'_>, &mut A) -> (u64, u8),
        impl Fn(Three<'_>) -> ([f64; 4], [f32; 4], u8),
    >,
) -> u8 {
    let rows = out.len() / all.len();
    let mut order: [usize; MOST] = std::array::from_fn(|number| number);
    let order = &mut order[..all.len()];
    // Those that take the same steps of rows do so together.
    order.sort_unstable_by_key(|&number| (all[number].active, number));
    let (threes, rest) = order.as_chunks::<3>();
    let active = |three: &[usize; 3]| three.iter().fold(0, |steps, &number| steps | all[number].active);
    let mut wide = [[WideStep([0.0; STEP]); 3]; MOST / 3];
    for (three, wide) in threes.iter().zip(&mut wide).filter(|(three, _)| active(three).is_power_of_two()) {
        let step = active(three).trailing_zeros() as usize;
        for (&number, wide) in three.iter().zip(wide) {
            wide.0.iter_mut().zip(all[number].x[step].0.as_flattened()).for_each(|(wide, &x)| *wide = f64::from(x));
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
        let (weighty, most) = if threes.is_empty() { (0, 0) } else { look(weights, prefetch) };
        greatest = greatest.max(most);
        let magnitude = magnitude(most);
        for (three, wide) in threes.iter().zip(&wide) {
            let active = active(three);
            // Finite weights add nothing to activations that are zero.
            let steps = if magnitude.is_finite() { weighty & active } else { weighty };
            let wide = Some(wide).filter(|_| steps == active && active.is_power_of_two());
            let of = three.map(|number| all[number]);
            let bounds = of.map(|halves| halves.bounds.with_roundings(roundings));
            let errors = bounds.map(|bounds| bounds.error(magnitude));
            let (sums, values, settled) = sum(Three { all: of, wide, weights, steps, errors });
            for (place, (number, halves)) in three.iter().zip(of).enumerate() {
                let settle = || bounds[place].settle(sums[place], magnitude).unwrap_or_else(|| halves.exact(weights));
                out[number * rows + row] = if settled >> place & 1 == 1 { values[place] } else { settle() };
            }
        }
        for &number in rest {
            let (sum, most) = all[number].row(weights, prefetch);
            greatest = greatest.max(most);
            out[number * rows + row] = sum;
        }
    }
    greatest
}
