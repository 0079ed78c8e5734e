//! Prefetch: each worker fetches the rows of its own part into its caches, in the order in which it will read
//! them, while it reads others and while it waits; operations, words of SRAM that later ones take.

use std::sync::atomic::Ordering;

use lpu_num::dot::Prefetch;

use super::calls::CallKind;
use super::partition::Worker;
use super::{ChipJob, Job, LINE};
use crate::places::At;
use crate::plan::{Bytes, ListRange, Op};

/// Bytes fetched ahead of those read while rows are read.
const AHEAD: u64 = 128 << 10;
/// Bytes fetched ahead of those read while a worker waits.
const IDLE: u64 = 768 << 10;
/// Bytes ahead below which some lines of the next rows are fetched at once.
const NEAR: u64 = 32 << 10;
/// So many lines, about as many as the processor can wait for.
const BURST: usize = 20;
/// Operations between fetching what one takes from SRAM and doing it; which word of a window it takes is fetched as
/// long before that.
const SOON: usize = 8;
/// Lines left of the rows at hand below which it is time to go on.
const FEW: usize = 10;

/// Asks for a line of memory, into the second-level cache.
#[inline(always)]
fn prefetch(line: *const i8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch of any address is harmless.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(line);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

impl ChipJob {
    /// Fetches words of SRAM that operations after number `number` will take or put: others are in the caches.
    #[inline(always)]
    pub(super) fn expect(&self, ops: &[Op<At>], number: usize) {
        if let Some(Op::Scatter { map, window, .. } | Op::Gather { map, window, .. }) = ops.get(number + 2 * SOON) {
            prefetch(std::ptr::from_ref(self.chosen(*map, *window)).cast());
        }
        let Some(op) = ops.get(number + SOON) else { return };
        match op {
            Op::Join { parts, .. } => {
                for part in parts.iter().flatten() {
                    if let Bytes::Plane(at) = part {
                        self.expect_word(*at);
                    }
                }
            }
            Op::Copy { dst, .. } => self.expect_word(*dst),
            Op::Split { dst, .. } => dst.iter().for_each(|dst| self.expect_word(*dst)),
            Op::Scatter { map, window, .. } | Op::Gather { map, window, .. } => {
                self.expect_word(*self.chosen(*map, *window))
            }
            _ => {}
        }
    }

    #[inline(always)]
    fn expect_word(&self, at: At) {
        let first: *const i8 = self.arena.pointer(at).cast();
        (0..self.plan.lanes).step_by(LINE).for_each(|byte| prefetch(first.wrapping_add(byte)));
    }
}

/// What a worker has fetched. Its rows are those of its parts, step after step.
pub(super) struct Prefetcher<'a> {
    chips: &'a [ChipJob],
    worker: &'a Worker,
    /// Number of the part at hand.
    part: usize,
    /// Its calls that are not begun.
    calls: ListRange,
    /// High bytes of fp16 rows, fetched after the low ones unless they alternate with them.
    second: Option<At>,
    /// Rows at hand: the next line, and lines left.
    next: *const i8,
    lines: usize,
    /// The first row of the call that was last gone to.
    last: At,
    /// The row after these, rows left in the call from there on, bytes of each, and lines of each that are read.
    at: At,
    first: *const i8,
    rows: usize,
    bytes: usize,
    live: usize,
    /// Whether rows of the call may be blank.
    blanks: bool,
    /// Bytes of the worker's rows, whole ones, up to the end of those at hand; up to those that are read now; in calls
    /// that are done.
    fetched: u64,
    read: u64,
    done: u64,
}

impl<'a> Prefetcher<'a> {
    pub(super) fn new(job: &'a Job, worker: usize) -> Self {
        let worker = &job.partition.workers[worker];
        let calls = worker.parts.first().map(|part| part.calls).unwrap_or_default();
        let next = std::ptr::null();
        Self {
            chips: &job.chips,
            worker,
            part: 0,
            calls,
            second: None,
            next,
            lines: 0,
            last: At(u32::MAX),
            at: At(0),
            first: next,
            rows: 0,
            bytes: 0,
            live: 0,
            blanks: false,
            fetched: 0,
            read: 0,
            done: 0,
        }
    }

