//! Tiles of matrices: each is loaded once and passed once a row, and its results are summed with those of the other
//! tiles of its accumulation group.

use lpu_isa::{Mode, Orientation};
use smallvec::SmallVec;

use crate::chain::Pace;
use crate::engine::{Delay, Engine};
use crate::error::CompileError;
use crate::planes::{Load, PlaneSet, Result32, pass, pass_from, result_after};
use crate::record::Cause;
use crate::task::{Epilogue, Pass, Task, Tile, VReg, Work};
use crate::vectors::Stored;

/// Cycles that a result may wait in latches for the operands of its epilogue before it is stored instead.
const PATIENCE: u64 = 16;
/// Starts at which a pass is tried together with its epilogue.
const FUSED_STARTS: u64 = 64;
/// Accumulators of a plane kept for sums whose inputs are all there.
const SPARE: u16 = 2;

/// The pass that completes an accumulation group's sum.
struct LastPass<'a> {
    set: PlaneSet,
    activation: &'a Stored,
    /// First cycle in which it may dispatch.
    from: u64,
    result: Result32,
}

impl Engine<'_> {
    /// Takes the accumulators that a tile's accumulation groups need; false when there is none to be had now.
    pub(crate) fn open(&mut self, tile: &Tile) -> bool {
        let PlaneSet { side, plane, .. } = tile.set;
        let mut taken: SmallVec<[(usize, u16, u8); 2]> = SmallVec::new();
        let unready = tile.accumulations().any(|accumulation| self.accumulations[accumulation].unready > 0);
        let spare = if unready { SPARE } else { 0 };
        let numbered = tile.passes.iter().flat_map(|pass| (0..).zip(pass));
        for (number, &accumulation) in numbered {
            let state = &self.accumulations[accumulation];
            if state.tiles == 1 || state.accumulator.is_some() {
                continue;
            }
            let plane = plane + number;
            match self.planes.open(side, plane, spare) {
                Some(accumulator) => taken.push((accumulation, plane, accumulator)),
                None => {
                    for (_, plane, accumulator) in taken {
                        self.planes.close(side, plane, accumulator);
                    }
                    return false;
                }
            }
        }
        for (accumulation, plane, accumulator) in taken {
            self.accumulations[accumulation].accumulator = Some((plane, accumulator));
        }
        true
    }

    pub(crate) fn schedule_tile(&mut self, task: &Task, tile: &Tile) -> Result<Delay, CompileError> {
        let set = tile.set;
        let map = tile.choice.map(|bits| (self.storage(task.inputs[tile.passes.len()]), bits));
        let choice = map.as_ref().map(|(map, bits)| (map, *bits));
        let load = Load { set, parts: &tile.parts, orientation: Orientation::Out, readable: 0, choice };
        let loaded = self.planes.load(&mut self.scheduler, &load)?;
        let mut late = 0;
        for (accumulations, &activation) in tile.passes.iter().zip(&task.inputs) {
            let activation = self.storage(activation);
            let arrived = pass_from(&self.scheduler, set.side, &activation);
            late = late.max(loaded.saturating_sub(arrived));
            self.schedule_pass(task, accumulations, set, &activation, loaded.max(arrived))?;
        }
        Ok((Cause::Planes, late))
    }

    /// Passes an activation through the planes from cycle `from` on.
    fn schedule_pass(
        &mut self,
        task: &Task,
        accumulations: &Pass,
        set: PlaneSet,
        activation: &Stored,
        from: u64,
    ) -> Result<(), CompileError> {
        let results: SmallVec<[Result32; 2]> =
            accumulations.iter().map(|&accumulation| self.next_result(accumulation)).collect();
        // Sums that leave both planes in one cycle would meet in the VXM, so these pass one after the other.
        if results.iter().all(|result| matches!(result, Result32::Hold(..))) {
            return self.hold(task, set, activation, from, &results);
        }
        for ((number, &accumulation), result) in (0..).zip(accumulations).zip(results) {
            let set = match accumulations.len() {
                1 => set,
                _ => PlaneSet { plane: set.plane + number, count: 1, ..set },
            };
            if self.accumulations[accumulation].left > 0 {
                self.hold(task, set, activation, from, &[result])?;
            } else {
                self.last_pass(task, accumulation, &LastPass { set, activation, from, result })?;
            }
        }
        Ok(())
    }

    /// Where the result of the next pass of an accumulation group goes.
    fn next_result(&mut self, accumulation: usize) -> Result32 {
        let state = &mut self.accumulations[accumulation];
        let mode = if state.left == state.tiles { Mode::Set } else { Mode::Add };
        state.left -= 1;
        match state.accumulator {
            None => Result32::Emit,
            Some((_, accumulator)) if state.left == 0 => Result32::Sum(accumulator, mode),
            Some((_, accumulator)) => Result32::Hold(accumulator, mode),
        }
    }

    /// Passes with results that stay in accumulators.
    fn hold(
        &mut self,
        task: &Task,
        set: PlaneSet,
        activation: &Stored,
        from: u64,
        results: &[Result32],
    ) -> Result<(), CompileError> {
        let at = self.scheduler.schedule(task.what, from, |scheduler, at| {
            pass(scheduler, set, activation, at, results, |_, _| None).map(|()| at)
        })?;
        self.planes.passed(&self.scheduler, set, at);
        Ok(())
    }

    /// Passes, and runs the epilogue on the sum: as it passes the VXM if that is possible, else later, from memory.
    fn last_pass(&mut self, task: &Task, accumulation: usize, last: &LastPass<'_>) -> Result<(), CompileError> {
        let at = match self.try_fused(accumulation, last)? {
            Some(at) => at,
            None => self.spill(task, accumulation, last)?,
        };
        self.planes.passed(&self.scheduler, last.set, at);
        if let Some((plane, accumulator)) = self.accumulations[accumulation].accumulator.take() {
            self.planes.close(last.set.side, plane, accumulator);
            self.unblock();
        }
        Ok(())
    }

    /// Runs the epilogue as the sum passes the VXM; returns the cycle of the pass. Nothing is taken where an operand
    /// comes too late or no start serves both.
    fn try_fused(&mut self, accumulation: usize, last: &LastPass<'_>) -> Result<Option<u64>, CompileError> {
        let &LastPass { set, activation, from, result } = last;
        if !self.meets_operands(accumulation, last) {
            return Ok(None);
        }
        let epilogue = self.accumulations[accumulation].epilogue.clone();
        let places: Vec<Stored> = epilogue.outputs.iter().map(|out| self.scratch(out)).collect::<Result<_, _>>()?;
        let issued = self.scheduler.count();
        let inputs: Vec<Stored> = epilogue.inputs.iter().map(|&input| self.storage(input)).collect();
        let ready: Vec<u64> = inputs.iter().map(|input| self.at_vxm(input)).collect();
        let operands: Vec<&Stored> = inputs.iter().collect();
        let on_time = epilogue.chain.timed(&Pace::default());
        let found = self.scheduler.schedule_within(from, FUSED_STARTS, |scheduler, at| {
            let mut places = places.clone();
            let mut arrival = None;
            pass(scheduler, set, activation, at, &[result], |scheduler, emission| {
                let stream = scheduler.route(4, emission.cycle, emission.position, 0)?;
                arrival = Some((emission.at_vxm(), stream));
                Some(stream)
            })?;
            let (cycle, stream) = arrival?;
            let offsets: Vec<u64> = ready.iter().map(|&ready| ready.saturating_sub(cycle)).collect();
            let late = offsets.iter().any(|&offset| offset > 0);
            let delayed = late.then(|| epilogue.chain.timed(&Pace { offsets, ..Pace::default() }));
            let chain = delayed.as_ref().unwrap_or(&on_time);
            chain.attempt(scheduler, cycle, &operands, &[stream], &mut places)?;
            Some((at, places))
        });
        let Some((at, places)) = found else {
            for place in &places {
                self.vectors.give_back(place);
            }
            return Ok(None);
        };
        for (out, place) in epilogue.outputs.iter().zip(places) {
            self.define(out.vreg, place.ready, Some(place));
        }
        let end = self.scheduler.span(issued).map_or(at, |(_, end)| end);
        for &input in &epilogue.inputs {
            self.drop_use(input, end);
        }
        Ok(Some(at))
    }

    /// Stores the sum, and makes a task of the epilogue, which reads it; returns the cycle of the pass.
    fn spill(&mut self, task: &Task, accumulation: usize, last: &LastPass<'_>) -> Result<u64, CompileError> {
        let &LastPass { set, activation, from, result } = last;
        let Epilogue { chain, inputs: operands, outputs } = self.accumulations[accumulation].epilogue.clone();
        let place = self.vectors.scratch(4, set.side)?;
        let (at, place) = self.scheduler.schedule(task.what, from, |scheduler, at| {
            let mut place = place.clone();
            pass(scheduler, set, activation, at, &[result], |scheduler, emission| {
                scheduler.store(&mut place, emission.position, emission.cycle)
            })?;
            Some((at, place))
        })?;
        let sum = self.vreg();
        let work = Work::Chain(chain.reading_memory(operands.len()));
        let inputs = operands.iter().copied().chain([sum]).collect();
        let (node, priority) = (task.node, task.priority);
        self.task(Task { node, what: "an epilogue", priority, inputs, outputs, work });
        self.define(sum, place.ready, Some(place));
        for input in operands {
            self.drop_use(input, 0);
        }
        Ok(at)
    }

    /// Whether all operands of the epilogue can be at the VXM soon enough after the sum.
    fn meets_operands(&self, accumulation: usize, last: &LastPass<'_>) -> bool {
        let hops = u64::from(self.scheduler.chip.mxm_position(last.set.side).unsigned_abs());
        let arrival = last.from + result_after(&self.scheduler, last.result) + hops;
        let epilogue = &self.accumulations[accumulation].epilogue;
        if epilogue.inputs.iter().any(|&input| self.ready(input).is_none()) {
            return false;
        }
        let offset = |&input: &VReg| self.at_vxm(&self.storage(input)).saturating_sub(arrival);
        let offsets: Vec<u64> = epilogue.inputs.iter().map(offset).collect();
        offsets.iter().all(|&offset| offset <= PATIENCE) && epilogue.chain.can_wait(&offsets)
    }
}
