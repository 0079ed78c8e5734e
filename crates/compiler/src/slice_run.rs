//! Runs of slices: places in several slices at one address, printed as one.

use std::fmt;

use lpu_isa::SliceId;

/// Slices of a side that hold words at one address: `count` of them, each `stride` after the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceRun {
    /// The first slice.
    pub first: SliceId,
    /// Slices.
    pub count: u16,
    /// Slices from one to the next, 1 or 2.
    pub stride: u16,
    /// The word in each of them.
    pub word: u32,
}

impl SliceRun {
    fn last(&self) -> u16 {
        self.first.index + (self.count - 1) * self.stride
    }

    /// Whether the run goes on with this place, and then its stride.
    fn followed_by(&self, slice: SliceId, word: u32) -> Option<u16> {
        let stride = slice.index.checked_sub(self.last()).filter(|stride| (1..=2).contains(stride))?;
        let fits = slice.side == self.first.side && word == self.word && (self.count == 1 || stride == self.stride);
        fits.then_some(stride)
    }

    /// Places in their order as runs.
    pub(crate) fn of(places: impl IntoIterator<Item = (SliceId, u32)>) -> Vec<Self> {
        let mut runs: Vec<Self> = Vec::new();
        for (slice, word) in places {
            match runs.last_mut().and_then(|run| Some((run.followed_by(slice, word)?, run))) {
                Some((stride, run)) => (run.stride, run.count) = (stride, run.count + 1),
                None => runs.push(Self { first: slice, count: 1, stride: 1, word }),
            }
        }
        runs
    }

    /// The places of the run, in order.
    pub fn places(&self) -> impl Iterator<Item = (SliceId, u32)> + '_ {
        let index = |number| self.first.index + number * self.stride;
        (0..self.count).map(move |number| (SliceId { index: index(number), ..self.first }, self.word))
    }
}

impl fmt::Display for SliceRun {
    /// `e8..e38/2:0`: slices 8 to 38 of the east, every second one, word 0.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.count > 1 {
            write!(f, "..{}", SliceId { index: self.last(), ..self.first })?;
        }
        if self.stride > 1 {
            write!(f, "/{}", self.stride)?;
        }
        write!(f, ":{}", self.word)
    }
}
