//! The blocks of attention in time: rows appended to the key-value slices, QK products against all rows, and PV
//! products.

use lpu_isa::{DelayClass, Instruction, Orientation, SliceId, Word};
use smallvec::SmallVec;

use crate::chain::Pace;
use crate::engine::{Delay, Engine};
use crate::error::CompileError;
use crate::planes::{Load, Result32, pass, pass_from};
use crate::record::Cause;
use crate::scheduler::Scheduler;
use crate::task::{Append, PvProduct, QkProduct, Task};
use crate::vectors::Stored;

/// The writes of one row's bytes for one token slot: a pair of slices, or one slice for one of the bytes.
struct Scatter<'a> {
    append: &'a Append,
    /// Which of the sixteen slots.
    token: usize,
    bytes: &'a [u8],
    row: &'a Stored,
    /// The slot's row address.
    address: &'a Stored,
}

impl Scatter<'_> {
    /// Returns the cycle in which the last byte has landed.
    fn schedule(&self, scheduler: &mut Scheduler<'_>, what: &str) -> Result<u64, CompileError> {
        let delay = scheduler.delay(DelayClass::MemScatter);
        let from = self.row.ready + scheduler.delay(DelayClass::MemRead);
        scheduler.schedule(what, from, |scheduler, at| {
            let place = |&byte: &u8| {
                let (slice, word) = self.append.entry[usize::from(byte)][self.token];
                (byte, slice, word, scheduler.chip.slice_position(slice))
            };
            let places: SmallVec<[(u8, SliceId, u32, i32); 2]> = self.bytes.iter().map(place).collect();
            // What flows to the farther slice passes the nearer one.
            let farthest = places.iter().map(|place| place.3).max_by_key(|position| position.unsigned_abs())?;
            let passing = |position: i32| at + u64::from(position.unsigned_abs());
            let map = scheduler.fetch(self.address, farthest, passing(farthest))?;
            let src = scheduler.fetch(self.row, farthest, passing(farthest))?;
            let mut landed = 0;
            for (byte, slice, word, position) in places {
                let issue = passing(position);
                if !scheduler.tables.write(slice, issue, issue + delay, word) {
                    return None;
                }
                let (src, base, bits) = (src.plus(byte), Word(word), self.append.window);
                scheduler.emit(slice.queue(), issue, Instruction::Scatter { src, map, base, bits });
                landed = landed.max(issue + delay);
            }
            Some(landed)
        })
    }
}

impl Engine<'_> {
    pub(crate) fn schedule_append(&mut self, task: &Task, append: &Append) -> Result<Delay, CompileError> {
        let mut readable = 0;
        for (&row, addresses) in task.inputs.iter().zip(&append.addresses) {
            let row = self.storage(row);
            for (token, address) in addresses.iter().enumerate() {
                let [low, high] = append.entry.map(|part| part[token].0);
                // A slice takes one row a cycle, so bytes that share one are written one after the other.
                let blocks: &[&[u8]] = if low == high { &[&[0], &[1]] } else { &[&[0, 1]] };
                for &bytes in blocks {
                    let scatter = Scatter { append, token, bytes, row: &row, address };
                    let landed = scatter.schedule(&mut self.scheduler, task.what)?;
                    readable = readable.max(landed + 1);
                }
            }
        }
        self.define(task.outputs[0].vreg, readable, None);
        Ok((Cause::Ports, 0))
    }

    pub(crate) fn schedule_qk(&mut self, task: &Task, product: &QkProduct) -> Result<Delay, CompileError> {
        let sets = QkProduct::sets();
        let mut ready = 0;
        for (half, set) in sets.into_iter().enumerate() {
            let readable = self.ready(task.inputs[half]).unwrap_or(0);
            let load = Load { set, parts: &product.parts[half], orientation: Orientation::Out, readable, choice: None };
            ready = ready.max(self.planes.load(&mut self.scheduler, &load)?);
        }
        let epilogue = product.epilogue.timed(&Pace::default());
        let mut late = 0;
        let (masks, queries) = task.inputs[2..].split_at(product.rows);
        let of_row = task.outputs.len() / product.rows;
        for (number, (out, halves)) in task.outputs.iter().zip(queries.chunks(2)).enumerate() {
            let mask = self.storage(masks[number / of_row]);
            let query: Vec<Stored> = halves.iter().map(|&half| self.storage(half)).collect();
            let output = self.scratch(out)?;
            let from = [0, 1].map(|half| pass_from(&self.scheduler, sets[half].side, &query[half]));
            late = late.max(ready.saturating_sub(from[0].max(from[1])));
            let from = ready.max(from[0]).max(from[1]);
            let (at, place) = self.scheduler.schedule(task.what, from, |scheduler, at| {
                let mut place = output.clone();
                let mut arrivals = Vec::new();
                let mut arrival = 0;
                for half in [0, 1] {
                    pass(scheduler, sets[half], &query[half], at, &[Result32::Emit], |scheduler, emission| {
                        let stream = scheduler.route(4, emission.cycle, emission.position, 0)?;
                        arrivals.push(stream);
                        arrival = emission.at_vxm();
                        Some(stream)
                    })?;
                }
                let outputs = std::slice::from_mut(&mut place);
                epilogue.attempt(scheduler, arrival, &[&mask], &arrivals, outputs)?;
                Some((at, place))
            })?;
            for set in sets {
                self.planes.passed(&self.scheduler, set, at);
            }
            self.define(out.vreg, place.ready, Some(place));
        }
        Ok((Cause::Planes, late))
    }

    pub(crate) fn schedule_pv(&mut self, task: &Task, product: &PvProduct) -> Result<Delay, CompileError> {
        let set = product.set;
        let (vectors, ordering) = task.inputs.split_at(task.outputs.len());
        let readable = ordering.iter().filter_map(|&ordering| self.ready(ordering)).max().unwrap_or(0);
        let load = Load { set, parts: &product.parts, orientation: product.orientation, readable, choice: None };
        let ready = self.planes.load(&mut self.scheduler, &load)?;
        let mut late = 0;
        for (out, &vector) in task.outputs.iter().zip(vectors) {
            let vector = self.storage(vector);
            let output = self.scratch(out)?;
            let arrived = pass_from(&self.scheduler, set.side, &vector);
            late = late.max(ready.saturating_sub(arrived));
            let from = ready.max(arrived);
            let (at, place) = self.scheduler.schedule(task.what, from, |scheduler, at| {
                let mut place = output.clone();
                pass(scheduler, set, &vector, at, &[Result32::Emit], |scheduler, emission| {
                    scheduler.store(&mut place, emission.position, emission.cycle)
                })?;
                Some((at, place))
            })?;
            self.planes.passed(&self.scheduler, set, at);
            self.define(out.vreg, place.ready, Some(place));
        }
        Ok((Cause::Planes, late))
    }
}
