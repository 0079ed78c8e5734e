//! What a program's units do in a run, for reports; `docs/reports.md` says what counts.

use std::collections::BTreeMap;

use lpu_checker::{Flow as Dataflow, Issue, Issues, Member};
use lpu_chip::{Chip, LinkEnd, System};
use lpu_isa::{DelayClass, Direction, Flow, Hemisphere, Instruction, Queue, Stream, Unit};
use lpu_report::{Counts, Units, Utilization};
use rayon::prelude::*;

/// A plane of a chip.
type PlaneId = (Hemisphere, u16);

/// What a plane does from a cycle on, up to another.
type PlaneSpan = (PlaneId, u64, u64);

/// Streams fed that are held at once before those of past cycles are counted.
const MOST_PENDING: usize = 1 << 18;

/// Cycles in which streams are fed. Several units may feed one stream in one cycle, at different positions.
#[derive(Default)]
struct FedCycles {
    /// Cycle on the register, stream.
    pending: Vec<(u64, Stream)>,
    count: u64,
}

impl FedCycles {
    /// Counts what is fed before a cycle, which no later issue adds to.
    fn count_before(&mut self, cycle: u64) {
        self.pending.sort_unstable();
        self.pending.dedup();
        let past = self.pending.partition_point(|&(landed, ..)| landed < cycle);
        self.pending.drain(..past);
        self.count += past as u64;
    }
}

/// Dispatches that are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DispatchKind {
    /// Mnemonic of the instruction.
    pub opcode: &'static str,
    /// Streams that one dispatch feeds.
    pub width: u16,
    /// Hops that each of these vectors has before it: from the position at which it is put on its stream to the last
    /// one of the chip in the stream's direction.
    pub hops: u16,
}

/// What the units of all chips and the links do in one run of a program. Utilization follows from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Cycles of the run.
    pub cycles: u64,
    /// Number of dispatches of each kind; instructions of the queues themselves (`nop`, `repeat`, `sync` and their
    /// like) are none.
    pub dispatches: BTreeMap<DispatchKind, u64>,
    /// Vectors that leave over a link.
    pub sends: u64,
    /// By name of their class: cycles in which directions of links carry a vector away from its sender.
    pub link_cycles: BTreeMap<String, u64>,
    counts: Counts,
}

impl Activity {
    /// The activity of a run of `cycles` cycles, from its issues as the checker gives them; busy cycles past the end
    /// are cut off.
    #[must_use]
    pub fn new(system: &System, issues: &Issues, cycles: u64) -> Self {
        let classes: Vec<&[Issue]> = issues.classes.iter().map(Vec::as_slice).collect();
        Self::of_classes(system, &classes, &issues.chips, cycles)
    }

    /// [`Activity::new`] from what a proof gives.
    #[must_use]
    pub fn of_flow(system: &System, flow: &Dataflow, cycles: u64) -> Self {
        let classes: Vec<&[Issue]> = flow.classes.iter().map(|class| class.issues.as_slice()).collect();
        Self::of_classes(system, &classes, &flow.chips, cycles)
    }

    /// The name of a link's class; links without one have the chip's own figures.
    #[must_use]
    pub fn link_class(system: &System, end: LinkEnd) -> &str {
        system.class(end).map_or("links", |class| &class.name)
    }

    fn of_classes(system: &System, classes: &[&[Issue]], members: &[Member], cycles: u64) -> Self {
        let chip = system.chip();
        let values = chip.values();
        let intervals = system.classes().iter().map(|class| class.interval.value).chain([values.c2c_interval]);
        let longest = chip.longest_delay() + intervals.max().unwrap_or(0) + values.mxm_f16_interval;
        // Chips of a class do the same, except where the end of the run cuts off what they do.
        let mut alike: BTreeMap<(usize, u64), u64> = BTreeMap::new();
        for member in members {
            let last = classes[member.class].last().map_or(0, |issue| issue.cycle + u64::from(longest));
            let until = cycles.saturating_sub(member.later).min(last);
            *alike.entry((member.class, until)).or_default() += 1;
        }
        let of_class =
            |((class, until), chips): ((usize, u64), u64)| (Self::of_chip(system, classes[class], until), chips);
        let each: Vec<(Self, u64)> = alike.into_par_iter().map(of_class).collect();
        let mut activity = Self { cycles, ..Self::default() };
        each.iter().for_each(|(each, chips)| activity.add(each, *chips));
        activity
    }

