//! Passes over rows in place.

use std::ops::Range;
use std::sync::atomic::Ordering;

use lpu_num::dot::{HalfWeights, Halves, Octets};
use smallvec::SmallVec;

use super::calls::{Call, CallKind, SHARED, TOGETHER};
use super::prefetch::Prefetcher;
use super::{ALIKE, ChipJob, LINE, Ready, Scratch, UNKNOWN};
use crate::places::At;
use crate::plan::{Bytes, Columns, Pass, PassInput, RowRun};

fn signed(bytes: &[u8]) -> &[i8] {
    // SAFETY: both have one byte an element, and every byte is a valid `i8`.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) }
}

impl ChipJob {
    /// Puts one output of a pass.
    fn put(&self, dst: At, output: usize, value: u32) {
        // SAFETY: the output is in the vector; no other task of this phase has this output.
        unsafe { self.arena.pointer(dst).cast::<u32>().add(output).write(value) }
    }

    /// Puts neighbouring outputs of a pass, from `first` on.
    fn put_lanes(&self, dst: At, first: usize, values: &[f32]) {
        let to = self.arena.pointer(dst).cast::<f32>().wrapping_add(first);
        // SAFETY: the outputs are in the vector; no other task of this phase has these outputs.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), to, values.len()) }
    }

    /// The runs of a task.
    pub(super) fn runs(&self, task: usize, scratch: &mut Scratch, prefetch: &mut Prefetcher<'_>) {
        let calls = self.calls.of_task[task].range();
        let sums = &mut scratch.floats[0][..];
        let (steady, epoch) = (&self.steady[task], self.arena.epoch());
        let is_steady = steady.epoch.load(Ordering::Relaxed) == epoch;
        let known = Some(steady.greatest.load(Ordering::Relaxed)).filter(|&greatest| is_steady && greatest != ALIKE);
        let mut greatest: Option<u8> = Some(0);
        for number in calls {
            let call = &self.calls.list[number];
            let pass = self.pass_of(call);
            let found = match (call.kind, pass.activation) {
                (CallKind::StoredRows, PassInput::F16(prepared)) if known.is_some() => {
                    Some(self.known_halves(call, prepared, known, sums, prefetch))
                }
                (CallKind::StoredRows, PassInput::F16(prepared)) => self.halves(call, prepared, sums, prefetch),
                (CallKind::StoredRows, PassInput::I8(x)) => self.octet_rows(call, x, prefetch),
                (CallKind::StoredRows, PassInput::I8F16(prepared)) => self.digit_rows(call, prepared, prefetch),
                (CallKind::Equal, _) => self.equal_rows(call, is_steady, prefetch),
                (CallKind::Shared, _) => self.several(call, sums, prefetch),
            };
            greatest = greatest.zip(found).map(|(greatest, found)| greatest.max(found));
            prefetch.done(self, number);
        }
        if let Some(greatest) = greatest.filter(|_| known.is_none()) {
            steady.greatest.store(greatest, Ordering::Relaxed);
            steady.epoch.store(epoch, Ordering::Relaxed);
        }
    }

    /// The pass of a call's first run.
    fn pass_of(&self, call: &Call) -> &Pass<At> {
        &self.plan.passes[self.plan.runs[call.runs.start as usize].pass as usize]
    }

    /// Runs of a pass of fp16 rows. Rows that have not changed since they were read are read up to the last activation
    /// other than zero, once it is known that they are finite. Gives back their greatest byte if they are finite and
    /// will stay as they are for an epoch.
    fn halves(&self, call: &Call, prepared: u32, sums: &mut [f32], prefetch: &mut Prefetcher<'_>) -> Option<u8> {
        let places = || {
            let places =
                self.runs_of(call).iter().map(|run| ([run.low, run.high], usize::from(run.rows) * self.plan.lanes));
            places.flat_map(|(places, bytes)| places.map(|at| (at, bytes)))
        };
        if !places().all(|(at, bytes)| !self.arena.blank(at) && self.arena.unchanged(at, bytes)) {
            return self.several(call, sums, prefetch);
        }
        let greatest = &self.greatest[call.runs.start as usize];
        let known = Some(greatest.load(Ordering::Relaxed)).filter(|&most| most != UNKNOWN);
        let most = self.known_halves(call, prepared, known, sums, prefetch);
        greatest.store(most, Ordering::Relaxed);
        (most < Halves::INFINITE && places().all(|(at, bytes)| self.arena.steady(at, bytes))).then_some(most)
    }

    /// Runs of a pass of fp16 rows whose greatest byte is known, or will be.
    #[inline]
    fn known_halves(
        &self,
        call: &Call,
        prepared: u32,
        greatest: Option<u8>,
        sums: &mut [f32],
        prefetch: &mut Prefetcher<'_>,
    ) -> u8 {
        let halves = &self.ready(prepared).halves;
        self.note_live(call, halves.live(greatest));
        let sums = &mut sums[..call.rows()];
        let mut room = Vec::new();
        let most = halves.rows(self.halves_of(call, &mut room), greatest, sums, prefetch);
        self.put_together(call, self.pass_of(call).dst, sums);
        most
    }

