//! The written form of 32-bit immediates: chosen from the bits alone, so that equal bits are written alike.

use std::fmt::Write;

/// Below this, positive bits are more likely an integer than a binary32 number under 2^-40.
const SMALLEST_FLOAT: u32 = (127 - 40) << 23;
/// Binary32 infinity; from here to the sign bit are infinity and NaNs.
const INFINITY: u32 = 0x7f80_0000;
const SIGN: u32 = 0x8000_0000;

/// Appends `#0.5`, `#i7` or `#x7fc00000`.
pub(crate) fn print(bits: u32, out: &mut String) {
    let magnitude = bits & !SIGN;
    let negative = bits != magnitude;
    let result = if bits == 0 || bits == SIGN || (SMALLEST_FLOAT..INFINITY).contains(&magnitude) {
        write!(out, "#{:?}", f32::from_bits(bits))
    } else if (!negative && magnitude < SMALLEST_FLOAT) || (negative && magnitude > INFINITY) {
        write!(out, "#i{}", bits as i32)
    } else {
        write!(out, "#x{bits:08x}")
    };
    result.expect("a String takes all text");
}

/// Reads what is after the `#`.
pub(crate) fn parse(text: &str) -> Result<u32, &'static str> {
    if let Some(hex) = text.strip_prefix('x') {
        return hexadecimal(hex).ok_or("`#x` takes 1 to 8 hexadecimal digits");
    }
    if let Some(integer) =
        text.strip_prefix('i').filter(|rest| rest.starts_with(|c: char| c == '-' || c.is_ascii_digit()))
    {
        let value: i64 = integer.parse().map_err(|_| "`#i` takes a decimal integer")?;
        return match (i32::try_from(value), u32::try_from(value)) {
            (Ok(value), _) => Ok(value as u32),
            (_, Ok(value)) => Ok(value),
            _ => Err("an integer immediate has 32 bits"),
        };
    }
    float(text)
}

/// The bits of one to eight hexadecimal digits.
pub(crate) fn hexadecimal(text: &str) -> Option<u32> {
    let digits = (1..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}

/// A decimal binary32 number that is finite.
fn float(text: &str) -> Result<u32, &'static str> {
    let plain = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E'));
    match text.parse::<f32>() {
        Ok(value) if plain && value.is_finite() => Ok(value.to_bits()),
        Ok(_) => Err("infinities, NaNs and numbers beyond binary32 are written as bits, such as #x7fc00000"),
        Err(_) => Err("an immediate is a number such as #0.5, an integer such as #i7, or bits such as #x3f800000"),
    }
}
