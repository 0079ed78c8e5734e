//! Binary64 functions for tables made at compile time, such as rotary tables. Nothing here runs on the machine.
//!
//! Results are within 1 ulp of the real value, and a NaN result is always [`NAN`].

mod double;
mod power;
mod trig;

pub use power::{exp, ln, pow};
pub use trig::{ANGLE_LIMIT, cos, sin};

/// The one NaN that any function here returns.
pub const NAN: f64 = f64::from_bits(0x7FF8_0000_0000_0000);
