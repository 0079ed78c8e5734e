//! What an ALU does to its operands, lane by lane; all arithmetic is `lpu-num`'s.

use lpu_isa::{Arithmetic, Format, Instruction, Number, Source};
use lpu_num::{fp32, half, int};

/// Up to three sources, each with the number of streams it takes when it is a stream group.
pub type Sources = [Option<(Source, u8)>; 3];

/// The sources of an ALU operation in operand order; nothing for other instructions.
#[must_use]
pub fn sources(instruction: &Instruction) -> Option<Sources> {
    let mut found = instruction.sources().into_iter();
    let sources = [found.next(), found.next(), found.next()];
    sources[0].is_some().then_some(sources)
}

/// What an ALU operation makes of its sources, which are given in the order of [`sources`]; sources that it does not
/// have are ignored.
///
/// # Panics
/// When the instruction is no ALU operation, that is, has no [`sources`].
#[inline(always)]
pub fn operate(instruction: &Instruction, [a, b, c]: [&[u32]; 3], out: &mut [u32]) {
    match *instruction {
        Instruction::Add { arithmetic, .. } => add(arithmetic, a, b, out),
        Instruction::Sub { arithmetic, .. } => sub(arithmetic, a, b, out),
        Instruction::Mul { arithmetic, .. } => mul(arithmetic, a, b, out),
        Instruction::Max { number, .. } => max(number, a, b, out),
        Instruction::Min { number, .. } => min(number, a, b, out),
        Instruction::Negate { arithmetic, .. } => negate(arithmetic, a, out),
        Instruction::Abs { arithmetic, .. } => abs(arithmetic, a, out),
        Instruction::Relu { number, .. } => relu(number, a, out),
        Instruction::Greater { number, .. } => greater(number, a, b, out),
        Instruction::Equal { number, .. } => equal(number, a, b, out),
        Instruction::Mask { .. } => each(a, b, out, |condition, a| if condition != 0 { a } else { 0 }),
        Instruction::Select { .. } => select(a, b, c, out),
        Instruction::Convert { from, to, .. } => convert(from, to, a, out),
        Instruction::Exp { .. } => function(a, out, fp32::exp),
        Instruction::Tanh { .. } => function(a, out, fp32::tanh),
        Instruction::Rsqrt { .. } => function(a, out, fp32::rsqrt),
        Instruction::Reciprocal { .. } => function(a, out, fp32::recip),
        _ => unreachable!("{} is no ALU operation", instruction.row().mnemonic),
    }
}

/// Whether a result of an ALU operation, whose first source is `a`, is beyond the range of its format or hides a number
/// that is: a conversion makes an infinity of a finite number, or an integer of an infinity or NaN; `tanh` or `rsqrt`
/// takes an infinity, of which both make a finite number.
#[must_use]
#[inline(always)]
pub fn overflows(instruction: &Instruction, a: &[u32], out: &[u32]) -> bool {
    match *instruction {
        Instruction::Convert { from, to, .. } => match (exponent(from), exponent(to)) {
            (Some(from), Some(to)) => some(a, out, |a, out| (out & to == to) & (a & from != from)),
            (None, Some(to)) => some(a, out, |_, out| out & to == to),
            (Some(from), None) => some(a, out, |a, _| a & from == from),
            (None, None) => false,
        },
        Instruction::Tanh { .. } | Instruction::Rsqrt { .. } => some(a, out, |a, _| a & 0x7FFF_FFFF == 0x7F80_0000),
        _ => false,
    }
}

/// The bits of a float's exponent, which are all set in infinities and NaNs alone.
#[inline(always)]
fn exponent(format: Format) -> Option<u32> {
    match format {
        Format::I8 | Format::I16 | Format::I32 => None,
        Format::F16 => Some(0x7C00),
        Format::Bf16 => Some(0x7F80),
        Format::F32 => Some(0x7F80_0000),
    }
}

/// Whether some lane passes a test, without a branch a lane.
#[inline(always)]
fn some(a: &[u32], out: &[u32], test: impl Fn(u32, u32) -> bool) -> bool {
    a.iter().zip(out).fold(false, |found, (&a, &out)| found | test(a, out))
}

#[inline(always)]
fn float(op: impl Fn(f32, f32) -> f32) -> impl Fn(u32, u32) -> u32 {
    move |a, b| op(f32::from_bits(a), f32::from_bits(b)).to_bits()
}

