//! The hand-written kernels: legal, right, and with their golden cycles.

use std::path::PathBuf;

use lpu::chip::System;
use lpu::emulator;
use lpu::isa::{Program, assemble};

const LANES: usize = 320;

fn noise(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn to_floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|cell| f32::from_le_bytes(cell.try_into().unwrap())).collect()
}

/// Checks, runs and gives back the named output.
fn run(name: &str, cycles: u64, inputs: &[(&str, Vec<u8>)], output: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/kernels").join(name);
    let source = std::fs::read_to_string(path).unwrap();
    let mut by_name =
        |name: &str| System::preset(name).ok().map(|system| (system.reference(), system.chip().lanes() as u32));
    let (container, _) = assemble(&source, &mut |_| Err("kernels have no image file".into()), &mut by_name).unwrap();
    let system = System::preset(&container.chip.name).unwrap();
    let program: &Program = &container.programs[0];
    let report = lpu::checker::check_system(&system, &container.image, program).unwrap();
    assert_eq!(report.violations.first().map(ToString::to_string), None, "{name}");
    assert_eq!(report.warnings(&system, program), [], "{name}");
    let mut machine = emulator::Machine::of_system(&system, &container.image).unwrap();
    for (region, bytes) in inputs {
        machine.write_input(program, region, bytes).unwrap();
    }
    let prepared = machine.prepare(program).unwrap();
    assert_eq!(machine.run(&prepared, &mut ()).unwrap().cycles, cycles, "{name}");
    machine.read_region(program, output).unwrap()
}

fn close(found: &[u8], expected: &[f64], most: f64) {
    for (lane, (found, expected)) in to_floats(found).into_iter().zip(expected).enumerate() {
        assert!(
            (f64::from(found) - expected).abs() <= most * expected.abs(),
            "lane {lane}: {found}, expected {expected}"
        );
    }
}

#[test]
fn vector_add_takes_32_cycles() {
    let (a, b) = (noise(1, LANES), noise(2, LANES));
    let found = run("vector-add.lpu", 32, &[("a", floats(&a)), ("b", floats(&b))], "c");
    let expected: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
    assert_eq!(to_floats(&found), expected);
}

#[test]
fn transpose_takes_52_cycles() {
    let rows: Vec<u8> = (0..16 * LANES).map(|cell| (cell * 7 % 251) as u8).collect();
    let found = run("transpose.lpu", 52, &[("rows", rows.clone())], "columns");
    for (cell, value) in found.into_iter().enumerate() {
        let (stream, lane) = (cell / LANES, cell % LANES);
        assert_eq!(value, rows[lane % 16 * LANES + lane / 16 * 16 + stream]);
    }
}

#[test]
fn gemv_takes_103_cycles() {
    let bytes =
        |seed, count| noise(seed, count).into_iter().map(|value| (value * 127.0) as i8 as u8).collect::<Vec<u8>>();
    let (x, weights) = (bytes(3, LANES), bytes(4, LANES * LANES));
    let found = run("gemv-320.lpu", 103, &[("x", x.clone()), ("weights", weights.clone())], "y");
    for (row, cell) in found.chunks_exact(4).enumerate() {
        let products = weights[row * LANES..(row + 1) * LANES]
            .iter()
            .zip(&x)
            .map(|(&w, &x)| i32::from(w as i8) * i32::from(x as i8));
        assert_eq!(i32::from_le_bytes(cell.try_into().unwrap()), products.sum::<i32>(), "row {row}");
    }
}

/// Two tiles of a matrix, whose sums meet in an accumulator.
#[test]
fn gemv_of_two_tiles_takes_125_cycles() {
    let bytes =
        |seed, count| noise(seed, count).into_iter().map(|value| (value * 127.0) as i8 as u8).collect::<Vec<u8>>();
    let (x, weights) = (bytes(11, 2 * LANES), bytes(12, 2 * LANES * LANES));
    let found = run("gemv.lpu", 125, &[("x", x.clone()), ("weights", weights.clone())], "y");
    for (row, cell) in found.chunks_exact(4).enumerate() {
        let products = weights[2 * row * LANES..][..2 * LANES]
            .iter()
            .zip(&x)
            .map(|(&w, &x)| i32::from(w as i8) * i32::from(x as i8));
        assert_eq!(i32::from_le_bytes(cell.try_into().unwrap()), products.sum::<i32>(), "row {row}");
    }
}

#[test]
fn rms_norm_takes_348_cycles() {
    let (x, gain) = (noise(5, LANES), noise(6, LANES));
    let found = run("rms-norm.lpu", 348, &[("x", floats(&x)), ("gain", floats(&gain))], "y");
    let mean = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / LANES as f64;
    let expected: Vec<f64> =
        x.iter().zip(&gain).map(|(&x, &gain)| f64::from(gain) * f64::from(x) / (mean + 1e-5).sqrt()).collect();
    close(&found, &expected, 1e-5);
}

#[test]
fn softmax_takes_640_cycles() {
    let x: Vec<f32> = noise(7, LANES).into_iter().map(|value| 10.0 * value).collect();
    let found = run("softmax.lpu", 640, &[("x", floats(&x))], "y");
    let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = x.iter().map(|&x| f64::from(x - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    close(&found, &powers.iter().map(|power| power / sum).collect::<Vec<_>>(), 1e-5);
}

#[test]
fn fetch_and_sync_takes_75_cycles() {
    let x = noise(8, LANES);
    let found = run("fetch-and-sync.lpu", 75, &[("x", floats(&x))], "y");
    close(&found, &x.iter().map(|&x| (2.0 * f64::from(x)).tanh()).collect::<Vec<_>>(), 1e-6);
}

#[test]
fn two_chips_take_358_cycles() {
    let (a, b) = (noise(9, LANES), noise(10, LANES));
    let found = run("two-chips.lpu", 358, &[("a", floats(&a)), ("b", floats(&b))], "c");
    let expected: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
    assert_eq!(to_floats(&found), expected);
}
