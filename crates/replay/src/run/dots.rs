//! Passes over rows in place.

use lpu_num::dot::{Halves, plane_i8};

use super::{Job, Ready, Scratch};
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

    pub(super) fn runs(&self, mut runs: &[Run<At>]) {
        while let Some((run, rest)) = runs.split_first() {
            runs = match rest {
                [second, third, rest @ ..] if self.shared([run, second, third]) => {
                    self.three([run, second, third]);
                    rest
                }
                _ => {
                    self.rows(run);
                    rest
                }
            };
        }
    }

    /// Whether these are passes of three fp16 activations through the same rows.
    fn shared(&self, runs: [&Run<At>; 3]) -> bool {
        let rows = |run: &Run<At>| (run.low, run.high, run.rows, run.same);
        let halves = |run: &&Run<At>| matches!(self.plan.passes[run.pass as usize].activation, Activation::F16(_));
        rows(runs[0]) == rows(runs[1]) && rows(runs[0]) == rows(runs[2]) && !runs[0].same && runs.iter().all(halves)
    }

    fn three(&self, runs: [&Run<At>; 3]) {
        let rows = usize::from(runs[0].rows);
        let (low, high) = (self.rows_of(runs[0].low, rows), self.rows_of(runs[0].high, rows));
        let all = runs.map(|run| match self.plan.passes[run.pass as usize].activation {
            Activation::F16(prepared) => &self.ready(prepared).halves,
            _ => unreachable!("only fp16 passes are shared"),
        });
        let mut sums = [0.0; 192];
        Halves::rows_of(&all, low, high, &mut sums[..3 * rows]);
        for (run, sums) in runs.iter().zip(sums.chunks(rows)) {
            let dst = self.plan.passes[run.pass as usize].dst;
            for (row, sum) in sums.iter().enumerate().take(rows) {
                self.put(dst, usize::from(run.output) + row * usize::from(run.step), sum.to_bits());
            }
        }
    }

    fn rows(&self, run: &Run<At>) {
        let pass = self.plan.passes[run.pass as usize];
        let (lanes, rows) = (self.plan.lanes, usize::from(run.rows));
        let distinct = if run.same { 1 } else { rows };
        let low = self.rows_of(run.low, distinct);
        let mut out = [0u32; 64];
        match pass.activation {
            Activation::I8(x) => {
                let mut sums = [0; 64];
                plane_i8(signed(low), lanes, signed(self.read(x)), &mut sums[..distinct]);
                out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum as u32);
            }
            Activation::F16(prepared) => {
                let mut sums = [0.0; 64];
                self.ready(prepared).halves.rows(low, self.rows_of(run.high, distinct), &mut sums[..distinct]);
                out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum.to_bits());
            }
            Activation::I8F16(prepared) => {
                let mut sums = [0.0; 64];
                self.ready(prepared).digits.rows(signed(low), &mut sums[..distinct]);
                out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum.to_bits());
            }
        }
        if run.same {
            let first = out[0];
            out.fill(first);
        }
        for (row, &value) in out[..rows].iter().enumerate() {
            self.put(pass.dst, usize::from(run.output) + row * usize::from(run.step), value);
        }
    }

    fn ready(&self, prepared: u32) -> &Ready {
        // SAFETY: written in an earlier phase.
        unsafe { &*self.prepared[prepared as usize].get() }
    }

    /// At most 64 lanes of a pass by columns.
    pub(super) fn columns(&self, columns: &Columns, lane: usize, lanes: usize, scratch: &mut Scratch) {
        let pass = self.plan.passes[columns.pass as usize];
        let rows = &self.plan.operands[columns.rows.range()];
        let part = |row: usize| &self.read(rows[row].of())[lane..lane + lanes];
        match pass.activation {
            Activation::I8(x) => {
                let mut sums = [0i32; 64];
                for (row, &x) in signed(self.read(x)).iter().enumerate().take(rows.len()) {
                    for (sum, &weight) in sums.iter_mut().zip(signed(part(row))) {
                        *sum = sum.wrapping_add(i32::from(weight) * i32::from(x));
                    }
                }
                sums[..lanes].iter().enumerate().for_each(|(index, &sum)| self.put(pass.dst, lane + index, sum as u32));
            }
            Activation::F16(prepared) => {
                let mut sums = [0.0; 64];
                self.ready(prepared).halves.columns(rows.len() / 2, |row| (part(2 * row), part(2 * row + 1)), &mut sums[..lanes]);
                sums[..lanes].iter().enumerate().for_each(|(index, sum)| self.put(pass.dst, lane + index, sum.to_bits()));
            }
            Activation::I8F16(prepared) => {
                let weights = &mut scratch.bytes[0][..self.plan.lanes];
                for index in 0..lanes {
                    weights.fill(0);
                    for (row, weight) in weights.iter_mut().enumerate().take(rows.len()) {
                        *weight = part(row)[index];
                    }
                    let mut sum = [0.0];
                    self.ready(prepared).digits.rows(signed(weights), &mut sum);
                    self.put(pass.dst, lane + index, sum[0].to_bits());
                }
            }
        }
    }
}
