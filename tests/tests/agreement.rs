//! Checker equals machine: over composed programs and small changes of them, the checker accepts a program exactly when the reference engine
//! runs it without a fault; where it rejects, first rule, cycle, unit and item are the same.

use std::collections::{BTreeMap, BTreeSet};

use lpu::chip::{Chip, System};
use lpu::isa::{Image, Instruction, Program, Rule, TABLE, Unit, Violation};
use lpu::replay::{Replay, ReplayError};
use lpu::{checker, emulator};
use lpu_tests::grow::Dice;
use lpu_tests::memory::disorder;
use lpu_tests::mutate::{Change, mutate, strand};
use lpu_tests::scenes::compose;
use rayon::prelude::*;

/// Composed programs, and changes of each.
const BASES: u64 = 600;
const CHANGES: u64 = 50;
/// Items that a queue holds here, few so that queues overflow.
const DEPTH: usize = 120;

/// Two small chips with shallow queues.
fn system() -> System {
    let small = lpu::chip::preset("test-small").unwrap().to_toml();
    let shallow: Vec<String> = small
        .lines()
        .map(|line| if line.starts_with("queue_depth") { format!("queue_depth = {DEPTH}") } else { line.to_owned() })
        .collect();
    let shallow = shallow.join("\n");
    let pair = "name = 'pair'\nchip = 'small'\nchips = 2\nlinks = ['0.0 - 1.1', '0.7 - 1.7']";
    System::from_toml(pair, &mut |_| Chip::from_toml(&shallow)).unwrap()
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
    let issues = report.flow.issues.iter().filter(|issue| !waits(&issue.instruction));
    issues.map(|issue| issue.instruction.row().unit).collect::<BTreeSet<Unit>>().len()
}

fn family(system: &System, seed: u64) -> Mix {
    let mut mix = Mix::default();
    let mut base = compose(system, seed, 4 + seed as usize % 8);
    disorder(&mut base.image, &mut Dice(seed));
    let report = checker::check_system(system, &base.image, &base.program).unwrap();
    assert_eq!(report.violations.first().map(ToString::to_string), None, "seed {seed}");
    mix.instructions.extend(report.flow.issues.iter().map(|issue| issue.instruction.row().mnemonic));
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
                assert!(machine.prepare(&program).is_err(), "seed {seed}, change {number}: only the checker says {error}");
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
            assert!(site.instruction.row().rules().contains(&rule), "{} is not said to break {rule}", site.instruction.row().mnemonic);
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
    assert!(report.violations.iter().all(|violation| violation.chip.0 >= system.chips() && violation.fault.rule() == Rule::RangeOverflow));
    let reference = emulator::Machine::of_system(system, image).and_then(|machine| machine.prepare(program).map(|_| ()));
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
    let system = system();
    let mix = (0..BASES).into_par_iter().map(|seed| family(&system, seed)).reduce(Mix::default, Mix::add);
    let share = 100.0 * mix.legal as f64 / mix.cases as f64;
    println!("{} cases, {} legal ({share:.0} %), {} with five kinds of unit and 200 cycles", mix.cases, mix.legal, mix.large);
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
