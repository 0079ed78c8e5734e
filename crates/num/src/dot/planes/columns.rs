//! Passes by columns: rows are inputs, and each sum is a lane's.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::{Halves, STEP, magnitude};
#[cfg(target_arch = "x86_64")]
use super::{WIDENED, greatest_avx512, widen};
use crate::dot::dot_f16_exact;
use crate::half::f16_to_f32;
use crate::kernel::Kernel;

/// Groups of three activations that look at rows together.
#[cfg(target_arch = "x86_64")]
const THREES: usize = 4;
/// Rows whose bytes are asked for at once.
#[cfg(target_arch = "x86_64")]
const SOON: usize = 16;

impl Halves {
    /// Sums of 64 lanes or fewer when rows are inputs: row i times activation i, summed over rows, lane by lane. `row`
    /// gives the low and high bytes of these lanes of a row; activations after the last row meet zero weights. Rows
    /// that `blank` knows to be all zero need not be read. Several activations share what is widened: `out` holds the
    /// lanes of the first, then of the next.
    pub fn columns<'a>(
        all: &[&Self],
        rows: usize,
        row: impl Fn(usize) -> (&'a [u8], &'a [u8]),
        blank: impl Fn(usize) -> bool,
        out: &mut [f32],
    ) {
        let lanes = out.len() / all.len().max(1);
        assert!(
            lanes <= STEP && all.iter().all(|halves| rows <= halves.lanes),
            "at most 64 lanes, and an activation for every row"
        );
        if lanes == 0 {
            return;
        }
        let mut rest = all;
        let mut out = out.chunks_mut(lanes);
        #[cfg(target_arch = "x86_64")]
        if Self::alike(all) && all.first().is_some_and(|halves| halves.kernel != Kernel::Portable) {
            let (threes, others) = all.as_chunks::<3>();
            rest = others;
            for threes in threes.chunks(THREES) {
                let mut sums = [[[0.0; STEP]; 3]; THREES];
                // SAFETY: a kernel exists only on a host with its instructions.
                let most = unsafe {
                    match threes[0][0].kernel {
                        Kernel::Avx512 => columns_avx512(threes, rows, &row, &blank, lanes, &mut sums),
                        _ => avx2::columns(threes, rows, &row, &blank, lanes, &mut sums),
                    }
                };
                for ((halves, sums), out) in threes.as_flattened().iter().zip(sums.as_flattened()).zip(&mut out) {
                    halves.settle_columns(rows, &row, sums, most, out);
                }
            }
        }
        for (halves, out) in rest.iter().zip(out) {
            let mut sums = [[[0.0; STEP]]];
            let most = match halves.kernel {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: a kernel exists only on a host with its instructions.
                Kernel::Avx512 => unsafe { columns_avx512(&[[*halves]], rows, &row, &blank, lanes, &mut sums) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: a kernel exists only on a host with its instructions.
                Kernel::Avx2 => unsafe { avx2::columns(&[[*halves]], rows, &row, &blank, lanes, &mut sums) },
                Kernel::Portable => halves.columns_portable(rows, &row, &mut sums[0][0]),
            };
            halves.settle_columns(rows, &row, &sums[0][0], most, out);
        }
    }

    fn settle_columns<'a>(
        &self,
        rows: usize,
        row: &impl Fn(usize) -> (&'a [u8], &'a [u8]),
        sums: &[f64; STEP],
        most: u8,
        out: &mut [f32],
    ) {
        let bounds = self.bounds.with_roundings(rows + 1);
        let none = ([0.0; STEP], 0);
        #[cfg(target_arch = "x86_64")]
        let (values, settled): ([f32; STEP], u64) = match self.kernel {
            // SAFETY: a kernel exists only on a host with its instructions.
            Kernel::Avx512 => unsafe { settle_avx512(bounds.error(magnitude(most)), sums) },
            // SAFETY: as above.
            Kernel::Avx2 => unsafe { avx2::settle(bounds.error(magnitude(most)), sums) },
            Kernel::Portable => none,
        };
        #[cfg(not(target_arch = "x86_64"))]
        let (values, settled): ([f32; STEP], u64) = none;
        out.copy_from_slice(&values[..out.len()]);
        for (lane, (out, &sum)) in out.iter_mut().zip(sums).enumerate().filter(|(lane, _)| settled >> lane & 1 == 0) {
            // An activation that is not finite meets zero weights too, which a sum over the rows does not see.
            let settled = if self.bounds.finite() { bounds.settle(sum, magnitude(most)) } else { None };
            *out = settled.unwrap_or_else(|| {
                let weight = |input: usize| {
                    let (low, high) = row(input);
                    f16_to_f32(u16::from_le_bytes([low[lane], high[lane]]))
                };
                let weights: Vec<f32> =
                    (0..self.lanes).map(|input| if input < rows { weight(input) } else { 0.0 }).collect();
                let x: Vec<f32> = (0..self.lanes).map(|input| self.x(input)).collect();
                dot_f16_exact(&weights, &x)
            });
        }
    }

    pub(super) fn columns_portable<'a>(
        &self,
        rows: usize,
        row: &impl Fn(usize) -> (&'a [u8], &'a [u8]),
        sums: &mut [f64; STEP],
    ) -> u8 {
        let mut most = 0;
        for input in 0..rows {
            let (x, (low, high)) = (self.x(input), row(input));
            for ((sum, &low), &high) in sums.iter_mut().zip(low).zip(high) {
                *sum += f64::from(f16_to_f32(u16::from_le_bytes([low, high]))) * f64::from(x);
                most = most.max(high & 0x7f);
            }
        }
        most
    }
}

