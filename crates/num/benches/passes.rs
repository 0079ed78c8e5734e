//! One pass of a full plane, 320 outputs of 320 lanes: fp16 and int8.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use lpu_num::dot::{PassF16, max_abs, plane_i8};
use lpu_num::half::{f16_to_f32, f32_to_f16};
use lpu_num::{fp32, fp64};

const SIDE: usize = 320;

/// A fixed sequence of 32-bit numbers that looks random.
fn sequence() -> impl FnMut() -> u32 {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    }
}

/// Roughly normal fp16 values of this scale.
fn values(count: usize, scale: f32, mut next: impl FnMut() -> u32) -> Vec<f32> {
    let mut uniform = || next() as f32 / 4_294_967_296.0 - 0.5;
    (0..count).map(|_| f16_to_f32(f32_to_f16((0..6).map(|_| uniform()).sum::<f32>() * scale))).collect()
}

fn passes(c: &mut Criterion) {
    let x = values(SIDE, 2.0, sequence());
    let w = values(SIDE * SIDE, 0.05, sequence());
    let row_max: Vec<f32> = w.chunks(SIDE).map(max_abs).collect();
    let mut out = vec![0.0; SIDE];
    let mut pass = PassF16::new(&x);
    c.bench_function("fp16 load of activations", |b| b.iter(|| pass.load(black_box(&x))));
    c.bench_function("fp16 plane", |b| b.iter(|| pass.plane(black_box(&w), SIDE, &row_max, &mut out)));

    let mut next = sequence();
    let x: Vec<i8> = (0..SIDE).map(|_| next() as i8).collect();
    let w: Vec<i8> = (0..SIDE * SIDE).map(|_| next() as i8).collect();
    let mut out = vec![0; SIDE];
    c.bench_function("int8 plane", |b| b.iter(|| plane_i8(black_box(&w), SIDE, &x, &mut out)));
}

/// One function over every lane of a vector.
fn vector(c: &mut Criterion, name: &str, x: &[f32], function: impl Fn(f32) -> f32) {
    let mut out = vec![0.0; x.len()];
    c.bench_function(name, |b| b.iter(|| out.iter_mut().zip(black_box(x)).for_each(|(out, &x)| *out = function(x))));
}

fn functions(c: &mut Criterion) {
    let x = values(SIDE, 4.0, sequence());
    vector(c, "fp32 exp, a vector", &x, fp32::exp);
    vector(c, "fp32 tanh, a vector", &x, fp32::tanh);
    vector(c, "fp32 rsqrt, a vector", &x, fp32::rsqrt);
    c.bench_function("fp64 sin", |b| b.iter(|| fp64::sin(black_box(12345.678))));
}

criterion_group!(benches, passes, functions);
criterion_main!(benches);
