//! The written form of operands, by kind: printed from encoded bits and read back to them.

use std::fmt::Write;

use super::immediate;
use crate::operand::{
    Accumulator, Arithmetic, BlockSide, Count, Direction, Edge, Format, GroupWidth, Kind, LoadFormat, Mode, Number,
    Operand, Orientation, PassFormat, Row, Shift, Source, Stream, Stride, Superlanes, Target, WindowBits, Word,
};

/// Decimal digits alone, without a sign.
pub(crate) fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A decimal integer with or without a minus sign.
fn signed(text: &str) -> Option<i64> {
    match text.strip_prefix('-') {
        Some(digits) => number::<i64>(digits).map(|value| -value),
        None => number(text),
    }
}

/// What is expected of an operand, for messages and the reference page.
pub(crate) fn expected(kind: Kind) -> String {
    let words = |words: Vec<&str>| format!("one of `{}`", words.join("`, `"));
    match kind {
        Kind::Stream => "a stream such as e0 or w31".into(),
        Kind::Target => "a stream such as e0 or w31, or _ for none".into(),
        Kind::Source => {
            "a stream such as e4, an ALU latch such as a3, or an immediate such as #0.5, #i7 or #x3f800000".into()
        }
        Kind::Word => "a word address, 0 to 16777215".into(),
        Kind::WindowBits => "a number of address bits, 0 to 16".into(),
        Kind::Row => "a row number or count, 0 to 65535".into(),
        Kind::Count => "a count, 1 to 65535".into(),
        Kind::Stride => "a stride, -32768 to 32767".into(),
        Kind::Shift => "a signed distance, -32768 to 32767".into(),
        Kind::Superlanes => "a number of superlanes, 0 to 65535".into(),
        Kind::Accumulator => "an accumulator number, 0 to 255".into(),
        Kind::Format => words(texts(Format::ALL, Format::text)),
        Kind::Arithmetic => words(texts(Arithmetic::ALL, Arithmetic::text)),
        Kind::Number => words(texts(Number::ALL, Number::text)),
        Kind::Orientation => words(texts(Orientation::ALL, Orientation::text)),
        Kind::LoadFormat => words(texts(LoadFormat::ALL, LoadFormat::text)),
        Kind::PassFormat => words(texts(PassFormat::ALL, PassFormat::text)),
        Kind::Mode => words(texts(Mode::ALL, Mode::text)),
        Kind::GroupWidth => words(texts(GroupWidth::ALL, GroupWidth::text)),
        Kind::Edge => words(texts(Edge::ALL, Edge::text)),
        Kind::BlockSide => words(texts(BlockSide::ALL, BlockSide::text)),
    }
}

