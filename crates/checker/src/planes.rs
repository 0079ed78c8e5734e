//! Planes: buffers, arrays, passes, result ports and accumulators, each plane's events in order of time.

use std::collections::BTreeMap;

use lpu_chip::Chip;
use lpu_isa::{
    Accumulator, Fault, Hemisphere, Instruction, LoadFormat, Mode, Orientation, PassFormat, Queue, Row, Violation,
};

use crate::issue::Issue;
use crate::issues::ChipIssues;

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
struct PlaneState {
    loaded: Vec<u16>,
    /// Loads since the last install.
    loads: Vec<u32>,
    orientation: Option<Orientation>,
    /// The install whose weights the array holds.
    array: Option<u32>,
    busy_until: u64,
    /// The pass whose result is at the port, and its format.
    port: Option<(u32, PassFormat)>,
    /// The last `acc` that each accumulator was given by, and the format of what it holds.
    accumulators: BTreeMap<u8, (u32, PassFormat)>,
    /// Format of the result that an `acc` under way took.
    taken: BTreeMap<u32, PassFormat>,
}

/// An event under way: when, at which plane, of which issue.
#[derive(Clone, Copy)]
struct PlaneEvent<'a> {
    cycle: u64,
    side: Hemisphere,
    plane: u16,
    index: u32,
    issue: &'a Issue,
}

struct PlaneStates<'a> {
    chip: &'a Chip,
    planes: BTreeMap<(Hemisphere, u16), PlaneState>,
    ties: Vec<(u32, u32)>,
    violations: &'a mut Vec<Violation>,
}

/// Holds planes to the rules. Gives back what each `iw`, `abc` and `acc` takes, of each consumer in the order of
/// [`crate::ChipFlow::ties`].
pub(crate) fn check(chip: &Chip, issues: &ChipIssues, violations: &mut Vec<Violation>) -> Vec<(u32, u32)> {
    let mut planes = PlaneStates { chip, planes: BTreeMap::new(), ties: Vec::new(), violations };
    for (cycle, event, index) in events(chip, issues) {
        let issue = &issues.list[index as usize];
        if let Queue::Mxm(side, plane, _) = issue.queue {
            planes.event(event, PlaneEvent { cycle, side, plane, index, issue });
        }
    }
    planes.ties
}

/// The events of all planes in order of time.
fn events(chip: &Chip, issues: &ChipIssues) -> Vec<(u64, Event, u32)> {
    let mut events = Vec::new();
    for (index, issue) in (0u32..).zip(&issues.list) {
        let landed = chip.landing(issue.cycle, issue.instruction.row().delay);
        match issue.instruction {
            Instruction::Lw { .. } => events.push((landed, Event::RowsLand, index)),
            Instruction::Iw { .. } => {
                events.extend([(issue.cycle, Event::Install, index), (landed, Event::ArrayLands, index)])
            }
            Instruction::Abc { dst, .. } => {
                events.push((issue.cycle, Event::Pass, index));
                if dst.is_none() {
                    events.extend([(landed, Event::ResultLands, index), (landed, Event::PortCloses, index)]);
                }
            }
            Instruction::Acc { .. } => {
                events.extend([(issue.cycle, Event::Accumulate, index), (landed, Event::AccumulatorLands, index)]);
            }
            _ => {}
        }
    }
    events.sort_unstable();
    events
}

