//! Whole vectors at speed: 32-bit lanes to vectors of bytes and back, and the conversions that a decode step is full
//! of. The portable code alongside each kernel is its definition.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use crate::fp32;
use crate::half::{f16_to_f32, f32_to_f16};
use crate::int::f32_to_i8;
use crate::kernel::Kernel;

/// Lanes of a block of [`max_within`] and [`max_across`].
const BLOCK: usize = 16;

/// Lanes that a 512-bit kernel takes at a time; those after the last whole step are left to the portable code.
#[cfg(target_arch = "x86_64")]
const STEP: usize = 16;

/// Runs a 512-bit kernel over whole steps and gives back the lanes that it did.
macro_rules! wide {
    ($kernel:expr, $lanes:expr, |$whole:ident| $call:expr) => {
        match $kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => {
                let $whole = $lanes / STEP * STEP;
                $call;
                $whole
            }
            _ => 0,
        }
    };
}

/// Byte `byte` of every lane.
#[inline]
pub fn narrow(lanes: &[u32], byte: u8, out: &mut [u8]) {
    narrow_on(Kernel::of_host(), lanes, byte, out);
}

fn narrow_on(kernel: Kernel, lanes: &[u32], byte: u8, out: &mut [u8]) {
    assert!(lanes.len() == out.len() && byte < 4, "a byte of every lane");
    // SAFETY: a kernel exists only on a host with its instructions; both have the lanes of the steps.
    let done = wide!(kernel, lanes.len(), |whole| unsafe { narrow_avx512(&lanes[..whole], byte, &mut out[..whole]) });
    for (out, lane) in out[done..].iter_mut().zip(&lanes[done..]) {
        *out = (lane >> (8 * byte)) as u8;
    }
}

/// The four bytes of every lane, lowest first.
#[inline]
pub fn split(lanes: &[u32], out: [&mut [u8]; 4]) {
    split_on(Kernel::of_host(), lanes, out);
}

fn split_on(kernel: Kernel, lanes: &[u32], mut out: [&mut [u8]; 4]) {
    assert!(out.iter().all(|out| out.len() == lanes.len()), "a byte of every lane");
    let done = wide!(kernel, lanes.len(), |whole| {
        let out = out.each_mut().map(|out| &mut out[..whole]);
        // SAFETY: as in `narrow_on`.
        unsafe { split_avx512(&lanes[..whole], out) }
    });
    for (index, lane) in lanes.iter().enumerate().skip(done) {
        for (out, byte) in out.iter_mut().zip(lane.to_le_bytes()) {
            out[index] = byte;
        }
    }
}

/// Lanes from up to four bytes each, lowest first; bytes that are not given are zero.
#[inline]
pub fn join(parts: [Option<&[u8]>; 4], out: &mut [u32]) {
    join_on(Kernel::of_host(), parts, out);
}

fn join_on(kernel: Kernel, parts: [Option<&[u8]>; 4], out: &mut [u32]) {
    assert!(parts.iter().flatten().all(|part| part.len() == out.len()), "a byte for every lane");
    let done = wide!(kernel, out.len(), |whole| {
        let parts = parts.map(|part| part.map(|part| &part[..whole]));
        // SAFETY: as in `narrow_on`.
        unsafe { join_avx512(parts, &mut out[..whole]) }
    });
    for (index, out) in out.iter_mut().enumerate().skip(done) {
        *out = u32::from_le_bytes(parts.map(|part| part.map_or(0, |part| part[index])));
    }
}

/// The binary32 values of fp16 patterns in two vectors of bytes.
#[inline]
pub fn from_f16(low: &[u8], high: &[u8], out: &mut [f32]) {
    from_f16_on(Kernel::of_host(), low, high, out);
}