fn texts<T: Copy>(all: &[T], text: impl Fn(T) -> &'static str) -> Vec<&'static str> {
    all.iter().map(|each| text(*each)).collect()
}

/// Appends an operand that the encoding holds as `bits`.
pub(crate) fn print(kind: Kind, bits: u64, out: &mut String) {
    match kind {
        Kind::Stream => show::<Stream>(bits, out),
        Kind::Target => match Target::from_bits(bits).flatten() {
            Some(stream) => show::<Stream>(stream.to_bits(), out),
            None => out.push('_'),
        },
        Kind::Source => match Source::from_bits(bits) {
            Some(Source::Stream(stream)) => show::<Stream>(stream.to_bits(), out),
            Some(Source::Latch(alu)) => write!(out, "a{alu}").expect("a String takes all text"),
            Some(Source::Immediate(value)) => immediate::print(value, out),
            None => {}
        },
        Kind::Word => show::<Word>(bits, out),
        Kind::WindowBits => show::<WindowBits>(bits, out),
        Kind::Row => show::<Row>(bits, out),
        Kind::Count => show::<Count>(bits, out),
        Kind::Stride => show::<Stride>(bits, out),
        Kind::Shift => show::<Shift>(bits, out),
        Kind::Superlanes => show::<Superlanes>(bits, out),
        Kind::Accumulator => show::<Accumulator>(bits, out),
        Kind::Format => show::<Format>(bits, out),
        Kind::Arithmetic => show::<Arithmetic>(bits, out),
        Kind::Number => show::<Number>(bits, out),
        Kind::Orientation => show::<Orientation>(bits, out),
        Kind::LoadFormat => show::<LoadFormat>(bits, out),
        Kind::PassFormat => show::<PassFormat>(bits, out),
        Kind::Mode => show::<Mode>(bits, out),
        Kind::GroupWidth => show::<GroupWidth>(bits, out),
        Kind::Edge => show::<Edge>(bits, out),
        Kind::BlockSide => show::<BlockSide>(bits, out),
    }
}

fn show<T: Operand + std::fmt::Display>(bits: u64, out: &mut String) {
    if let Some(operand) = T::from_bits(bits) {
        write!(out, "{operand}").expect("a String takes all text");
    }
}

/// The bits of an operand's written form; otherwise what is wrong, or nothing when it is merely of another kind.
pub(crate) fn parse(kind: Kind, text: &str) -> Result<u64, Option<&'static str>> {
    let bits = match kind {
        Kind::Stream => stream(text).map(Operand::to_bits),
        Kind::Target if text == "_" => Some(Target::None.to_bits()),
        Kind::Target => stream(text).map(|stream| Some(stream).to_bits()),
        Kind::Source => match (text.strip_prefix('#'), text.strip_prefix('a')) {
            (Some(value), _) => Some(Source::Immediate(immediate::parse(value).map_err(Some)?).to_bits()),
            (_, Some(alu)) => number(alu).map(|alu| Source::Latch(alu).to_bits()),
            _ => stream(text).map(|stream| Source::Stream(stream).to_bits()),
        },
        Kind::Word => integer(text, |value: Word| i64::from(value.0)),
        Kind::WindowBits => integer(text, |value: WindowBits| i64::from(value.0)),
        Kind::Row => integer(text, |value: Row| i64::from(value.0)),
        Kind::Count => integer(text, |value: Count| i64::from(value.0)),
        Kind::Stride => integer(text, |value: Stride| i64::from(value.0)),
        Kind::Shift => integer(text, |value: Shift| i64::from(value.0)),
        Kind::Superlanes => integer(text, |value: Superlanes| i64::from(value.0)),
        Kind::Accumulator => integer(text, |value: Accumulator| i64::from(value.0)),
        Kind::Format => word(text, Format::ALL, Format::text),
        Kind::Arithmetic => word(text, Arithmetic::ALL, Arithmetic::text),
        Kind::Number => word(text, Number::ALL, Number::text),
        Kind::Orientation => word(text, Orientation::ALL, Orientation::text),
        Kind::LoadFormat => word(text, LoadFormat::ALL, LoadFormat::text),
        Kind::PassFormat => word(text, PassFormat::ALL, PassFormat::text),
        Kind::Mode => word(text, Mode::ALL, Mode::text),
        Kind::GroupWidth => word(text, GroupWidth::ALL, GroupWidth::text),
        Kind::Edge => word(text, Edge::ALL, Edge::text),
        Kind::BlockSide => word(text, BlockSide::ALL, BlockSide::text),
    };
    bits.ok_or(None)
}

fn stream(text: &str) -> Option<Stream> {
    let direction = match text.as_bytes().first()? {
        b'e' => Direction::East,
        b'w' => Direction::West,
        _ => return None,
    };
    number(&text[1..]).filter(|number| *number < 128).map(|number| Stream::new(direction, number))
}

/// An integer operand: the value must be what its low bits stand for.
fn integer<T: Operand>(text: &str, value: impl Fn(T) -> i64) -> Option<u64> {
    let given = signed(text)?;
    let bits = given as u64 & ((1 << T::KIND.width()) - 1);
    T::from_bits(bits).filter(|operand| value(*operand) == given).map(|_| bits)
}

/// The value of an operand that is written as one of a few words.
pub(crate) fn word<T: Operand>(text: &str, all: &[T], written: impl Fn(T) -> &'static str) -> Option<u64> {
    all.iter().find(|each| written(**each) == text).map(|each| each.to_bits())
}
