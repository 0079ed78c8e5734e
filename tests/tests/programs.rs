//! Laws over compiled programs: legal, round-tripping, blind to data in time, and sensitive to every operand in value.

use std::borrow::Cow;
use std::path::PathBuf;

use lpu::isa::{Container, Instruction, Item, Program, Queue, Rule, Unit, assemble, disassemble};
use lpu::model::Checkpoint;
use lpu::{Options, Precision, Session, Step, chip, compiler, emulator};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const CONTEXT: usize = 16;

const CHECKPOINTS: &[&str] = &[
    "plain",
    "gqa",
    "odd",
    "wide",
    "wide_head",
    "deep",
    "qwen3",
    "gemma2",
    "gpt2",
    "gpt_neox",
    "olmo2",
    "granite",
    "mixtral",
    "qwen3_moe",
];

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("checkpoints").join(name)
}

fn checkpoint(name: &str) -> Checkpoint {
    Checkpoint::open(&folder(name)).unwrap()
}

fn session(name: &str, precision: Precision) -> Session {
    let tsp = chip::preset("tsp-v1").unwrap();
    Session::compile(checkpoint(name), &tsp, &Options { precision, context: CONTEXT, ..Options::default() }).unwrap()
}

#[test]
fn the_checker_finds_compiled_programs_legal() {
    let tsp = chip::preset("tsp-v1").unwrap();
    for name in CHECKPOINTS {
        for precision in [Precision::F16, Precision::W8A8, Precision::W8A16] {
            for context in [1, 48, 336] {
                let compiled =
                    compiler::compile(&checkpoint(name), &tsp, &Options { precision, context, ..Options::default() })
                        .unwrap();
                let program = &compiled.programs[0];
                let report = lpu::checker::check(&tsp, &compiled.image, program).unwrap();
                assert_eq!(
                    report.violations.first().map(ToString::to_string),
                    None,
                    "{name} {} {context}",
                    precision.name()
                );
                assert_eq!(report.cycles, program.cycles);
                assert!(program.cycles >= compiled.bounds[0].cycles());
            }
        }
    }
}

#[test]
fn cycles_without_weights_are_those_with_weights() {
    let tsp = chip::preset("tsp-v1").unwrap();
    for name in CHECKPOINTS {
        let config = std::fs::read(folder(name).join("config.json")).unwrap();
        for precision in [Precision::F16, Precision::W8A8, Precision::W8A16] {
            let options = Options { precision, context: CONTEXT, ..Options::default() };
            let without = compiler::compile(&Checkpoint::from_config(&config).unwrap(), &tsp, &options).unwrap();
            let with = compiler::compile(&checkpoint(name), &tsp, &options).unwrap();
            assert!(with.programs == without.programs, "{name} {}", precision.name());
        }
    }
}

#[test]
fn compiling_twice_gives_the_same_file() {
    for precision in [Precision::F16, Precision::W8A8, Precision::W8A16] {
        let file = || session("gqa", precision).container().unwrap().to_bytes().unwrap();
        assert!(file() == file(), "{}", precision.name());
    }
}

#[test]
fn compile_disasm_asm_gives_the_identical_file() {
    let session = session("gqa", Precision::W8A8);
    let container = session.container().unwrap();
    let bytes = container.to_bytes().unwrap();
    let (text, image) = disassemble(&container, Some("model.image"));
    let image = image.expect("a model's image is a file of its own");
    let (again, _) = assemble(&text, &mut |_| Ok(Cow::Borrowed(&image[..])), &mut |_| None).unwrap();
    assert!(again.to_bytes().unwrap() == bytes);
    assert!(Container::parse(&bytes).unwrap() == container);
}

#[test]
fn prompts_of_equal_length_take_identical_cycles() {
    let run = |tokens: [u32; 3]| {
        let mut session = session("plain", Precision::F16);
        tokens.map(|token| session.feed(token).unwrap().cycles)
    };
    assert_eq!(run([1, 2, 3]), run([300, 7, 300]));
}

