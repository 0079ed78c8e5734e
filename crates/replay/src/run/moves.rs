//! Movements of whole 32-bit lanes, and maxima over all of them.

use lpu_num::{int, vectors};

use crate::plan::{Movement, Way};

/// Lanes of a superlane.
const BLOCK: usize = 16;

#[inline(always)]
pub(super) fn lanes(movement: Movement, src: &[u32], out: &mut [u32]) {
    match movement {
        Movement::Lanes { by, wrap } => {
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("avx512f") {
                // SAFETY: the host has the instructions.
                return unsafe { within_avx512(by, wrap, src, out) };
            }
            within(by, wrap, src, out);
        }
        Movement::Superlanes { by, wrap } => across(by, wrap, src, out),
    }
}

/// In every lane the maximum over the lanes of its superlane, or over its place in all superlanes.
#[inline(always)]
pub(super) fn fold(way: Way, integers: bool, src: &[u32], out: &mut [u32]) {
    match (integers, way) {
        (false, Way::Lanes) => vectors::max_within(src, out),
        (false, Way::Superlanes) => vectors::max_across(src, out),
        (true, Way::Lanes) => {
            for (src, out) in src.as_chunks::<BLOCK>().0.iter().zip(out.as_chunks_mut::<BLOCK>().0) {
                *out = [src.iter().fold(src[0], |max, &value| greater(max, value)); BLOCK];
            }
        }
        (true, Way::Superlanes) => {
            let (src, out) = (src.as_chunks::<BLOCK>().0, out.as_chunks_mut::<BLOCK>().0);
            let all = src.iter().fold(src[0], |all, block| std::array::from_fn(|lane| greater(all[lane], block[lane])));
            out.fill(all);
        }
    }
}

fn greater(a: u32, b: u32) -> u32 {
    int::max(a as i32, b as i32) as u32
}

/// Up by `by` lanes within every superlane.
#[inline(always)]
fn within(by: i8, wrap: bool, src: &[u32], out: &mut [u32]) {
    let blocks = src.as_chunks::<BLOCK>().0.iter().zip(out.as_chunks_mut::<BLOCK>().0);
    // A block is in the middle of three; what moves in comes from its copies, or is zero.
    let start = (BLOCK as i32 - i32::from(by)) as usize;
    let mut three = [0; 3 * BLOCK];
    for (source, target) in blocks {
        three[BLOCK..2 * BLOCK].copy_from_slice(source);
        if wrap {
            three[..BLOCK].copy_from_slice(source);
            three[2 * BLOCK..].copy_from_slice(source);
        }
        target.copy_from_slice(&three[start..start + BLOCK]);
    }
}

/// [`within`], a superlane a vector.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn within_avx512(by: i8, wrap: bool, src: &[u32], out: &mut [u32]) {
    use std::arch::x86_64::*;
    let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let from = _mm512_sub_epi32(lanes, _mm512_set1_epi32(i32::from(by)));
    let inside = _mm512_cmplt_epu32_mask(from, _mm512_set1_epi32(BLOCK as i32));
    let kept = if wrap { u16::MAX } else { inside };
    for (source, target) in src.as_chunks::<BLOCK>().0.iter().zip(out.as_chunks_mut::<BLOCK>().0) {
        // SAFETY: both have sixteen lanes.
        unsafe {
            let value = _mm512_loadu_si512(source.as_ptr().cast());
            _mm512_storeu_si512(target.as_mut_ptr().cast(), _mm512_maskz_permutexvar_epi32(kept, from, value));
        }
    }
}

/// Up by `by` superlanes.
#[inline(always)]
fn across(by: i16, wrap: bool, src: &[u32], out: &mut [u32]) {
    let lanes = src.len();
    let distance = BLOCK * usize::from(by.unsigned_abs());
    let (kept, moved) = (lanes - distance, distance);
    let (from, to, edge) = if by >= 0 { (0, moved, (0, kept)) } else { (moved, 0, (kept, 0)) };
    out[to..to + kept].copy_from_slice(&src[from..from + kept]);
    let (at, source) = edge;
    if wrap {
        out[at..at + moved].copy_from_slice(&src[source..source + moved]);
    } else {
        out[at..at + moved].fill(0);
    }
}

