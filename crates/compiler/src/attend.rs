//! The blocks of attention: appending this token's rows, scores of queries against all rows, and mixing values by
//! weight.

use lpu_isa::{DelayClass, Instruction, Orientation, SliceId, Word};
use smallvec::SmallVec;

use crate::engine::{Delay, Engine};
use crate::error::CompileError;
use crate::planes::{Load, Result32, pass, pass_from};
use crate::record::Cause;
use crate::task::{Append, PvProduct, QkProduct, Task};
use crate::vectors::Stored;

impl Engine<'_> {
    pub(crate) fn schedule_append(&mut self, task: &Task, append: &Append) -> Result<Delay, CompileError> {
        let row = self.storage(task.inputs[0]);
        let delay = self.scheduler.delay(DelayClass::MemScatter);
        let from = row.ready + self.scheduler.delay(DelayClass::MemRead);
        let mut readable = 0;
        for (token, address) in append.addresses.iter().enumerate() {
            let [low, high] = append.entry.map(|part| part[token].0);
            // A slice takes one row a cycle, so bytes that share one are written one after the other.
            let blocks: &[&[u8]] = if low == high { &[&[0], &[1]] } else { &[&[0, 1]] };
            for &bytes in blocks {
                let landed = self.scheduler.schedule(task.what, from, |scheduler, at| {
                    let places = bytes.iter().map(|&byte| (byte, append.entry[usize::from(byte)][token]));
                    let places =
                        places.map(|(byte, (slice, word))| (byte, slice, word, scheduler.chip.slice_position(slice)));
                    let places: SmallVec<[(u8, SliceId, u32, i32); 2]> = places.collect();
                    // What flows to the farther slice passes the nearer one.
                    let farthest = places.iter().map(|place| place.3).max_by_key(|position| position.unsigned_abs())?;
                    let passing = |position: i32| at + u64::from(position.unsigned_abs());
                    let map = scheduler.fetch(address, farthest, passing(farthest))?;
                    let src = scheduler.fetch(&row, farthest, passing(farthest))?;
                    let mut landed = 0;
                    for (byte, slice, word, position) in places {
                        let issue = passing(position);
                        if !scheduler.tables.write(slice, issue, issue + delay, word) {
                            return None;
                        }
                        let scatter =
                            Instruction::Scatter { src: src.plus(byte), map, base: Word(word), bits: append.window };
                        scheduler.emit(slice.queue(), issue, scatter);
                        landed = landed.max(issue + delay);
                    }
                    Some(landed)
                })?;
                readable = readable.max(landed + 1);
            }
        }
        self.define(task.outputs[0].vreg, readable, None);
        Ok((Cause::Ports, 0))
    }

    pub(crate) fn schedule_qk(&mut self, task: &Task, scores: &QkProduct) -> Result<Delay, CompileError> {
        let sets = QkProduct::sets();
        let mut ready = 0;
        for (half, set) in sets.into_iter().enumerate() {
            let readable = self.ready(task.inputs[half]).unwrap_or(0);
            let load = Load { set, parts: &scores.parts[half], orientation: Orientation::Out, readable, choice: None };
            ready = ready.max(self.planes.load(&mut self.scheduler, &load)?);
        }
        let mut late = 0;
        let mask = self.storage(task.inputs[2]);
        for (out, halves) in task.outputs.iter().zip(task.inputs[3..].chunks(2)) {
            let query: Vec<Stored> = halves.iter().map(|&half| self.storage(half)).collect();
            let output = self.scratch(out)?;
            let from = [0, 1].map(|half| pass_from(&self.scheduler, sets[half].side, &query[half]));
            late = late.max(ready.saturating_sub(from[0].max(from[1])));
            let (at, place) =
                self.scheduler.schedule(task.what, ready.max(from[0]).max(from[1]), |scheduler, at| {
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
                    scores.epilogue.attempt(
                        scheduler,
                        arrival,
                        &[&mask],
                        &arrivals,
                        std::slice::from_mut(&mut place),
                    )?;
                    Some((at, place))
                })?;
            for set in sets {
                self.planes.passed(&self.scheduler, set, at);
            }
            self.define(out.vreg, place.ready, Some(place));
        }
        Ok((Cause::Planes, late))
    }

    pub(crate) fn schedule_pv(&mut self, task: &Task, mix: &PvProduct) -> Result<Delay, CompileError> {
        let set = mix.set;
        let (vectors, ordering) = task.inputs.split_at(task.outputs.len());
        let readable = ordering.iter().filter_map(|&ordering| self.ready(ordering)).max().unwrap_or(0);
        let load = Load { set, parts: &mix.parts, orientation: mix.orientation, readable, choice: None };
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
