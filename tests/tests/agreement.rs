//! Checker equals machine: over composed programs and small changes of them, the checker accepts a program exactly when
//! the reference engine runs it without a fault; where it rejects, first rule, cycle, unit and item are the same.

use std::collections::{BTreeMap, BTreeSet};

use lpu::chip::{Chip, LinkEnd, System};
use lpu::isa::{ChipId, Flow as Way, Image, Instruction, Mode, Program, Queue, Rule, TABLE, Unit, Violation};
use lpu::replay::{Replay, ReplayError};
use lpu::{checker, emulator};
use lpu_tests::dice::Dice;
use lpu_tests::groups::{pairs, repeat};
use lpu_tests::memory::disorder;
use lpu_tests::mutate::{Change, mutate, strand};
use lpu_tests::scenes::{Scene, compose};
use rayon::prelude::*;

/// Composed programs, and changes of each.
const BASES: u64 = 600;
const CHANGES: u64 = 50;
/// Items that a queue holds here, few so that queues overflow.
const DEPTH: usize = 120;

/// Pairs of small chips with shallow queues.
fn system(count: u16) -> System {
    let small = lpu::chip::preset("test-small").unwrap().to_toml();
    let shallow: Vec<String> = small
        .lines()
        .map(|line| if line.starts_with("queue_depth") { format!("queue_depth = {DEPTH}") } else { line.to_owned() })
        .collect();
    pairs(&Chip::from_toml(&shallow.join("\n")).unwrap(), count)
}

/// A composed program: of one pair of chips, every sixth of up to four pairs that share queue sets.
fn base(systems: &[System], seed: u64) -> (&System, Scene) {
    let scene = compose(&systems[0], seed, 4 + seed as usize % 8);
    if seed % 6 != 5 {
        return (&systems[0], scene);
    }
    let system = &systems[1 + seed as usize / 6 % 3];
    (system, repeat(system, &scene, &mut Dice(seed)))
}

#[derive(Default)]
struct Mix {
    cases: u64,
    legal: u64,
    large: u64,
    rules: BTreeMap<Rule, u64>,
    changes: BTreeMap<Change, [u64; 2]>,
    instructions: BTreeSet<&'static str>,
    fetched: u64,
}

impl Mix {
    fn add(mut self, other: Self) -> Self {
        self.cases += other.cases;
        self.legal += other.legal;
        self.large += other.large;
        self.fetched += other.fetched;
        for (rule, count) in other.rules {
            *self.rules.entry(rule).or_default() += count;
        }
        for (change, counts) in other.changes {
            let mine = self.changes.entry(change).or_default();
            (0..2).for_each(|index| mine[index] += counts[index]);
        }
        self.instructions.extend(other.instructions);
        self
    }
}

/// Kinds of unit that a program dispatches on, instruction control only where it does more than wait.
fn units(report: &checker::Report) -> usize {
    let waits = |instruction: &Instruction| matches!(instruction, Instruction::Nop { .. } | Instruction::Repeat { .. });
    let issues = report.flow.issues().filter(|issue| !waits(&issue.instruction));
    issues.map(|issue| issue.instruction.row().unit).collect::<BTreeSet<Unit>>().len()
}

fn family(systems: &[System], seed: u64) -> Mix {
    let mut mix = Mix::default();
    let (system, mut base) = base(systems, seed);
    disorder(&mut base.image, &mut Dice(seed));
    let report = checker::check_system(system, &base.image, &base.program).unwrap();
    assert_eq!(report.violations.first().map(ToString::to_string), None, "seed {seed}");
    mix.instructions.extend(report.flow.issues().map(|issue| issue.instruction.row().mnemonic));
    let mut machine = emulator::Machine::of_system(system, &base.image).unwrap();
    let mut dice = Dice(seed);
    for number in 0..CHANGES {
        let (image, mut program, change) = mutate(&base.image, &base.program, DEPTH, &mut dice);
        if change != Change::Cycles && dice.below(10) > 0 {
            program.cycles = checker::cycles(system, &image, &program).unwrap();
        }
        let report = match checker::check_system(system, &image, &program) {
            Ok(report) => report,
            Err(error) => {
                assert!(
                    machine.prepare(&program).is_err(),
                    "seed {seed}, change {number}: only the checker says {error}"
                );
                continue;
            }
        };
        machine.reset(&image).unwrap();
        let prepared = machine.prepare(&program).unwrap();
        let found = match machine.run(&prepared, &mut ()) {
            Ok(run) => {
                assert_eq!((run.cycles, run.fetched), (report.cycles, report.fetched), "seed {seed}, change {number}");
                None
            }
            Err(emulator::RunError::Fault(first)) => Some(first),
            Err(error) => panic!("seed {seed}, change {number}: {error}"),
        };
        let first = report.violations.first();
        assert_eq!(
            first.map(Violation::key),
            found.map(|found| found.key()),
            "seed {seed}, change {number} ({change:?}): checker {first:?}, engine {found:?}"
        );
        mix.cases += 1;
        mix.large += u64::from(report.cycles >= 200 && units(&report) >= 5);
        mix.legal += u64::from(first.is_none());
        mix.fetched += report.fetched;
        mix.changes.entry(change).or_default()[usize::from(first.is_some())] += 1;
        for violation in &report.violations {
            let Some(site) = violation.site else { continue };
            let rule = violation.fault.rule();
            assert!(
                site.instruction.row().rules().contains(&rule),
                "{} is not said to break {rule}",
                site.instruction.row().mnemonic
            );
        }
        if let Some(first) = first {
            *mix.rules.entry(first.fault.rule()).or_default() += 1;
        }
    }
    let (mut image, mut program) = (base.image.clone(), base.program.clone());
    strand(&mut image, &mut program, system.chips(), &mut dice);
    stranded(system, &image, &program);
    mix
}

