//! Programs that take several tokens a run: a row of every value for each of them, with weights loaded once.

use std::fs;
use std::path::PathBuf;

use lpu::emulator::Machine;
use lpu::model::{Checkpoint, Graph, Mask, Op};
use lpu::{Options, Precision, Step, chip, compiler, ports};
use lpu_tests::equal::Pair;

const CONTEXT: usize = 48;
const PRECISIONS: [Precision; 3] = [Precision::F16, Precision::W8A8, Precision::W8A16];

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("checkpoints").join(name)
}

/// The decode graph with so many rows of every value.
fn rows(checkpoint: &Checkpoint, rows: usize) -> Graph {
    let mut graph = checkpoint.graph();
    graph.values.iter_mut().for_each(|value| value.rows = rows);
    graph
}

fn compiled(checkpoint: &Checkpoint, graph: Graph, precision: Precision) -> compiler::Compiled {
    let options = Options { precision, context: CONTEXT, ..Options::default() };
    lpu::compile_graph(checkpoint, graph, &chip::preset("tsp-v1").unwrap(), &options).unwrap()
}

/// Logits of every token of a list, `rows` tokens a run.
fn logits(checkpoint: &Checkpoint, compiled: &compiler::Compiled, tokens: &[u32], rows: usize) -> Vec<Vec<f32>> {
    let chip = chip::preset("tsp-v1").unwrap();
    let program = &compiled.programs[0];
    let mut machine = Machine::new(&chip, &compiled.image).unwrap();
    let prepared = machine.prepare(program).unwrap();
    let mut found = Vec::new();
    for (run, tokens) in tokens.chunks_exact(rows).enumerate() {
        let step = |(row, &token): (usize, &u32)| Step::of(checkpoint, CONTEXT, run * rows + row, token).unwrap();
        let steps: Vec<Step> = tokens.iter().enumerate().map(step).collect();
        for (region, bytes) in ports::inputs(&steps, &compiled.interface, program).unwrap() {
            machine.write_input(program, &region, &bytes).unwrap();
        }
        assert_eq!(machine.run(&prepared, &mut ()).unwrap().cycles, program.cycles);
        assert_eq!(compiled.interface.outputs.len(), rows, "a port a row");
        for (row, port) in compiled.interface.outputs.iter().enumerate() {
            assert_eq!(port.row as usize, row);
            found.push(ports::read(&port.lanes, &machine.read_region(program, &port.region).unwrap()));
        }
    }
    found
}

fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

/// Against the float32 reference, with the tolerances of one row.
#[test]
fn every_row_agrees_with_the_reference() {
    for name in ["gqa", "wide", "wide_head", "deep", "gemma2", "gpt_neox", "olmo2"] {
        let checkpoint = Checkpoint::open(&folder(name)).unwrap();
        let tokens: Vec<u32> = serde_json::from_slice(&fs::read(folder(name).join("tokens.json")).unwrap()).unwrap();
        let stored = fs::read(folder(name).join("logits.npy")).unwrap();
        let expected: Vec<f32> = npyz::NpyFile::new(&stored[..]).unwrap().into_vec().unwrap();
        for (precision, most) in PRECISIONS.into_iter().zip([0.01, 0.10, 0.05]) {
            let count = if precision == Precision::F16 { 3 } else { 2 };
            let compiled = compiled(&checkpoint, rows(&checkpoint, count), precision);
            let found = logits(&checkpoint, &compiled, &tokens[..6], count);
            assert_eq!(found.len(), 6);
            for (position, (found, expected)) in found.iter().zip(expected.chunks(checkpoint.config.vocab)).enumerate()
            {
                let error = norm(found.iter().zip(expected).map(|(found, expected)| found - expected));
                let relative = error / norm(expected.iter().copied());
                assert!(relative <= most, "{name} {} token {position}: {relative}", precision.name());
            }
        }
    }
}

/// Where a sum over a row has one tile, no order of summation is left to the schedule: the bits are those of runs of
/// one row, experts included.
#[test]
fn rows_are_bit_for_bit_runs_of_one_row() {
    let tokens = [3, 7, 11, 2, 9, 5];
    for name in ["plain", "qwen3", "gpt2", "mixtral", "qwen2_moe"] {
        let checkpoint = Checkpoint::open(&folder(name)).unwrap();
        for precision in PRECISIONS {
            let of = |count| {
                let compiled = compiled(&checkpoint, rows(&checkpoint, count), precision);
                logits(&checkpoint, &compiled, &tokens, count)
            };
            let one = of(1);
            for count in [2, 3] {
                assert!(of(count) == one, "{name} {} {count} rows", precision.name());
            }
        }
    }
}