#[inline(always)]
fn integer(op: impl Fn(i32, i32) -> i32) -> impl Fn(u32, u32) -> u32 {
    move |a, b| op(a as i32, b as i32) as u32
}

#[inline(always)]
fn each(a: &[u32], b: &[u32], out: &mut [u32], op: impl Fn(u32, u32) -> u32) {
    for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *out = op(a, b);
    }
}

#[inline(always)]
fn one(a: &[u32], out: &mut [u32], op: impl Fn(u32) -> u32) {
    for (out, &a) in out.iter_mut().zip(a) {
        *out = op(a);
    }
}

/// The low 16 bits as a signed integer.
#[inline(always)]
fn low16(bits: u32) -> i32 {
    i32::from(bits as i16)
}

/// The low 8 bits as a signed integer.
#[inline(always)]
fn low8(bits: u32) -> i32 {
    i32::from(bits as i8)
}

/// Narrower results as they are in the low bytes of 32 bits; 32-bit operations on narrower operands are exact.
#[inline(always)]
fn sat16(value: i32) -> u32 {
    u32::from(int::i32_to_i16(value) as u16)
}

#[inline(always)]
fn mod16(value: i32) -> u32 {
    u32::from(value as u16)
}

#[inline(always)]
fn sat8(value: i32) -> u32 {
    u32::from(int::i32_to_i8(value) as u8)
}

#[inline(always)]
fn mod8(value: i32) -> u32 {
    u32::from(value as u8)
}

macro_rules! arithmetic {
    ($name:ident, $f32:path, $sat:path, $modulo:path) => {
        #[inline(always)]
        fn $name(arithmetic: Arithmetic, a: &[u32], b: &[u32], out: &mut [u32]) {
            match arithmetic {
                Arithmetic::F32 => each(a, b, out, float($f32)),
                Arithmetic::Sat => each(a, b, out, integer($sat)),
                Arithmetic::Mod => each(a, b, out, integer($modulo)),
                Arithmetic::Sat16 => each(a, b, out, |a, b| sat16($modulo(low16(a), low16(b)))),
                Arithmetic::Mod16 => each(a, b, out, |a, b| mod16($modulo(low16(a), low16(b)))),
                Arithmetic::Sat8 => each(a, b, out, |a, b| sat8($modulo(low8(a), low8(b)))),
                Arithmetic::Mod8 => each(a, b, out, |a, b| mod8($modulo(low8(a), low8(b)))),
            }
        }
    };
}

arithmetic!(add, fp32::add, int::add_sat, int::add_mod);
arithmetic!(sub, fp32::sub, int::sub_sat, int::sub_mod);
arithmetic!(mul, fp32::mul, int::mul_sat, int::mul_mod);

macro_rules! sign {
    ($name:ident, $f32:path, $sat:path, $modulo:path) => {
        #[inline(always)]
        fn $name(arithmetic: Arithmetic, a: &[u32], out: &mut [u32]) {
            match arithmetic {
                Arithmetic::F32 => one(a, out, |a| $f32(f32::from_bits(a)).to_bits()),
                Arithmetic::Sat => one(a, out, |a| $sat(a as i32) as u32),
                Arithmetic::Mod => one(a, out, |a| $modulo(a as i32) as u32),
                Arithmetic::Sat16 => one(a, out, |a| sat16($modulo(low16(a)))),
                Arithmetic::Mod16 => one(a, out, |a| mod16($modulo(low16(a)))),
                Arithmetic::Sat8 => one(a, out, |a| sat8($modulo(low8(a)))),
                Arithmetic::Mod8 => one(a, out, |a| mod8($modulo(low8(a)))),
            }
        }
    };
}

sign!(negate, fp32::neg, int::neg_sat, int::neg_mod);
sign!(abs, fp32::abs, int::abs_sat, int::abs_mod);

macro_rules! choice {
    ($name:ident, $f32:path, $int:path) => {
        #[inline(always)]
        fn $name(number: Number, a: &[u32], b: &[u32], out: &mut [u32]) {
            match number {
                Number::F32 => each(a, b, out, float($f32)),
                Number::I32 => each(a, b, out, integer($int)),
            }
        }
    };
}

choice!(max, fp32::max, int::max);
choice!(min, fp32::min, int::min);