fn from_f16_on(kernel: Kernel, low: &[u8], high: &[u8], out: &mut [f32]) {
    assert!(low.len() == out.len() && high.len() == out.len(), "two bytes for every number");
    let done = wide!(kernel, out.len(), |whole| {
        // SAFETY: as in `narrow_on`.
        unsafe { from_f16_avx512(&low[..whole], &high[..whole], &mut out[..whole]) }
    });
    for ((out, &low), &high) in out[done..].iter_mut().zip(&low[done..]).zip(&high[done..]) {
        *out = f16_to_f32(u16::from_le_bytes([low, high]));
    }
}

/// The fp16 patterns nearest to binary32 numbers, in 32-bit lanes.
#[inline]
pub fn to_f16(numbers: &[u32], out: &mut [u32]) {
    to_f16_on(Kernel::of_host(), numbers, out);
}

fn to_f16_on(kernel: Kernel, numbers: &[u32], out: &mut [u32]) {
    assert_eq!(numbers.len(), out.len(), "a result for every number");
    // SAFETY: as in `narrow_on`.
    let done = wide!(kernel, out.len(), |whole| unsafe { to_f16_avx512(&numbers[..whole], &mut out[..whole]) });
    for (out, &number) in out[done..].iter_mut().zip(&numbers[done..]) {
        *out = u32::from(f32_to_f16(f32::from_bits(number)));
    }
}

/// The int8 nearest to binary32 numbers, in the low bytes of 32-bit lanes.
#[inline]
pub fn to_i8(numbers: &[u32], out: &mut [u32]) {
    to_i8_on(Kernel::of_host(), numbers, out);
}

fn to_i8_on(kernel: Kernel, numbers: &[u32], out: &mut [u32]) {
    assert_eq!(numbers.len(), out.len(), "a result for every number");
    // SAFETY: as in `narrow_on`.
    let done = wide!(kernel, out.len(), |whole| unsafe { to_i8_avx512(&numbers[..whole], &mut out[..whole]) });
    for (out, &number) in out[done..].iter_mut().zip(&numbers[done..]) {
        *out = u32::from(f32_to_i8(f32::from_bits(number)) as u8);
    }
}

/// The greatest of all lanes of each block of sixteen, in all its lanes, by [`fp32::max`]; lanes are whole blocks.
#[inline]
pub fn max_within(numbers: &[u32], out: &mut [u32]) {
    max_within_on(Kernel::of_host(), numbers, out);
}

fn max_within_on(kernel: Kernel, numbers: &[u32], out: &mut [u32]) {
    assert!(numbers.len() == out.len() && out.len().is_multiple_of(BLOCK), "whole blocks");
    // SAFETY: as in `narrow_on`.
    let done = wide!(kernel, out.len(), |whole| unsafe { max_within_avx512(&numbers[..whole], &mut out[..whole]) });
    for (numbers, out) in numbers[done..].chunks_exact(BLOCK).zip(out[done..].chunks_exact_mut(BLOCK)) {
        let first = fp32::canonical(f32::from_bits(numbers[0]));
        let max = numbers.iter().fold(first, |max, &number| fp32::max(max, f32::from_bits(number)));
        out.fill(max.to_bits());
    }
}

/// The greatest over all blocks of sixteen, lane by lane, in every block, by [`fp32::max`].
#[inline]
pub fn max_across(numbers: &[u32], out: &mut [u32]) {
    max_across_on(Kernel::of_host(), numbers, out);
}

fn max_across_on(kernel: Kernel, numbers: &[u32], out: &mut [u32]) {
    assert!(numbers.len() == out.len() && out.len().is_multiple_of(BLOCK), "whole blocks");
    // SAFETY: as in `narrow_on`.
    let done = wide!(kernel, out.len(), |whole| unsafe { max_across_avx512(&numbers[..whole], &mut out[..whole]) });
    if done == out.len() {
        return;
    }
    for lane in 0..BLOCK {
        let column = numbers.iter().skip(lane).step_by(BLOCK);
        let first = fp32::canonical(f32::from_bits(numbers[lane]));
        let max = column.fold(first, |max, &number| fp32::max(max, f32::from_bits(number)));
        out.iter_mut().skip(lane).step_by(BLOCK).for_each(|out| *out = max.to_bits());
    }
}

