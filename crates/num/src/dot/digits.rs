//! fp16 passes over int8 weights, by integers alone. Activations are written in signed digits of eight bits over a common last place; each digit
//! is an int8 pass, and the sum of the passes, a 64-bit integer, is the exact sum, which is rounded once.

use super::ahead::Ahead;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::dot_f16_exact;
use super::i8::Octets;
#[cfg(target_arch = "x86_64")]
use super::i8::{by_rows, join_avx512, sums_avx512};
use crate::kernel::Kernel;

/// Signed digits that any fp16 numbers need: 41 bits.
const MOST: usize = 6;

/// The activations of fp16 passes over int8 weights.
#[derive(Clone, Debug)]
pub struct Digits {
    kernel: Kernel,
    x: Vec<f32>,
    /// What is left of each activation while digits are cut off, over the common last place.
    units: Vec<i64>,
    /// Digit after digit, lowest first, one a lane.
    digits: [Vec<i8>; MOST],
    count: usize,
    /// The last place of the lowest digit.
    unit: f32,
    finite: bool,
    /// Lanes up to the last that is not zero, in whole vectors of the kernel; of activations that are not finite all.
    live: usize,
    /// 128 times the sum of each digit: what unsigned weights add to a sum.
    added: [i64; MOST],
}

impl Default for Digits {
    fn default() -> Self {
        Self::on(Kernel::of_host())
    }
}

impl Digits {
    pub(super) fn on(kernel: Kernel) -> Self {
        Self {
            kernel,
            x: Vec::new(),
            units: Vec::new(),
            digits: Default::default(),
            count: 0,
            unit: 1.0,
            finite: true,
            live: 0,
            added: [0; MOST],
        }
    }

    /// Replaces the activations, each the binary32 value of an fp16 number, keeping the memory of the old ones.
    pub fn load(&mut self, x: &[f32]) {
        self.x.clear();
        self.x.extend_from_slice(x);
        self.finite = x.iter().all(|v| v.is_finite());
        self.count = 0;
        self.live = x.len();
        if !self.finite {
            return;
        }
        for digit in &mut self.digits {
            digit.resize(x.len(), 0);
        }
        self.units.resize(x.len(), 0);
        match self.kernel {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a kernel exists only on a host with its instructions.
            Kernel::Avx512 => unsafe { self.cut_avx512() },
            _ => self.cut(),
        }
    }

    /// Lanes up to the last that has an activation other than zero, as far as the kernel knows: it reads no weights beyond.
    #[must_use]
    pub fn live(&self) -> usize {
        self.live
    }

