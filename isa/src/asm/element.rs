//! Element values of `.values` and `.fill`: decimal text to the bits of a number format, rounded to nearest, ties
//! to even.

use super::symbol::{Scope, SymbolValue};
use crate::operand::Format;
use crate::text::immediate::hexadecimal;

/// The bits of an element in the low bytes.
pub(super) fn parse(format: Format, text: &str) -> Result<u32, String> {
    let bits = u32::from(format.bytes()) * 8;
    if let Some(hex) = text.strip_prefix('x') {
        let value = hexadecimal(hex).filter(|value| bits == 32 || value >> bits == 0);
        return value.ok_or_else(|| format!("`x` takes hexadecimal digits of at most {bits} bits"));
    }
    match format {
        Format::I8 | Format::I16 | Format::I32 => {
            let value: i64 =
                text.parse().map_err(|_| format!("an {format} element is a decimal integer, or bits such as x7f"))?;
            let limit = 1i64 << (bits - 1);
            let inside = (-limit..limit).contains(&value);
            if inside {
                Ok(value as u32 & (u32::MAX >> (32 - bits)))
            } else {
                Err(format!("{format} reaches from {} to {}", -limit, limit - 1))
            }
        }
        Format::F32 => float(text).map(|_: f64| ()).and_then(|()| {
            let value: f32 = text.parse().map_err(|_| NOT_A_NUMBER.to_owned())?;
            if value.is_finite() { Ok(value.to_bits()) } else { Err(TOO_LARGE.to_owned()) }
        }),
        Format::F16 => round(float(text)?, 5, 10).ok_or_else(|| TOO_LARGE.to_owned()),
        Format::Bf16 => round(float(text)?, 8, 7).ok_or_else(|| TOO_LARGE.to_owned()),
    }
}

/// Numbers from the first towards the last, a step apart.
pub(super) struct ElementRange {
    first: i64,
    /// The step with its sign.
    step: i64,
    pub(super) count: u64,
}

impl ElementRange {
    pub(super) fn numbers(&self) -> impl Iterator<Item = i64> + '_ {
        (0..self.count).map(|index| self.first + index as i64 * self.step)
    }
}

/// `FIRST..LAST` or `FIRST..LAST+STEP`, counting up or down; nothing where this is no range. The numbers are written
/// out, or constants.
pub(super) fn range(scope: Scope<'_>, text: &str) -> Option<Result<ElementRange, (String, String)>> {
    let (first, rest) = text.split_once("..")?;
    let (last, step) = rest.split_once('+').unwrap_or((rest, "1"));
    let number = |text: &str| match text
        .parse()
        .map_or_else(|_| scope.value(text), |number| Ok(SymbolValue::Number(number)))
    {
        Ok(SymbolValue::Number(number)) if (-LARGEST..=LARGEST).contains(&number) => Ok(number),
        _ => Err((format!("`{text}` is no number of a range"), "write a range as 0..319, 15..0 or 0..30+2".to_owned())),
    };
    let range = || {
        let (first, last, step) = (number(first)?, number(last)?, number(step)?);
        if step < 1 {
            return Err((
                format!("a range in steps of {step}"),
                "give a step of at least 1; a range whose last number is smaller counts down".into(),
            ));
        }
        let count = first.abs_diff(last) / step.unsigned_abs() + 1;
        Ok(ElementRange { first, step: if last < first { -step } else { step }, count })
    };
    Some(range())
}

/// The greatest magnitude of a range's numbers: that of the largest elements.
const LARGEST: i64 = 1 << 32;

const NOT_A_NUMBER: &str = "an element is a decimal number, or bits such as x3c00";
const TOO_LARGE: &str = "the number is beyond the format; write infinities and NaNs as bits such as x7c00";

fn float(text: &str) -> Result<f64, String> {
    let plain = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E'));
    let value: Option<f64> = text.parse().ok();
    value.filter(|_| plain).ok_or_else(|| NOT_A_NUMBER.to_owned())
}

/// A finite number in a format of so many exponent and fraction bits; nothing where it rounds to infinity.
fn round(value: f64, exponent_bits: u32, fraction_bits: u32) -> Option<u32> {
    let bits = value.to_bits();
    let bias = (1i64 << (exponent_bits - 1)) - 1;
    let sign = ((bits >> 63) as u32) << (exponent_bits + fraction_bits);
    let field = ((bits >> 52) & 0x7ff) as i64;
    let fraction = bits & ((1 << 52) - 1);
    if field == 0 {
        return Some(sign);
    }
    let exponent = field - 1023;
    let significand = fraction | (1 << 52);
    let least = 1 - bias;
    let shift = (52 - i64::from(fraction_bits) + (least - exponent).max(0)).min(63);
    let (kept, rest, half) = (significand >> shift, significand & ((1 << shift) - 1), 1u64 << (shift - 1));
    let kept = kept + u64::from(rest > half || (rest == half && kept & 1 == 1));
    let magnitude = (((exponent.max(least) - least) as u64) << fraction_bits) + kept;
    let infinity = ((1u64 << exponent_bits) - 1) << fraction_bits;
    (exponent <= bias && magnitude < infinity).then_some(sign | magnitude as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_round_to_nearest_even() {
        let half = |text| parse(Format::F16, text).ok();
        assert_eq!(half("1"), Some(0x3c00));
        assert_eq!(half("-2.5"), Some(0xc100));
        assert_eq!(half("65504"), Some(0x7bff));
        assert_eq!(half("65519.99"), Some(0x7bff));
        assert_eq!(half("65520"), None);
        assert_eq!(half("1e9"), None);
        assert_eq!(half("1.00048828125"), Some(0x3c00), "a tie goes to even");
        assert_eq!(half("1.00146484375"), Some(0x3c02), "a tie goes to even");
        assert_eq!(half("5.9604644775390625e-8"), Some(1), "the least subnormal");
        assert_eq!(half("2.98023223876953125e-8"), Some(0), "half of it");
        assert_eq!(half("3e-8"), Some(1));
        assert_eq!(half("-0"), Some(0x8000));
        assert_eq!(half("inf"), None);
        assert_eq!(half("x7e00"), Some(0x7e00));
        assert_eq!(half("x17e00"), None);
    }

    #[test]
    fn other_formats() {
        assert_eq!(parse(Format::Bf16, "1").ok(), Some(0x3f80));
        assert_eq!(parse(Format::Bf16, "3.14159").ok(), Some(0x4049));
        assert_eq!(parse(Format::Bf16, "3.4e38").ok(), None);
        assert_eq!(parse(Format::I8, "-128").ok(), Some(0x80));
        assert_eq!(parse(Format::I8, "128").ok(), None);
        assert_eq!(parse(Format::I32, "-1").ok(), Some(u32::MAX));
        assert_eq!(parse(Format::F32, "0.1").ok(), Some(0.1f32.to_bits()));
        assert_eq!(parse(Format::F32, "1e39").ok(), None);
    }
}
