//! Busy cycles of a program's units, for reports; `docs/reports.md` says what counts.

use lpu_checker::Issue;
use lpu_chip::System;
use lpu_isa::{ChipId, DelayClass, Flow, Hemisphere, Instruction, Queue, Stream, Unit};
use lpu_report::{Counts, Units};

/// A plane of a system.
type PlaneId = (ChipId, Hemisphere, u16);

/// What a plane does from a cycle on, up to another.
type Span = (PlaneId, u64, u64);

/// Streams fed that are held at once before those of past cycles are counted.
const MOST_PENDING: usize = 1 << 18;

/// Cycles in which streams are fed. Several units may feed one stream in one cycle, at different positions.
#[derive(Default)]
struct Fed {
    /// Cycle on the register, chip, stream.
    pending: Vec<(u64, ChipId, Stream)>,
    count: u64,
}

impl Fed {
    /// Counts what is fed before a cycle, which no later issue adds to.
    fn settle(&mut self, cycle: u64) {
        self.pending.sort_unstable();
        self.pending.dedup();
        let past = self.pending.partition_point(|&(landed, ..)| landed < cycle);
        self.pending.drain(..past);
        self.count += past as u64;
    }
}

/// The busy cycles of a run of `cycles` cycles, from its issues as the checker gives them; what reaches past the end is
/// cut off.
#[must_use]
pub fn counts(system: &System, issues: &[Issue], cycles: u64) -> Counts {
    let values = system.chip().values();
    let mut counts = Counts::default();
    let (mut loads, mut passes): (Vec<Span>, Vec<Span>) = (Vec::new(), Vec::new());
    let mut fed = Fed::default();
    for issue in issues {
        let row = issue.instruction.row();
        match (row.unit, row.delay) {
            (Unit::Mem, DelayClass::MemRead | DelayClass::MemGather) => counts.reads += 1,
            (Unit::Mem, _) => counts.writes += 1,
            (Unit::Vxm, _) => counts.alu_issues += 1,
            (Unit::Sxm, _) => counts.switch_issues += 1,
            _ => {}
        }
        match (issue.instruction, issue.queue) {
            (Instruction::Lw { .. }, Queue::Mxm(side, plane, _)) => {
                loads.push(((issue.chip, side, plane), issue.cycle, (issue.cycle + 1).min(cycles)));
            }
            (Instruction::Abc { format, .. }, Queue::Mxm(side, plane, _)) => {
                let occupied = system.chip().occupancy(format);
                let end = (issue.cycle + occupied.cycles).min(cycles);
                passes.extend(
                    (plane..plane + u16::from(occupied.planes))
                        .map(|plane| ((issue.chip, side, plane), issue.cycle, end)),
                );
            }
            (Instruction::Send { .. }, _) => {
                counts.link_cycles +=
                    (issue.cycle + u64::from(values.c2c_interval)).min(cycles).saturating_sub(issue.cycle);
            }
            _ => {}
        }
        let landed = system.chip().landing(issue.cycle, row.delay);
        for used in issue.instruction.streams().into_iter().filter(|used| used.flow == Flow::Out) {
            fed.pending.extend((0..used.width).map(|offset| (landed, issue.chip, used.first.plus(offset))));
        }
        if fed.pending.len() >= MOST_PENDING {
            fed.settle(issue.cycle);
        }
    }
    fed.settle(u64::MAX);
    counts.stream_cycles = fed.count;
    counts.plane_loads = covered(&mut loads);
    counts.plane_passes = covered(&mut passes);
    loads.append(&mut passes);
    counts.plane_busy = covered(&mut loads);
    counts
}

/// Cycles that spans cover, each cycle of a plane once.
fn covered(spans: &mut [Span]) -> u64 {
    spans.sort_unstable();
    let mut sum = 0;
    let mut before = None;
    for &(plane, start, end) in spans.iter() {
        let from = match before {
            Some((same, until)) if same == plane => start.max(until),
            _ => start,
        };
        sum += end.saturating_sub(from);
        before = Some((plane, from.max(end)));
    }
    sum
}

/// The units of a system, over all its chips.
#[must_use]
pub fn units(system: &System) -> Units {
    let values = system.chip().values();
    let all = |units: u32| u64::from(system.chips()) * u64::from(units);
    Units {
        planes: all(2 * values.planes_per_side),
        alus: all(values.alus),
        switches: all(2 * values.sxm_per_side),
        slices: all(2 * values.slices_per_side),
        streams: all(2 * values.streams),
        links: 2 * system.links().len() as u64,
    }
}