impl PlaneStates<'_> {
    fn plane(&mut self, at: PlaneEvent<'_>, plane: u16) -> &mut PlaneState {
        self.planes.entry((at.side, plane)).or_default()
    }

    fn fault(&mut self, at: PlaneEvent<'_>, fault: Fault) {
        self.violations.push(at.issue.violation(at.cycle, fault));
    }

    fn misuse(&mut self, at: PlaneEvent<'_>, what: &'static str) {
        self.fault(at, Fault::AccumulatorMisuse { what });
    }

    fn event(&mut self, event: Event, at: PlaneEvent<'_>) {
        match (event, at.issue.instruction) {
            (Event::RowsLand, Instruction::Lw { row, orientation, format, .. }) => {
                self.rows_land(at, row, orientation, format)
            }
            (Event::Install, Instruction::Iw { rows }) => self.install(at, rows),
            (Event::ArrayLands, _) => self.array_lands(at),
            (Event::Pass, Instruction::Abc { format, .. }) => self.pass(at, format),
            (Event::ResultLands, Instruction::Abc { format, .. }) => {
                self.plane(at, at.plane).port = Some((at.index, format))
            }
            (Event::PortCloses, _) => self.port_closes(at),
            (Event::Accumulate, _) => self.accumulate(at),
            (Event::AccumulatorLands, Instruction::Acc { accumulator, mode, .. }) => {
                self.accumulator_lands(at, accumulator, mode)
            }
            _ => {}
        }
    }

    /// Sixteen rows come into the buffer of a plane, or of both planes of a pair.
    fn rows_land(&mut self, at: PlaneEvent<'_>, row: Row, orientation: Orientation, format: LoadFormat) {
        let filled = match format {
            LoadFormat::Bytes => at.plane..=at.plane,
            LoadFormat::Widen => at.plane & !1..=at.plane | 1,
        };
        let mut overwritten = false;
        for plane in filled {
            let plane = self.plane(at, plane);
            let loaded = plane.loaded.contains(&row.0);
            overwritten |= loaded || plane.orientation.is_some_and(|before| before != orientation);
            if !loaded {
                plane.loaded.push(row.0);
            }
            plane.orientation = Some(orientation);
            plane.loads.push(at.index);
        }
        if overwritten {
            self.fault(at, Fault::BufferOverwritten { row: row.0 });
        }
    }

    /// An install takes the buffer, which must hold the rows that it names and no others.
    fn install(&mut self, at: PlaneEvent<'_>, rows: Row) {
        let plane = self.plane(at, at.plane);
        let found = 16 * plane.loaded.iter().filter(|&&row| row < rows.0).count() as u16;
        let beyond = 16 * plane.loaded.len() as u16 - found;
        let loads = std::mem::take(&mut plane.loads);
        plane.loaded.clear();
        plane.orientation = None;
        self.ties.extend(loads.into_iter().map(|load| (at.index, load)));
        if found != rows.0 || beyond != 0 {
            self.fault(at, Fault::BufferNotFull { rows: rows.0, found, beyond });
        }
    }

    /// The weights of an install replace those of the array, which no pass may be using.
    fn array_lands(&mut self, at: PlaneEvent<'_>) {
        let plane = self.plane(at, at.plane);
        plane.array = Some(at.index);
        let until = plane.busy_until;
        if until > at.cycle {
            self.fault(at, Fault::PlaneBusy { plane: at.plane, until });
        }
    }

    /// A pass takes the arrays of its planes, which must hold weights and be free.
    fn pass(&mut self, at: PlaneEvent<'_>, format: PassFormat) {
        let occupied = self.chip.occupancy(format);
        let (mut missing, mut busy) = (None, None);
        for number in at.plane..at.plane + u16::from(occupied.planes) {
            let plane = self.plane(at, number);
            let until = std::mem::replace(&mut plane.busy_until, at.cycle + occupied.cycles);
            if until > at.cycle {
                busy.get_or_insert((number, until));
            }
            match plane.array {
                Some(install) => self.ties.push((at.index, install)),
                None => {
                    missing.get_or_insert(number);
                }
            }
        }
        if let Some(plane) = missing {
            self.fault(at, Fault::WeightsMissing { plane });
        }
        if let Some((plane, until)) = busy {
            self.fault(at, Fault::PlaneBusy { plane, until });
        }
    }

    /// An `acc` takes the result at the port.
    fn accumulate(&mut self, at: PlaneEvent<'_>) {
        let plane = self.plane(at, at.plane);
        match plane.port.take() {
            Some((result, format)) => {
                plane.taken.insert(at.index, format);
                self.ties.push((at.index, result));
            }
            None => self.misuse(at, "no result stands at the port"),
        }
    }

    /// A result leaves the port in the cycle in which it came.
    fn port_closes(&mut self, at: PlaneEvent<'_>) {
        if self.plane(at, at.plane).port.take_if(|(result, _)| *result == at.index).is_some() {
            self.misuse(at, "a result at the port is not taken");
        }
    }

    /// What an `acc` took comes into its accumulator, in place of what was there or added to it.
    fn accumulator_lands(&mut self, at: PlaneEvent<'_>, accumulator: Accumulator, mode: Mode) {
        let plane = self.plane(at, at.plane);
        let Some(format) = plane.taken.remove(&at.index) else { return };
        let before = plane.accumulators.insert(accumulator.0, (at.index, format));
        match (mode, before) {
            (Mode::Set, _) => {}
            (Mode::Add, Some((sum, held))) => {
                self.ties.push((at.index, sum));
                if held != format {
                    self.misuse(at, "an accumulator that holds the other format is added to");
                }
            }
            (Mode::Add, None) => self.misuse(at, "an accumulator that was never set in this run is added to"),
        }
    }
}
