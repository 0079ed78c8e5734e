//! The int8 pass at speed: integer sums modulo 2^32, so any order gives the bits of [`dot_i8`].

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::dot_i8;
use super::prefetch::Prefetch;
use crate::kernel::Kernel;

/// [`dot_i8`] of each row and `x`: `weights` holds `out.len()` rows of `lanes` weights.
pub fn plane_i8(weights: &[i8], lanes: usize, x: &[i8], out: &mut [i32]) {
    assert_eq!(lanes, x.len(), "as many lanes as activations");
    Octets::new(x).rows(weights, out, &mut ());
}

/// The activations of int8 passes.
#[derive(Clone, Copy, Debug)]
pub struct Octets<'a> {
    kernel: Kernel,
    x: &'a [i8],
    /// `128 * sum(x)`: what unsigned weights add to a sum.
    added: i32,
    /// Lanes up to the last that is not zero, in whole vectors: activations that are zero to the end, as after the
    /// last live lane, need no weights.
    live: usize,
}

impl<'a> Octets<'a> {
    /// These activations, one a lane.
    #[must_use]
    pub fn new(x: &'a [i8]) -> Self {
        Self::on(Kernel::of_host(), x)
    }

    pub(super) fn on(kernel: Kernel, x: &'a [i8]) -> Self {
        match kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => {
                // SAFETY: a kernel exists only on a host with its instructions.
                let (added, live) = unsafe { measure_avx512(x) };
                Self { kernel, x, added, live }
            }
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => Self { kernel, x, added: 0, live: avx2::live(x) },
            Kernel::Portable => Self { kernel, x, added: 0, live: x.len() },
        }
    }

    /// Lanes up to the last that has an activation other than zero, as far as the kernel knows: it reads no weights
    /// beyond.
    #[must_use]
    pub fn live(&self) -> usize {
        self.live
    }

    /// [`dot_i8`] of each row: `weights` holds the first weights of `out.len()` rows, as many of each; those after
    /// them are zero.
    pub fn rows(&self, weights: &[i8], out: &mut [i32], prefetch: &mut impl Prefetch) {
        let Some(given) = given(weights.len(), out.len(), self.x.len()) else {
            out.fill(0);
            return;
        };
        if given < self.live {
            return Octets::on(self.kernel, &self.x[..given]).rows(weights, out, prefetch);
        }
        match self.kernel {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a kernel exists only on a host with its instructions.
            Kernel::Avx512 => unsafe { self.rows_avx512(weights, given, out, prefetch) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a kernel exists only on a host with its instructions.
            Kernel::Avx2 => unsafe { avx2::rows(weights, given, &self.x[..self.live], out, prefetch) },
            Kernel::Portable => {
                for (w, out) in weights.chunks_exact(given).zip(out) {
                    *out = dot_i8(w, self.x);
                }
            }
        }
    }

    /// The dot-product instruction takes one factor unsigned: `w + 128`, which is `w` with its top bit flipped. What
    /// that adds, `128 * sum(x)`, is taken off again.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn rows_avx512(&self, weights: &[i8], lanes: usize, out: &mut [i32], prefetch: &mut impl Prefetch) {
        let (quads, rest) = out.as_chunks_mut::<4>();
        let (quad_rows, rest_rows) = weights.split_at(quads.len() * 4 * lanes);
        let x = [&self.x[..self.live]];
        let added = _mm_set1_epi32(self.added);
        for (rows, out) in quad_rows.chunks_exact(4 * lanes).zip(quads) {
            let [sums] = sums_avx512(by_rows::<4>(rows, lanes, self.live), x, prefetch);
            // SAFETY: the array has four sums.
            unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), _mm_sub_epi32(join_avx512(sums), added)) };
        }
        let zero = _mm512_setzero_si512();
        let sums = match rest.len() {
            3 => {
                let [[a, b, c]] = sums_avx512(by_rows::<3>(rest_rows, lanes, self.live), x, prefetch);
                [a, b, c, zero]
            }
            2 => {
                let [[a, b]] = sums_avx512(by_rows::<2>(rest_rows, lanes, self.live), x, prefetch);
                [a, b, zero, zero]
            }
            1 => {
                let [[a]] = sums_avx512(by_rows::<1>(rest_rows, lanes, self.live), x, prefetch);
                [a, zero, zero, zero]
            }
            _ => return,
        };
        let mut last = [0; 4];
        // SAFETY: the array has four sums.
        unsafe { _mm_storeu_si128(last.as_mut_ptr().cast(), _mm_sub_epi32(join_avx512(sums), added)) };
        rest.iter_mut().zip(last).for_each(|(out, sum)| *out = sum);
    }
}

