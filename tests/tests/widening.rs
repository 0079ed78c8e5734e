//! A widening weight load gives the products that fp16 weights loaded byte by byte give.

use std::fmt::Write;

use lpu::isa::{Program, assemble};
use lpu::{chip, emulator};
use lpu_num::half;

const LANES: usize = 64;

/// One pass over 64 rows of weights. Bytes go to the two planes from 16 streams each; of
/// widened rows each plane's `lw` queue loads a half.
fn kernel(orientation: &str, widen: bool) -> String {
    let mut text = String::from(
        ".chip test-small\n.program product\n.input x f16 [1, 64] at e20:0, e21:0\n\
        .output y f32 [1, 64] at w0:0, w1:0, w2:0, w3:0\n",
    );
    let weights = if widen { 1 } else { 2 };
    for plane in 0..weights {
        for row in 0..LANES {
            writeln!(text, ".input w{plane}.{row} i8 [1, 64] at w{}:{}", 4 + (row % 16), 8 + 4 * plane + row / 16)
                .unwrap();
        }
    }
    for stream in 0..16 {
        writeln!(text, ".queue mem.w{}", 4 + stream).unwrap();
        let position = 2 + stream / 4;
        // All sixteen arrive at the VXM's far side together: the outermost slices read first.
        let start = 5 - position;
        writeln!(text, "@{start} read 8, e{stream}\nrepeat 3, 1, 1").unwrap();
        if !widen {
            writeln!(text, "@{} read 12, e{stream}\nrepeat 3, 1, 1", start + 8).unwrap();
        }
    }
    // A slice at west position 5 reads at cycle 0, so the value is on the stream at 4 and at the plane (position 8) at
    // 17.
    let mut load = |plane: usize, at: usize, row: usize, more: usize| {
        let format = if widen { "widen" } else { "bytes" };
        writeln!(text, ".queue mxm.e{plane}.lw\n@{at} lw e0, {row}, {orientation}, {format}\nrepeat {more}, 1, 16")
            .unwrap();
    };
    if widen {
        load(0, 17, 0, 1);
        load(1, 19, 32, 1);
    } else {
        load(0, 17, 0, 3);
        load(1, 25, 0, 3);
    }
    text.push_str(".queue mxm.e0.iw\n@40 iw 64\n.queue mxm.e1.iw\n@40 iw 64\n");
    text.push_str(
        ".queue mem.e20\n@43 read 0, e16\n.queue mem.e21\n@43 read 0, e17\n.queue mxm.e0.abc\n@49 abc f16, e16, w0\n",
    );
    for slice in 0..4 {
        // Out at 65 at position 8, west to position -1 at 74.
        writeln!(text, ".queue mem.w{slice}\n@74 write 0, w{slice}").unwrap();
    }
    text
}

fn weight(row: usize, column: usize) -> i8 {
    ((row * 37 + column * 101 + row * column) % 256) as u8 as i8
}

fn product(orientation: &str, widen: bool) -> Vec<u8> {
    let text = kernel(orientation, widen);
    let small = chip::preset("test-small").unwrap();
    let resolve = &mut |_: &str| Some((small.reference(), small.lanes() as u32));
    let (mut container, _) =
        assemble(&text, &mut |_| Err("no files".into()), resolve).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"));
    let program: &mut Program = &mut container.programs[0];
    program.cycles = lpu::checker::derived_cycles(&small, program);
    let program = &container.programs[0];
    let report = lpu::checker::check(&small, &container.image, program).unwrap();
    assert_eq!(report.violations.first().map(ToString::to_string), None);
    let mut machine = emulator::Machine::new(&small, &container.image).unwrap();
    for row in 0..LANES {
        let bits: Vec<[u8; 2]> =
            (0..LANES).map(|column| half::f32_to_f16(f32::from(weight(row, column))).to_le_bytes()).collect();
        if widen {
            let bytes: Vec<u8> = (0..LANES).map(|column| weight(row, column) as u8).collect();
            machine.write_input(program, &format!("w0.{row}"), &bytes).unwrap();
        } else {
            for plane in 0..2 {
                let bytes: Vec<u8> = bits.iter().map(|pair| pair[plane]).collect();
                machine.write_input(program, &format!("w{plane}.{row}"), &bytes).unwrap();
            }
        }
    }
    let x: Vec<u8> = (0..LANES).flat_map(|lane| half::f32_to_f16(lane as f32 * 0.37 - 9.0).to_le_bytes()).collect();
    machine.write_input(program, "x", &x).unwrap();
    let prepared = machine.prepare(program).unwrap();
    assert_eq!(machine.run(&prepared, &mut ()).unwrap().cycles, program.cycles);
    machine.read_region(program, "y").unwrap()
}

#[test]
fn a_widening_load_equals_fp16_weights() {
    let mut results = Vec::new();
    for orientation in ["out", "in"] {
        let bytes = product(orientation, false);
        assert!(bytes == product(orientation, true), "{orientation}");
        results.push(bytes);
    }
    assert!(results[0] != results[1]);
}
