//! Where rows of fp16 weights have their bytes.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::STEP;
#[cfg(target_arch = "x86_64")]
use super::steps::{Apart, Pairs, WeightRows, first};

/// The bytes of fp16 weights, row after row.
#[derive(Clone, Copy, Debug)]
pub enum HalfWeights<'a> {
    /// Low bytes, and high bytes; as many of both.
    Apart(&'a [u8], &'a [u8]),
    /// Low and high bytes in turn, which is one number after the other.
    Pairs(&'a [u8]),
}

impl<'a> HalfWeights<'a> {
    /// Number of weights.
    ///
    /// # Panics
    /// When there are more bytes of one plane than of the other.
    #[must_use]
    #[inline]
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

    /// Low and high bytes of up to 64 weights from a lane on, zero after the last of them.
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

    /// 64 weights from a lane on, sixteen a vector, zero after the last of them.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn sixteens(self, start: usize) -> [__m256i; STEP / 16] {
        // No closures: what they return passes through memory where a caller without these instructions does not become
        // part of this one.
        match self {
            Self::Apart(low, high) => {
                if let (Some(low), Some(high)) = (low.get(start..start + STEP), high.get(start..start + STEP)) {
                    let (low, high) = (low.as_ptr(), high.as_ptr());
                    // SAFETY: sixteen bytes from each of these lanes of a whole step on are in both planes.
                    return unsafe {
                        [
                            in_turn(low, high),
                            in_turn(low.add(16), high.add(16)),
                            in_turn(low.add(32), high.add(32)),
                            in_turn(low.add(48), high.add(48)),
                        ]
                    };
                }
            }
            Self::Pairs(bytes) => {
                if let Some(bytes) = bytes.get(2 * start..2 * (start + STEP)) {
                    let at = bytes.as_ptr().cast::<__m256i>();
                    // SAFETY: the bytes are four vectors.
                    return unsafe {
                        [
                            _mm256_loadu_si256(at),
                            _mm256_loadu_si256(at.add(1)),
                            _mm256_loadu_si256(at.add(2)),
                            _mm256_loadu_si256(at.add(3)),
                        ]
                    };
                }
            }
        }
        let count = self.count();
        self.last_sixteens(start.min(count)..count)
    }

    /// [`HalfWeights::sixteens`] of less than a step.
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

/// Sixteen numbers of which these are the low and the high bytes.
///
/// # Safety
/// Sixteen bytes can be read from both.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn in_turn(low: *const u8, high: *const u8) -> __m256i {
    // SAFETY: the caller's duty.
    let (low, high) = unsafe { (_mm_loadu_si128(low.cast()), _mm_loadu_si128(high.cast())) };
    _mm256_set_m128i(_mm_unpackhi_epi8(low, high), _mm_unpacklo_epi8(low, high))
}

#[cfg(target_arch = "x86_64")]
impl WeightRows for HalfWeights<'_> {
    #[inline(always)]
    fn row(self, row: usize, lanes: usize) -> Self {
        self.row(row, lanes)
    }

    #[inline(always)]
    fn lines(self, lane: usize) -> [*const u8; 2] {
        self.lines(lane)
    }
}
