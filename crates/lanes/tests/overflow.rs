//! What counts as an overflow, against its definition by values: every conversion at the edges of its formats, and
//! every 16-bit pattern.

use lpu_isa::{Format, Instruction, Source};
use lpu_lanes::{operate, overflows};
use lpu_num::half::{bf16_to_f32, f16_to_f32};

const FORMATS: [Format; 6] = [Format::I8, Format::I16, Format::I32, Format::F16, Format::Bf16, Format::F32];

/// The number that bits of a float are; integers are finite, whichever they are.
fn number(format: Format, bits: u32) -> f32 {
    match format {
        Format::F16 => f16_to_f32(bits as u16),
        Format::Bf16 => bf16_to_f32(bits as u16),
        Format::F32 => f32::from_bits(bits),
        Format::I8 | Format::I16 | Format::I32 => 0.0,
    }
}

fn float(format: Format) -> bool {
    !matches!(format, Format::I8 | Format::I16 | Format::I32)
}

/// Every 16-bit pattern, and 32-bit patterns about the ends of all formats.
fn patterns() -> impl Iterator<Item = u32> {
    let ends = [65_519.996f32, 65_520.0, 65_504.0, f32::MAX, f32::INFINITY, 3.3895314e38, 1.0].map(f32::to_bits);
    let near = ends.into_iter().flat_map(|end| end - 2..=end + 2).flat_map(|bits| [bits, bits | 0x8000_0000]);
    let integers = [i32::MIN, -65_521, -65_520, -65_519, 65_519, 65_520, i32::MAX].map(|integer| integer as u32);
    let nans = [0x7FC0_0000, 0x7F80_0001, 0xFFFF_FFFF];
    (0..=0xFFFF).chain(near).chain(integers).chain(nans)
}

#[test]
fn conversions_overflow_where_their_numbers_do() {
    let mut found = 0;
    for (from, to) in FORMATS.into_iter().flat_map(|from| FORMATS.map(|to| (from, to))) {
        let instruction = Instruction::Convert { from, to, dst: None, a: Source::Immediate(0) };
        for bits in patterns() {
            let mut out = [0];
            operate(&instruction, [&[bits], &[], &[]], &mut out);
            let (a, made) = (number(from, bits), number(to, out[0]));
            let expected = if float(to) { a.is_finite() && !made.is_finite() } else { !a.is_finite() };
            assert_eq!(overflows(&instruction, &[bits], &out), expected, "{from} {bits:#x} to {to} {:#x}", out[0]);
            found += usize::from(expected);
        }
    }
    assert!(found > 1000, "{found}");
}

#[test]
fn functions_that_make_infinities_finite_overflow_by_them_in_any_lane() {
    let a = Source::Immediate(0);
    for (instruction, hides) in [
        (Instruction::Tanh { dst: None, a }, true),
        (Instruction::Rsqrt { dst: None, a }, true),
        (Instruction::Exp { dst: None, a }, false),
        (Instruction::Reciprocal { dst: None, a }, false),
    ] {
        for infinity in [f32::INFINITY, f32::NEG_INFINITY] {
            for lane in 0..35 {
                let mut lanes = [f32::MAX.to_bits(); 35];
                let mut out = lanes;
                assert!(!overflows(&instruction, &lanes, &out));
                lanes[lane] = infinity.to_bits();
                operate(&instruction, [&lanes, &[], &[]], &mut out);
                assert_eq!(overflows(&instruction, &lanes, &out), hides, "{infinity} in lane {lane}");
            }
        }
    }
}
