//! fp16 passes over int8 weights, by integers alone. Activations are written in signed digits of eight bits over a
//! common last place; each digit is an int8 pass, and the sum of the passes, a 64-bit integer, is the exact sum, which
//! is rounded once.

#[cfg(target_arch = "x86_64")]
mod avx2;

use super::prefetch::Prefetch;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::dot_f16_exact;
use super::i8::{Octets, given};
#[cfg(target_arch = "x86_64")]
use super::i8::{by_rows, join_avx512, sums_avx512};
use crate::kernel::Kernel;

/// Signed digits that any fp16 numbers need: 41 bits.
const MOST: usize = 6;
/// An fp16 number is an integer of at most 41 bits over so many parts.
pub(super) const PLACES: f64 = 16_777_216.0;
/// `1.5 * 2^52`: added to it, an integer is in the low bits.
pub(super) const SHIFT: f64 = 6_755_399_441_055_744.0;
/// Half of each digit's range. Added to it, an integer has in each byte a digit with its highest bit turned, carries
/// done.
const BIAS: i64 = 0x8080_8080_8080;

/// How many digits numbers need in which these bits occur.
fn digits_of(bits: i64) -> usize {
    (i64::BITS - bits.leading_zeros()).div_ceil(8) as usize
}

/// The activations of fp16 passes over int8 weights.
#[derive(Clone, Debug)]
pub struct Digits {
    kernel: Kernel,
    lanes: usize,
    /// Activations that are not all finite; others are digits.
    x: Vec<f32>,
    /// Digit after digit, lowest first, one a lane.
    digits: [Vec<i8>; MOST],
    /// How many there are, of either kind.
    count: usize,
    /// For 256-bit kernels, which multiply integers of sixteen bits, digits of as many instead.
    #[cfg(target_arch = "x86_64")]
    twos: [Vec<i16>; MOST / 2],
    /// The last place of the lowest digit.
    unit: f32,
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
            lanes: 0,
            x: Vec::new(),
            digits: Default::default(),
            count: 0,
            #[cfg(target_arch = "x86_64")]
            twos: Default::default(),
            unit: 1.0,
            live: 0,
            added: [0; MOST],
        }
    }

    /// Replaces the activations, each the binary32 value of an fp16 number, keeping the memory of the old ones.
    pub fn load(&mut self, x: &[f32]) {
        self.lanes = x.len();
        self.x.clear();
        self.count = 0;
        self.live = x.len();
        if !x.iter().fold(true, |finite, v| finite & v.is_finite()) {
            self.x.extend_from_slice(x);
            return;
        }
        #[cfg(target_arch = "x86_64")]
        if self.kernel == Kernel::Avx2 {
            // SAFETY: a kernel exists only on a host with its instructions.
            return unsafe { self.cut_avx2(x) };
        }
        for digit in &mut self.digits {
            digit.resize(x.len(), 0);
        }
        match self.kernel {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a kernel exists only on a host with its instructions.
            Kernel::Avx512 => unsafe { self.cut_avx512(x) },
            _ => self.cut(x),
        }
        for (digits, added) in self.digits[..self.count].iter().zip(&mut self.added) {
            *added = 128 * digits.iter().map(|&digit| i64::from(digit)).sum::<i64>();
        }
    }

    /// Lanes up to the last that has an activation other than zero, as far as the kernel knows: it reads no weights
    /// beyond.
    #[must_use]
    pub fn live(&self) -> usize {
        self.live
    }

    /// Cuts activations into digits.
    fn cut(&mut self, x: &[f32]) {
        let places = |v: f32| (f64::from(v) * PLACES + SHIFT).to_bits() as i64 - SHIFT.to_bits() as i64;
        let shift = self.shift(x.iter().fold(0, |all, &v| all | places(v)));
        let mut all = 0;
        for (lane, &v) in x.iter().enumerate() {
            let biased = (places(v) >> shift) + BIAS;
            all |= biased ^ BIAS;
            for (digits, byte) in self.digits.iter_mut().zip(biased.to_le_bytes()) {
                digits[lane] = (byte ^ 0x80) as i8;
            }
        }
        self.count = digits_of(all);
    }

    /// [`Digits::cut`], eight lanes at a time and only as many digits as there are.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn cut_avx512(&mut self, x: &[f32]) {
        let (scale, shift_up, bias) = (_mm512_set1_pd(PLACES), _mm512_set1_pd(SHIFT), _mm512_set1_epi64(BIAS));
        let eight = |eight: usize| {
            let live = 0xff_u8 >> (8 - (x.len() - 8 * eight).min(8));
            // SAFETY: the mask loads no number at or beyond the end.
            let numbers = unsafe { _mm256_maskz_loadu_ps(live, x.as_ptr().add(8 * eight)) };
            let places = _mm512_fmadd_pd(_mm512_cvtps_pd(numbers), scale, shift_up);
            (live, _mm512_sub_epi64(_mm512_castpd_si512(places), _mm512_castpd_si512(shift_up)))
        };
        let eights = x.len().div_ceil(8);
        let (mut all, mut last) = (_mm512_setzero_si512(), 0);
        for number in 0..eights {
            let places = eight(number).1;
            all = _mm512_or_si512(all, places);
            last = if _mm512_test_epi64_mask(places, places) == 0 { last } else { number + 1 };
        }
        let shift = _mm_cvtsi32_si128(self.shift(_mm512_reduce_or_epi64(all)) as i32);
        let biased = |places| _mm512_add_epi64(_mm512_sra_epi64(places, shift), bias);
        let mut all = _mm512_setzero_si512();
        for number in 0..last {
            all = _mm512_or_si512(all, _mm512_xor_si512(biased(eight(number).1), bias));
        }
        self.count = digits_of(_mm512_reduce_or_epi64(all));
        self.live = x.len().min((8 * last).next_multiple_of(64));
        for number in 0..eights {
            let (live, places) = eight(number);
            let mut digits = _mm512_xor_si512(biased(places), bias);
            for out in &mut self.digits[..self.count] {
                // SAFETY: the mask stores no digit at or beyond the end.
                unsafe { _mm512_mask_cvtepi64_storeu_epi8(out.as_mut_ptr().add(8 * number).cast(), live, digits) };
                digits = _mm512_srli_epi64::<8>(digits);
            }
        }
    }

    /// How far integers of whose bits these are all can be shifted, which sets the unit.
    fn shift(&mut self, all: i64) -> u32 {
        let shift = all.trailing_zeros().min(41);
        self.unit = ((1u64 << shift) as f64 / PLACES) as f32;
        shift
    }

    /// The sum of each row: `weights` holds the first int8 weights of `out.len()` rows, as many of each; those after
    /// them are zero.
    pub fn rows(&self, weights: &[i8], out: &mut [f32], prefetch: &mut impl Prefetch) {
        let Some(given) = given(weights.len(), out.len(), self.lanes) else {
            // Zero weights have a sum too where activations are not finite.
            let sum = dot_f16_exact(&vec![0.0; self.x.len()], &self.x);
            out.fill(sum);
            return;
        };
        if !self.x.is_empty() {
            for (row, out) in weights.chunks_exact(given).zip(out) {
                let mut row: Vec<f32> = row.iter().map(|&w| f32::from(w)).collect();
                row.resize(self.lanes, 0.0);
                *out = dot_f16_exact(&row, &self.x);
            }
            return;
        }
        #[cfg(target_arch = "x86_64")]
        if self.kernel == Kernel::Avx512 && given >= self.live {
            // SAFETY: a kernel exists only on a host with its instructions.
            return unsafe { self.rows_avx512(weights, given, out, prefetch) };
        } else if self.kernel == Kernel::Avx2 {
            // SAFETY: as above.
            return unsafe { self.rows_avx2(weights, given, out, prefetch) };
        }
        for (row, out) in weights.chunks_exact(given).zip(out) {
            let mut total = 0;
            for (place, digit) in self.digits[..self.count].iter().enumerate() {
                let mut sum = [0];
                Octets::on(self.kernel, digit).rows(row, &mut sum, prefetch);
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
    fn rows_avx512(&self, weights: &[i8], given: usize, out: &mut [f32], prefetch: &mut impl Prefetch) {
        match self.count {
            0 => out.fill(0.0),
            1 => self.digits_avx512::<1, _>(weights, given, out, prefetch),
            2 => self.digits_avx512::<2, _>(weights, given, out, prefetch),
            3 => self.digits_avx512::<3, _>(weights, given, out, prefetch),
            4 => self.digits_avx512::<4, _>(weights, given, out, prefetch),
            5 => self.digits_avx512::<5, _>(weights, given, out, prefetch),
            _ => self.digits_avx512::<MOST, _>(weights, given, out, prefetch),
        }
    }

    /// Rows by fours, each of so many lanes loaded once for all digits.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn digits_avx512<const DIGITS: usize, A: Prefetch>(
        &self,
        weights: &[i8],
        lanes: usize,
        out: &mut [f32],
        prefetch: &mut A,
    ) {
        let live = self.live;
        let digits: [&[i8]; DIGITS] = std::array::from_fn(|place| &self.digits[place][..live]);
        let (fours, rest) = out.as_chunks_mut::<4>();
        let (four_rows, rest_rows) = weights.split_at(fours.len() * 4 * lanes);
        for (rows, out) in four_rows.chunks_exact(4 * lanes).zip(fours) {
            let sums = self.joined(sums_avx512(by_rows::<4>(rows, lanes, live), digits, prefetch));
            // SAFETY: the array has four sums.
            unsafe { _mm_storeu_ps(out.as_mut_ptr(), sums) };
        }
        let zero = _mm512_setzero_si512();
        let sums = match rest.len() {
            3 => sums_avx512(by_rows::<3>(rest_rows, lanes, live), digits, prefetch).map(|[a, b, c]| [a, b, c, zero]),
            2 => sums_avx512(by_rows::<2>(rest_rows, lanes, live), digits, prefetch).map(|[a, b]| [a, b, zero, zero]),
            1 => sums_avx512(by_rows::<1>(rest_rows, lanes, live), digits, prefetch).map(|[a]| [a, zero, zero, zero]),
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
            let sums =
                _mm256_sub_epi64(_mm256_cvtepi32_epi64(join_avx512(sums)), _mm256_set1_epi64x(self.added[place]));
            totals = _mm256_add_epi64(totals, _mm256_sll_epi64(sums, _mm_cvtsi32_si128(8 * place as i32)));
        }
        // The conversion rounds, to nearest, ties to even, as in `rounded`.
        _mm_mul_ps(_mm256_cvtepi64_ps(totals), _mm_set1_ps(self.unit))
    }
}