    /// Runs of fp16 passes through the same rows, or of one pass.
    fn several(&self, call: &Call, sums: &mut [f32], prefetch: &mut Prefetcher<'_>) -> Option<u8> {
        let rows = call.rows();
        let passes = if call.kind == CallKind::Shared { self.runs_of(call) } else { &self.runs_of(call)[..1] };
        // A call shares the rows of passes of two planes alone, and those are fp16.
        let all: SmallVec<[&Halves; SHARED]> = passes.iter().filter_map(|run| self.halves_ready(run.pass)).collect();
        self.note_live(call, self.plan.lanes);
        let sums = &mut sums[..passes.len() * rows];
        let blank = |row: usize| {
            [call.planes.low, call.planes.high]
                .into_iter()
                .all(|at| self.arena.blank(at.plus(row * call.planes.each())))
        };
        let mut room = Vec::new();
        Halves::rows_of(&all, self.halves_of(call, &mut room), blank, sums, prefetch);
        if call.kind == CallKind::Shared {
            for (run, sums) in passes.iter().zip(sums.chunks(rows)) {
                self.put_all(run, self.plan.passes[run.pass as usize].dst, sums.iter().copied());
            }
        } else {
            self.put_together(call, self.pass_of(call).dst, sums);
        }
        None
    }

