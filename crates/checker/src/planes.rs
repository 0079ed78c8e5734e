//! Planes: buffers, arrays, passes, result ports and accumulators, each plane's events in order of time.

use std::collections::BTreeMap;

use lpu_chip::Chip;
use lpu_isa::{ChipId, Fault, Hemisphere, Instruction, LoadFormat, Mode, Orientation, PassFormat, Queue, Violation};

use crate::issues::Issues;

/// What happens at a plane; the order of variants is their order within a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    RowsLand,
    ArrayLands,
    ResultLands,
    AccumulatorLands,
    Install,
    Pass,
    Accumulate,
    PortCloses,
}

#[derive(Default)]
struct Plane {
    loaded: Vec<u16>,
    /// Loads since the last install.
    loads: Vec<usize>,
    orientation: Option<Orientation>,
    /// The install whose weights the array holds.
    array: Option<usize>,
    busy_until: u64,
    /// The issue whose result stands at the port, and its format.
    port: Option<(usize, PassFormat)>,
    accumulators: BTreeMap<u8, PassFormat>,
    /// Format of the result that an `acc` under way took.
    taken: BTreeMap<usize, PassFormat>,
}

type PlaneId = (ChipId, Hemisphere, u16);

/// Holds planes to the rules. Gives back what each `iw`, `abc` and `acc` takes, as [`crate::Flow::ties`] has it.
pub(crate) fn check(chip: &Chip, issues: &Issues, violations: &mut Vec<Violation>) -> Vec<(u32, u32)> {
    let mut ties = Vec::new();
    let mut events: Vec<(u64, Event, usize)> = Vec::new();
    for (index, issue) in issues.list.iter().enumerate() {
        let landed = chip.landing(issue.cycle, issue.instruction.row().delay);
        match issue.instruction {
            Instruction::Lw { .. } => events.push((landed, Event::RowsLand, index)),
            Instruction::Iw { .. } => {
                events.push((issue.cycle, Event::Install, index));
                events.push((landed, Event::ArrayLands, index));
            }
            Instruction::Abc { dst, .. } => {
                events.push((issue.cycle, Event::Pass, index));
                if dst.is_none() {
                    events.push((landed, Event::ResultLands, index));
                    events.push((landed, Event::PortCloses, index));
                }
            }
            Instruction::Acc { .. } => {
                events.push((issue.cycle, Event::Accumulate, index));
                events.push((landed, Event::AccumulatorLands, index));
            }
            _ => {}
        }
    }
    events.sort_unstable();
    let mut planes: BTreeMap<PlaneId, Plane> = BTreeMap::new();
    for (cycle, event, index) in events {
        let issue = &issues.list[index];
        let Queue::Mxm(side, number, _) = issue.queue else { continue };
        let mut fault = |fault| violations.push(issue.violation(cycle, fault));
        if event == Event::Pass {
            let Instruction::Abc { format, .. } = issue.instruction else { continue };
            let occupied = chip.occupancy(format);
            let mut missing = None;
            let mut busy = None;
            for plane in number..number + u16::from(occupied.planes) {
                let state = planes.entry((issue.chip, side, plane)).or_default();
                match state.array {
                    Some(install) => ties.push((index as u32, install as u32)),
                    None => {
                        missing.get_or_insert(plane);
                    }
                }
                if state.busy_until > cycle {
                    busy.get_or_insert((plane, state.busy_until));
                }
                state.busy_until = cycle + occupied.cycles;
            }
            if let Some(plane) = missing {
                fault(Fault::WeightsMissing { plane });
            }
            if let Some((plane, until)) = busy {
                fault(Fault::PlaneBusy { plane, until });
            }
            continue;
        }
        if event == Event::RowsLand {
            let Instruction::Lw { row, orientation, format, .. } = issue.instruction else { continue };
            let filled = match format {
                LoadFormat::Bytes => number..=number,
                LoadFormat::Widen => number & !1..=number | 1,
            };
            let mut overwritten = false;
            for plane in filled {
                let plane = planes.entry((issue.chip, side, plane)).or_default();
                overwritten |= plane.loaded.contains(&row.0) || plane.orientation.is_some_and(|before| before != orientation);
                if !plane.loaded.contains(&row.0) {
                    plane.loaded.push(row.0);
                }
                plane.orientation = Some(orientation);
                plane.loads.push(index);
            }
            if overwritten {
                fault(Fault::BufferOverwritten { row: row.0 });
            }
            continue;
        }
        let plane = planes.entry((issue.chip, side, number)).or_default();
        match (event, issue.instruction) {
            (Event::Install, Instruction::Iw { rows }) => {
                let found = 16 * plane.loaded.iter().filter(|&&row| row < rows.0).count() as u16;
                let beyond = 16 * plane.loaded.len() as u16 - found;
                if found != rows.0 || beyond != 0 {
                    fault(Fault::BufferNotFull { rows: rows.0, found, beyond });
                }
                ties.extend(plane.loads.drain(..).map(|load| (index as u32, load as u32)));
                plane.loaded.clear();
                plane.orientation = None;
            }
            (Event::ArrayLands, _) => {
                plane.array = Some(index);
                if plane.busy_until > cycle {
                    fault(Fault::PlaneBusy { plane: number, until: plane.busy_until });
                }
            }
            (Event::ResultLands, Instruction::Abc { format, .. }) => plane.port = Some((index, format)),
            (Event::Accumulate, _) => match plane.port.take() {
                Some((result, format)) => {
                    ties.push((index as u32, result as u32));
                    plane.taken.insert(index, format);
                }
                None => fault(Fault::AccumulatorMisuse { what: "no result stands at the port" }),
            },
            (Event::PortCloses, _) if plane.port.take_if(|(result, _)| *result == index).is_some() => {
                fault(Fault::AccumulatorMisuse { what: "a result at the port is not taken" });
            }
            (Event::AccumulatorLands, Instruction::Acc { accumulator, mode, .. }) => {
                let Some(format) = plane.taken.remove(&index) else { continue };
                let before = plane.accumulators.insert(accumulator.0, format);
                if mode == Mode::Add && before.is_none() {
                    fault(Fault::AccumulatorMisuse { what: "an accumulator that was never set in this run is added to" });
                } else if mode == Mode::Add && before != Some(format) {
                    fault(Fault::AccumulatorMisuse { what: "an accumulator that holds the other format is added to" });
                }
            }
            _ => {}
        }
    }
    ties.sort_by_key(|&(consumer, _)| consumer);
    ties
}
