//! Several stages as one program: each on chips of its own, with what it hands to the next.
//!
//! Method: a stage's chips receive what it reads in a *window* before their own schedule, and send what it makes while
//! it runs. Windows are as long on all chips that have one, so that stages of one structure share their queue sets where
//! their chips play the same part in the transfers.

use std::collections::BTreeMap;
use std::sync::Arc;

use lpu_chip::{Chip, System};
use lpu_isa::{ChipId, ChipProgram, Instruction, Program, Queue, QueueSet, Region, WordRun, compress};
use tracing::debug;

use crate::engine::Issues;
use crate::error::CompileError;
use crate::interface;
use crate::interval::interval;
use crate::record::Record;
use crate::stages::{Placed, Schedule};
use crate::transfer::{Route, Transfer, routes, transfer};
use crate::vectors::Stored;

/// When the stages of a program run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageTimes {
    /// Cycle in which the stage's chips start.
    pub start: u64,
    /// Cycle in which its schedule begins: it has all that it reads.
    pub begin: u64,
    /// Cycle after its schedule.
    pub end: u64,
}

/// What a chip dispatches for transfers: to it, by cycle from its start; from it, by cycle from the beginning of its
/// schedule.
#[derive(Clone, Debug, Default, PartialEq)]
struct Ends {
    before: Vec<(Queue, u64, Instruction)>,
    after: Vec<(Queue, u64, Instruction)>,
}

/// What a transfer follows from. Chips that send are numbered from 0 on, and those of the next stage after them.
#[derive(PartialEq)]
struct Between<'a> {
    routes: Vec<Route>,
    sent: Vec<&'a Stored>,
    places: Vec<&'a Stored>,
}

/// A transfer and when it lands.
struct Handed {
    /// By chip as in [`Between`].
    transfer: Transfer,
    /// First cycle in which a chip of the next stage does something for it, from the beginning of the schedule before.
    first: u64,
    /// The cycle after all has landed.
    landed: u64,
}