    /// The int8 activations of a pass.
    fn octets(&self, x: At) -> Octets<'_> {
        Octets::new(signed(self.read(x)))
    }

    /// Runs of a pass of int8 rows and activations.
    fn octet_rows(&self, call: &Call, x: At, prefetch: &mut Prefetcher<'_>) -> Option<u8> {
        let (mut room, mut sums) = (Vec::new(), [0; TOGETHER]);
        let (octets, sums) = (self.octets(x), &mut sums[..call.rows()]);
        self.note_live(call, octets.live());
        octets.rows(signed(self.bytes_of(call, &mut room)), sums, prefetch);
        self.put_together(call, self.pass_of(call).dst, sums);
        None
    }

    /// Runs of a pass of int8 rows and fp16 activations.
    fn digit_rows(&self, call: &Call, prepared: u32, prefetch: &mut Prefetcher<'_>) -> Option<u8> {
        let (mut room, mut sums) = (Vec::new(), [0.0f32; TOGETHER]);
        let (digits, sums) = (&self.ready(prepared).digits, &mut sums[..call.rows()]);
        self.note_live(call, digits.live());
        digits.rows(signed(self.bytes_of(call, &mut room)), sums, prefetch);
        self.put_together(call, self.pass_of(call).dst, sums);
        None
    }

    /// Runs of one pass, each of one row again and again. Rows of one content, as those that sum their activations,
    /// give one sum; a row that was like that of the run before still is if neither has changed, as where all are
    /// `steady`. Says with [`ALIKE`] that all will stay as they are for an epoch.
    fn equal_rows(&self, call: &Call, steady: bool, prefetch: &mut Prefetcher<'_>) -> Option<u8> {
        let (runs, pass) = (self.runs_of(call), self.pass_of(call));
        let halves = pass.activation.planes() == 2;
        let rows = |run: &RowRun<At>| [run.low, if halves { run.high } else { run.low }];
        let mut last: Option<(&RowRun<At>, u32)> = None;
        for (run, greatest) in runs.iter().zip(&self.greatest[call.runs.range()]) {
            let alike = last.filter(|(last, _)| {
                let same =
                    || rows(last).into_iter().chain(rows(run)).all(|at| self.arena.unchanged(at, self.plan.lanes));
                if greatest.load(Ordering::Relaxed) == ALIKE && (steady || same()) {
                    return true;
                }
                let alike = rows(last).map(|at| self.read(at)) == rows(run).map(|at| self.read(at));
                greatest.store(if alike { ALIKE } else { UNKNOWN }, Ordering::Relaxed);
                alike
            });
            let sum =
                alike.map_or_else(|| self.one_row(pass, rows(run).map(|at| self.read(at)), prefetch), |(_, sum)| sum);
            last = Some((run, sum));
            self.put_all(run, pass.dst, std::iter::repeat_n(sum, usize::from(run.rows)));
        }
        let stay = || runs.iter().flat_map(rows).all(|at| self.arena.steady(at, self.plan.lanes));
        (steady || stay()).then_some(ALIKE)
    }

    fn one_row(&self, pass: &Pass<At>, [low, high]: [&[u8]; 2], prefetch: &mut Prefetcher<'_>) -> u32 {
        let mut sums = [0.0f32];
        match pass.activation {
            PassInput::I8(x) => {
                let mut sums = [0];
                self.octets(x).rows(signed(low), &mut sums, prefetch);
                return sums[0] as u32;
            }
            PassInput::F16(prepared) => {
                self.ready(prepared).halves.rows(HalfWeights::Apart(low, high), None, &mut sums, prefetch);
            }
            PassInput::I8F16(prepared) => self.ready(prepared).digits.rows(signed(low), &mut sums, prefetch),
        }
        sums[0].to_bits()
    }

    /// Notes how many lanes of its weights a call's pass reads.
    fn note_live(&self, call: &Call, lanes: usize) {
        let lines = lanes.div_ceil(LINE) as u16;
        let live = &self.live[self.plan.runs[call.runs.start as usize].pass as usize];
        if live.load(Ordering::Relaxed) != lines {
            live.store(lines, Ordering::Relaxed);
        }
    }

    /// Puts the outputs of a call's runs, which are of one pass.
    fn put_together<T: Copy>(&self, call: &Call, dst: At, mut values: &[T]) {
        for run in self.runs_of(call) {
            let (now, later) = values.split_at(usize::from(run.rows));
            self.put_all(run, dst, now.iter().copied());
            values = later;
        }
    }

    /// Puts the outputs of a run, of 32 bits each.
    fn put_all<T>(&self, run: &RowRun<At>, dst: At, values: impl Iterator<Item = T>) {
        const { assert!(size_of::<T>() == 4, "a lane") };
        let (first, step) = (self.arena.pointer(dst).cast::<T>(), usize::from(run.step));
        let mut to = first.wrapping_add(usize::from(run.output));
        for value in values {
            // SAFETY: the output is in the vector; no other task of this phase has this output.
            unsafe { to.write(value) };
            to = to.wrapping_add(step);
        }
    }

    fn ready(&self, prepared: u32) -> &Ready {
        // SAFETY: written in an earlier phase.
        unsafe { &*self.prepared[prepared as usize].get() }
    }

    /// The activations of an fp16 pass.
    fn halves_ready(&self, pass: u32) -> Option<&Halves> {
        match self.plan.passes[pass as usize].activation {
            PassInput::F16(prepared) => Some(&self.ready(prepared).halves),
            PassInput::I8(_) | PassInput::I8F16(_) => None,
        }
    }

    /// At most 64 lanes of passes by columns through the same rows. For fp16 passes these are low and high bytes in
    /// turn.
    pub(super) fn columns(&self, columns: &[Columns], lane: usize, lanes: usize, scratch: &mut Scratch) {
        for columns in columns.chunks(SHARED) {
            let fp16 = columns.iter().filter_map(|columns| {
                Some((self.plan.passes[columns.pass as usize].dst, self.halves_ready(columns.pass)?))
            });
            let (places, all): (SmallVec<[At; SHARED]>, SmallVec<[&Halves; SHARED]>) = fp16.unzip();
            if !all.is_empty() {
                let rows = &self.plan.operands[columns[0].rows.range()];
                let part = |row: usize| &self.read(rows[row].of())[lane..lane + lanes];
                let mut sums = [0.0; 64 * SHARED];
                let sums = &mut sums[..lanes * all.len()];
                let blank =
                    |row: usize| self.arena.blank(rows[2 * row].of()) && self.arena.blank(rows[2 * row + 1].of());
                Halves::columns(&all, rows.len() / 2, |row| (part(2 * row), part(2 * row + 1)), blank, sums);
                places.into_iter().zip(sums.chunks(lanes)).for_each(|(dst, sums)| self.put_lanes(dst, lane, sums));
            }
            for columns in columns {
                let Pass { activation, dst } = self.plan.passes[columns.pass as usize];
                match activation {
                    PassInput::F16(_) => {}
                    PassInput::I8(x) => self.octet_columns(columns, x, dst, lane..lane + lanes),
                    PassInput::I8F16(prepared) => {
                        self.digit_columns(columns, prepared, dst, lane..lane + lanes, scratch)
                    }
                }
            }
        }
    }

    /// Some lanes of a row.
    fn part(&self, row: Bytes<At>, lanes: Range<usize>) -> &[i8] {
        signed(&self.read(row.of())[lanes])
    }

    fn octet_columns(&self, columns: &Columns, x: At, dst: At, lanes: Range<usize>) {
        let mut sums = [0i32; 64];
        for (&x, &row) in signed(self.read(x)).iter().zip(&self.plan.operands[columns.rows.range()]) {
            for (sum, &weight) in sums.iter_mut().zip(self.part(row, lanes.clone())) {
                *sum = sum.wrapping_add(i32::from(weight) * i32::from(x));
            }
        }
        sums.iter().zip(lanes).for_each(|(&sum, lane)| self.put(dst, lane, sum as u32));
    }

    fn digit_columns(&self, columns: &Columns, prepared: u32, dst: At, lanes: Range<usize>, scratch: &mut Scratch) {
        let weights = &mut scratch.bytes[0][..self.plan.lanes];
        for (index, lane) in lanes.clone().enumerate() {
            weights.fill(0);
            for (weight, &row) in weights.iter_mut().zip(&self.plan.operands[columns.rows.range()]) {
                *weight = self.part(row, lanes.clone())[index] as u8;
            }
            let mut sum = [0.0];
            self.ready(prepared).digits.rows(signed(weights), &mut sum, &mut ());
            self.put(dst, lane, sum[0].to_bits());
        }
    }
}
