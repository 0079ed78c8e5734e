//! The fast engine against the reference engine: every word of SRAM, faults and cycles, whatever the number of threads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lpu::isa::{TABLE, Unit, assemble, expand};
use lpu::model::Checkpoint;
use lpu::{Options, Precision, chip, compiler};
use lpu_tests::equal::Pair;
use lpu_tests::grow::{Dice, damage, grow};

const CONTEXT: usize = 48;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints").join(name)
}

#[test]
fn compiled_decode_steps_are_equal() {
    let tsp = chip::preset("tsp-v1").unwrap();
    for name in ["plain", "gqa", "odd", "wide", "wide_head", "deep", "qwen3", "gemma2", "gpt2", "gpt_neox", "mixtral"] {
        let checkpoint = Checkpoint::open(&folder(name)).unwrap();
        for precision in [Precision::F16, Precision::W8A8, Precision::W8A16] {
            let compiled = compiler::compile(&checkpoint, &tsp, &Options { precision, context: CONTEXT }).unwrap();
            let mut pair = Pair::new(&tsp, &compiled.image, &compiled.programs[0], &[1, 2, 3]);
            for position in 0..2 {
                let mut row = vec![0.0; checkpoint.config.hidden];
                checkpoint.embedding_row(5 + 7 * position as u32, &mut row).unwrap();
                for (region, bytes) in compiler::host::inputs(&checkpoint.config, tsp.lanes(), CONTEXT, position, &row) {
                    pair.input(&region, &bytes);
                }
                if checkpoint.position_row(position as u32, &mut row).unwrap() {
                    let (region, bytes) = compiler::host::position(tsp.lanes(), &row);
                    pair.input(&region, &bytes);
                }
                assert_eq!(pair.run(), Ok(true), "{name} {} token {position}", precision.name());
            }
        }
    }
}

#[test]
fn kernels_are_equal() {
    let mut met = 0;
    let mut files: Vec<PathBuf> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/kernels"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "lpu"))
        .collect();
    files.sort();
    for path in files {
        let source = std::fs::read_to_string(&path).unwrap();
        let mut by_name = |name: &str| chip::preset(name).ok().map(|chip| (chip.reference(), chip.lanes() as u32));
        let Ok((container, map)) = assemble(&source, &mut |_| Err("kernels have no image file".into()), &mut by_name) else { continue };
        let mut program = container.programs[0].clone();
        let chip = chip::preset(&container.chip.name).unwrap();
        if !map.cycles_stated(0) {
            program.cycles = lpu::checker::derived_cycles(&chip, &program);
        }
        let mut pair = Pair::new(&chip, &container.image, &program, &[1, 2]);
        let mut dice = Dice(7);
        for run in 0..2 {
            pair.random_inputs(&mut || dice.roll());
            assert_eq!(pair.run(), Ok(true), "{} run {run}", path.display());
        }
        met += 1;
    }
    assert!(met >= 2, "{met} kernels");
}

#[test]
fn an_operation_of_immediates_alone_is_equal() {
    let source = ".chip test-small
.program immediates
.output a i32 [1 64] at e0..e3:0
.queue vxm.0
select e0, #i1, #i1234567, #i7654321
.queue mem.e0
@5 write a, e0
.queue mem.e1
@5 write a, e1
.queue mem.e2
@5 write a, e2
.queue mem.e3
@5 write a, e3
";
    let small = chip::preset("test-small").unwrap();
    let mut by_name = |_: &str| Some((small.reference(), small.lanes() as u32));
    let (container, _) = assemble(source, &mut |_| Err("no image file".into()), &mut by_name).unwrap();
    let mut program = container.programs[0].clone();
    program.cycles = lpu::checker::derived_cycles(&small, &program);
    let mut pair = Pair::new(&small, &container.image, &program, &[1, 2]);
    assert_eq!(pair.run(), Ok(true));
}

#[test]
fn grown_programs_are_equal() {
    let small = chip::preset("test-small").unwrap();
    let mut met = BTreeMap::<&str, usize>::new();
    for seed in 0..80 {
        let (image, program) = grow(&small, seed, 20 + seed as usize % 100);
        for issue in program.queues.iter().flat_map(|queues| queues.values()).flat_map(|items| expand(items)) {
            *met.entry(issue.instruction.row().mnemonic).or_default() += 1;
        }
        let mut pair = Pair::new(&small, &image, &program, &[1, 2, 3]);
        let mut dice = Dice(seed);
        for run in 0..3 {
            pair.random_inputs(&mut || dice.roll());
            assert_eq!(pair.run(), Ok(true), "seed {seed}, run {run}");
        }
    }
    println!("{met:?}");
    let missing: Vec<_> = TABLE
        .iter()
        .filter(|row| !matches!(row.unit, Unit::Icu | Unit::C2c) && !met.contains_key(row.mnemonic))
        .map(|row| row.mnemonic)
        .collect();
    assert!(missing.is_empty(), "never grown: {missing:?}");
}

#[test]
fn damaged_programs_fault_alike_or_stay_equal() {
    let small = chip::preset("test-small").unwrap();
    let (mut legal, mut faults) = (0, 0);
    for seed in 1000..1040 {
        let (image, program) = grow(&small, seed, 50);
        let mut dice = Dice(seed);
        for _ in 0..16 {
            let Some(damaged) = damage(&small, &program, &mut dice) else { continue };
            let mut pair = Pair::new(&small, &image, &damaged, &[2]);
            pair.random_inputs(&mut || dice.roll());
            match pair.run() {
                Ok(true) => legal += 1,
                Ok(false) => faults += 1,
                Err(difference) => panic!("seed {seed}: {difference}"),
            }
        }
    }
    println!("{legal} legal, {faults} faults");
    assert!(legal >= 50 && faults >= 50, "{legal} legal, {faults} faults");
}