    /// Cuts activations into digits.
    #[inline(always)]
    fn cut(&mut self) {
        // An fp16 number is an integer of at most 41 bits times 2^-24. Added to 1.5 * 2^52, an integer stands in the low bits.
        const SHIFT: f64 = 6_755_399_441_055_744.0;
        let mut all = 0;
        for (units, &v) in self.units.iter_mut().zip(&self.x) {
            *units = (f64::from(v) * 16_777_216.0 + SHIFT).to_bits() as i64 - SHIFT.to_bits() as i64;
            all |= *units;
        }
        let shift = all.trailing_zeros().min(41);
        self.unit = ((1u64 << shift) as f64 / 16_777_216.0) as f32;
        self.units.iter_mut().for_each(|units| *units >>= shift);
        for (digits, added) in self.digits.iter_mut().zip(&mut self.added) {
            let (mut left, mut sum) = (0, 0);
            for (digit, units) in digits.iter_mut().zip(&mut self.units) {
                left |= *units;
                *digit = *units as i8;
                sum += i64::from(*digit);
                *units = (*units - i64::from(*digit)) >> 8;
            }
            if left == 0 {
                return;
            }
            *added = 128 * sum;
            self.count += 1;
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq")]
    fn cut_avx512(&mut self) {
        self.cut();
        let last = self.x.chunks(64).rposition(|x| x.iter().any(|&x| x != 0.0));
        self.live = last.map_or(0, |last| self.x.len().min(64 * (last + 1)));
    }

    /// The sum of each row: `weights` holds `out.len()` rows of int8 weights.
    pub fn rows(&self, weights: &[i8], out: &mut [f32], ahead: &mut impl Ahead) {
        let lanes = self.x.len();
        assert_eq!(weights.len(), lanes * out.len(), "a row of weights for every output");
        if lanes == 0 {
            out.fill(0.0);
            return;
        }
        if !self.finite {
            for (row, out) in weights.chunks_exact(lanes).zip(out) {
                let row: Vec<f32> = row.iter().map(|&w| f32::from(w)).collect();
                *out = dot_f16_exact(&row, &self.x);
            }
            return;
        }
        #[cfg(target_arch = "x86_64")]
        if self.kernel == Kernel::Avx512 {
            // SAFETY: a kernel exists only on a host with its instructions.
            return unsafe { self.rows_avx512(weights, out, ahead) };
        }
        for (row, out) in weights.chunks_exact(lanes).zip(out) {
            let mut total = 0;
            for (place, digit) in self.digits[..self.count].iter().enumerate() {
                let mut sum = [0];
                Octets::on(self.kernel, digit).rows(row, &mut sum, ahead);
                total += i64::from(sum[0]) << (8 * place);
            }
            *out = self.rounded(total);
        }
    }

    /// An exact sum over the common last place, rounded once.
    fn rounded(&self, total: i64) -> f32 {
        // The cast rounds, to nearest, ties to even; the scaling is exact, as the unit is at least 2^-24.
        total as f32 * self.unit
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn rows_avx512(&self, weights: &[i8], out: &mut [f32], ahead: &mut impl Ahead) {
        match self.count {
            0 => out.fill(0.0),
            1 => self.digits_avx512::<1, _>(weights, out, ahead),
            2 => self.digits_avx512::<2, _>(weights, out, ahead),
            3 => self.digits_avx512::<3, _>(weights, out, ahead),
            4 => self.digits_avx512::<4, _>(weights, out, ahead),
            5 => self.digits_avx512::<5, _>(weights, out, ahead),
            _ => self.digits_avx512::<MOST, _>(weights, out, ahead),
        }
    }

    /// Rows by fours, each loaded once for all digits.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn digits_avx512<const DIGITS: usize, A: Ahead>(&self, weights: &[i8], out: &mut [f32], ahead: &mut A) {
        let (lanes, live) = (self.x.len(), self.live);
        let digits: [&[i8]; DIGITS] = std::array::from_fn(|place| &self.digits[place][..live]);
        let (fours, rest) = out.as_chunks_mut::<4>();
        let (four_rows, rest_rows) = weights.split_at(fours.len() * 4 * lanes);
        for (rows, out) in four_rows.chunks_exact(4 * lanes).zip(fours) {
            let sums = self.joined(sums_avx512(by_rows::<4>(rows, lanes, live), digits, ahead));
            // SAFETY: the array has four sums.
            unsafe { _mm_storeu_ps(out.as_mut_ptr(), sums) };
        }
        let zero = _mm512_setzero_si512();
        let sums = match rest.len() {
            3 => sums_avx512(by_rows::<3>(rest_rows, lanes, live), digits, ahead).map(|[a, b, c]| [a, b, c, zero]),
            2 => sums_avx512(by_rows::<2>(rest_rows, lanes, live), digits, ahead).map(|[a, b]| [a, b, zero, zero]),
            1 => sums_avx512(by_rows::<1>(rest_rows, lanes, live), digits, ahead).map(|[a]| [a, zero, zero, zero]),
            _ => return,
        };
        let mut last = [0.0; 4];
        // SAFETY: the array has four sums.
        unsafe { _mm_storeu_ps(last.as_mut_ptr(), self.joined(sums)) };
        rest.iter_mut().zip(last).for_each(|(out, sum)| *out = sum);
    }

    /// The sums of four rows, from sixteen partial sums of each digit of each.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn joined<const DIGITS: usize>(&self, sums: [[__m512i; 4]; DIGITS]) -> __m128 {
        let mut totals = _mm256_setzero_si256();
        for (place, sums) in sums.into_iter().enumerate() {
            let sums = _mm256_sub_epi64(_mm256_cvtepi32_epi64(join_avx512(sums)), _mm256_set1_epi64x(self.added[place]));
            totals = _mm256_add_epi64(totals, _mm256_sll_epi64(sums, _mm_cvtsi32_si128(8 * place as i32)));
        }
        // The conversion rounds, to nearest, ties to even, as in `rounded`.
        _mm_mul_ps(_mm256_cvtepi64_ps(totals), _mm_set1_ps(self.unit))
    }
}
