//! fp16 passes over int8 weights, by integers alone. Activations are written in signed digits of eight bits over a common last place; each digit
//! is an int8 pass, and the sum of the passes, a 64-bit integer, is the exact sum, which is rounded once.

use super::dot_f16_exact;
use super::i8::plane_on;
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
}

impl Default for Digits {
    fn default() -> Self {
        Self::on(Kernel::of_host())
    }
}

impl Digits {
    pub(super) fn on(kernel: Kernel) -> Self {
        Self { kernel, x: Vec::new(), digits: Default::default(), count: 0, unit: 1.0, finite: true }
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
        const ROWS: usize = 4;
        for (rows, out) in weights.chunks(ROWS * lanes).zip(out.chunks_mut(ROWS)) {
            let mut totals = [0i64; ROWS];
            for (place, digit) in self.digits[..self.count].iter().enumerate() {
                let mut sums = [0; ROWS];
                plane_on(self.kernel, rows, digit, &mut sums[..out.len()]);
                for (total, sum) in totals.iter_mut().zip(sums) {
                    *total += i64::from(sum) << (8 * place);
                }
            }
            // The cast rounds, to nearest, ties to even; the scaling is exact, as the unit is at least 2^-24.
            for (out, total) in out.iter_mut().zip(totals) {
                *out = total as f32 * self.unit;
            }
        }
    }
}