/// All refuse a program on chips that the system does not have, for the same reason.
fn stranded(system: &System, image: &Image<'_>, program: &Program) {
    let report = checker::check_system(system, image, program).unwrap();
    let first = report.violations.first().map(Violation::key);
    assert!(
        report
            .violations
            .iter()
            .all(|violation| violation.chip.0 >= system.chips() && violation.fault.rule() == Rule::RangeOverflow)
    );
    let reference =
        emulator::Machine::of_system(system, image).and_then(|machine| machine.prepare(program).map(|_| ()));
    let fast = Replay::new(system, image, 1).and_then(|engine| engine.prepare(image, program).map(|_| ()));
    match (reference, fast) {
        (Err(emulator::MachineError::ChipAbsent(one)), Err(ReplayError::ChipAbsent(other))) => {
            assert_eq!((Some(one.key()), Some(other.key())), (first, first));
        }
        other => panic!("{other:?}, checker {:?}", report.violations),
    }
    let engines = lpu::Engines { threads: Some(1), verify: true, ..lpu::Engines::default() };
    match lpu::Engine::new(system, image, std::slice::from_ref(program), &engines) {
        Err(lpu::EngineError::Fault(found)) => assert_eq!(Some(found.key()), first),
        other => panic!("{:?}", other.map(|_| ())),
    }
}

#[test]
fn the_checker_accepts_what_the_engine_runs() {
    let systems = [1, 2, 3, 4].map(system);
    let mix = (0..BASES).into_par_iter().map(|seed| family(&systems, seed)).reduce(Mix::default, Mix::add);
    let share = 100.0 * mix.legal as f64 / mix.cases as f64;
    println!(
        "{} cases, {} legal ({share:.0} %), {} with five kinds of unit and 200 cycles",
        mix.cases, mix.legal, mix.large
    );
    println!("first rules: {:?}", mix.rules);
    println!("changes (legal, illegal): {:?}", mix.changes);
    println!("{} instructions fetched; met: {:?}", mix.fetched, mix.instructions);
    assert!(mix.cases >= 20_000, "{} cases", mix.cases);
    assert!((30.0..70.0).contains(&share), "{share} % legal");
    assert!(2 * mix.large >= mix.cases, "{} of {} are large", mix.large, mix.cases);
    let missing: Vec<&str> = TABLE
        .iter()
        .map(|row| row.mnemonic)
        .filter(|mnemonic| !["nop", "repeat"].contains(mnemonic) && !mix.instructions.contains(mnemonic))
        .collect();
    assert!(missing.is_empty(), "never met: {missing:?}");
    for rule in Rule::ALL {
        let hits = mix.rules.get(rule).copied().unwrap_or(0);
        assert!(hits >= 100, "{rule}: {hits} hits");
    }
}

/// What an issue takes other than from streams and latches.
fn tied(chip: &Chip, instruction: &Instruction) -> usize {
    match *instruction {
        Instruction::Iw { rows } => usize::from(rows.0) / 16,
        Instruction::Abc { format, .. } => usize::from(chip.occupancy(format).planes),
        Instruction::Acc { mode, .. } => 1 + usize::from(mode == Mode::Add),
        _ => 0,
    }
}

/// The cycle of each access of memory as `docs/timing.md` has it.
fn access(chip: &Chip, issue: &checker::Issue) -> u64 {
    match issue.instruction {
        Instruction::Read { .. } => issue.cycle,
        Instruction::Gather { .. } => issue.cycle + u64::from(chip.values().mem_gather_access),
        _ => chip.landing(issue.cycle, issue.instruction.row().delay),
    }
}

