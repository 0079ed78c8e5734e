//! The fp16 pass at speed. A sum is taken in binary64, in whatever order suits the host, and returned only if its
//! rounding error provably cannot change the rounded result; otherwise [`dot_f16_exact`] decides. So every host returns
//! the bits of the definition.

use super::{dot_f16_exact, partial};
use crate::fp32::canonical;
use crate::kernel::Kernel;

/// The activations of one pass, with the bounds that prove a sum exact or its rounding safe.
#[derive(Clone, Debug, Default)]
pub struct PassF16 {
    x: Vec<f32>,
    wide: Vec<f64>,
    bounds: Bounds,
}

/// What proves a binary64 sum exact, or its rounding safe.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Bounds {
    /// At least the sum of `|x|`; infinite or NaN if some lane is.
    l1: f64,
    /// Below this bound on the sum of `|w x|`, every partial sum in binary64 is exact.
    exact_below: f64,
    /// The error of a binary64 sum, as a share of the bound on the sum of `|w x|`.
    error_share: f64,
}

impl PassF16 {
    /// The pass of these activations, each the binary32 value of an fp16 number.
    pub fn new(x: &[f32]) -> Self {
        let mut pass = Self::default();
        pass.load(x);
        pass
    }

    /// Replaces the activations, keeping the memory of the old ones.
    pub fn load(&mut self, x: &[f32]) {
        self.x.clear();
        self.x.extend_from_slice(x);
        self.wide.clear();
        self.wide.extend(x.iter().map(|&v| f64::from(v)));
        self.bounds = Bounds::new(x, partial::roundings(x.len()));
    }

    /// The number of lanes.
    pub fn lanes(&self) -> usize {
        self.x.len()
    }

    /// [`dot_f16_exact`] of a row of weights and these activations. `max_abs_w` is at least the greatest `|w|` of the
    /// row, and infinite or NaN if some weight is.
    pub fn row(&self, w: &[f32], max_abs_w: f32) -> f32 {
        let mut out = [0.0];
        self.plane(w, w.len(), &[max_abs_w], &mut out);
        out[0]
    }

    /// [`PassF16::row`] for each row of a plane: `weights` holds `out.len()` rows of `lanes` weights, `row_max` the
    /// bound of each.
    pub fn plane(&self, weights: &[f32], lanes: usize, row_max: &[f32], out: &mut [f32]) {
        assert_eq!(lanes, self.x.len(), "as many lanes as activations");
        self.plane_on(Kernel::of_host(), weights, row_max, out);
    }

