//! The two proofs of legality, checker and reference engine, agree on small random programs: the same first fault, or
//! none.

use std::collections::{BTreeMap, BTreeSet};

use lpu::isa::{
    ChipId, Extent, Fill, Format, Hemisphere, Image, Instruction, Program, Queue, Region, RegionKind, Rule, SliceId,
    TABLE, WordRun, compress, validate,
};
use lpu::{chip, emulator};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Queues of the soup: few, so that they meet.
fn queues() -> Vec<Queue> {
    use lpu::isa::PlanePort::{Accumulate, Activate, Install, Load};
    let mut queues: Vec<Queue> = (0..4).map(|slice| Queue::Mem(Hemisphere::East, slice)).collect();
    queues.extend([Queue::Vxm(0), Queue::Vxm(1), Queue::Sxm(Hemisphere::East, 0)]);
    queues.extend([Load, Install, Activate, Accumulate].map(|port| Queue::Mxm(Hemisphere::East, 0, port)));
    queues.extend([Load, Install, Activate].map(|port| Queue::Mxm(Hemisphere::East, 1, port)));
    queues
}

/// An instruction that the queue accepts, its operands drawn from a few values.
fn instruction(queue: Queue, seed: &[u64]) -> Option<Instruction> {
    let rows: Vec<_> = TABLE
        .iter()
        .filter(|row| {
            row.unit == queue.unit() && !matches!(queue, Queue::Mxm(_, _, port) if port.name() != row.mnemonic)
        })
        .collect();
    let row = rows[seed[0] as usize % rows.len()];
    let bits: Vec<u64> = row
        .operands
        .iter()
        .zip(&seed[1..])
        .map(|(operand, &seed)| {
            use lpu::isa::Kind;
            match operand.kind {
                Kind::Stream => [0, 0x80, 4, 0x84][seed as usize % 4],
                Kind::Target => [0, 0x100, 0x180, 0x104][seed as usize % 4],
                Kind::Source => [0, 0x80, 1 << 32, (1 << 32) | 1, (2 << 32) | 0x3f80_0000][seed as usize % 5],
                Kind::Word => [0, 1, 2, 256, 700][seed as usize % 5],
                Kind::WindowBits => seed % 3,
                Kind::Row => [0, 16, 32, 48, 64][seed as usize % 5],
                Kind::Accumulator => seed % 2,
                kind => seed & ((1 << kind.width().min(3)) - 1),
            }
        })
        .collect();
    Instruction::from_bits(row.opcode, &bits).filter(|instruction| instruction.validate().is_ok())
}

fn program(seeds: &[(usize, u64, Vec<u64>)], cycles: u64) -> Program {
    let known = queues();
    let mut issues: BTreeMap<Queue, Vec<(u64, Instruction)>> = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for (queue, cycle, seed) in seeds {
        let queue = known[queue % known.len()];
        let Some(instruction) = instruction(queue, seed) else { continue };
        if taken.insert((queue, *cycle)) {
            issues.entry(queue).or_default().push((*cycle, instruction));
        }
    }
    let mut queues = BTreeMap::new();
    for (queue, mut issues) in issues {
        issues.sort_by_key(|issue| issue.0);
        let items = compress(&issues);
        if validate(queue, &items).is_ok() {
            queues.insert(queue, items);
        }
    }
    let region = |name: &str, kind, word| {
        let slice = SliceId { side: Hemisphere::East, index: 0 };
        let runs = vec![WordRun::one(ChipId(0), slice, word)];
        Region { name: name.into(), kind, format: Format::I8, vectors: 1, lanes: 16, runs }
    };
    let regions = vec![region("in", RegionKind::Input, 0), region("fixed", RegionKind::Const, 1)];
    Program { name: "soup".into(), cycles, regions, ..Program::default() }.with_queues(vec![queues])
}

#[test]
fn both_proofs_find_the_same_first_fault() {
    let small = chip::preset("test-small").unwrap();
    let extent = |index, word, count| Extent {
        place: WordRun { chip: ChipId(0), slice: SliceId { side: Hemisphere::East, index }, word, count, stride: 1 },
        fill: Fill::Zero,
    };
    let image = Image {
        vector_bytes: small.lanes() as u32,
        extents: vec![extent(0, 1, 1), extent(1, 0, 8), extent(2, 0, 8), extent(3, 256, 8)],
    };
    let seed = (any::<usize>(), 0..24u64, prop::collection::vec(any::<u64>(), 6));
    let rules = std::cell::RefCell::new(BTreeSet::<Rule>::new());
    let mut runner = TestRunner::new(Config { cases: 3000, failure_persistence: None, ..Config::default() });
    runner
        .run(&prop::collection::vec(seed, 1..14), |seeds| {
            let mut program = program(&seeds, 0);
            program.cycles = lpu::checker::derived_cycles(&small, &program);
            let report = lpu::checker::check(&small, &image, &program).unwrap();
            let mut machine = emulator::Machine::new(&small, &image).unwrap();
            machine.write_input(&program, "in", &[1; 16]).unwrap();
            let prepared = machine.prepare(&program).unwrap();
            let found = match machine.run(&prepared, &mut ()) {
                Ok(run) => {
                    prop_assert_eq!(run.cycles, program.cycles);
                    None
                }
                Err(emulator::RunError::Fault(first)) => Some(first),
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            };
            let first = report.violations.first();
            prop_assert_eq!(
                first.map(|first| first.key()),
                found.map(|first| first.key()),
                "checker {:?}, engine {:?}",
                first,
                found
            );
            rules.borrow_mut().extend(report.violations.iter().map(|violation| violation.fault.rule()));
            Ok(())
        })
        .unwrap();
    let rules = rules.into_inner();
    println!("rules met: {rules:?}");
    assert!(rules.len() >= 10, "only {rules:?}");
}