/// Sums rounded once, and a bit for each whose rounding no error of this size changes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl")]
fn settle_avx512(error: f64, sums: &[f64; STEP]) -> ([f32; STEP], u64) {
    let error = _mm512_set1_pd(error);
    let (mut values, mut settled) = ([0.0; STEP], 0);
    for (eight, (sums, out)) in sums.as_chunks::<8>().0.iter().zip(values.as_chunks_mut::<8>().0).enumerate() {
        // SAFETY: both arrays have eight elements.
        unsafe {
            let sums = _mm512_loadu_pd(sums.as_ptr());
            let (below, above) =
                (_mm512_cvtpd_ps(_mm512_sub_pd(sums, error)), _mm512_cvtpd_ps(_mm512_add_pd(sums, error)));
            _mm256_storeu_ps(out.as_mut_ptr(), below);
            settled |= u64::from(_mm256_cmp_ps_mask::<_CMP_EQ_OQ>(below, above)) << (8 * eight);
        }
    }
    (values, settled)
}

/// Sums by columns for groups of activations, at most [`THREES`], and the greatest high byte of the weights that count.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn columns_avx512<'a, const XS: usize>(
    groups: &[[&Halves; XS]],
    rows: usize,
    row: &impl Fn(usize) -> (&'a [u8], &'a [u8]),
    blank: &impl Fn(usize) -> bool,
    lanes: usize,
    sums: &mut [[[f64; STEP]; XS]],
) -> u8 {
    let mut totals = [[[_mm512_setzero_pd(); 8]; XS]; THREES];
    let mut most = _mm512_setzero_si512();
    let finite = groups.as_flattened().iter().all(|halves| halves.bounds.finite());
    let mut inputs = (0..rows).filter(|&input| !(finite && blank(input)));
    // Rows are anywhere in memory: the next few are on their way while some are added.
    let mut few = || {
        let mut few = [(0, &[][..], &[][..]); SOON];
        let mut count = 0;
        for (place, input) in few.iter_mut().zip(inputs.by_ref()) {
            let (low, high) = row(input);
            assert!(low.len() >= lanes && high.len() >= lanes, "a byte for every lane");
            for row in [low, high] {
                _mm_prefetch::<_MM_HINT_T0>(row.as_ptr().cast());
            }
            *place = (input, low, high);
            count += 1;
        }
        (few, count)
    };
    let (mut now, mut count) = few();
    while count > 0 {
        let (next, coming) = few();
        for (group, totals) in groups.iter().zip(&mut totals) {
            most = _mm512_max_epu8(most, some_avx512(*group, &now[..count], finite, lanes, totals));
        }
        (now, count) = (next, coming);
    }
    for (totals, sums) in totals.as_flattened().iter().zip(sums.as_flattened_mut()) {
        for (eight, total) in WIDENED.into_iter().zip(totals) {
            // SAFETY: eight elements for each of eight eights are in the array.
            unsafe { _mm512_storeu_pd(sums.as_mut_ptr().add(8 * eight), *total) };
        }
    }
    greatest_avx512(most)
}

/// Adds some rows, each the number of its input with its bytes, at least `lanes` of them; gives back the greatest high
/// bytes.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn some_avx512<const XS: usize>(
    group: [&Halves; XS],
    some: &[(usize, &[u8], &[u8])],
    finite: bool,
    lanes: usize,
    totals: &mut [[__m512d; 8]; XS],
) -> __m512i {
    let live = u64::MAX >> (STEP - lanes).min(63);
    let mut sums = *totals;
    let mut most = _mm512_setzero_si512();
    for &(input, low, high) in some {
        // SAFETY: the mask loads no byte at or beyond `lanes`.
        let (low, high) = unsafe {
            (_mm512_maskz_loadu_epi8(live, low.as_ptr().cast()), _mm512_maskz_loadu_epi8(live, high.as_ptr().cast()))
        };
        // Zero weights add nothing to finite activations.
        if finite && _mm512_test_epi8_mask(_mm512_or_si512(low, high), _mm512_set1_epi8(-1)) == 0 {
            continue;
        }
        most = _mm512_max_epu8(most, _mm512_and_si512(high, _mm512_set1_epi8(0x7f)));
        let x = group.map(|halves| _mm512_set1_pd(f64::from(halves.x(input))));
        widen!(low, high, |place: usize, weights: __m512d| {
            for (x, sums) in x.iter().zip(&mut sums) {
                sums[place] = _mm512_fmadd_pd(weights, *x, sums[place]);
            }
        });
    }
    *totals = sums;
    most
}