#[test]
fn the_flow_of_a_legal_program_is_complete() {
    let systems = [1, 2, 3, 4].map(system);
    let chip = systems[0].chip();
    let seen = (0..BASES).into_par_iter().map(|seed| {
        let (system, base) = base(&systems, seed);
        let report = checker::check_system(system, &base.image, &base.program).unwrap();
        let mut seen = [0; 7];
        for flow in &report.flow.classes {
            complete(chip, flow, &format!("seed {seed}"), &mut seen);
        }
        let classes = report.flow.classes.len();
        assert!(classes >= base.program.sets.len() && classes <= base.program.chips.len(), "seed {seed}");
        seen[5] += base.program.chips.len() - classes;
        seen[6] += transfers(system, &report.flow, &format!("seed {seed}"));
        seen
    });
    let seen = seen.reduce(|| [0; 7], |one, other| std::array::from_fn(|index| one[index] + other[index]));
    assert!(
        seen.iter().all(|&count| count >= 100),
        "without power, receives, sums, accesses, windows, chips like others, transfers: {seen:?}"
    );
}

/// Each vector that is received was sent before by the peer, in the same order, and has arrived. Says how many are.
fn transfers(system: &System, flow: &checker::Flow, at: &str) -> usize {
    let cycles = |end: LinkEnd, wanted: fn(&Instruction) -> bool| {
        let of_link = flow.of_chip(end.chip).filter(move |issue| issue.queue == Queue::C2c(end.link));
        of_link.filter(move |issue| wanted(&issue.instruction)).map(|issue| issue.cycle).collect::<Vec<u64>>()
    };
    let mut count = 0;
    for (&end, &peer) in &flow.links {
        assert_eq!(system.peer(end), Some(peer), "{at}");
        let receives = cycles(end, |instruction| matches!(instruction, Instruction::Receive { .. }));
        let sends = cycles(peer, |instruction| matches!(instruction, Instruction::Send { .. }));
        assert!(receives.len() <= sends.len(), "{at}: {end}");
        for (sent, received) in sends.into_iter().zip(&receives) {
            assert!(sent + system.latency(peer) <= *received, "{at}: {end}");
        }
        count += receives.len();
    }
    count
}

/// Every issue of a chip has what it takes, and comes after it.
fn complete(chip: &Chip, flow: &checker::ChipFlow, seed: &str, seen: &mut [usize; 7]) {
    let lanes = |superlanes: u16| usize::from(superlanes) * chip.values().lanes_per_superlane as usize;
    let mut times = vec![None; flow.issues.len()];
    for (time, issue) in flow.order().enumerate() {
        assert_eq!(times[issue].replace(time), None, "{seed}: issue {issue} comes twice");
    }
    assert!(times.iter().all(Option::is_some), "{seed}: an issue never comes");
    let mut powered: BTreeMap<(ChipId, Queue), usize> = BTreeMap::new();
    for (index, issue) in flow.issues.iter().enumerate() {
        let at = format!("{seed}, cycle {}, {}", issue.cycle, issue.queue);
        let taken: usize = issue
            .instruction
            .streams()
            .iter()
            .filter(|used| used.flow == Way::In)
            .map(|used| usize::from(used.width))
            .sum();
        let feeds = flow.feeds(index);
        assert!(feeds.len() == taken || feeds.len() > taken && issue.queue.unit() == Unit::Vxm, "{at}: {feeds:?}");
        let from = flow.ties.partition_point(|tie| (tie.0 as usize) < index);
        let ties = &flow.ties[from..][..flow.ties[from..].partition_point(|tie| tie.0 as usize == index)];
        assert_eq!(ties.len(), tied(chip, &issue.instruction), "{at}");
        let producers = feeds.iter().map(|feed| feed.producer).chain(ties.iter().map(|tie| tie.1));
        for producer in producers {
            assert!(times[producer as usize] < times[index], "{at}: it comes before what it takes");
        }
        let live = powered.entry((issue.chip, issue.queue)).or_insert(chip.lanes());
        assert_eq!(flow.live(index as u32).map_or(chip.lanes(), usize::from), *live, "{at}");
        seen[0] += usize::from(*live < chip.lanes());
        seen[1] += usize::from(matches!(issue.instruction, Instruction::Receive { .. }));
        seen[2] += usize::from(matches!(issue.instruction, Instruction::Acc { mode: Mode::Add, .. }));
        if let Instruction::Config { superlanes } = issue.instruction {
            *live = lanes(superlanes.0);
        }
    }
    let mut last: BTreeMap<_, (u64, bool)> = BTreeMap::new();
    let mut accesses = 0;
    for found in flow.accesses() {
        let issue = &flow.issues[found.issue as usize];
        let reads = matches!(issue.instruction, Instruction::Read { .. } | Instruction::Gather { .. });
        let now = (access(chip, issue), reads);
        let before = last.insert((issue.chip, found.slice), now);
        assert!(before <= Some(now), "{seed}: {:?} comes after {before:?}", issue.instruction);
        assert_eq!(times[found.issue as usize], Some(found.time as usize));
        accesses += 1;
        seen[4] += usize::from(found.words.len() > 1);
    }
    let memory = flow.issues.iter().filter(|issue| issue.words().is_some()).count();
    assert_eq!(accesses, memory, "{seed}");
    seen[3] += accesses;
}
