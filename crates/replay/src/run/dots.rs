//! Passes over rows in place.

use std::sync::atomic::Ordering;

use lpu_num::dot::{Halves, Octets, Planes};
use smallvec::SmallVec;

use super::fetch::Fetch;
use super::rows::TOGETHER;
use super::{ALIKE, Job, LINE, Ready, Scratch, UNKNOWN};
use crate::places::{At, UNIT};
use crate::plan::{Activation, Columns, Pass, Run, Span};

/// Passes that share rows are done together, so many at most.
const SHARED: usize = 12;

/// What a task has met lately.
struct Met<'a> {
    /// Room for the sums of passes that are done together.
    sums: &'a mut [f32],
    /// int8 activations by their places.
    octets: [Option<(At, Octets<'a>)>; 32],
}

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

    /// Puts neighbouring outputs of a pass, from `first` on.
    fn put_lanes(&self, dst: At, first: usize, values: &[f32]) {
        let to = self.arena.pointer(dst).cast::<f32>().wrapping_add(first);
        // SAFETY: the outputs lie in the vector; no other task of this phase has these outputs.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), to, values.len()) }
    }

    /// The runs of a task.
    pub(super) fn runs(&self, task: usize, span: Span, scratch: &mut Scratch, fetch: &mut Fetch<'_>) {
        let mut number = span.start as usize;
        let mut runs = &self.plan.runs[span.range()];
        let (steady, epoch) = (&self.steady[task], self.arena.epoch());
        let is_steady = steady.epoch.load(Ordering::Relaxed) == epoch;
        if is_steady && steady.greatest.load(Ordering::Relaxed) != ALIKE {
            return self.steady_runs(span, steady.greatest.load(Ordering::Relaxed), &mut scratch.floats[0], fetch);
        }
        let mut met = Met { sums: &mut scratch.floats[0][..64 * SHARED], octets: Default::default() };
        let mut greatest: Option<u8> = Some(0);
        while let Some(first) = runs.first() {
            let same = runs.iter().take_while(|run| run.same && run.pass == first.pass).count();
            let shared = runs.iter().take(SHARED).take_while(|run| self.shared(first, run)).count();
            let (together, rows) = if same + shared == 0 { self.together(number, span.end as usize) } else { Default::default() };
            let (now, later) = runs.split_at(same.max(shared).max(together.range().len()));
            let mut found = None;
            match now {
                _ if same > 0 => found = self.equal_rows(now, number, is_steady, &mut met, fetch),
                _ if shared == 0 => self.rows(together, rows, &mut met, fetch),
                [run] => found = self.halves(run, number, met.sums, fetch),
                _ => self.several(now, number, met.sums, fetch),
            }
            greatest = greatest.zip(found).map(|(greatest, found)| greatest.max(found));
            let end = number + now.len();
            fetch.done(Span { start: number as u32, end: end as u32 });
            number = end;
            runs = later;
        }
        if let Some(greatest) = greatest {
            steady.greatest.store(greatest, Ordering::Relaxed);
            steady.epoch.store(epoch, Ordering::Relaxed);
        }
    }

    /// Runs of a [`Steady`](super::Steady) task.
    fn steady_runs(&self, runs: Span, greatest: u8, sums: &mut [f32], fetch: &mut Fetch<'_>) {
        let mut start = runs.start;
        while start < runs.end {
            let (together, rows) = self.together(start as usize, runs.end as usize);
            self.known_halves(together, rows, Some(greatest), sums, fetch);
            fetch.done(together);
            start = together.end;
        }
    }

    /// Whether these are passes of fp16 activations through the same rows, each of its own.
    fn shared(&self, one: &Run<At>, other: &Run<At>) -> bool {
        let rows = |run: &Run<At>| (run.low, run.high, run.rows, run.same);
        let halves = |run: &Run<At>| self.plan.passes[run.pass as usize].activation.planes() == 2;
        rows(one) == rows(other) && !one.same && halves(one) && halves(other)
    }

    /// A run of fp16 rows. Rows that have not changed since they were read are read up to the last activation other than zero, once it is known
    /// that they are finite. Gives back their greatest byte if they are finite and will stay as they are for an epoch.
    fn halves(&self, run: &Run<At>, number: usize, sums: &mut [f32], fetch: &mut Fetch<'_>) -> Option<u8> {
        let bytes = usize::from(run.rows) * self.plan.lanes;
        let same = |at: At| !self.arena.blank(at) && self.arena.unchanged(at, bytes);
        if !same(run.low) || !same(run.high) {
            self.note_live(run.pass, self.plan.lanes);
            self.several(std::slice::from_ref(run), number, sums, fetch);
            return None;
        }
        let greatest = &self.greatest[number];
        let known = Some(greatest.load(Ordering::Relaxed)).filter(|&most| most != UNKNOWN);
        let alone = Span { start: number as u32, end: number as u32 + 1 };
        let most = self.known_halves(alone, usize::from(run.rows), known, sums, fetch);
        greatest.store(most, Ordering::Relaxed);
        (most < Halves::INFINITE && self.arena.steady(run.low, bytes) && self.arena.steady(run.high, bytes)).then_some(most)
    }

    /// Runs of fp16 rows, so many in all, that are done together and whose greatest byte is known, or will be.
    #[inline]
    fn known_halves(&self, runs: Span, rows: usize, greatest: Option<u8>, sums: &mut [f32], fetch: &mut Fetch<'_>) -> u8 {
        let first = &self.plan.runs[runs.start as usize];
        let pass = &self.plan.passes[first.pass as usize];
        let Activation::F16(prepared) = pass.activation else { unreachable!("these are fp16 passes") };
        let halves = &self.ready(prepared).halves;
        self.note_live(first.pass, halves.live(greatest));
        let sums = &mut sums[..rows];
        let mut room = Vec::new();
        let weights = self.halves_of(runs.start as usize, rows, &mut room);
        let most = halves.rows(weights, greatest, sums, fetch);
        self.put_together(runs, pass.dst, sums.iter().map(|sum| sum.to_bits()));
        most
    }

    /// Runs of fp16 passes through the same rows, the first of them number `number`.
    fn several(&self, runs: &[Run<At>], number: usize, sums: &mut [f32], fetch: &mut Fetch<'_>) {
        let rows = usize::from(runs[0].rows);
        let mut room = Vec::new();
        let weights = self.halves_of(number, rows, &mut room);
        let halves = |run: &Run<At>| match self.plan.passes[run.pass as usize].activation {
            Activation::F16(prepared) => &self.ready(prepared).halves,
            _ => unreachable!("only fp16 passes are shared"),
        };
        let all: SmallVec<[&Halves; SHARED]> = runs.iter().map(halves).collect();
        let sums = &mut sums[..runs.len() * rows];
        let lanes = self.plan.lanes;
        let blank = |row: usize| self.arena.blank(runs[0].low.plus(row * lanes)) && self.arena.blank(runs[0].high.plus(row * lanes));
        Halves::rows_of(&all, weights, blank, sums, fetch);
        for (run, sums) in runs.iter().zip(sums.chunks(rows)) {
            let dst = self.plan.passes[run.pass as usize].dst;
            self.put_all(run, dst, sums.iter().map(|sum| sum.to_bits()));
        }
    }

    /// The int8 activations of a pass; those met lately are known.
    fn octets<'a>(&'a self, x: At, met: &mut Met<'a>) -> Octets<'a> {
        let place = &mut met.octets[x.0 as usize / (self.plan.lanes / UNIT) % 32];
        match place {
            Some((at, octets)) if *at == x => *octets,
            _ => place.insert((x, Octets::new(signed(self.read(x))))).1,
        }
    }

    /// Runs of rows, so many in all, that are done together.
    fn rows<'a>(&'a self, runs: Span, rows: usize, met: &mut Met<'a>, fetch: &mut Fetch<'_>) {
        let first = &self.plan.runs[runs.start as usize];
        let pass = &self.plan.passes[first.pass as usize];
        let mut room = Vec::new();
        let weights = signed(self.bytes_of(runs.start as usize, rows, &mut room));
        match pass.activation {
            Activation::I8(x) => {
                let mut sums = [0; TOGETHER];
                let octets = self.octets(x, met);
                self.note_live(first.pass, octets.live());
                octets.rows(weights, &mut sums[..rows], fetch);
                self.put_together(runs, pass.dst, sums[..rows].iter().map(|&sum| sum as u32));
            }
            Activation::F16(_) => unreachable!("fp16 passes share rows, be it each with itself"),
            Activation::I8F16(prepared) => {
                let mut sums = [0.0f32; TOGETHER];
                let digits = &self.ready(prepared).digits;
                self.note_live(first.pass, digits.live());
                digits.rows(weights, &mut sums[..rows], fetch);
                self.put_together(runs, pass.dst, sums[..rows].iter().map(|sum| sum.to_bits()));
            }
        }
    }

    /// Runs of one pass, the first of them number `number`, each of one row again and again. Rows of one content, as those that sum their activations,
    /// give one sum; a row that was like that of the run before still is if neither has changed, as where all are `steady`. Says with [`ALIKE`] that
    /// all will stay as they are for an epoch.
    fn equal_rows<'a>(&'a self, runs: &[Run<At>], number: usize, steady: bool, met: &mut Met<'a>, fetch: &mut Fetch<'_>) -> Option<u8> {
        let pass = &self.plan.passes[runs[0].pass as usize];
        let halves = pass.activation.planes() == 2;
        let rows = |run: &Run<At>| [run.low, if halves { run.high } else { run.low }];
        let mut last: Option<(&Run<At>, u32)> = None;
        for (run, greatest) in runs.iter().zip(&self.greatest[number..]) {
            let alike = last.filter(|(last, _)| {
                let same = || rows(last).into_iter().chain(rows(run)).all(|at| self.arena.unchanged(at, self.plan.lanes));
                if greatest.load(Ordering::Relaxed) == ALIKE && (steady || same()) {
                    return true;
                }
                let alike = rows(last).map(|at| self.read(at)) == rows(run).map(|at| self.read(at));
                greatest.store(if alike { ALIKE } else { UNKNOWN }, Ordering::Relaxed);
                alike
            });
            let sum = alike.map_or_else(|| self.one_row(pass, rows(run).map(|at| self.read(at)), met, fetch), |(_, sum)| sum);
            last = Some((run, sum));
            self.put_all(run, pass.dst, std::iter::repeat_n(sum, usize::from(run.rows)));
        }
        let stay = || runs.iter().flat_map(rows).all(|at| self.arena.steady(at, self.plan.lanes));
        (steady || stay()).then_some(ALIKE)
    }

    fn one_row<'a>(&'a self, pass: &Pass<At>, [low, high]: [&[u8]; 2], met: &mut Met<'a>, fetch: &mut Fetch<'_>) -> u32 {
        let mut sums = [0.0f32];
        match pass.activation {
            Activation::I8(x) => {
                let mut sums = [0];
                self.octets(x, met).rows(signed(low), &mut sums, fetch);
                return sums[0] as u32;
            }
            Activation::F16(prepared) => {
                self.ready(prepared).halves.rows(Planes::Apart(low, high), None, &mut sums, fetch);
            }
            Activation::I8F16(prepared) => self.ready(prepared).digits.rows(signed(low), &mut sums, fetch),
        }
        sums[0].to_bits()
    }

    /// Notes how many lanes of its weights a pass reads.
    fn note_live(&self, pass: u32, lanes: usize) {
        let lines = lanes.div_ceil(LINE) as u16;
        let live = &self.live[pass as usize];
        if live.load(Ordering::Relaxed) != lines {
            live.store(lines, Ordering::Relaxed);
        }
    }

    /// Puts the outputs of runs that are done together.
    fn put_together(&self, runs: Span, dst: At, mut values: impl Iterator<Item = u32>) {
        for run in &self.plan.runs[runs.range()] {
            self.put_all(run, dst, values.by_ref().take(usize::from(run.rows)));
        }
    }

    /// Puts the outputs of a run.
    fn put_all(&self, run: &Run<At>, dst: At, values: impl Iterator<Item = u32>) {
        let (first, step) = (self.arena.pointer(dst).cast::<u32>(), usize::from(run.step));
        for (row, value) in values.enumerate() {
            // SAFETY: the output lies in the vector; no other task of this phase has this output.
            unsafe { first.add(usize::from(run.output) + row * step).write(value) }
        }
    }

    fn ready(&self, prepared: u32) -> &Ready {
        // SAFETY: written in an earlier phase.
        unsafe { &*self.prepared[prepared as usize].get() }
    }

    /// At most 64 lanes of passes by columns through the same rows.
    pub(super) fn columns(&self, columns: &[Columns], lane: usize, lanes: usize, scratch: &mut Scratch) {
        for columns in columns.chunks(SHARED) {
            let halves = |columns: &Columns| match self.plan.passes[columns.pass as usize].activation {
                Activation::F16(prepared) => Some(&self.ready(prepared).halves),
                _ => None,
            };
            let all: SmallVec<[&Halves; SHARED]> = columns.iter().filter_map(halves).collect();
            if all.len() < columns.len() {
                columns.iter().for_each(|columns| self.one_columns(columns, lane, lanes, scratch));
                continue;
            }
            let rows = &self.plan.operands[columns[0].rows.range()];
            let part = |row: usize| &self.read(rows[row].of())[lane..lane + lanes];
            let mut sums = [0.0; 64 * SHARED];
            let sums = &mut sums[..lanes * all.len()];
            let blank = |row: usize| self.arena.blank(rows[2 * row].of()) && self.arena.blank(rows[2 * row + 1].of());
            Halves::columns(&all, rows.len() / 2, |row| (part(2 * row), part(2 * row + 1)), blank, sums);
            for (columns, sums) in columns.iter().zip(sums.chunks(lanes)) {
                let dst = self.plan.passes[columns.pass as usize].dst;
                self.put_lanes(dst, lane, sums);
            }
        }
    }

    fn one_columns(&self, columns: &Columns, lane: usize, lanes: usize, scratch: &mut Scratch) {
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
            Activation::F16(_) => unreachable!("fp16 passes are done together"),
            Activation::I8F16(prepared) => {
                let weights = &mut scratch.bytes[0][..self.plan.lanes];
                for index in 0..lanes {
                    weights.fill(0);
                    for (row, weight) in weights.iter_mut().enumerate().take(rows.len()) {
                        *weight = part(row)[index];
                    }
                    let mut sum = [0.0];
                    self.ready(prepared).digits.rows(signed(weights), &mut sum, &mut ());
                    self.put(pass.dst, lane + index, sum[0].to_bits());
                }
            }
        }
    }
}
