//! Several stages as one program: each on chips of its own, with what it hands to the next.
//!
//! Method: a stage's chips receive what it reads in a *window* before their own schedule, and send what it makes while
//! it runs. Windows are as long on all chips that have one, so that stages of one structure share their queue sets where
//! their chips play the same part in the transfers.

use std::collections::BTreeMap;

use lpu_chip::System;
use lpu_isa::{ChipId, ChipProgram, Instruction, Program, Queue, QueueSet, Region, WordRun, compress};

use crate::engine::Issues;
use crate::error::CompileError;
use crate::interface;
use crate::interval::interval;
use crate::record::Record;
use crate::stages::{Placed, Schedule};
use crate::transfer::{Transfer, routes, transfer};

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

/// A transfer and when it lands.
struct Handed {
    transfer: Transfer,
    /// First cycle in which a chip of the next stage does something for it, from the beginning of the schedule before.
    first: u64,
    /// The cycle after all has landed.
    landed: u64,
}

impl Handed {
    fn new(system: &System, placed: [&Placed; 2], schedule: &Schedule) -> Result<Self, CompileError> {
        let [from, to] = placed.map(|placed| placed.first);
        let chips = placed[0].target.group.chips();
        let (mut sent, mut places) = (Vec::new(), Vec::new());
        for (name, vectors) in placed[0].output_names().iter().zip(&schedule.sent) {
            let of_name = placed[1].input_places(name).expect("a stage reads what the one before makes");
            sent.extend(vectors.iter().cloned());
            places.extend(of_name.iter().cloned());
        }
        let vectors = places.iter().map(|place| usize::from(place.bytes)).sum();
        let routes = routes(system, (from, to), chips, vectors)?;
        let taken = schedule.taken.as_deref().expect("a stage that sends keeps what its schedule takes");
        let sending = (taken, from..from + chips as u16);
        let transfer = transfer(system.chip(), &routes, sending, &sent, &places)?;
        let inside = |chip: &u16| (to..to + chips as u16).contains(chip);
        let received = || transfer.issues.iter().filter(|(chip, _)| inside(chip)).flat_map(|(_, issues)| issues);
        let first = received().map(|&(_, cycle, _)| cycle).min().unwrap_or(0);
        let landing = |&(_, cycle, instruction): &(Queue, u64, Instruction)| {
            system.chip().effect(cycle, instruction.row()).unwrap_or(cycle)
        };
        let landed = received().map(landing).max().unwrap_or(0) + 1;
        Ok(Self { transfer, first, landed })
    }
}

/// The program of the schedules of a bucket, one a stage, and when its stages run.
pub(crate) fn chain(
    system: &System,
    placed: &[Placed],
    schedules: &[&Schedule],
    bucket: usize,
) -> Result<(Program, Vec<StageTimes>), CompileError> {
    let pairs = placed.windows(2).zip(schedules);
    let handed = pairs.map(|(pair, schedule)| Handed::new(system, [&pair[0], &pair[1]], schedule));
    let handed: Vec<Handed> = handed.collect::<Result<_, _>>()?;
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
    let mut program =
        Program { name: bucket.to_string(), cycles: times.last().map_or(0, |last| last.end), ..Program::default() };
    // By structure of the stage and what its chip does for transfers: the number of the queue set.
    let mut sets: Vec<(&Schedule, u64, &Ends, u16)> = Vec::new();
    let none = Ends::default();
    let last = placed.iter().map(|placed| placed.first as usize + placed.target.group.chips()).max().unwrap_or(1);
    program.chips = vec![ChipProgram::default(); last];
    let mut idle: Vec<usize> = (0..last).collect();
    for ((placed, schedule), times) in placed.iter().zip(schedules).zip(&times) {
        for member in 0..placed.target.group.chips() as u16 {
            let chip = placed.first + member;
            let (ends, shift) = (ends.get(&chip).unwrap_or(&none), times.begin - times.start);
            let known =
                sets.iter().find(|&&(of, by, found, _)| std::ptr::eq(of, *schedule) && by == shift && found == ends);
            let set = match known {
                Some(&(.., set)) => set,
                None => {
                    program.sets.push(queues(&schedule.issues, shift, ends));
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
    program.interval = interval(system, &program);
    Ok((program, times))
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
fn ends(placed: &[Placed], handed: &[Handed], times: &[StageTimes]) -> BTreeMap<u16, Ends> {
    let mut ends: BTreeMap<u16, Ends> = BTreeMap::new();
    for ((pair, handed), times) in placed.windows(2).zip(handed).zip(times.windows(2)) {
        let next = pair[1].first..pair[1].first + pair[1].target.group.chips() as u16;
        for (&chip, issues) in &handed.transfer.issues {
            let of_chip = ends.entry(chip).or_default();
            for &(queue, cycle, instruction) in issues {
                match next.contains(&chip) {
                    true => of_chip.before.push((queue, times[0].begin + cycle - times[1].start, instruction)),
                    false => of_chip.after.push((queue, cycle, instruction)),
                }
            }
        }
    }
    ends
}

/// The queues of a chip: its schedule `shift` cycles after its start, with what it does for transfers.
fn queues(schedule: &Issues, shift: u64, ends: &Ends) -> QueueSet {
    let mut issues: BTreeMap<Queue, Vec<(u64, Instruction)>> = BTreeMap::new();
    for (&queue, of_queue) in schedule {
        issues.insert(queue, of_queue.iter().map(|&(cycle, instruction)| (cycle + shift, instruction)).collect());
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