#[test]
fn an_edited_count_is_refused_by_engine_and_checker() {
    let tsp = chip::preset("tsp-v1").unwrap();
    let options = Options { precision: Precision::F16, context: CONTEXT, ..Options::default() };
    let compiled = compiler::compile(&checkpoint("plain"), &tsp, &options).unwrap();
    let mut program = compiled.programs[0].clone();
    program.cycles += 1;
    let report = lpu::checker::check(&tsp, &compiled.image, &program).unwrap();
    assert_eq!(report.violations[0].fault.rule(), Rule::CyclesMismatch);
    let mut machine = emulator::Machine::new(&tsp, &compiled.image).unwrap();
    feed(&compiled, &checkpoint("plain"), &mut machine, &program, 0);
    let prepared = machine.prepare(&program).unwrap();
    let emulator::RunError::Fault(first) = machine.run(&prepared, &mut ()).unwrap_err() else {
        panic!("another error")
    };
    assert_eq!(first.key(), report.violations[0].key());
}

fn feed(
    compiled: &compiler::Compiled,
    checkpoint: &Checkpoint,
    machine: &mut emulator::Machine,
    program: &Program,
    position: usize,
) {
    let step = Step::of(checkpoint, CONTEXT, position, 5 + position as u32).unwrap();
    for (region, bytes) in step.inputs(&compiled.interface, program).unwrap() {
        machine.write_input(program, &region, &bytes).unwrap();
    }
}

/// Flips one bit of one operand of one instruction of `unit`; nothing where that gives no instruction.
fn edit(program: &Program, unit: Unit, pick: usize, operand: usize, bit: usize) -> Option<Program> {
    let mut edited = program.clone();
    let of_unit = |queue: &Queue| queue.unit() == unit;
    let count: usize = program.sets[0].iter().filter(|(queue, _)| of_unit(queue)).map(|(_, items)| items.len()).sum();
    let mut index = pick % count;
    for (queue, items) in edited.sets[0].iter_mut().filter(|(queue, _)| of_unit(queue)) {
        if index >= items.len() {
            index -= items.len();
            continue;
        }
        let Item { instruction, .. } = &mut items[index];
        let row = instruction.row();
        if row.unit == Unit::Icu {
            return None;
        }
        let mut bits = instruction.operand_bits();
        let operand = operand % bits.len();
        bits[operand] ^= 1 << (bit % row.operands[operand].kind.width());
        *instruction = Instruction::from_bits(row.opcode, &bits)?;
        lpu::isa::validate(*queue, items).ok()?;
        return Some(edited);
    }
    None
}

#[test]
fn most_edits_change_the_logits_or_fault_and_both_proofs_agree() {
    let tsp = chip::preset("tsp-v1").unwrap();
    let checkpoint = checkpoint("plain");
    let options = Options { precision: Precision::F16, context: CONTEXT, ..Options::default() };
    let compiled = compiler::compile(&checkpoint, &tsp, &options).unwrap();
    let logits = |program: &Program| {
        let mut machine = emulator::Machine::new(&tsp, &compiled.image).unwrap();
        let prepared = machine.prepare(program).unwrap();
        for position in 0..2 {
            feed(&compiled, &checkpoint, &mut machine, program, position);
            machine.run(&prepared, &mut ())?;
        }
        Ok::<_, emulator::RunError>(machine.read_region(program, "logits").unwrap())
    };
    let expected = logits(&compiled.programs[0]).unwrap();
    let units = [Unit::Mem, Unit::Vxm, Unit::Mxm, Unit::Sxm];
    let noticed = std::cell::RefCell::new([[0u32; 2]; 4]);
    let config = Config { cases: 600, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    runner
        .run(&(0..units.len(), any::<usize>(), 0..5usize, 0..34usize), |(unit, pick, operand, bit)| {
            let Some(program) = edit(&compiled.programs[0], units[unit], pick, operand, bit) else { return Ok(()) };
            let report = lpu::checker::check(&tsp, &compiled.image, &program).unwrap();
            let changed = match logits(&program) {
                Ok(found) => {
                    prop_assert!(
                        report.violations.is_empty(),
                        "the engine runs, the checker says {}",
                        report.violations[0]
                    );
                    found != expected
                }
                Err(emulator::RunError::Fault(first)) => {
                    prop_assert_eq!(report.violations.first().map(|first| first.key()), Some(first.key()), "{}", first);
                    true
                }
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            };
            noticed.borrow_mut()[unit][usize::from(changed)] += 1;
            Ok(())
        })
        .unwrap();
    for (unit, [unseen, seen]) in units.iter().zip(noticed.into_inner()) {
        println!("{}: {seen} edits of {} noticed", unit.name(), seen + unseen);
        assert!(seen > unseen, "{}: {seen} noticed, {unseen} not", unit.name());
    }
}
