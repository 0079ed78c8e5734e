//! Where rows of fp16 weights have their bytes.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::known::{Apart, Pairs, Weights, first};

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

    /// Up to sixteen weights from a lane on, zero behind the last of them.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn sixteen(self, start: usize) -> [__m128i; 2] {
        let end = self.count();
        if start + 16 > end {
            let mut bytes = [0; 32];
            for (bytes, pattern) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(self.part(start..end).patterns()) {
                *bytes = pattern.to_le_bytes();
            }
            return Planes::Pairs(&bytes).sixteen(0);
        }
        let load = |bytes: &[u8]| {
            let bytes = &bytes[..16];
            // SAFETY: there are sixteen bytes.
            unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
        };
        match self {
            Self::Apart(low, high) => {
                let (low, high) = (load(&low[start..]), load(&high[start..]));
                [_mm_unpacklo_epi8(low, high), _mm_unpackhi_epi8(low, high)]
            }
            Self::Pairs(bytes) => [load(&bytes[2 * start..]), load(&bytes[2 * start + 16..])],
        }
    }
}
