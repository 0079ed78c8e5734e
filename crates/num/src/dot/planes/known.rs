//! Rows of fp16 weights of which the greatest is known, with finite activations.
//!
//! Products of fp16 numbers are exact in binary32, of which a vector holds twice as many as of binary64. Each partial
//! sum is a pair: `high` begins at `1.5 * 2^k`, so far above its products that it stays between `2^k` and `2^(k+1)` and
//! is always a multiple of `2^(k-23)`, the unit. What an addition to it rounds away is at most half a unit, is exact in
//! binary32 (products have 22 bits), and is added to `low`. So bit patterns of `high` count units, as integers; only
//! additions to `low` round, each by a 2^24th part of some halves of a unit.

mod avx2;
mod avx512;

use super::load::PARTS;
use super::steps::{WeightRows, fetch};
use super::{CLOSE, STEP, StepLanes, magnitude};

/// Rows whose sums are joined at once, one of each quarter of all: a quarter is a stretch of memory, and the processor
/// fetches ahead in several by itself.
const TOGETHER: usize = 4;
/// Lanes up to which the bounds of [`FiniteRows::range`] hold, and more than any chip has.
pub(super) const MOST_LANES: usize = 1 << 16;

/// The activations of such rows.
pub(super) struct FiniteRows<'a> {
    /// Activations up to the last step that has one other than zero.
    pub(super) x: &'a [StepLanes],
    /// At least the greatest sum of `|x|` that one partial sum takes.
    pub(super) part: f64,
}

/// How sums over a run of rows begin, and what is known of their ends.
struct RowBounds {
    start: f32,
    unit: f64,
    /// At least the error of a sum.
    error: f64,
}

impl FiniteRows<'_> {
    fn range(&self, most: u8) -> RowBounds {
        // Room for the rounding of the bound itself and for half a unit from every addition, of which a partial sum
        // takes at most 2^11.
        let reach = self.part * f64::from(magnitude(most)) * (1.0 + 1.0 / 1024.0);
        let exponent = (reach.to_bits() >> 52) as i32 - 1023;
        let k = (exponent + 2).max(-60);
        let power = |k: i32| f64::from_bits(((1023 + k) as u64) << 52);
        // One partial sum's i-th addition to `low` errs by at most 2^-24 of i halves of a unit. Five additions join all
        // of them, each of values that make up `PARTS * n` halves at most. Then binary64 rounds numbers below 2^(k+5)
        // three times.
        let n = (self.x.len() * STEP / PARTS) as f64;
        let parts = PARTS as f64;
        let additions = parts * n * (n + 1.0) / 2.0 + 5.0 * parts * n;
        let unit = power(k - 23);
        RowBounds {
            start: (1.5 * power(k)) as f32,
            unit,
            error: unit * power(-25) * (additions * (1.0 + 1.0 / 1024.0) + 16.0),
        }
    }

    /// The exact sum rounded once for each row of so many lanes, of weights whose greatest high byte without sign is at
    /// most `most`, all finite. `four` gives the sums of up to four rows, those that there are, rounded once, and a bit
    /// for each whose rounding its error does not change; it is told how far ahead to ask for lines. `otherwise` gives
    /// the sums that cannot be settled so.
    #[inline(always)]
    fn rows<W: WeightRows>(
        &self,
        weights: W,
        lanes: usize,
        most: u8,
        out: &mut [f32],
        otherwise: impl Fn(usize) -> f32,
        four: impl Fn([Option<W>; TOGETHER], &RowBounds, usize) -> ([f32; TOGETHER], u8),
    ) {
        if self.x.is_empty() {
            // Finite weights add nothing to activations that are zero.
            out.fill(0.0);
            return;
        }
        assert!(self.x.len() <= lanes.div_ceil(STEP), "weights for every step");
        let quarter = out.len() / TOGETHER;
        // What is after a quarter is read much later, if ever, or was read before: rows fetch within it.
        for first in quarters(0, quarter) {
            let weights = weights.row(first, lanes);
            (0..(quarter * lanes).min(CLOSE)).step_by(STEP).for_each(|lane| fetch(weights.lines(lane)));
        }
        let range = self.range(most);
        let rest: [usize; TOGETHER] = std::array::from_fn(|number| quarter * TOGETHER + number);
        for (place, rows) in (0..quarter).map(|row| quarters(row, quarter)).chain([rest]).enumerate() {
            if rows[0] >= out.len() {
                break;
            }
            let close = if quarter.saturating_sub(place) * lanes > CLOSE { CLOSE } else { 0 };
            let (values, settled) =
                four(rows.map(|row| (row < out.len()).then(|| weights.row(row, lanes))), &range, close);
            for (number, (row, value)) in rows.into_iter().zip(values).enumerate() {
                let Some(out) = out.get_mut(row) else { break };
                *out = if settled >> number & 1 == 1 { value } else { otherwise(row) };
            }
        }
    }
}

/// The rows of number `row` of each quarter of so many rows.
#[inline(always)]
fn quarters(row: usize, quarter: usize) -> [usize; TOGETHER] {
    std::array::from_fn(|number| number * quarter + row)
}
