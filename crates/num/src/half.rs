//! The 16-bit floats, fp16 (IEEE binary16) and bf16, as bit patterns: widening to binary32, which is exact, and
//! narrowing, which rounds once to nearest, ties to even. Subnormals are kept; NaN becomes the one NaN of the target
//! format.

use crate::fp32::NAN;

/// The one NaN that narrowing to fp16 gives.
pub const F16_NAN: u16 = 0x7E00;

/// The one NaN that narrowing to bf16 gives.
pub const BF16_NAN: u16 = 0x7FC0;

/// The binary32 value of an fp16 pattern.
#[inline]
pub fn f16_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7FFF);
    if magnitude > 0x7C00 {
        NAN
    } else if magnitude == 0x7C00 {
        f32::from_bits(sign | 0x7F80_0000)
    } else if magnitude < 0x0400 {
        let value = magnitude as f32 * (1.0 / 16_777_216.0);
        f32::from_bits(sign | value.to_bits())
    } else {
        f32::from_bits(sign | ((magnitude << 13) + (112 << 23)))
    }
}

/// The fp16 pattern of an 8-bit integer, which is exact.
#[inline]
pub fn i8_to_f16(x: i8) -> u16 {
    f32_to_f16(f32::from(x))
}

/// The fp16 pattern nearest to `x`; 65520 and beyond give infinity.
#[inline]
pub fn f32_to_f16(x: f32) -> u16 {
    let sign = ((x.to_bits() >> 16) & 0x8000) as u16;
    let magnitude = x.to_bits() & 0x7FFF_FFFF;
    if magnitude > 0x7F80_0000 {
        F16_NAN
    } else if magnitude >= 0x477F_F000 {
        sign | 0x7C00
    } else if magnitude < 0x3880_0000 {
        // Below 2^-14. The last place of 0.5 is 2^-24, the unit of subnormal fp16, so the addition does the rounding.
        sign | ((f32::from_bits(magnitude) + 0.5).to_bits() - 0x3F00_0000) as u16
    } else {
        let to_even = (magnitude >> 13) & 1;
        sign | ((magnitude + 0xFFF + to_even - (112 << 23)) >> 13) as u16
    }
}

/// The binary32 value of a bf16 pattern.
#[inline]
pub fn bf16_to_f32(bits: u16) -> f32 {
    crate::fp32::canonical(f32::from_bits(u32::from(bits) << 16))
}

/// The bf16 pattern nearest to `x`.
#[inline]
pub fn f32_to_bf16(x: f32) -> u16 {
    if x.is_nan() {
        return BF16_NAN;
    }
    let bits = x.to_bits();
    let to_even = (bits >> 16) & 1;
    ((bits + 0x7FFF + to_even) >> 16) as u16
}