/// Both engines give the same words of SRAM and cycles.
#[test]
fn engines_agree_on_several_rows() {
    let tsp = chip::preset("tsp-v1").unwrap();
    for name in ["plain", "mixtral"] {
        let checkpoint = Checkpoint::open(&folder(name)).unwrap();
        let compiled = compiled(&checkpoint, rows(&checkpoint, 2), Precision::W8A16);
        let mut pair = Pair::new(&tsp, &compiled.image, &compiled.programs[0], &[1, 2]);
        let steps = [0, 1].map(|row| Step::of(&checkpoint, CONTEXT, row, 5 + row as u32).unwrap());
        for (region, bytes) in ports::inputs(&steps, &compiled.interface, &compiled.programs[0]).unwrap() {
            pair.input(&region, &bytes);
        }
        assert_eq!(pair.run(), Ok(true), "{name}");
    }
}

/// A tile is loaded once for all rows, so a run of several is shorter than as many runs, and loads no more weights.
#[test]
fn rows_share_the_loads_of_weights() {
    let checkpoint = Checkpoint::open(&folder("deep")).unwrap();
    for precision in PRECISIONS {
        let program = |count| compiled(&checkpoint, rows(&checkpoint, count), precision).programs.swap_remove(0);
        let loads = |program: &lpu::isa::Program| {
            let issues = program.sets[0].values().flat_map(|items| lpu::isa::expand(items));
            issues.filter(|issue| issue.instruction.row().mnemonic == "lw").count()
        };
        let (one, two) = (program(1), program(2));
        assert!(two.cycles < 2 * one.cycles, "{}: {} and {}", precision.name(), one.cycles, two.cycles);
        // Sums of softmax weights pass a tile of ones a group, whatever the rows.
        assert_eq!(loads(&one), loads(&two), "{}", precision.name());
    }
}

/// With a full mask a row sees the rows after it; with one row there are none.
#[test]
fn a_full_mask_sees_later_rows() {
    let checkpoint = Checkpoint::open(&folder("plain")).unwrap();
    let with = |count: usize, full: bool| {
        let mut graph = rows(&checkpoint, count);
        for node in &mut graph.nodes {
            if let Op::Attention { mask, .. } = &mut node.op
                && full
            {
                *mask = Mask::Full;
            }
        }
        compiled(&checkpoint, graph, Precision::F16)
    };
    assert_eq!(with(1, true).programs, with(1, false).programs);
    let [full, causal] = [true, false].map(|full| logits(&checkpoint, &with(2, full), &[3, 7], 2));
    let one = logits(&checkpoint, &with(1, false), &[3, 7], 1);
    assert!(full[0] != causal[0], "the first row sees the second");
    assert!(one == causal, "a row of a causal graph is a run of one row");
}

#[test]
fn a_step_a_row_is_asked_for() {
    let checkpoint = Checkpoint::open(&folder("plain")).unwrap();
    let compiled = compiled(&checkpoint, rows(&checkpoint, 2), Precision::F16);
    let step = Step::of(&checkpoint, CONTEXT, 0, 5).unwrap();
    let message = step.inputs(&compiled.interface, &compiled.programs[0]).unwrap_err().to_string();
    assert!(message.contains("`embedding.row1`") && message.contains("row 1"), "{message}");
}

/// A graph whose values differ in rows is refused by the value's name and both counts.
#[test]
fn values_of_other_rows_are_refused() {
    let checkpoint = Checkpoint::open(&folder("plain")).unwrap();
    for (value, found) in [(3, 2), (5, 0)] {
        let mut graph = checkpoint.graph();
        graph.values[value].rows = found;
        let name = graph.values[value].name.clone();
        let options = Options { precision: Precision::F16, context: CONTEXT, ..Options::default() };
        let error =
            compiler::compile_graph(&checkpoint, graph, &chip::preset("tsp-v1").unwrap(), &options).unwrap_err();
        assert_eq!(error, compiler::CompileError::Rows { value: name, rows: found, expected: 1 });
    }
}

/// Sums over several tiles need an accumulator a row: one row more than there are is refused by the figure's name.
#[test]
fn more_rows_than_accumulators_are_refused() {
    let checkpoint = Checkpoint::open(&folder("wide")).unwrap();
    let tsp = chip::preset("tsp-v1").unwrap().with(&[("accumulators", 2)]).unwrap();
    let options = Options { precision: Precision::F16, context: CONTEXT, ..Options::default() };
    for (count, fits) in [(1, true), (2, true), (3, false)] {
        let found = lpu::compile_graph(&checkpoint, rows(&checkpoint, count), &tsp, &options);
        match found {
            Ok(_) => assert!(fits, "{count} rows"),
            Err(error) => {
                assert!(!fits && error.to_string().contains("`accumulators` is 2"), "{count} rows: {error}");
            }
        }
    }
}