    /// [`PassF16::plane`] on one kernel.
    pub(super) fn plane_on(&self, kernel: Kernel, weights: &[f32], row_max: &[f32], out: &mut [f32]) {
        assert_eq!(weights.len(), self.x.len() * out.len(), "a row of weights for every output");
        assert_eq!(row_max.len(), out.len(), "a bound for every row");
        if self.x.is_empty() {
            out.fill(0.0);
            return;
        }
        match kernel {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a kernel exists only on a host with its instructions.
            Kernel::Avx512 => unsafe { self.plane_avx512(weights, row_max, out) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a kernel exists only on a host with its instructions.
            Kernel::Avx2 => unsafe { self.plane_avx2(weights, row_max, out) },
            Kernel::Portable => self.plane_with(weights, row_max, out, partial::sum),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    fn plane_avx512(&self, weights: &[f32], row_max: &[f32], out: &mut [f32]) {
        self.plane_with(weights, row_max, out, |w, x| partial::sum_avx512(w, x));
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn plane_avx2(&self, weights: &[f32], row_max: &[f32], out: &mut [f32]) {
        self.plane_with(weights, row_max, out, |w, x| partial::sum_avx2(w, x));
    }

    #[inline(always)]
    fn plane_with(&self, weights: &[f32], row_max: &[f32], out: &mut [f32], sum: impl Fn(&[f32], &[f64]) -> f64) {
        for ((w, &max), out) in weights.chunks_exact(self.x.len()).zip(row_max).zip(out) {
            *out = if max == 0.0 && self.bounds.finite() {
                0.0
            } else {
                self.bounds.settle(sum(w, &self.wide), max).unwrap_or_else(|| dot_f16_exact(w, &self.x))
            };
        }
    }
}

impl Bounds {
    /// Bounds of sums over these activations in which at most `roundings` additions are between a product and the sum.
    #[inline(always)]
    pub(super) fn new(x: &[f32], roundings: usize) -> Self {
        let (eights, rest) = x.as_chunks::<8>();
        let mut sums = [0.0f64; 8];
        for eight in eights {
            for (sum, v) in sums.iter_mut().zip(eight) {
                *sum += f64::from(v.abs());
            }
        }
        let sum = sums.into_iter().chain(rest.iter().map(|&v| f64::from(v.abs()))).sum();
        let lowest = x.iter().fold(i32::MAX, |lowest, &v| lowest.min(lowest_bit(v)));
        Self::of(sum, (lowest != i32::MAX).then_some(lowest), x.len(), roundings)
    }

    /// The same of so many activations from the sum of their magnitudes, in any order, and the exponent of the lowest
    /// bit that one has.
    #[inline(always)]
    pub(super) fn of(sum: f64, lowest: Option<i32>, lanes: usize, roundings: usize) -> Self {
        // The factor covers the rounding of the sum itself, for up to 2^12 lanes with a wide margin and beyond by its
        // growth.
        let slack = 1.0 + lanes.max(4096) as f64 * (1.0 / 4_503_599_627_370_496.0);
        // Every product is a multiple of 2^(lowest - 24), so sums below 2^53 such units are exact.
        let exact_below = power_of_two(29 + lowest.unwrap_or(0));
        Self { l1: sum * slack, exact_below, error_share: 0.0 }.with_roundings(roundings)
    }

    /// The same for sums with another number of roundings.
    #[inline(always)]
    pub(super) fn with_roundings(self, roundings: usize) -> Self {
        // The greatest error of a sum, and room for the rounding of the bounds themselves.
        Self { error_share: (roundings + 8) as f64 * (1.0 / 9_007_199_254_740_992.0), ..self }
    }

    /// Whether all activations are.
    pub(super) fn finite(&self) -> bool {
        self.l1.is_finite()
    }

    /// At least the error of a binary64 sum: none where sums are exact; infinite or NaN unless all operands are finite.
    #[inline(always)]
    pub(super) fn error(&self, max_abs_w: f32) -> f64 {
        let bound = self.l1 * f64::from(max_abs_w);
        if bound < self.exact_below { 0.0 } else { bound * self.error_share }
    }

    /// Turns a binary64 sum into the exact sum rounded once; nothing where its error might change that.
    #[inline(always)]
    pub(super) fn settle(&self, sum: f64, max_abs_w: f32) -> Option<f32> {
        let error = self.error(max_abs_w);
        // Finite operands cannot overflow binary64, so an infinity or NaN here is that of the definition.
        if error == 0.0 || !sum.is_finite() {
            return Some(canonical(sum as f32));
        }
        let (below, above) = ((sum - error) as f32, (sum + error) as f32);
        (below == above).then_some(below)
    }
}

/// The exponent of the lowest set bit of an fp16 number, none of which is subnormal in binary32; of zero the greatest
/// there is.
#[inline(always)]
fn lowest_bit(v: f32) -> i32 {
    let bits = v.abs().to_bits();
    // With the leading bit set, no bit of the exponent is the lowest.
    let significand = bits | 0x0080_0000;
    let lowest = (significand & significand.wrapping_neg()) as i32 as f32;
    if bits == 0 { i32::MAX } else { (bits >> 23) as i32 - 150 + (lowest.to_bits() >> 23) as i32 - 127 }
}

/// `2^k` for k in the normal range of binary64.
#[inline(always)]
fn power_of_two(k: i32) -> f64 {
    f64::from_bits(((1023 + k) as u64) << 52)
}