/// How many weights of each row there are, when there are so many of all rows; nothing when there are none.
pub(super) fn given(weights: usize, rows: usize, lanes: usize) -> Option<usize> {
    let given = weights.checked_div(rows)?;
    assert!(given <= lanes && given * rows == weights, "as many weights for every output, at most one a lane");
    (given > 0).then_some(given)
}

/// The first `live` lanes of each of some rows that are one after another.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn by_rows<const ROWS: usize>(weights: &[i8], lanes: usize, live: usize) -> [&[i8]; ROWS] {
    std::array::from_fn(|row| &weights[row * lanes..row * lanes + live])
}

/// `128 * sum(x)`, and the lanes up to the last that is not zero, in whole vectors.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn measure_avx512(x: &[i8]) -> (i32, usize) {
    let mut sum = _mm512_setzero_si512();
    let mut live = 0;
    for start in (0..x.len()).step_by(64) {
        let lanes = u64::MAX >> 64usize.saturating_sub(x.len() - start);
        // SAFETY: the mask loads no lane at or beyond the end of `x`; lanes not loaded are zero.
        let x = unsafe { _mm512_maskz_loadu_epi8(lanes, x.as_ptr().add(start)) };
        sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), x);
        if _mm512_test_epi8_mask(x, x) != 0 {
            live = start + 64;
        }
    }
    (_mm512_reduce_add_epi32(sum).wrapping_mul(128), live.min(x.len()))
}

/// Bytes between a load and the line that is fetched into the nearest cache with it: four rows of a large chip.
#[cfg(target_arch = "x86_64")]
const CLOSE: usize = 1280;

/// Sixteen partial sums of `(w + 128) * x` of each of some rows with each of some activations, all of one length.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn sums_avx512<const ROWS: usize, const XS: usize>(
    rows: [&[i8]; ROWS],
    xs: [&[i8]; XS],
    prefetch: &mut impl Prefetch,
) -> [[__m512i; ROWS]; XS] {
    let top = _mm512_set1_epi8(i8::MIN);
    prefetch.rows();
    let mut sums = [[_mm512_setzero_si512(); ROWS]; XS];
    let lanes = xs[0].len();
    assert!(rows.iter().chain(&xs).all(|row| row.len() == lanes), "all of one length");
    for start in (0..lanes).step_by(64) {
        let live = u64::MAX >> 64usize.saturating_sub(lanes - start);
        prefetch.lines(ROWS);
        let weights = rows.map(|row| {
            // SAFETY: the mask loads no lane at or beyond the end of a row; a prefetch of any address is harmless.
            let weights = unsafe {
                let at = row.as_ptr().add(start);
                _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(CLOSE));
                _mm512_maskz_loadu_epi8(live, at)
            };
            _mm512_xor_si512(weights, top)
        });
        for (x, sums) in xs.iter().zip(&mut sums) {
            // SAFETY: as above; lanes not loaded are zero.
            let x = unsafe { _mm512_maskz_loadu_epi8(live, x.as_ptr().add(start)) };
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = _mm512_dpbusd_epi32(*sum, weights, x);
            }
        }
    }
    sums
}

/// The sum of each of four vectors.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn join_avx512([a, b, c, d]: [__m512i; 4]) -> __m128i {
    let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    let all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    let half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64::<1>(all));
    _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half))
}
