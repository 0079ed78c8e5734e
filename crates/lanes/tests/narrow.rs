//! Narrow integer arithmetic against exact arithmetic in 64 bits, over every pair of 8-bit values and the edges of 16.

use lpu_isa::{Arithmetic, Instruction, Source};
use lpu_lanes::operate;

fn wrap(value: i64, bits: u32) -> u32 {
    (value as u64 & ((1 << bits) - 1)) as u32
}

fn clamp(value: i64, bits: u32) -> u32 {
    let top = 1i64 << (bits - 1);
    wrap(value.clamp(-top, top - 1), bits)
}

#[test]
fn all_forms_of_arithmetic() {
    let x = Source::Immediate(0);
    let cases: [(u32, Arithmetic, Arithmetic, Vec<i64>); 2] = [
        (8, Arithmetic::Sat8, Arithmetic::Mod8, (-128..128).collect()),
        (
            16,
            Arithmetic::Sat16,
            Arithmetic::Mod16,
            vec![-32768, -32767, -257, -182, -181, -1, 0, 1, 2, 181, 182, 255, 256, 32766, 32767],
        ),
    ];
    for (bits, saturating, modulo, values) in cases {
        for (arithmetic, fit) in [(saturating, clamp as fn(i64, u32) -> u32), (modulo, wrap)] {
            for (&a, &b) in values.iter().flat_map(|a| values.iter().map(move |b| (a, b))) {
                // Bits above the operand's width must not matter.
                let (wide_a, wide_b) = (wrap(a, bits) | 0xdead_0000, wrap(b, bits) | 0x7100_0000);
                let run = |instruction: Instruction| {
                    let mut out = [0];
                    operate(&instruction, [&[wide_a], &[wide_b], &[]], &mut out);
                    out[0]
                };
                assert_eq!(run(Instruction::Add { arithmetic, dst: None, a: x, b: x }), fit(a + b, bits), "{a} + {b}");
                assert_eq!(run(Instruction::Sub { arithmetic, dst: None, a: x, b: x }), fit(a - b, bits), "{a} - {b}");
                assert_eq!(run(Instruction::Mul { arithmetic, dst: None, a: x, b: x }), fit(a * b, bits), "{a} * {b}");
                assert_eq!(run(Instruction::Negate { arithmetic, dst: None, a: x }), fit(-a, bits), "-{a}");
                assert_eq!(run(Instruction::Abs { arithmetic, dst: None, a: x }), fit(a.abs(), bits), "|{a}|");
            }
        }
    }
}
