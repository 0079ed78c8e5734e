//! fp16 passes over weights in two byte planes, as they are in memory: low bytes in one row of bytes, high bytes in
//! another, or both in turn. Sums are settled as in [`super::f16`], so every host returns the bits of
//! [`dot_f16_exact`].

#[cfg(target_arch = "x86_64")]
mod avx2;
mod columns;
#[cfg(target_arch = "x86_64")]
mod known;
mod load;
mod shared;
#[cfg(target_arch = "x86_64")]
mod steps;
mod weights;

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::dot_f16_exact;
use super::f16::Bounds;
#[cfg(target_arch = "x86_64")]
use super::i8::given;
use super::prefetch::Prefetch;
use crate::half::f16_to_f32;
use crate::kernel::Kernel;
#[cfg(target_arch = "x86_64")]
use known::FiniteRows;
#[cfg(target_arch = "x86_64")]
use steps::{Apart, Pairs, fetch};
pub use weights::HalfWeights;

/// Lanes that a step takes.
const STEP: usize = 64;
/// Bytes between a load and the line that is fetched into the nearest cache with it: two rows of a large chip.
#[cfg(target_arch = "x86_64")]
const CLOSE: usize = 640;
/// In a step, eights of lanes in the order in which [`widen`] gives them.
#[cfg(target_arch = "x86_64")]
const WIDENED: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];

/// Calls `$each` with 64 fp16 numbers in binary64, eight at a time with their place in [`WIDENED`]. A macro, so that
/// nothing passes through memory.
#[cfg(target_arch = "x86_64")]
macro_rules! widen {
    ($low:expr, $high:expr, $each:expr) => {{
        let mut each = $each;
        let mut place = 0;
        for pairs in [_mm512_unpacklo_epi8($low, $high), _mm512_unpackhi_epi8($low, $high)] {
            for halves in [_mm512_castsi512_si256(pairs), _mm512_extracti64x4_epi64::<1>(pairs)] {
                let sixteen = _mm512_cvtph_ps(halves);
                each(place, _mm512_cvtps_pd(_mm512_castps512_ps256(sixteen)));
                let upper = _mm256_castsi256_ps(_mm512_extracti64x4_epi64::<1>(_mm512_castps_si512(sixteen)));
                each(place + 1, _mm512_cvtps_pd(upper));
                place += 2;
            }
        }
    }};
}

#[cfg(target_arch = "x86_64")]
use widen;

/// The activations of a step, in lines of their own: threads share them.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct StepLanes([Sixteen; STEP / 16]);

/// Activations of a vector.
type Sixteen = [f32; 16];

/// The activations of fp16 passes over byte planes.
#[derive(Clone, Debug)]
pub struct Halves {
    kernel: Kernel,
    lanes: usize,
    /// Activations, zero after the last lane.
    x: Vec<StepLanes>,
    /// Steps up to the last that has activations other than zero, as far as the kernel knows.
    live: usize,
    /// The first 64 steps that have activations other than zero, a bit each, as far as the kernel knows.
    active: u64,
    /// At least the greatest sum of `|x|` that one partial sum of [`known`] takes.
    part: f64,
    bounds: Bounds,
}

impl Default for Halves {
    fn default() -> Self {
        Self::on(Kernel::of_host())
    }
}

impl Halves {
    /// The least high byte, without its sign, of an fp16 number that is not finite.
    pub const INFINITE: u8 = 0x7c;

    pub(super) fn on(kernel: Kernel) -> Self {
        Self { kernel, lanes: 0, x: Vec::new(), live: 0, active: 0, part: 0.0, bounds: Bounds::default() }
    }

