//! Blocks of quantised elements, one function a type: the bytes of one block to the elements that they stand for.
//!
//! Every product and every sum is one float32 operation, in the order of the formula above it, so that results have the
//! bits that the reference implementation of the format gives. Scales are fp16 unless said otherwise. "Low then high
//! halves" of a run of bytes means: the low four bits of each byte in turn are the first elements, the high four bits
//! the next.

use lpu_num::half::f16_to_f32;

/// The values that elements of the types `IQ4_NL` and `IQ4_XS` number.
const TABLE: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// The four-bit floats of `MXFP4` (a sign, two bits of exponent, one of mantissa), twice their value.
const FLOATS: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// The fp16 number at the start of `raw`.
fn half(raw: &[u8]) -> f32 {
    f16_to_f32(u16::from_le_bytes([raw[0], raw[1]]))
}

/// Element `index` of runs of `width` bytes, whose low halves come first and high halves next.
fn four(raw: &[u8], width: usize, index: usize) -> u8 {
    let (run, place) = (index / (2 * width), index % (2 * width));
    raw[run * width + place % width] >> (4 * (place / width)) & 15
}

/// Element `index` of runs of 32 bytes that hold four elements each, in bits 0 and 1 first.
fn two(raw: &[u8], index: usize) -> u8 {
    let (run, place) = (index / 128, index % 128);
    raw[run * 32 + place % 32] >> (2 * (place / 32)) & 3
}

/// Writes each element as `value(index)`.
fn fill(values: &mut [f32], value: impl Fn(usize) -> f32) {
    values.iter_mut().enumerate().for_each(|(index, out)| *out = value(index));
}

/// `scale * (number - 8)`; 16 bytes of numbers after the scale.
pub(super) fn q4_0(raw: &[u8], values: &mut [f32]) {
    let (scale, numbers) = (half(raw), &raw[2..]);
    fill(values, |index| scale * f32::from(four(numbers, 16, index) as i8 - 8));
}

/// `scale * number + minimum`.
pub(super) fn q4_1(raw: &[u8], values: &mut [f32]) {
    let (scale, minimum, numbers) = (half(raw), half(&raw[2..]), &raw[4..]);
    fill(values, |index| scale * f32::from(four(numbers, 16, index)) + minimum);
}

/// The fifth bits of 32 elements are one 32-bit number, element 0 in its lowest bit; the others are 16 bytes of halves.
fn five(high: &[u8], low: &[u8], index: usize) -> u8 {
    four(low, 16, index) | (high[index / 8] >> (index % 8) & 1) << 4
}

/// `scale * (number - 16)`.
pub(super) fn q5_0(raw: &[u8], values: &mut [f32]) {
    let (scale, high, low) = (half(raw), &raw[2..6], &raw[6..]);
    fill(values, |index| scale * f32::from(five(high, low, index) as i8 - 16));
}

/// `scale * number + minimum`.
pub(super) fn q5_1(raw: &[u8], values: &mut [f32]) {
    let (scale, minimum, high, low) = (half(raw), half(&raw[2..]), &raw[4..8], &raw[8..]);
    fill(values, |index| scale * f32::from(five(high, low, index)) + minimum);
}

/// `scale * number`.
pub(super) fn q8_0(raw: &[u8], values: &mut [f32]) {
    let (scale, numbers) = (half(raw), &raw[2..]);
    fill(values, |index| scale * f32::from(numbers[index] as i8));
}

/// `scale * scale_j * number - minimum * minimum_j`, one j for 16 elements: 16 bytes with the scale in the low half and
/// the minimum in the high one, 64 bytes of numbers, the scale, the minimum.
pub(super) fn q2_k(raw: &[u8], values: &mut [f32]) {
    let (parts, numbers, scale, minimum) = (&raw[..16], &raw[16..80], half(&raw[80..]), half(&raw[82..]));
    fill(values, |index| {
        let part = parts[index / 16];
        scale * f32::from(part & 15) * f32::from(two(numbers, index)) - minimum * f32::from(part >> 4)
    });
}

/// `scale * (scale_j - 32) * number`, one j for 16 elements: 32 bytes whose bit `i / 32` says whether element `i` is
/// not less by 4, 64 bytes of the lower two bits, 12 bytes of scales (low and high halves of 8, and two bits of each in
/// the last 4), the scale.
pub(super) fn q3_k(raw: &[u8], values: &mut [f32]) {
    let (high, low, parts, scale) = (&raw[..32], &raw[32..96], &raw[96..108], half(&raw[108..]));
    let part = |j: usize| four(parts, 8, j) | (parts[8 + j % 4] >> (2 * (j / 4)) & 3) << 4;
    fill(values, |index| {
        let less = if high[index % 32] >> (index / 32) & 1 == 0 { 4 } else { 0 };
        scale * f32::from(part(index / 16) as i8 - 32) * f32::from(two(low, index) as i8 - less)
    });
}

