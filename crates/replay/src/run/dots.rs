//! Passes over rows in place.

use lpu_num::dot::{max_abs, plane_i8};
use lpu_num::half::f16_to_f32;

use super::{Job, Scratch};
use crate::places::At;
use crate::plan::{Activation, Columns, Run};

fn signed(bytes: &[u8]) -> &[i8] {
    // SAFETY: both have one byte an element, and every byte is a valid `i8`.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) }
}

impl Job {
    /// Puts one output of a pass.
    fn put(&self, dst: At, output: usize, value: u32) {
        // SAFETY: the output lies in the vector; no other task of this phase has this output.
        unsafe { self.arena.pointer(dst).cast::<u32>().add(output).write(value) }
    }

    fn rows_of(&self, at: At, rows: usize) -> &[u8] {
        // SAFETY: a run's rows lie one after another; `elaborate` lets nobody write them in this phase.
        unsafe { self.arena.bytes(at, rows * self.plan.lanes) }
    }

    pub(super) fn rows(&self, run: &Run<At>, scratch: &mut Scratch) {
        let pass = self.plan.passes[run.pass as usize];
        let (lanes, rows) = (self.plan.lanes, usize::from(run.rows));
        let output = |row: usize| usize::from(run.output) + row * usize::from(run.step);
        let low = self.rows_of(run.low, rows);
        match pass.activation {
            Activation::I8(x) => {
                let mut out = [0; 64];
                plane_i8(signed(low), lanes, signed(self.read(x)), &mut out[..rows]);
                out[..rows].iter().enumerate().for_each(|(row, &sum)| self.put(pass.dst, output(row), sum as u32));
            }
            Activation::F16(prepared) | Activation::I8F16(prepared) => {
                // SAFETY: written in an earlier phase.
                let prepared = unsafe { &*self.prepared[prepared as usize].get() };
                let whole = matches!(pass.activation, Activation::F16(_));
                let high = self.rows_of(run.high, rows);
                for (row, (low, high)) in low.chunks_exact(lanes).zip(high.chunks_exact(lanes)).enumerate() {
                    let weights = &mut scratch.floats[0][..lanes];
                    for ((weight, &low), &high) in weights.iter_mut().zip(low).zip(high) {
                        *weight = if whole { f16_to_f32(u16::from_le_bytes([low, high])) } else { f32::from(low as i8) };
                    }
                    self.put(pass.dst, output(row), prepared.row(weights, max_abs(weights)).to_bits());
                }
            }
        }
    }

    /// Some lanes of a pass by columns.
    pub(super) fn columns(&self, columns: &Columns, lane: usize, lanes: usize, scratch: &mut Scratch) {
        let pass = self.plan.passes[columns.pass as usize];
        let rows = &self.plan.operands[columns.rows.range()];
        for lane in lane..lane + lanes {
            let sum = match pass.activation {
                Activation::I8(x) => {
                    let x = signed(self.read(x));
                    let products = rows.iter().zip(x).map(|(row, &x)| i32::from(self.read(row.of())[lane] as i8) * i32::from(x));
                    products.fold(0i32, i32::wrapping_add) as u32
                }
                Activation::F16(prepared) | Activation::I8F16(prepared) => {
                    // SAFETY: written in an earlier phase.
                    let prepared = unsafe { &*self.prepared[prepared as usize].get() };
                    let weights = &mut scratch.floats[0][..self.plan.lanes];
                    weights.fill(0.0);
                    if matches!(pass.activation, Activation::F16(_)) {
                        for (weight, pair) in weights.iter_mut().zip(rows.chunks_exact(2)) {
                            *weight = f16_to_f32(u16::from_le_bytes([self.read(pair[0].of())[lane], self.read(pair[1].of())[lane]]));
                        }
                    } else {
                        for (weight, row) in weights.iter_mut().zip(rows) {
                            *weight = f32::from(self.read(row.of())[lane] as i8);
                        }
                    }
                    prepared.row(weights, max_abs(weights)).to_bits()
                }
            };
            self.put(pass.dst, lane, sum);
        }
    }
}