#[inline(always)]
fn relu(number: Number, a: &[u32], out: &mut [u32]) {
    match number {
        Number::F32 => one(a, out, |a| fp32::relu(f32::from_bits(a)).to_bits()),
        Number::I32 => one(a, out, |a| (a as i32).max(0) as u32),
    }
}

#[inline(always)]
fn greater(number: Number, a: &[u32], b: &[u32], out: &mut [u32]) {
    match number {
        Number::F32 => each(a, b, out, |a, b| u32::from(f32::from_bits(a) > f32::from_bits(b))),
        Number::I32 => each(a, b, out, |a, b| u32::from(a as i32 > b as i32)),
    }
}

#[inline(always)]
fn equal(number: Number, a: &[u32], b: &[u32], out: &mut [u32]) {
    match number {
        Number::F32 => each(a, b, out, |a, b| u32::from(f32::from_bits(a) == f32::from_bits(b))),
        Number::I32 => each(a, b, out, |a, b| u32::from(a == b)),
    }
}

#[inline(always)]
fn select(condition: &[u32], a: &[u32], b: &[u32], out: &mut [u32]) {
    for (((out, &condition), &a), &b) in out.iter_mut().zip(condition).zip(a).zip(b) {
        *out = if condition != 0 { a } else { b };
    }
}

/// Functions of one binary32 number.
#[inline(always)]
fn function(a: &[u32], out: &mut [u32], op: impl Fn(f32) -> f32) {
    one(a, out, |a| op(f32::from_bits(a)).to_bits());
}

/// A number of a format, as it is in the low bytes of 32 bits.
#[derive(Clone, Copy)]
enum Scalar {
    Integer(i32),
    Float(f32),
}

#[inline(always)]
fn read(format: Format, bits: u32) -> Scalar {
    match format {
        Format::I8 => Scalar::Integer(i32::from(bits as i8)),
        Format::I16 => Scalar::Integer(i32::from(bits as i16)),
        Format::I32 => Scalar::Integer(bits as i32),
        Format::F16 => Scalar::Float(half::f16_to_f32(bits as u16)),
        Format::Bf16 => Scalar::Float(half::bf16_to_f32(bits as u16)),
        Format::F32 => Scalar::Float(f32::from_bits(bits)),
    }
}

#[inline(always)]
fn write(format: Format, value: Scalar) -> u32 {
    match (format, value) {
        (Format::I8, Scalar::Integer(value)) => u32::from(int::i32_to_i8(value) as u8),
        (Format::I8, Scalar::Float(value)) => u32::from(int::f32_to_i8(value) as u8),
        (Format::I16, Scalar::Integer(value)) => u32::from(int::i32_to_i16(value) as u16),
        (Format::I16, Scalar::Float(value)) => u32::from(int::f32_to_i16(value) as u16),
        (Format::I32, Scalar::Integer(value)) => value as u32,
        (Format::I32, Scalar::Float(value)) => int::f32_to_i32(value) as u32,
        (Format::F16, Scalar::Integer(value)) => u32::from(int::i32_to_f16(value)),
        (Format::F16, Scalar::Float(value)) => u32::from(half::f32_to_f16(value)),
        (Format::Bf16, Scalar::Integer(value)) => u32::from(int::i32_to_bf16(value)),
        (Format::Bf16, Scalar::Float(value)) => u32::from(half::f32_to_bf16(value)),
        (Format::F32, Scalar::Integer(value)) => int::i32_to_f32(value).to_bits(),
        (Format::F32, Scalar::Float(value)) => fp32::canonical(value).to_bits(),
    }
}

#[inline(always)]
fn convert(from: Format, to: Format, a: &[u32], out: &mut [u32]) {
    // A loop for each pair, in which the formats are constants.
    macro_rules! pairs {
        ($($from:ident: $($to:ident)*;)*) => {
            match (from, to) {
                $($((Format::$from, Format::$to) => one(a, out,
                    |bits| write(Format::$to, read(Format::$from, bits))),)*)*
            }
        };
    }
    pairs! {
        I8: I8 I16 I32 F16 Bf16 F32;
        I16: I8 I16 I32 F16 Bf16 F32;
        I32: I8 I16 I32 F16 Bf16 F32;
        F16: I8 I16 I32 F16 Bf16 F32;
        Bf16: I8 I16 I32 F16 Bf16 F32;
        F32: I8 I16 I32 F16 Bf16 F32;
    }
}