/// Scale and minimum of 32 elements, six bits each, from the 12 bytes of a block. The first four have a byte each for
/// scale and minimum; the last four have their low bits in the halves of a byte each, their upper two above those of
/// the first four.
fn scale_and_minimum(parts: &[u8], j: usize) -> (f32, f32) {
    let (scale, minimum) = match j {
        0..4 => (parts[j] & 63, parts[j + 4] & 63),
        _ => (parts[j + 4] & 15 | parts[j - 4] >> 6 << 4, parts[j + 4] >> 4 | parts[j] >> 6 << 4),
    };
    (f32::from(scale), f32::from(minimum))
}

/// `scale * scale_j * number - minimum * minimum_j`, one j for 32 elements: scale, minimum, 12 bytes of scales and
/// minima, 128 bytes of numbers in runs of 32.
pub(super) fn q4_k(raw: &[u8], values: &mut [f32]) {
    let (scale, minimum, parts, numbers) = (half(raw), half(&raw[2..]), &raw[4..16], &raw[16..]);
    fill(values, |index| {
        let (scale_j, minimum_j) = scale_and_minimum(parts, index / 32);
        scale * scale_j * f32::from(four(numbers, 32, index)) - minimum * minimum_j
    });
}

/// As [`q4_k`], with 32 bytes before the numbers whose bit `i / 32` is the fifth bit of element `i`.
pub(super) fn q5_k(raw: &[u8], values: &mut [f32]) {
    let (scale, minimum, parts, high, low) = (half(raw), half(&raw[2..]), &raw[4..16], &raw[16..48], &raw[48..]);
    fill(values, |index| {
        let (scale_j, minimum_j) = scale_and_minimum(parts, index / 32);
        let number = four(low, 32, index) | (high[index % 32] >> (index / 32) & 1) << 4;
        scale * scale_j * f32::from(number) - minimum * minimum_j
    });
}

/// `scale * scale_j * (number - 32)`, one signed j for 16 elements: 128 bytes of the low four bits in runs of 64, 64
/// bytes of the high two, 16 scales, the scale.
pub(super) fn q6_k(raw: &[u8], values: &mut [f32]) {
    let (low, high, parts, scale) = (&raw[..128], &raw[128..192], &raw[192..208], half(&raw[208..]));
    fill(values, |index| {
        let number = (four(low, 64, index) | two(high, index) << 4) as i8 - 32;
        scale * f32::from(parts[index / 16] as i8) * f32::from(number)
    });
}

/// `scale * number`: a float32 scale, 256 signed bytes, and 16 sums of theirs, which are not needed here.
pub(super) fn q8_k(raw: &[u8], values: &mut [f32]) {
    let (scale, numbers) = (f32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]), &raw[4..260]);
    fill(values, |index| scale * f32::from(numbers[index] as i8));
}

/// `scale * TABLE[number]`.
pub(super) fn iq4_nl(raw: &[u8], values: &mut [f32]) {
    let (scale, numbers) = (half(raw), &raw[2..]);
    fill(values, |index| scale * f32::from(TABLE[usize::from(four(numbers, 16, index))]));
}

/// `scale * (scale_j - 32) * TABLE[number]`, one j for 32 elements: the scale, the upper two bits of each scale_j in 16
/// bits, their lower four bits in 4 bytes, 128 bytes of numbers in runs of 16.
pub(super) fn iq4_xs(raw: &[u8], values: &mut [f32]) {
    let (scale, high, low, numbers) = (half(raw), u16::from_le_bytes([raw[2], raw[3]]), &raw[4..8], &raw[8..]);
    fill(values, |index| {
        let j = index / 32;
        let part = (low[j / 2] >> (4 * (j % 2)) & 15) | ((high >> (2 * j) & 3) as u8) << 4;
        scale * f32::from(part as i8 - 32) * f32::from(TABLE[usize::from(four(numbers, 16, index))])
    });
}

/// `2^(exponent - 128) * FLOATS[number]`, the exponent one byte without a not-a-number.
pub(super) fn mxfp4(raw: &[u8], values: &mut [f32]) {
    let (exponent, numbers) = (u32::from(raw[0]), &raw[1..]);
    let scale = f32::from_bits(if exponent < 2 { 1 << (21 + exponent) } else { (exponent - 1) << 23 });
    fill(values, |index| scale * f32::from(FLOATS[usize::from(four(numbers, 16, index))]));
}
