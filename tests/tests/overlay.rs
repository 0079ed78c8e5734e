//! Runs that follow one another at a proven interval: the program laid over itself as one longer program is legal,
//! every use in it has the definition that it has alone, and it leaves in SRAM what runs by themselves leave.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use lpu::checker::{self, ChipFlow, OverlayError, Report, Windows};
use lpu::chip::{System, preset};
use lpu::emulator::Machine;
use lpu::isa::{ChipId, Image, Instruction, Program, Queue, QueueSet, assemble, compress};
use lpu_tests::dice::Dice;
use lpu_tests::groups::{pairs, repeat};
use lpu_tests::relays::{network, relays};
use lpu_tests::scenes::{Scene, compose};

/// A definition as (cycle, queue) of its producer.
type Definition = (u64, Queue);

/// By issue of a chip (cycle, queue, whether it is the second of a pair): what it takes.
fn definitions(report: &Report, chip: ChipId) -> BTreeMap<(u64, Queue, u8), Vec<Definition>> {
    let member = &report.flow.chips[usize::from(chip.0)];
    let flow: &ChipFlow = &report.flow.classes[member.class];
    let of = |index: u32| {
        let issue = member.issue(chip, &flow.issues[index as usize]);
        (issue.cycle, issue.queue)
    };
    let mut found = BTreeMap::new();
    for (index, issue) in flow.issues.iter().enumerate() {
        let own = member.issue(chip, issue);
        let feeds = flow.feeds(index).iter().map(|feed| of(feed.producer));
        let ties = flow.ties.iter().filter(|(consumer, _)| *consumer as usize == index).map(|&(_, of_tie)| of(of_tie));
        found.insert((own.cycle, own.queue, own.instruction.row().opcode), feeds.chain(ties).collect());
    }
    found
}

/// A program laid over itself so many times, as one longer program; its words of memory are the same.
fn laid(system: &System, report: &Report, image: &Image<'_>, program: &Program, distance: u64, runs: u64) -> Program {
    let queues = (0..system.chips()).map(ChipId).map(|chip| {
        let mut queues: BTreeMap<Queue, Vec<(u64, Instruction)>> = BTreeMap::new();
        for run in 0..runs {
            for issue in report.flow.of_chip(chip).filter(|issue| !matches!(issue.instruction, Instruction::Nop { .. }))
            {
                queues.entry(issue.queue).or_default().push((issue.cycle + run * distance, issue.instruction));
            }
        }
        let compressed = queues.into_iter().map(|(queue, mut issues)| {
            issues.sort_by_key(|&(cycle, instruction)| {
                (cycle, matches!(instruction, Instruction::Write { .. } | Instruction::Scatter { .. }))
            });
            (queue, compress(&issues))
        });
        compressed.collect::<QueueSet>()
    });
    let mut all = Program { regions: program.regions.clone(), ..Program::default() }.with_queues(queues.collect());
    all.name = "laid".into();
    all.cycles = checker::cycles(system, image, &all).unwrap();
    all
}

/// Whether two issues of a queue share a cycle that are no pair, so that no program is so laid.
fn meets(report: &Report, distance: u64, runs: u64) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    report.flow.issues().any(|issue| {
        let stores = matches!(issue.instruction, Instruction::Write { .. } | Instruction::Scatter { .. });
        (0..runs).any(|run| !seen.insert((issue.chip, issue.queue, issue.cycle + run * distance, stores)))
    })
}

fn run(machine: &mut Machine, program: &Program) {
    let prepared = machine.prepare(program).unwrap();
    machine.run(&prepared, &mut ()).unwrap();
}

fn same_memory(system: &System, one: &Machine, other: &Machine) -> bool {
    let slices: Vec<_> = system.chip().slices().collect();
    (0..system.chips()).map(ChipId).all(|chip| {
        slices.iter().all(|&slice| {
            (0..64).all(|word| one.read_word(chip, slice, word).unwrap() == other.read_word(chip, slice, word).unwrap())
        })
    })
}

/// Whether every use of so many runs laid over one another has the definition that it has alone.
fn defined_alike(system: &System, alone: &Report, together: &Report, distance: u64, runs: u64) -> bool {
    (0..system.chips()).map(ChipId).all(|chip| {
        let (alone, together) = (definitions(alone, chip), definitions(together, chip));
        (0..runs).all(|run| {
            let later = run * distance;
            alone.iter().filter(|(of, _)| together.contains_key(&(of.0 + later, of.1, of.2)) || !of_nop(of)).all(
                |(&(cycle, queue, opcode), of)| {
                    let shifted: Vec<Definition> = of.iter().map(|&(cycle, queue)| (cycle + later, queue)).collect();
                    together.get(&(cycle + later, queue, opcode)) == Some(&shifted)
                },
            )
        })
    })
}

fn of_nop(of: &(u64, Queue, u8)) -> bool {
    of.2 == Instruction::Nop { count: lpu::isa::Count(1) }.row().opcode
}

