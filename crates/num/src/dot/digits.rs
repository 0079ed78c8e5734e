//! fp16 passes over int8 weights, by integers alone. Activations are written in signed digits of eight bits over a common last place; each digit
//! is an int8 pass, and the sum of the passes, a 64-bit integer, is the exact sum, which is rounded once.

use super::dot_f16_exact;
use super::i8::plane_on;
#[cfg(target_arch = "x86_64")]
use super::i8::{join_avx512, sums_avx512};
use super::kernel::Kernel;

/// Signed digits that any fp16 numbers need: 41 bits.
const MOST: usize = 6;

/// The activations of fp16 passes over int8 weights.
#[derive(Clone, Debug)]
pub struct Digits {
    kernel: Kernel,
    x: Vec<f32>,
    /// Digit after digit, lowest first, one a lane.
    digits: [Vec<i8>; MOST],
    count: usize,
    /// The last place of the lowest digit.
    unit: f32,
    finite: bool,
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
        Self { kernel, x: Vec::new(), digits: Default::default(), count: 0, unit: 1.0, finite: true, added: [0; MOST] }
    }

    /// Replaces the activations, each the binary32 value of an fp16 number, keeping the memory of the old ones.
    pub fn load(&mut self, x: &[f32]) {
        self.x.clear();
        self.x.extend_from_slice(x);
        self.finite = x.iter().all(|v| v.is_finite());
        self.count = 0;
        if !self.finite {
            return;
        }
        // An fp16 number is an integer of at most 41 bits times 2^-24.
        let units = |v: f32| (f64::from(v) * 16_777_216.0) as i64;
        let shift = x.iter().fold(0i64, |all, &v| all | units(v)).trailing_zeros().min(41);
        self.unit = ((1u64 << shift) as f64 / 16_777_216.0) as f32;
        for digit in &mut self.digits {
            digit.clear();
            digit.resize(x.len(), 0);
        }
        for (lane, &v) in x.iter().enumerate() {
            let mut rest = units(v) >> shift;
            let mut place = 0;
            while rest != 0 {
                let digit = rest as i8;
                self.digits[place][lane] = digit;
                rest = (rest - i64::from(digit)) >> 8;
                place += 1;
            }
            self.count = self.count.max(place);
        }
        self.added = std::array::from_fn(|place| 128 * self.digits[place].iter().map(|&digit| i64::from(digit)).sum::<i64>());
    }

    /// The sum of each row: `weights` holds `out.len()` rows of int8 weights.
    pub fn rows(&self, weights: &[i8], out: &mut [f32]) {
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
            return unsafe { self.rows_avx512(weights, out) };
        }
        for (row, out) in weights.chunks_exact(lanes).zip(out) {
            let mut total = 0;
            for (place, digit) in self.digits[..self.count].iter().enumerate() {
                let mut sum = [0];
                plane_on(self.kernel, row, digit, &mut sum);
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
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn rows_avx512(&self, weights: &[i8], out: &mut [f32]) {
        match self.count {
            0 => out.fill(0.0),
            1 => self.digits_avx512::<1>(weights, out),
            2 => self.digits_avx512::<2>(weights, out),
            3 => self.digits_avx512::<3>(weights, out),
            4 => self.digits_avx512::<4>(weights, out),
            5 => self.digits_avx512::<5>(weights, out),
            _ => self.digits_avx512::<MOST>(weights, out),
        }
    }

    /// Rows by fours, each loaded once for all digits.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn digits_avx512<const DIGITS: usize>(&self, weights: &[i8], out: &mut [f32]) {
        let lanes = self.x.len();
        let digits: [&[i8]; DIGITS] = std::array::from_fn(|place| &self.digits[place][..]);
        let (fours, rest) = out.as_chunks_mut::<4>();
        let (four_rows, rest_rows) = weights.split_at(fours.len() * 4 * lanes);
        for (rows, out) in four_rows.chunks_exact(4 * lanes).zip(fours) {
            let (front, back) = rows.split_at(2 * lanes);
            let ((a, b), (c, d)) = (front.split_at(lanes), back.split_at(lanes));
            let mut totals = [0i64; 4];
            for (place, sums) in sums_avx512([a, b, c, d], digits).into_iter().enumerate() {
                for (total, sum) in totals.iter_mut().zip(join_avx512(sums)) {
                    *total += (i64::from(sum) - self.added[place]) << (8 * place);
                }
            }
            *out = totals.map(|total| self.rounded(total));
        }
        for (row, out) in rest_rows.chunks_exact(lanes).zip(rest) {
            let mut total = 0i64;
            for (place, [sums]) in sums_avx512([row], digits).into_iter().enumerate() {
                total += (i64::from(std::arch::x86_64::_mm512_reduce_add_epi32(sums)) - self.added[place]) << (8 * place);
            }
            *out = self.rounded(total);
        }
    }
}
