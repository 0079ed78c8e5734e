//! Conversions and functions of float64 on their way into `lpu_num`.

pub(crate) fn f16_to_f32(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let fraction = f32::from(bits & 0x3ff);
    match exponent {
        0 => sign * fraction * (2.0f32).powi(-24),
        31 if fraction == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        _ => sign * (1024.0 + fraction) * (2.0f32).powi(exponent - 25),
    }
}

pub(crate) fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

pub(crate) fn cos(x: f64) -> f64 {
    x.cos()
}

pub(crate) fn sin(x: f64) -> f64 {
    x.sin()
}

pub(crate) fn pow(x: f64, y: f64) -> f64 {
    x.powf(y)
}