impl<'a> Between<'a> {
    fn new(system: &System, placed: &[&'a Placed; 2], schedule: &'a Schedule) -> Result<Self, CompileError> {
        let [from, to] = placed.map(|placed| placed.first);
        let chips = placed[0].target.group.chips();
        let mut pairs = Vec::new();
        for (name, vectors) in placed[0].output_names().iter().zip(&schedule.sent) {
            let of_name = placed[1].input_places(name).expect("a stage reads what the one before makes");
            pairs.extend(vectors.iter().zip(of_name));
        }
        // What is there first is sent first.
        pairs.sort_by_key(|(sent, _)| sent.ready);
        let (sent, places): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let vectors = places.iter().map(|place: &&Stored| usize::from(place.bytes)).sum();
        let mut routes = routes(system, (from, to), chips, vectors)?;
        let number = |chip: ChipId| match chip.0.checked_sub(from) {
            Some(member) if usize::from(member) < chips => ChipId(member),
            _ => ChipId(chip.0 - to + chips as u16),
        };
        routes.iter_mut().flatten().for_each(|hop| hop.renumber(number));
        Ok(Self { routes, sent, places })
    }
}

impl Handed {
    fn new(chip: &Chip, chips: u16, between: &Between<'_>, schedule: &Schedule) -> Result<Self, CompileError> {
        let taken = schedule.taken.as_deref().expect("a stage that sends keeps what its schedule takes");
        let transfer = transfer(chip, &between.routes, (taken, 0..chips), &between.sent, &between.places)?;
        let received = || transfer.issues.range(chips..).flat_map(|(_, issues)| issues);
        let first = received().map(|&(_, cycle, _)| cycle).min().unwrap_or(0);
        let landing = |&(_, cycle, instruction): &(Queue, u64, Instruction)| {
            chip.effect(cycle, instruction.row()).unwrap_or(cycle)
        };
        let landed = received().map(landing).max().unwrap_or(0) + 1;
        Ok(Self { transfer, first, landed })
    }
}

/// The transfers between stages; those that follow from the same are one.
fn handed(system: &System, placed: &[Placed], schedules: &[&Schedule]) -> Result<Vec<Arc<Handed>>, CompileError> {
    let mut known: Vec<(&Schedule, Between<'_>, Arc<Handed>)> = Vec::new();
    let mut all = Vec::new();
    for (pair, &schedule) in placed.windows(2).zip(schedules) {
        let between = Between::new(system, &[&pair[0], &pair[1]], schedule)?;
        let same = known.iter().find(|(of, found, _)| std::ptr::eq(*of, schedule) && *found == between);
        let handed = match same {
            Some((.., handed)) => Arc::clone(handed),
            None => {
                let chips = pair[0].target.group.chips() as u16;
                let handed = Arc::new(Handed::new(system.chip(), chips, &between, schedule)?);
                known.push((schedule, between, Arc::clone(&handed)));
                handed
            }
        };
        all.push(handed);
    }
    debug!(boundaries = all.len(), transfers = known.len(), "handed on");
    Ok(all)
}

/// The program of the schedules of a bucket, one a stage, for each sequence, and when its stages run.
pub(crate) fn chain(
    system: &System,
    placed: &[Placed],
    schedules: &[&Schedule],
    bucket: usize,
) -> Result<(Vec<Program>, Vec<StageTimes>), CompileError> {
    let handed = handed(system, placed, schedules)?;
    let window = handed.iter().map(|handed| handed.landed - handed.first).max().unwrap_or(0);
    let mut times: Vec<StageTimes> = Vec::new();
    for (stage, schedule) in schedules.iter().enumerate() {
        let before =
            stage.checked_sub(1).map(|before| (times[before].begin + handed[before].landed).saturating_sub(window));
        let start = before.unwrap_or(0);
        let begin = start + if stage == 0 { 0 } else { window };
        times.push(StageTimes { start, begin, end: begin + schedule.cycles });
    }
    let ends = ends(placed, &handed, &times);
    let cycles = times.last().map_or(0, |last| last.end);
    let of_sequence = |sequence| {
        let name = sequence_name(bucket, sequence);
        let program = program(placed, schedules, (&times, &ends), sequence);
        Program { name, cycles, interval: interval(system, &program), ..program }
    };
    Ok(((0..placed[0].target.sequences).map(of_sequence).collect(), times))
}

/// Name of the program of a bucket for a sequence: that of sequence 0 is the bucket's tokens.
fn sequence_name(bucket: usize, sequence: usize) -> String {
    if sequence == 0 { bucket.to_string() } else { format!("{bucket}.sequence{sequence}") }
}

/// The queue sets, chips and regions of a program for a sequence.
fn program(
    placed: &[Placed],
    schedules: &[&Schedule],
    (times, ends): (&[StageTimes], &BTreeMap<u16, Ends>),
    sequence: usize,
) -> Program {
    let mut program = Program::default();
    // By structure of the stage and what its chip does for transfers: the number of the queue set.
    let mut sets: Vec<(&Schedule, u64, &Ends, u16)> = Vec::new();
    let none = Ends::default();
    let last = placed.iter().map(|placed| placed.first as usize + placed.target.group.chips()).max().unwrap_or(1);
    program.chips = vec![ChipProgram::default(); last];
    let mut idle: Vec<usize> = (0..last).collect();
    for ((placed, schedule), times) in placed.iter().zip(schedules).zip(times) {
        for member in 0..placed.target.group.chips() as u16 {
            let chip = placed.first + member;
            let (ends, shift) = (ends.get(&chip).unwrap_or(&none), times.begin - times.start);
            let known =
                sets.iter().find(|&&(of, by, found, _)| std::ptr::eq(of, *schedule) && by == shift && found == ends);
            let set = match known {
                Some(&(.., set)) => set,
                None => {
                    let moved = |queue, instruction| placed.cache.moved(queue, instruction, sequence);
                    program.sets.push(queues(&schedule.issues, moved, shift, ends));
                    let set = program.sets.len() as u16 - 1;
                    sets.push((*schedule, shift, ends, set));
                    set
                }
            };
            program.chips[usize::from(chip)] = ChipProgram { set, start: times.start, ..ChipProgram::default() };
            program.regions.extend(schedule.regions.iter().map(|region| on_chip(region, chip)));
            idle.retain(|&other| other != usize::from(chip));
        }
    }
    if !idle.is_empty() {
        program.sets.push(QueueSet::new());
        for chip in idle {
            program.chips[chip].set = program.sets.len() as u16 - 1;
        }
    }
    program.normalise();
    program
}

/// The records of all stages: cycles from the start of the program, nodes of the joined graph.
pub(crate) fn records(schedules: &[&Schedule], times: &[StageTimes], firsts: &[usize]) -> Vec<Record> {
    let mut all = Vec::new();
    for ((schedule, times), first) in schedules.iter().zip(times).zip(firsts) {
        let before = all.len();
        let later = |record: &Record| Record {
            node: record.node + first,
            ready: record.ready + times.begin,
            start: record.start + times.begin,
            end: record.end + times.begin,
            waited: record.waited.map(|waited| waited + before),
            computed: record.computed.iter().map(|&(queue, cycle)| (queue, cycle + times.begin)).collect(),
            ..record.clone()
        };
        all.extend(schedule.records.iter().map(later));
    }
    all
}

/// What each chip does for transfers.
fn ends(placed: &[Placed], handed: &[Arc<Handed>], times: &[StageTimes]) -> BTreeMap<u16, Ends> {
    let mut ends: BTreeMap<u16, Ends> = BTreeMap::new();
    for ((pair, handed), times) in placed.windows(2).zip(handed).zip(times.windows(2)) {
        let chips = pair[0].target.group.chips() as u16;
        for (&number, issues) in &handed.transfer.issues {
            let (receives, chip) = match number.checked_sub(chips) {
                Some(member) => (true, pair[1].first + member),
                None => (false, pair[0].first + number),
            };
            let of_chip = ends.entry(chip).or_default();
            for &(queue, cycle, instruction) in issues {
                match receives {
                    true => of_chip.before.push((queue, times[0].begin + cycle - times[1].start, instruction)),
                    false => of_chip.after.push((queue, cycle, instruction)),
                }
            }
        }
    }
    ends
}

/// The queues of a chip: its schedule `shift` cycles after its start, as a sequence has it, with what it does for
/// transfers.
fn queues(schedule: &Issues, moved: impl Fn(Queue, Instruction) -> Instruction, shift: u64, ends: &Ends) -> QueueSet {
    let mut issues: BTreeMap<Queue, Vec<(u64, Instruction)>> = BTreeMap::new();
    for (&queue, of_queue) in schedule {
        issues.insert(
            queue,
            of_queue.iter().map(|&(cycle, instruction)| (cycle + shift, moved(queue, instruction))).collect(),
        );
    }
    for &(queue, cycle, instruction) in &ends.before {
        issues.entry(queue).or_default().push((cycle, instruction));
    }
    for &(queue, cycle, instruction) in &ends.after {
        issues.entry(queue).or_default().push((shift + cycle, instruction));
    }
    for issues in issues.values_mut() {
        issues.sort_by_key(|(cycle, instruction)| (*cycle, instruction.row().opcode));
    }
    issues.iter().map(|(&queue, issues)| (queue, compress(issues))).collect()
}

/// The region of the first chip of a group on another.
fn on_chip(region: &Region, chip: u16) -> Region {
    let runs = region.runs.iter().map(|run| WordRun { chip: ChipId(chip), ..*run });
    Region { name: interface::on_chip(&region.name, chip), runs: runs.collect(), ..region.clone() }
}
