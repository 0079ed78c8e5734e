//! Where rows of fp16 weights have their bytes.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::STEP;
#[cfg(target_arch = "x86_64")]
use super::known::{Apart, Pairs, Rows, first};

/// The bytes of fp16 weights, row after row.
#[derive(Clone, Copy, Debug)]
pub enum Planes<'a> {
    /// Low bytes, and high bytes; as many of both.
    Apart(&'a [u8], &'a [u8]),
    /// Low and high bytes in turn, which is one number after the other.
    Pairs(&'a [u8]),
}

impl<'a> Planes<'a> {
    /// Number of weights.
    ///
    /// # Panics
    /// When there are more bytes of one plane than of the other.
    #[must_use]
    pub fn count(self) -> usize {
        match self {
            Self::Apart(low, high) => {
                assert!(low.len() == high.len(), "as many bytes of both planes");
                low.len()
            }
            Self::Pairs(bytes) => {
                assert!(bytes.len().is_multiple_of(2), "as many bytes of both planes");
                bytes.len() / 2
            }
        }
    }

    /// Some of the weights.
    #[inline(always)]
    pub(super) fn part(self, part: Range<usize>) -> Self {
        match self {
            Self::Apart(low, high) => Self::Apart(&low[part.clone()], &high[part]),
            Self::Pairs(bytes) => Self::Pairs(&bytes[2 * part.start..2 * part.end]),
        }
    }

    /// The weights of row `row` of rows of so many lanes.
    #[inline(always)]
    pub(super) fn row(self, row: usize, lanes: usize) -> Self {
        self.part(row * lanes..(row + 1) * lanes)
    }

    /// Bit patterns of the weights.
    pub(super) fn patterns(self) -> impl Iterator<Item = u16> + use<'a> {
        let (low, high, step) = match self {
            Self::Apart(low, high) => (low, high, 1),
            Self::Pairs(bytes) => (bytes, bytes.get(1..).unwrap_or(&[]), 2),
        };
        low.iter().step_by(step).zip(high.iter().step_by(step)).map(|(&low, &high)| u16::from_le_bytes([low, high]))
    }

    /// The lines of a step from a lane on.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn lines(self, lane: usize) -> [*const u8; 2] {
        match self {
            Self::Apart(low, high) => Apart(low, high).lines(lane),
            Self::Pairs(bytes) => Pairs(bytes).lines(lane),
        }
    }

    /// Low and high bytes of up to 64 weights from a lane on, zero behind the last of them.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn step(self, start: usize) -> (__m512i, __m512i) {
        match self {
            Self::Apart(low, high) => (first(&low[start..]), first(&high[start..])),
            Self::Pairs(bytes) => {
                let numbers = [0, 64].map(|line| first(bytes.get(2 * start + line..).unwrap_or(&[])));
                let narrow = |[one, other]: [__m512i; 2]| {
                    let one = _mm512_castsi256_si512(_mm512_cvtepi16_epi8(one));
                    _mm512_inserti64x4::<1>(one, _mm512_cvtepi16_epi8(other))
                };
                (narrow(numbers), narrow(numbers.map(|numbers| _mm512_srli_epi16::<8>(numbers))))
            }
        }
    }

    /// 64 weights from a lane on, sixteen a vector, zero behind the last of them.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn sixteens(self, start: usize) -> [__m256i; STEP / 16] {
        let count = self.count();
        if count < start + STEP {
            return self.last_sixteens(start.min(count)..count);
        }
        let places = [0, 16, 32, 48].map(|lane| start + lane);
        match self {
            Self::Apart(low, high) => places.map(|lane| {
                // SAFETY: so many bytes from each place of a whole step on lie in both planes.
                let [low, high] = [low, high].map(|plane| unsafe { _mm_loadu_si128(plane.as_ptr().add(lane).cast()) });
                _mm256_set_m128i(_mm_unpackhi_epi8(low, high), _mm_unpacklo_epi8(low, high))
            }),
            // SAFETY: as above, twice as many bytes.
            Self::Pairs(bytes) => places.map(|lane| unsafe { _mm256_loadu_si256(bytes.as_ptr().add(2 * lane).cast()) }),
        }
    }

    /// [`Planes::sixteens`] of less than a step.
    #[cfg(target_arch = "x86_64")]
    #[inline(never)]
    #[target_feature(enable = "avx2")]
    fn last_sixteens(self, last: Range<usize>) -> [__m256i; STEP / 16] {
        let mut bytes = [0; 2 * STEP];
        for (bytes, pattern) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(self.part(last).patterns()) {
            *bytes = pattern.to_le_bytes();
        }
        // SAFETY: the array has 32 bytes from each of these places on.
        [0, 32, 64, 96].map(|byte| unsafe { _mm256_loadu_si256(bytes.as_ptr().add(byte).cast()) })
    }
}

#[cfg(target_arch = "x86_64")]
impl Rows for Planes<'_> {
    #[inline(always)]
    fn row(self, row: usize, lanes: usize) -> Self {
        self.row(row, lanes)
    }

    #[inline(always)]
    fn lines(self, lane: usize) -> [*const u8; 2] {
        self.lines(lane)
    }
}