    /// The chip of the part at hand.
    fn chip(&self) -> Option<&'a ChipJob> {
        let part = self.worker.parts.get(self.part)?;
        self.chips.get(part.chip as usize)
    }

    /// Goes to a part; says whether there is one.
    fn go_to(&mut self, part: usize) -> bool {
        let found = self.worker.parts.get(part);
        if let Some(found) = found {
            let before = self.chip().map(std::ptr::from_ref);
            (self.part, self.calls) = (part, found.calls);
            if before != self.chip().map(std::ptr::from_ref) {
                // Rows of another chip are other rows, be they at the same address.
                self.last = At(u32::MAX);
            }
        }
        found.is_some()
    }

    /// The worker begins a step.
    pub(super) fn begin(&mut self, step: usize) {
        let share = self.worker.steps[step];
        self.done = share.before;
        self.read = self.done;
        let first = share.parts.start as usize;
        if self.part < first || self.fetched < self.read {
            if !self.go_to(first) {
                (self.part, self.calls) = (first, ListRange::default());
            }
            (self.second, self.lines, self.rows, self.fetched) = (None, 0, 0, self.read);
        }
    }

    /// Call number `number` of a chip is done, be it that not all of its lanes were read, or none of them fetched.
    pub(super) fn done(&mut self, chip: &ChipJob, number: usize) {
        self.done += u64::from(chip.calls.list[number].bytes);
        self.read = self.done;
        if self.fetched < self.read
            && (self.calls.start as usize..=self.calls.end as usize).contains(&(number + 1))
            && self.chip().is_some_and(|own| std::ptr::eq(own, chip))
        {
            self.calls.start = number as u32 + 1;
            (self.second, self.lines, self.rows, self.fetched) = (None, 0, 0, self.read);
        }
    }

    /// Fetches some lines, unless enough is on its way.
    pub(super) fn idle(&mut self) {
        if self.fetched < self.read + IDLE && (self.lines > 0 || self.more()) {
            self.some(4);
        }
    }

    /// Fetches up to `count` lines of the rows at hand.
    #[inline(always)]
    fn some(&mut self, count: usize) {
        let count = count.min(self.lines);
        self.lines -= count;
        for _ in 0..count {
            prefetch(self.next);
            self.next = self.next.wrapping_add(LINE);
        }
    }

    /// Goes on to more rows; says whether there are any.
    #[inline(never)]
    fn more(&mut self) -> bool {
        while self.rows == 0 {
            if !self.call() {
                self.fetched = u64::MAX / 2;
                return false;
            }
        }
        let Some(chip) = self.chip() else { return false };
        let mut rows = self.rows;
        if self.blanks {
            let blank = |row: usize| chip.arena.blank(self.at.plus(row * self.bytes));
            let first = (0..rows).take_while(|&row| blank(row)).count();
            rows = (first..rows).take_while(|&row| !blank(row)).count();
            self.skip(first);
        }
        let all = self.bytes.div_ceil(LINE);
        // Most lines of a row are read: all are fetched, as the processor does anyway.
        if self.live + 1 >= all {
            (self.next, self.lines) = (self.first, rows * self.bytes / LINE);
        } else {
            // None are left where all that came were blank.
            rows = rows.min(1);
            (self.next, self.lines) = (self.first, rows * self.live);
        }
        self.skip(rows);
        true
    }

    /// Goes past some rows of the call at hand.
    fn skip(&mut self, rows: usize) {
        let bytes = rows * self.bytes;
        self.rows -= rows;
        self.at = self.at.plus(bytes);
        self.first = self.first.wrapping_add(bytes);
        self.fetched += bytes as u64;
    }

    /// Goes to the first row of the next call, or to the high bytes of this one; says whether there is any.
    fn call(&mut self) -> bool {
        if self.second.is_none() {
            while self.calls.start == self.calls.end {
                if !self.go_to(self.part + 1) {
                    return false;
                }
            }
        }
        let Some(job) = self.chip() else { return false };
        if let Some(high) = self.second.take() {
            self.at = high;
        } else {
            let call = &job.calls.list[self.calls.start as usize];
            self.calls.start += 1;
            if std::mem::replace(&mut self.last, call.planes.low) == call.planes.low || call.kind == CallKind::Equal {
                // Passes that share rows fetch them once; the row of a run of one row is seldom looked at.
                self.fetched += u64::from(call.bytes);
                self.rows = 0;
                return true;
            }
            let pass = job.plan.runs[call.runs.start as usize].pass as usize;
            let (planes, paired) = (job.plan.passes[pass].activation.planes(), call.planes.paired);
            self.second = (planes == 2 && !paired).then_some(call.planes.high);
            self.live = usize::from(job.live[pass].load(Ordering::Relaxed)) * if paired { 2 } else { 1 };
            self.at = call.planes.low;
            // Of passes that share rows, all but the first.
            self.fetched += u64::from(call.bytes)
                - (call.rows() * call.planes.each() * if self.second.is_some() { 2 } else { 1 }) as u64;
        }
        let call = &job.calls.list[self.calls.start as usize - 1];
        (self.rows, self.bytes) = (call.rows(), call.planes.each());
        self.first = job.arena.pointer(self.at).cast();
        self.blanks = job.arena.may_be_blank(self.at);
        true
    }
}

impl Prefetch for Prefetcher<'_> {
    #[inline(always)]
    fn rows(&mut self) {
        while self.lines < FEW && self.fetched < self.read + AHEAD {
            self.some(self.lines);
            if !self.more() {
                return;
            }
            if self.fetched < self.read + NEAR {
                self.some(BURST);
            }
        }
    }

    #[inline(always)]
    fn lines(&mut self, count: usize) {
        self.read += (count * LINE) as u64;
        self.some(count);
    }
}