#[cfg(test)]
mod tests {
    use lpu_isa::{Edge, GroupWidth, Instruction, Shift, Stream};

    use super::*;

    /// Every movement, in each of its forms, is what the switch unit does to each of the four streams.
    #[test]
    fn movements_are_the_switch_units() {
        let lanes = 64;
        let src: Vec<u32> = (1..=lanes as u32).map(|lane| lane.wrapping_mul(0x9e37_79b9)).collect();
        let bytes: Vec<u8> = (0..4).flat_map(|byte| src.iter().map(move |lane| (lane >> (8 * byte)) as u8)).collect();
        let (width, stream) = (GroupWidth::Four, Stream::east(0));
        for (by, edge) in (-15..=15).flat_map(|by| [(by, Edge::Wrap), (by, Edge::Zero)]) {
            let wrap = edge == Edge::Wrap;
            let shift = Shift(by);
            let mut cases = vec![(
                Instruction::ShiftLanes { width, src: stream, dst: stream, by: shift, edge },
                Movement::Lanes { by: by as i8, wrap },
            )];
            if by.abs() < 4 {
                cases.push((
                    Instruction::ShiftSuperlanes { width, src: stream, dst: stream, by: shift, edge },
                    Movement::Superlanes { by, wrap },
                ));
            }
            for (instruction, movement) in cases {
                let mut expected = vec![0; bytes.len()];
                lpu_lanes::switch(&instruction, &bytes, &mut expected, lanes);
                let expected: Vec<u32> = (0..lanes)
                    .map(|lane| {
                        (0..4).fold(0, |all, byte| all | u32::from(expected[byte * lanes + lane]) << (8 * byte))
                    })
                    .collect();
                let mut out = vec![u32::MAX; lanes];
                super::lanes(movement, &src, &mut out);
                assert_eq!(out, expected, "{movement:?}");
                if let Movement::Lanes { by, wrap } = movement {
                    out.fill(u32::MAX);
                    within(by, wrap, &src, &mut out);
                    assert_eq!(out, expected, "{movement:?}, portable");
                }
            }
        }
    }

    /// A maximum over all rotations is what the switch unit's rotations and the ALU's maxima give, one after another.
    #[test]
    fn folds_are_maxima_of_rotations() {
        let lanes = 64;
        let values: Vec<u32> = (1..=lanes as u32).map(|lane| lane.wrapping_mul(0x9e37_79b9)).collect();
        let mut nan = values.clone();
        nan[5] = 0x7f80_0001;
        for src in [values, nan, vec![0x8000_0000; lanes], vec![0xffff_ffff; lanes]] {
            for (integers, number) in [(false, lpu_isa::Number::F32), (true, lpu_isa::Number::I32)] {
                for (way, count) in [(Way::Lanes, 16), (Way::Superlanes, 4)] {
                    let none = lpu_isa::Source::Immediate(0);
                    let max = Instruction::Max { number, dst: None, a: none, b: none };
                    let mut expected = src.clone();
                    for by in 1..count {
                        let movement = match way {
                            Way::Lanes => Movement::Lanes { by, wrap: true },
                            Way::Superlanes => Movement::Superlanes { by: i16::from(by), wrap: true },
                        };
                        let (mut turned, before) = (vec![0; lanes], expected.clone());
                        super::lanes(movement, &src, &mut turned);
                        lpu_lanes::operate(&max, [&before, &turned, &[]], &mut expected);
                    }
                    let mut out = vec![1; lanes];
                    fold(way, integers, &src, &mut out);
                    assert_eq!(out, expected, "{way:?}, integers {integers}");
                }
            }
        }
    }
}
