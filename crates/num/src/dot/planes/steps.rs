//! Rows of fp16 weights by steps, as kernels of finite rows read them.

use std::arch::x86_64::*;

/// Asks for lines, into the nearest cache.
#[inline(always)]
pub(super) fn fetch(lines: [*const u8; 2]) {
    // SAFETY: a prefetch of any address is harmless.
    lines.into_iter().for_each(|line| unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) });
}

/// Rows of weights.
pub(super) trait WeightRows: Copy {
    /// Row `row` of rows of so many lanes.
    fn row(self, row: usize, lanes: usize) -> Self;

    /// The lines of a step from a lane on, be it beyond the end.
    fn lines(self, lane: usize) -> [*const u8; 2];
}

/// Rows read by steps.
pub(super) trait WeightSteps: WeightRows {
    /// A step from a lane on, sixteen numbers each.
    ///
    /// # Safety
    /// The host has AVX-512 BW, and the step is whole.
    unsafe fn step(self, start: usize) -> [__m256i; 4];

    /// Less than a step from a lane on to the end, and zeros.
    ///
    /// # Safety
    /// The host has AVX-512 BW.
    unsafe fn tail(self, start: usize) -> [__m256i; 4];
}

/// [`HalfWeights::Apart`].
#[derive(Clone, Copy)]
pub(super) struct Apart<'a>(pub(super) &'a [u8], pub(super) &'a [u8]);

impl WeightRows for Apart<'_> {
    #[inline(always)]
    fn row(self, row: usize, lanes: usize) -> Self {
        Self(&self.0[row * lanes..][..lanes], &self.1[row * lanes..][..lanes])
    }

    #[inline(always)]
    fn lines(self, lane: usize) -> [*const u8; 2] {
        [self.0, self.1].map(|plane| plane.as_ptr().wrapping_add(lane))
    }
}

impl WeightSteps for Apart<'_> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn step(self, start: usize) -> [__m256i; 4] {
        // SAFETY: the caller's duty.
        let [low, high] = [self.0, self.1].map(|plane| unsafe { _mm512_loadu_epi8(plane.as_ptr().add(start).cast()) });
        in_turn(low, high)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn tail(self, start: usize) -> [__m256i; 4] {
        let [low, high] = [self.0, self.1].map(|plane| first(&plane[start..]));
        in_turn(low, high)
    }
}

/// [`HalfWeights::Pairs`].
#[derive(Clone, Copy)]
pub(super) struct Pairs<'a>(pub(super) &'a [u8]);

impl WeightRows for Pairs<'_> {
    #[inline(always)]
    fn row(self, row: usize, lanes: usize) -> Self {
        Self(&self.0[2 * row * lanes..][..2 * lanes])
    }

    #[inline(always)]
    fn lines(self, lane: usize) -> [*const u8; 2] {
        [0, 64].map(|line| self.0.as_ptr().wrapping_add(2 * lane + line))
    }
}

impl WeightSteps for Pairs<'_> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn step(self, start: usize) -> [__m256i; 4] {
        // SAFETY: the caller's duty.
        [0, 16, 32, 48].map(|lane| unsafe { _mm256_loadu_si256(self.0.as_ptr().add(2 * (start + lane)).cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn tail(self, start: usize) -> [__m256i; 4] {
        sixteens([0, 64].map(|line| first(self.0.get(2 * start + line..).unwrap_or(&[]))))
    }
}

/// The first 64 bytes, or all there are and zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn first(bytes: &[u8]) -> __m512i {
    let live = u64::MAX.checked_shr(64 - bytes.len().min(64) as u32).unwrap_or(0);
    // SAFETY: the mask loads no byte at or beyond the end.
    unsafe { _mm512_maskz_loadu_epi8(live, bytes.as_ptr().cast()) }
}

/// Numbers of which these are the low and the high bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn in_turn(low: __m512i, high: __m512i) -> [__m256i; 4] {
    // Eights of bytes in the order in which the halves of each quarter are joined with those of the other plane.
    let order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
    let [low, high] = [low, high].map(|plane| _mm512_permutexvar_epi64(order, plane));
    sixteens([_mm512_unpacklo_epi8(low, high), _mm512_unpackhi_epi8(low, high)])
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn sixteens([one, other]: [__m512i; 2]) -> [__m256i; 4] {
    let halves = |v| [_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64::<1>(v)];
    let ([a, b], [c, d]) = (halves(one), halves(other));
    [a, b, c, d]
}