/// Holds a program at its least distance, and says whether one at a fourth of that breaks a rule or has other
/// definitions; nothing of a program that leaves something for the next run.
fn hold(system: &System, Scene { image, program }: &Scene, runs: u64) -> Option<bool> {
    let report = checker::check_system(system, image, program).unwrap();
    let windows = Windows::new(system, &report).ok()?;
    let least = windows.distance();
    windows.prove(least).unwrap();
    assert!(least <= 1 || windows.prove(least - 1).is_err(), "{least} is the least distance");
    for distance in [least, least + 1, least + 37] {
        let all = laid(system, &report, image, program, distance, runs);
        let together = checker::check_system(system, image, &all).unwrap();
        assert_eq!(together.violations.first().map(ToString::to_string), None, "{runs} runs {distance} cycles apart");
        assert!(defined_alike(system, &report, &together, distance, runs), "{runs} runs {distance} cycles apart");
        let [mut alone, mut laid_over] = [(); 2].map(|()| Machine::of_system(system, image).unwrap());
        (0..runs).for_each(|_| run(&mut alone, program));
        run(&mut laid_over, &all);
        assert!(same_memory(system, &alone, &laid_over), "{runs} runs {distance} cycles apart");
    }
    let near = (least / 4).max(1);
    if meets(&report, near, runs) {
        return Some(true);
    }
    let all = laid(system, &report, image, program, near, runs);
    let together = checker::check_system(system, image, &all).unwrap();
    Some(!together.violations.is_empty() || !defined_alike(system, &report, &together, near, runs))
}

#[test]
fn runs_at_a_proven_interval_are_runs_by_themselves() {
    let (mut proven, mut broken) = (0, 0);
    for seed in 0..40 {
        let system = network(2 + seed as u16 % 6, seed);
        let scene = relays(&system, seed, 3 + seed as usize % 6);
        if let Some(differs) = hold(&system, &scene, 2 + seed % 2) {
            proven += 1;
            broken += u32::from(differs);
        }
    }
    assert!(proven > 10 && broken > 0, "{proven} proven, {broken} of them differ where runs are too near one another");
}

#[test]
fn chips_that_share_queue_sets_have_windows_of_their_own() {
    let small = preset("test-small").unwrap();
    let (mut proven, mut refused) = (0, 0);
    for seed in 0..60 {
        let base = pairs(&small, 1);
        let scene = compose(&base, seed, 4 + seed as usize % 6);
        let alone = checker::check_system(&base, &scene.image, &scene.program).unwrap();
        let system = pairs(&small, 3);
        let all = repeat(&system, &scene, &mut Dice(seed));
        let together = checker::check_system(&system, &all.image, &all.program).unwrap();
        match (Windows::new(&base, &alone), Windows::new(&system, &together)) {
            (Ok(one), Ok(several)) => {
                // Pairs that start later have windows as long.
                assert_eq!(one.distance(), several.distance(), "seed {seed}");
                let interval = NonZeroU64::new(several.distance());
                let stated = |interval| Program { interval, ..all.program.clone() };
                assert_eq!(checker::prove_interval(&system, &stated(interval), &together), Ok(()));
                let shorter = NonZeroU64::new(several.distance() - 1);
                assert!(checker::prove_interval(&system, &stated(shorter), &together).is_err() || shorter.is_none());
                proven += 1;
            }
            (Err(_), Err(_)) => refused += 1,
            (one, several) => panic!("seed {seed}: alone {one:?}, repeated {several:?}"),
        }
    }
    assert!(proven > 5, "{proven} proven, {refused} refused");
}

/// What a program is refused for.
fn verdict(system: &str, text: &str) -> Result<u64, String> {
    let system = System::preset(system).unwrap();
    let by_name = &mut |_: &str| Some((system.reference(), system.chip().lanes() as u32));
    let named = format!(".chip {}\n.program p\n{text}", system.name());
    let (mut container, _) = assemble(&named, &mut |_| Err("no files".into()), by_name).unwrap();
    container.programs[0].cycles = checker::cycles(&system, &container.image, &container.programs[0]).unwrap();
    let report = checker::check_system(&system, &container.image, &container.programs[0]).unwrap();
    let proven = checker::prove_interval(&system, &container.programs[0], &report);
    let windows = proven.and_then(|()| Windows::new(&system, &report));
    windows.map(|windows| windows.distance()).map_err(|error: OverlayError| error.to_string())
}

#[test]
fn what_a_run_leaves_for_the_next_is_refused() {
    let copy = ".input a i8 [1 320] at e0:0\n.queue mem.e0\n@0 read a, e0\n.queue mem.e4\n@5 write 9, e0\n";
    assert_eq!(verdict("tsp-v1", copy), Ok(27));
    assert_eq!(verdict("tsp-v1", &format!(".interval 27\n{copy}")), Ok(27));
    let cases = [
        (
            format!(".interval 26\n{copy}"),
            "runs 26 cycles apart would meet on chip 0, which is in use from cycle 0 to cycle 26; state an interval of \
            at least 27",
        ),
        (
            format!("{copy}.queue mem.e8\n@0 config 10\n"),
            "on chip 0 the `config` of queue mem.e8 in cycle 0 leaves lanes without power for the next run; give all \
            lanes power at the end",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(verdict("tsp-v1", &text).unwrap_err(), expected);
    }
}