/// [`fp32::max`], lane by lane.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq")]
fn max_avx512(a: __m512, b: __m512) -> __m512 {
    let greater = _mm512_mask_mov_ps(_mm512_set1_ps(fp32::NAN), _mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), a);
    let greater = _mm512_mask_mov_ps(greater, _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), b);
    _mm512_mask_and_ps(greater, _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b), a, b)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq")]
fn max_within_avx512(numbers: &[u32], out: &mut [u32]) {
    for (numbers, out) in numbers.as_chunks::<STEP>().0.iter().zip(out.as_chunks_mut::<STEP>().0) {
        // SAFETY: both arrays have sixteen elements.
        unsafe {
            let all = _mm512_castsi512_ps(_mm512_loadu_si512(numbers.as_ptr().cast()));
            let all = max_avx512(all, _mm512_shuffle_f32x4::<0b01_00_11_10>(all, all));
            let all = max_avx512(all, _mm512_shuffle_f32x4::<0b10_11_00_01>(all, all));
            let all = max_avx512(all, _mm512_permute_ps::<0b01_00_11_10>(all));
            let all = max_avx512(all, _mm512_permute_ps::<0b10_11_00_01>(all));
            _mm512_storeu_si512(out.as_mut_ptr().cast(), _mm512_castps_si512(all));
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq")]
fn max_across_avx512(numbers: &[u32], out: &mut [u32]) {
    let blocks = numbers.as_chunks::<STEP>().0;
    // SAFETY: a block has sixteen elements.
    let load = |block: &[u32; STEP]| _mm512_castsi512_ps(unsafe { _mm512_loadu_si512(block.as_ptr().cast()) });
    let Some(first) = blocks.first() else { return };
    // The first meets itself too, so that a lone NaN becomes the one NaN.
    let mut all = max_avx512(load(first), load(first));
    for block in &blocks[1..] {
        all = max_avx512(all, load(block));
    }
    for out in out.as_chunks_mut::<STEP>().0 {
        // SAFETY: the array has sixteen elements.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), _mm512_castps_si512(all)) };
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn narrow_avx512(lanes: &[u32], byte: u8, out: &mut [u8]) {
    let shift = _mm_cvtsi32_si128(8 * i32::from(byte));
    for (lanes, out) in lanes.as_chunks::<STEP>().0.iter().zip(out.as_chunks_mut::<STEP>().0) {
        // SAFETY: both arrays have sixteen elements.
        unsafe {
            let lanes = _mm512_srl_epi32(_mm512_loadu_si512(lanes.as_ptr().cast()), shift);
            _mm_storeu_si128(out.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(lanes));
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
fn split_avx512(lanes: &[u32], [a, b, c, d]: [&mut [u8]; 4]) {
    // In each group of four lanes the bytes of one place side by side, then the groups of one place side by side.
    let places = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    let groups = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    let out = a.as_chunks_mut::<STEP>().0.iter_mut().zip(b.as_chunks_mut::<STEP>().0);
    let out = out.zip(c.as_chunks_mut::<STEP>().0).zip(d.as_chunks_mut::<STEP>().0);
    for (lanes, (((a, b), c), d)) in lanes.as_chunks::<STEP>().0.iter().zip(out) {
        // SAFETY: all arrays have sixteen elements.
        unsafe {
            let lanes = _mm512_shuffle_epi8(_mm512_loadu_si512(lanes.as_ptr().cast()), places);
            let bytes = _mm512_permutexvar_epi32(groups, lanes);
            _mm_storeu_si128(a.as_mut_ptr().cast(), _mm512_castsi512_si128(bytes));
            _mm_storeu_si128(b.as_mut_ptr().cast(), _mm512_extracti32x4_epi32::<1>(bytes));
            _mm_storeu_si128(c.as_mut_ptr().cast(), _mm512_extracti32x4_epi32::<2>(bytes));
            _mm_storeu_si128(d.as_mut_ptr().cast(), _mm512_extracti32x4_epi32::<3>(bytes));
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn join_avx512(parts: [Option<&[u8]>; 4], out: &mut [u32]) {
    for (step, out) in out.as_chunks_mut::<STEP>().0.iter_mut().enumerate() {
        let mut lanes = _mm512_setzero_si512();
        for (byte, part) in parts.iter().enumerate() {
            if let Some(part) = part {
                let part = &part[step * STEP..][..STEP];
                // SAFETY: the slice has sixteen bytes.
                let bytes = _mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(part.as_ptr().cast()) });
                lanes = _mm512_or_si512(lanes, _mm512_sll_epi32(bytes, _mm_cvtsi32_si128(8 * byte as i32)));
            }
        }
        // SAFETY: the array has sixteen lanes.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), lanes) };
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn from_f16_avx512(low: &[u8], high: &[u8], out: &mut [f32]) {
    let steps = low.as_chunks::<STEP>().0.iter().zip(high.as_chunks::<STEP>().0);
    for ((low, high), out) in steps.zip(out.as_chunks_mut::<STEP>().0) {
        // SAFETY: all arrays have sixteen elements.
        unsafe {
            let (low, high) = (_mm_loadu_si128(low.as_ptr().cast()), _mm_loadu_si128(high.as_ptr().cast()));
            let halves = _mm256_set_m128i(_mm_unpackhi_epi8(low, high), _mm_unpacklo_epi8(low, high));
            let values = _mm512_cvtph_ps(halves);
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(values, values);
            _mm512_storeu_ps(out.as_mut_ptr(), _mm512_mask_mov_ps(values, nan, _mm512_set1_ps(fp32::NAN)));
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn to_f16_avx512(numbers: &[u32], out: &mut [u32]) {
    for (numbers, out) in numbers.as_chunks::<STEP>().0.iter().zip(out.as_chunks_mut::<STEP>().0) {
        // SAFETY: both arrays have sixteen elements.
        unsafe {
            let numbers = _mm512_castsi512_ps(_mm512_loadu_si512(numbers.as_ptr().cast()));
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(numbers, numbers);
            let halves =
                _mm512_cvtepu16_epi32(_mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(numbers));
            let halves = _mm512_mask_mov_epi32(halves, nan, _mm512_set1_epi32(i32::from(crate::half::F16_NAN)));
            _mm512_storeu_si512(out.as_mut_ptr().cast(), halves);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn to_i8_avx512(numbers: &[u32], out: &mut [u32]) {
    for (numbers, out) in numbers.as_chunks::<STEP>().0.iter().zip(out.as_chunks_mut::<STEP>().0) {
        // SAFETY: both arrays have sixteen elements.
        unsafe {
            let numbers = _mm512_castsi512_ps(_mm512_loadu_si512(numbers.as_ptr().cast()));
            let there = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(numbers, numbers);
            // Within the range, so that no conversion is out of bounds; zero for NaN.
            let clamped = _mm512_min_ps(_mm512_max_ps(numbers, _mm512_set1_ps(-128.0)), _mm512_set1_ps(127.0));
            let nearest =
                _mm512_maskz_cvt_roundps_epi32::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(there, clamped);
            _mm512_storeu_si512(out.as_mut_ptr().cast(), _mm512_and_si512(nearest, _mm512_set1_epi32(0xff)));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 32-bit patterns with the edges of the conversions often: around int8, around the ends of fp16, NaN, infinities.
    fn patterns() -> impl Strategy<Value = Vec<u32>> {
        let edge = prop_oneof![
            any::<u32>(),
            (-140.0f32..140.0).prop_map(f32::to_bits),
            (-300i32..300).prop_map(|twice| (twice as f32 / 2.0).to_bits()),
            (0x3300_0000u32..0x3900_0000).prop_flat_map(|bits| prop_oneof![
                Just(bits),
                Just(bits & 0xFFFF_F000),
                Just(bits | 0x8000_0000)
            ]),
            (0x477F_0000u32..0x4780_1000).prop_flat_map(|bits| prop_oneof![Just(bits), Just(bits & 0xFFFF_F000)]),
            prop_oneof![
                Just(0),
                Just(0x8000_0000),
                Just(0x7F80_0000),
                Just(0xFF80_0000),
                Just(0x7FC0_0000),
                Just(0x7F80_0001),
                Just(0xFFFF_FFFF)
            ],
        ];
        proptest::collection::vec(edge, 0..100)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn kernels_are_the_portable_code(lanes in patterns(), byte in 0u8..4, given in 0usize..16) {
            for kernel in Kernel::all_of_host() {
                let mut narrowed = vec![1; lanes.len()];
                narrow_on(kernel, &lanes, byte, &mut narrowed);
                let expected: Vec<u8> = lanes.iter().map(|lane| lane.to_le_bytes()[usize::from(byte)]).collect();
                prop_assert_eq!(narrowed, expected);

                let mut planes: [Vec<u8>; 4] = std::array::from_fn(|_| vec![1; lanes.len()]);
                split_on(kernel, &lanes, planes.each_mut().map(|plane| &mut plane[..]));
                for (byte, plane) in planes.iter().enumerate() {
                    prop_assert_eq!(plane, &lanes.iter().map(|lane| lane.to_le_bytes()[byte]).collect::<Vec<_>>());
                }

                let is_given = |byte: usize| given >> byte & 1 == 1;
                let parts: [Option<&[u8]>; 4] =
                    std::array::from_fn(|byte| is_given(byte).then_some(&planes[byte][..]));
                let mut joined = vec![1; lanes.len()];
                join_on(kernel, parts, &mut joined);
                let mask = u32::from_le_bytes(std::array::from_fn(|byte| if is_given(byte) { 0xff } else { 0 }));
                prop_assert_eq!(joined, lanes.iter().map(|lane| lane & mask).collect::<Vec<_>>());

                let mut halves = vec![1; lanes.len()];
                to_f16_on(kernel, &lanes, &mut halves);
                prop_assert_eq!(halves, lanes.iter().map(|&bits| u32::from(f32_to_f16(f32::from_bits(bits))))
                    .collect::<Vec<_>>());

                let mut bytes = vec![1; lanes.len()];
                to_i8_on(kernel, &lanes, &mut bytes);
                prop_assert_eq!(&bytes, &lanes.iter().map(|&bits| u32::from(f32_to_i8(f32::from_bits(bits)) as u8))
                    .collect::<Vec<_>>());

                let blocks = &lanes[..lanes.len() / BLOCK * BLOCK];
                let max = |numbers: &mut dyn Iterator<Item = &u32>| {
                    numbers.map(|&bits| f32::from_bits(bits)).map(|number| fp32::max(number, number))
                        .reduce(fp32::max).map_or(0, f32::to_bits)
                };
                let mut within = vec![1; blocks.len()];
                max_within_on(kernel, blocks, &mut within);
                let expected = blocks.chunks(BLOCK).flat_map(|block| [max(&mut block.iter()); BLOCK]);
                prop_assert_eq!(within, expected.collect::<Vec<_>>());
                let mut across = vec![1; blocks.len()];
                max_across_on(kernel, blocks, &mut across);
                let expected = (0..blocks.len()).map(|lane| max(&mut blocks.iter().skip(lane % BLOCK).step_by(BLOCK)));
                prop_assert_eq!(across, expected.collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn every_half_widens() {
        let patterns: Vec<u16> = (0..=u16::MAX).collect();
        let (low, high): (Vec<u8>, Vec<u8>) =
            patterns.iter().map(|bits| (bits.to_le_bytes()[0], bits.to_le_bytes()[1])).unzip();
        for kernel in Kernel::all_of_host() {
            let mut out = vec![1.0; patterns.len()];
            from_f16_on(kernel, &low, &high, &mut out);
            for (bits, out) in patterns.iter().zip(out) {
                assert_eq!(out.to_bits(), f16_to_f32(*bits).to_bits(), "{bits:#06x}");
            }
        }
    }
}