    /// Adds what so many chips do that do the same.
    fn add(&mut self, each: &Self, chips: u64) {
        for (dispatch, count) in &each.dispatches {
            *self.dispatches.entry(*dispatch).or_default() += count * chips;
        }
        self.sends += each.sends * chips;
        for (class, cycles) in &each.link_cycles {
            *self.link_cycles.entry(class.clone()).or_default() += cycles * chips;
        }
        self.counts.add(each.counts, chips);
    }

    /// What one chip does up to a cycle, from its issues in order of cycle.
    fn of_chip(system: &System, issues: &[Issue], cycles: u64) -> Self {
        let chip = system.chip();
        let (mut activity, mut counts) = (Self { cycles, ..Self::default() }, Counts::default());
        let (mut loads, mut passes): (Vec<PlaneSpan>, Vec<PlaneSpan>) = (Vec::new(), Vec::new());
        let mut fed = FedCycles::default();
        let mut of_links: BTreeMap<&str, u64> = BTreeMap::new();
        let mut dispatched: BTreeMap<(u8, u16, u16), (&'static str, u64)> = BTreeMap::new();
        for issue in issues {
            let row = issue.instruction.row();
            match (issue.instruction, issue.queue) {
                (Instruction::Lw { .. }, Queue::Mxm(side, plane, _)) => {
                    loads.push(((side, plane), issue.cycle, (issue.cycle + 1).min(cycles)));
                }
                (Instruction::Abc { format, .. }, Queue::Mxm(side, plane, _)) => {
                    let occupied = chip.occupancy(format);
                    let end = (issue.cycle + occupied.cycles).min(cycles);
                    let planes = plane..plane + u16::from(occupied.planes);
                    passes.extend(planes.map(|plane| ((side, plane), issue.cycle, end)));
                }
                (Instruction::Send { .. }, Queue::C2c(link)) => {
                    let end = LinkEnd { chip: issue.chip, link };
                    let busy = (issue.cycle + system.interval(end)).min(cycles).saturating_sub(issue.cycle);
                    activity.sends += 1;
                    counts.link_cycles += busy;
                    *of_links.entry(Self::link_class(system, end)).or_default() += busy;
                }
                _ => {}
            }
            let landed = chip.landing(issue.cycle, row.delay);
            let (mut width, mut hops) = (0, 0);
            for used in issue.instruction.streams().into_iter().filter(|used| used.flow == Flow::Out) {
                fed.pending.extend((0..used.width).map(|offset| (landed, used.first.plus(offset))));
                width += u16::from(used.width);
                hops = hops_to_edge(chip, issue.queue, used.first.direction());
            }
            if row.unit != Unit::Icu {
                match (row.unit, row.delay) {
                    (Unit::Mem, DelayClass::MemRead | DelayClass::MemGather) => counts.reads += 1,
                    (Unit::Mem, _) => counts.writes += 1,
                    (Unit::Vxm, _) => counts.alu_issues += 1,
                    (Unit::Sxm, _) => counts.switch_issues += 1,
                    _ => {}
                }
                dispatched.entry((row.opcode, width, hops)).or_insert((row.mnemonic, 0)).1 += 1;
            }
            if fed.pending.len() >= MOST_PENDING {
                fed.count_before(issue.cycle);
            }
        }
        let kind = |((_, width, hops), (opcode, count))| (DispatchKind { opcode, width, hops }, count);
        activity.dispatches = dispatched.into_iter().map(kind).collect();
        activity.link_cycles = of_links.into_iter().map(|(class, cycles)| (class.to_owned(), cycles)).collect();
        fed.count_before(u64::MAX);
        counts.stream_cycles = fed.count;
        counts.plane_loads = covered(&mut loads);
        counts.plane_passes = covered(&mut passes);
        loads.append(&mut passes);
        counts.plane_busy = covered(&mut loads);
        Self { counts, ..activity }
    }

    /// Busy cycles, summed over all units of a kind and all chips.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How busy the units of the system are.
    #[must_use]
    pub fn utilization(&self, system: &System) -> Utilization {
        Utilization::new(&self.counts, &units(system), self.cycles)
    }
}

/// Hops from the unit of a queue to the last position of a chip in a direction.
fn hops_to_edge(chip: &Chip, queue: Queue, direction: Direction) -> u16 {
    let side = match direction {
        Direction::East => Hemisphere::East,
        Direction::West => Hemisphere::West,
    };
    chip.mxm_position(side).abs_diff(chip.position(queue)) as u16
}

/// Cycles that spans cover, each cycle of a plane once.
fn covered(spans: &mut [PlaneSpan]) -> u64 {
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