    /// Replaces the activations, each the binary32 value of an fp16 number, keeping the memory of the old ones.
    pub fn load(&mut self, x: &[f32]) {
        let steps = x.len().div_ceil(STEP);
        if self.x.len() != steps {
            self.x.clear();
            self.x.resize(steps, StepLanes::default());
            self.active = 0;
        }
        self.lanes = x.len();
        match self.kernel {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a kernel exists only on a host with its instructions.
            Kernel::Avx512 => unsafe { self.load_avx512(x) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a kernel exists only on a host with its instructions.
            Kernel::Avx2 => unsafe { self.load_avx2(x) },
            Kernel::Portable => self.load_portable(x),
        }
    }

    /// The activation of a lane.
    #[inline(always)]
    fn x(&self, lane: usize) -> f32 {
        self.x[lane / STEP].0.as_flattened()[lane % STEP]
    }

    /// The sum of each row: `weights` are the first weights of `out.len()` rows, as many of each; those after them are
    /// zero. Gives back the greatest high byte of all weights without their signs; a caller that knows it, or a greater
    /// one below [`Halves::INFINITE`], gives it as `most`. Then rows need no prefetch `prefetch`.
    pub fn rows(
        &self,
        weights: HalfWeights<'_>,
        most: Option<u8>,
        out: &mut [f32],
        prefetch: &mut impl Prefetch,
    ) -> u8 {
        #[cfg(target_arch = "x86_64")]
        if let Some(most) = most.filter(|&most| self.serves(most)) {
            let lanes = given(weights.count(), out.len(), self.lanes).unwrap_or(0);
            let otherwise = |row: usize| self.row(weights.row(row, lanes), &mut ()).0;
            let known = FiniteRows { x: &self.x[..self.live.min(lanes.div_ceil(STEP))], part: self.part };
            // SAFETY: a kernel exists only on a host with its instructions.
            unsafe {
                match weights {
                    _ if self.kernel == Kernel::Avx2 => known.rows_avx2(weights, lanes, most, out, otherwise),
                    HalfWeights::Apart(low, high) => known.rows_avx512(Apart(low, high), lanes, most, out, otherwise),
                    HalfWeights::Pairs(bytes) => known.rows_avx512(Pairs(bytes), lanes, most, out, otherwise),
                }
            }
            return most;
        }
        let _ = most;
        Self::rows_of(&[self], weights, |_| false, out, prefetch)
    }

    /// How many lanes of rows [`Halves::rows`] reads when it is told of such a greatest byte.
    pub fn live(&self, most: Option<u8>) -> usize {
        #[cfg(target_arch = "x86_64")]
        if most.is_some_and(|most| self.serves(most)) {
            return self.lanes.min(self.live * STEP);
        }
        let _ = most;
        self.lanes
    }

    /// Whether there is a kernel for rows of finite weights of which the greatest is known.
    #[cfg(target_arch = "x86_64")]
    fn serves(&self, most: u8) -> bool {
        most < Self::INFINITE
            && self.kernel != Kernel::Portable
            && self.lanes <= known::MOST_LANES
            && self.bounds.finite()
    }

    /// The sum of a row, and the greatest high byte of its weights without their signs.
    fn row(&self, weights: HalfWeights<'_>, prefetch: &mut impl Prefetch) -> (f32, u8) {
        if weights.count() < self.lanes && !self.bounds.finite() {
            // Zero weights count where activations are not finite.
            let zeros = std::iter::repeat_n(0, self.lanes - weights.count());
            let bytes: Vec<u8> = weights.patterns().chain(zeros).flat_map(u16::to_le_bytes).collect();
            return self.row(HalfWeights::Pairs(&bytes), prefetch);
        }
        let (sum, most) = match self.kernel {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a kernel exists only on a host with its instructions.
            Kernel::Avx512 => unsafe { self.row_avx512(weights, prefetch) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a kernel exists only on a host with its instructions.
            Kernel::Avx2 => unsafe { self.row_avx2(weights, prefetch) },
            Kernel::Portable => self.row_portable(weights),
        };
        (self.settle(sum, most, weights), most)
    }

    /// Whether these can share what a kernel widens, and pass over zero weights: one kernel, finite activations.
    fn alike(all: &[&Self]) -> bool {
        all.iter().all(|halves| halves.kernel == all[0].kernel && halves.bounds.finite())
    }

    /// The exact sum of a row rounded once, from a sum in binary64 and the greatest high byte of the weights.
    #[inline(always)]
    fn settle(&self, sum: f64, most: u8, weights: HalfWeights<'_>) -> f32 {
        self.bounds.settle(sum, magnitude(most)).unwrap_or_else(|| self.exact(weights))
    }

    /// The exact sum of a row, where the bounds do not settle it.
    #[cold]
    fn exact(&self, weights: HalfWeights<'_>) -> f32 {
        let mut weights: Vec<f32> = weights.patterns().map(f16_to_f32).collect();
        weights.resize(self.lanes, 0.0);
        let x: Vec<f32> = (0..self.lanes).map(|lane| self.x(lane)).collect();
        dot_f16_exact(&weights, &x)
    }

    /// The sum of a row, and the greatest high byte of its weights without their signs.
    fn row_portable(&self, weights: HalfWeights<'_>) -> (f64, u8) {
        let mut sums = [0.0; 32];
        let mut most = 0;
        for (lane, pattern) in weights.patterns().enumerate() {
            sums[lane % 32] += f64::from(f16_to_f32(pattern)) * f64::from(self.x(lane));
            most = most.max(pattern.to_le_bytes()[1] & 0x7f);
        }
        let mut width = 16;
        while width > 0 {
            for lane in 0..width {
                sums[lane] += sums[lane + width];
            }
            width /= 2;
        }
        (sums[0], most)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn row_avx512(&self, weights: HalfWeights<'_>, prefetch: &mut impl Prefetch) -> (f64, u8) {
        prefetch.rows();
        let mut sums = [_mm512_setzero_pd(); 8];
        let mut most = _mm512_setzero_si512();
        let sign = _mm512_set1_epi8(0x7f);
        for (start, x) in (0..weights.count()).step_by(STEP).zip(&self.x) {
            prefetch.lines(2);
            fetch(weights.lines(start + CLOSE));
            let (low, high) = weights.step(start);
            // Zero weights add nothing to finite activations; rows of tokens that have not come are all zero.
            if self.bounds.finite() && _mm512_test_epi8_mask(_mm512_or_si512(low, high), _mm512_set1_epi8(-1)) == 0 {
                continue;
            }
            most = _mm512_max_epu8(most, _mm512_and_si512(high, sign));
            widen!(low, high, |place: usize, weights: __m512d| {
                sums[place] = _mm512_fmadd_pd(weights, x.eight(WIDENED[place]), sums[place]);
            });
        }
        let [a, b, c, d, e, f, g, h] = sums;
        let (ab, cd) = (_mm512_add_pd(a, b), _mm512_add_pd(c, d));
        let (ef, gh) = (_mm512_add_pd(e, f), _mm512_add_pd(g, h));
        let joined = _mm512_add_pd(_mm512_add_pd(ab, cd), _mm512_add_pd(ef, gh));
        (_mm512_reduce_add_pd(joined), greatest_avx512(most))
    }
}

#[cfg(target_arch = "x86_64")]
impl StepLanes {
    /// Eight activations in binary64.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn eight(&self, place: usize) -> __m512d {
        // SAFETY: the step has 64 numbers, eight for each of eight places.
        _mm512_cvtps_pd(unsafe { _mm256_loadu_ps(self.0.as_flattened()[8 * place..][..8].as_ptr()) })
    }
}

/// At least the magnitude of any fp16 number whose high byte without sign is `most`; infinite when some such number is
/// not finite.
#[inline]
fn magnitude(most: u8) -> f32 {
    if most >= Halves::INFINITE {
        return f32::INFINITY;
    }
    // By its parts: some processors take hundreds of cycles to multiply a subnormal number.
    let (exponent, last) = (u32::from(most) >> 2, u32::from(most) << 8 & 0x3ff | 0xff);
    let integer = if exponent > 0 { last | 0x400 } else { last };
    integer as f32 * f32::from_bits((exponent.max(1) + 127 - 25) << 23)
}

/// The greatest byte.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
fn greatest_avx512(bytes: __m512i) -> u8 {
    let half = _mm256_max_epu8(_mm512_castsi512_si256(bytes), _mm512_extracti64x4_epi64::<1>(bytes));
    avx2::greatest_of_32(half)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    #[cfg(target_arch = "x86_64")]
    use super::columns::{avx2, columns_avx512};
    use super::*;

    #[test]
    fn magnitudes_are_those_of_the_greatest_number_with_a_high_byte() {
        for most in 0..=0x7f {
            let greatest = f16_to_f32(u16::from_le_bytes([0xff, most]));
            assert_eq!(magnitude(most), if greatest.is_finite() { greatest } else { f32::INFINITY }, "{most:#x}");
        }
    }

    proptest! {
        /// A greatest weight that is too great costs the exact sum, one that is too small may cost a bit: sums show
        /// neither for certain.
        #[test]
        fn every_kernel_finds_the_greatest_weight(
            lanes in 1usize..200,
            bytes in proptest::collection::vec(any::<(u8, u8)>(), 200),
            small: bool,
        ) {
            let high: Vec<u8> = bytes[..lanes].iter().map(|(high, _)| if small { high & 0x83 } else { *high })
                .collect();
            let low: Vec<u8> = bytes[..lanes].iter().map(|(_, low)| *low).collect();
            let greatest = |lanes: usize| high[..lanes].iter().map(|high| high & 0x7f).max().unwrap_or(0);
            let mut sums = [[[0.0; STEP]]];
            let column = lanes.min(STEP);
            let paired: Vec<u8> = low.iter().zip(&high).flat_map(|(&low, &high)| [low, high]).collect();
            let planes = [HalfWeights::Apart(&low, &high), HalfWeights::Pairs(&paired)];
            for (kernel, weights) in Kernel::all_of_host().into_iter()
                .flat_map(|kernel| planes.map(|weights| (kernel, weights))) {
                let (mut row, mut one) = (Halves::on(kernel), Halves::on(kernel));
                row.load(&vec![1.0; lanes]);
                one.load(&[1.0]);
                let turned = |_: usize| (&low[..column], &high[..column]);
                let (of_row, of_columns) = match kernel {
                    #[cfg(target_arch = "x86_64")]
                    // SAFETY: a kernel exists only on a host with its instructions.
                    Kernel::Avx512 => unsafe {
                        (row.row_avx512(weights, &mut ()).1,
                            columns_avx512(&[[&one]], 1, &turned, &|_| false, column, &mut sums))
                    },
                    #[cfg(target_arch = "x86_64")]
                    // SAFETY: a kernel exists only on a host with its instructions.
                    Kernel::Avx2 => unsafe {
                        (row.row_avx2(weights, &mut ()).1,
                            avx2::columns(&[[&one]], 1, &turned, &|_| false, column, &mut sums))
                    },
                    Kernel::Portable => (row.row_portable(weights).1,
                        one.columns_portable(1, &turned, &mut sums[0][0])),
                };
                prop_assert_eq!((of_row, of_columns), (greatest(lanes), greatest(column)), "{:?}", kernel);
            }
        }
    }
}
