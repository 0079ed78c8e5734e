//! Models of shapes that nothing divides over small systems of any size: the engines agree on every word, threads
//! change nothing, one chip gives the same logits, and damaged programs get one verdict from checker and engines.

use std::collections::BTreeMap;
use std::sync::Arc;

use lpu::chip::System;
use lpu::emulator::{Machine, RunError};
use lpu::isa::{ChipId, Image, Program, Queue, Rule};
use lpu::replay::{Replay, ReplayError};
use lpu::{Engines, Model, Options, Precision, Session, Step, checker, compiler};
use lpu_tests::dice::Dice;
use lpu_tests::mutate::{Change, mutate};
use lpu_tests::shape::{changed, random};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

const CONTEXT: usize = 16;
/// Changes of each damaged program.
const DAMAGES: usize = 40;
/// Items that a queue is filled to, which it holds.
const QUEUE_DEPTH: usize = 2000;

/// A system of so many small chips: a node, or two of eight chips.
fn system(chips: u16, superlanes: u32) -> System {
    let small = changed("small", &[("superlanes", superlanes), ("words_per_bank", 512), ("c2c_queues", 12)]);
    let nodes = if chips > 8 { "chips_per_node = 8\nnodes_per_rack = 2\nglobal_links = 2" } else { "" };
    let wired = if nodes.is_empty() { format!("chips_per_node = {chips}") } else { nodes.to_owned() };
    System::from_toml(&format!("name = 'some'\nchip = 'small'\n{wired}\n"), &mut |_| Ok(small.clone()))
        .expect("a description of a system")
}

/// A model's shape and where it is laid.
#[derive(Clone, Debug)]
struct Shape {
    hidden: usize,
    intermediate: usize,
    layers: usize,
    kv_heads: usize,
    queries: usize,
    pairs: usize,
    vocab: usize,
    tied: bool,
    superlanes: u32,
    /// Powers of two: chips of the system, and of a group, at most as many.
    powers: (u32, u32),
    /// Stages, where there is room for so many.
    stages: usize,
    precision: Precision,
}

impl Shape {
    fn config(&self) -> String {
        let &Self { hidden, intermediate, layers, kv_heads, queries, pairs, vocab, tied, .. } = self;
        let (heads, head_dim) = (kv_heads * queries, 2 * pairs);
        format!(
            r#"{{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":{hidden},
            "intermediate_size":{intermediate},"num_hidden_layers":{layers},"num_attention_heads":{heads},
            "num_key_value_heads":{kv_heads},"head_dim":{head_dim},"vocab_size":{vocab},"rms_norm_eps":1e-5,
            "tie_word_embeddings":{tied},"hidden_act":"silu","rope_theta":10000.0,"max_position_embeddings":64}}"#
        )
    }

    fn system(&self) -> System {
        system(1 << self.powers.0, self.superlanes)
    }

    /// Chips of a group, and stages that the system has room for.
    fn options(&self) -> Options {
        let group = 1 << self.powers.1.min(self.powers.0).min(3);
        let room = (1 << self.powers.0) / group;
        let graph = random(&self.config()).graph().tensor_parallel(group).expect("a group of a power of two");
        let stages = self.stages.min(room).min(graph.stage_starts().len() + 1);
        Options {
            precision: self.precision,
            context: CONTEXT,
            tensor_parallel: Some(group),
            pipeline_parallel: Some(stages),
            ..Options::default()
        }
    }

    fn model(&self, engines: &Engines) -> Arc<Model> {
        Model::compile(random(&self.config()), self.system(), &self.options(), engines)
            .unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    let precision = prop::sample::select(vec![Precision::F16, Precision::W8A16]);
    let sizes = (9usize..150, 5usize..170, 1usize..4, 1usize..6, 1usize..5, 1usize..13, 17usize..240);
    let laid = (prop::sample::select(vec![4u32, 5, 20]), (1u32..5, 0u32..4), 1usize..9, any::<bool>(), precision);
    (sizes, laid).prop_map(|(sizes, (superlanes, powers, stages, tied, precision))| {
        let (hidden, intermediate, layers, kv_heads, queries, pairs, vocab) = sizes;
        Shape {
            hidden,
            intermediate,
            layers,
            kv_heads,
            queries,
            pairs,
            vocab,
            tied,
            superlanes,
            powers,
            stages,
            precision,
        }
    })
}

/// The logits of three tokens, in bits, and the cycles of each.
fn fed(model: &Arc<Model>, shape: &Shape) -> Vec<(u64, Vec<f32>)> {
    let mut sequence = model.sequence().expect("there is memory");
    let tokens = [3, 11, 7].map(|token| sequence.feed(token).unwrap_or_else(|error| panic!("{shape:?}: {error}")));
    tokens.into_iter().map(|token| (token.cycles, token.logits)).collect()
}

fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

/// What holds of a shape: both engines agree in every word, threads change no bit, one chip gives the same logits.
fn hold(shape: &Shape) {
    let both = Engines { verify: true, threads: Some(2), cache: false, ..Engines::default() };
    let found = fed(&shape.model(&both), shape);
    let alone = Engines { threads: Some(1), cache: false, ..Engines::default() };
    let model = shape.model(&alone);
    let bits = |of: &[(u64, Vec<f32>)]| -> Vec<(u64, Vec<u32>)> {
        of.iter().map(|(cycles, logits)| (*cycles, logits.iter().map(|logit| logit.to_bits()).collect())).collect()
    };
    assert_eq!(bits(&found), bits(&fed(&model, shape)), "{shape:?}: threads");
    let large = changed("one", &[("superlanes", shape.superlanes)]);
    let options = Options { precision: shape.precision, context: CONTEXT, ..Options::default() };
    let mut session = Session::compile(random(&shape.config()), &large, &options).expect("one chip holds it");
    for (token, (cycles, logits)) in [3, 11, 7].into_iter().zip(found) {
        assert_eq!(cycles, model.heads()[0].cycles, "{shape:?}");
        let expected = session.feed(token).expect("a legal program").logits;
        let error = norm(logits.iter().zip(&expected).map(|(found, expected)| found - expected));
        assert!(error <= 0.02 * norm(expected.iter().copied()), "{shape:?}: error {error}");
    }
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new_with_rng(
        ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() },
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    )
}

fn held(cases: u32) {
    let run = runner(cases).run(&shapes(), |shape| {
        hold(&shape);
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn shapes_that_nothing_divides_are_equal_on_both_engines() {
    held(16);
}

#[test]
#[ignore = "hundreds of systems take minutes"]
fn hundreds_of_shapes_are_equal_on_both_engines() {
    held(300);
}

/// What orders violations of a program's first fault, or its cycles.
type Verdict = Result<u64, (u64, ChipId, Option<Queue>, Rule, u32)>;

/// A compiled program of a system, and what the host gives it for a token.
struct Compiled {
    system: System,
    image: Image<'static>,
    program: Program,
    inputs: Vec<(String, Vec<u8>)>,
}

fn compiled(shape: &Shape) -> Compiled {
    let (checkpoint, system) = (random(&shape.config()), shape.system());
    let made = compiler::compile(&checkpoint, &system, &shape.options()).expect("it fits");
    let step = Step::of(&checkpoint, CONTEXT, 0, 7).expect("a token of the vocabulary");
    let inputs = step.inputs(&made.interface, &made.programs[0]).expect("a step of this model");
    Compiled { system, image: made.image, program: made.programs[0].clone(), inputs }
}

/// What checker, reference engine and fast engine say of a changed program; nothing where they refuse to judge it.
/// Where it is legal, both engines have the same words.
fn verdicts(of: &Compiled, image: &Image<'static>, program: &Program) -> Option<[Verdict; 3]> {
    let mut machine = Machine::of_system(&of.system, image).expect("the image fits");
    let mut fast = Replay::new(&of.system, image, 2).expect("the image fits");
    let report = match checker::check_system(&of.system, image, program) {
        Ok(report) => report,
        Err(error) => {
            assert!(machine.prepare(program).is_err() && fast.prepare(image, program).is_err(), "{error}");
            return None;
        }
    };
    let reference = machine.prepare(program).expect("the checker judged it");
    let replayed = fast.prepare(image, program).expect("the checker judged it");
    for (name, bytes) in &of.inputs {
        let written = machine.write_input(program, name, bytes).is_ok();
        assert_eq!(fast.write_input(program, name, bytes).is_ok(), written, "{name}");
    }
    let said = report.violations.first().map_or(Ok(report.cycles), |violation| Err(violation.key()));
    let stepped = match machine.run(&reference, &mut ()) {
        Ok(run) => Ok(run.cycles),
        Err(RunError::Fault(first)) => Err(first.key()),
        Err(error) => panic!("{error}"),
    };
    let found = match fast.run(&replayed) {
        Ok(run) => Ok(run.cycles),
        Err(ReplayError::Fault(first)) => Err(first.key()),
        Err(error) => panic!("{error}"),
    };
    if stepped.is_ok() && found.is_ok() {
        let chip = of.system.chip();
        for number in (0..of.system.chips()).map(ChipId) {
            for slice in chip.slices() {
                for word in 0..chip.words_per_slice() {
                    let expected = machine.read_word(number, slice, word).expect("the word is there");
                    let found = fast.read_word(number, slice, word).expect("the word is there");
                    assert!(*expected == found[..], "word {word} of {slice} on chip {}", number.0);
                }
            }
        }
    }
    Some([said, stepped, found])
}

#[test]
fn damaged_programs_of_systems_get_one_verdict() {
    let base = Shape {
        hidden: 37,
        intermediate: 43,
        layers: 2,
        kv_heads: 3,
        queries: 2,
        pairs: 4,
        vocab: 41,
        tied: false,
        superlanes: 4,
        powers: (1, 1),
        stages: 1,
        precision: Precision::F16,
    };
    // A group, stages of one chip, and stages of groups.
    let laid = [((2, 2), 1), ((1, 0), 2), ((3, 1), 3)];
    let mut met: BTreeMap<Change, [usize; 2]> = BTreeMap::new();
    for (number, (powers, stages)) in laid.into_iter().enumerate() {
        let of = compiled(&Shape { powers, stages, ..base.clone() });
        let mut dice = Dice(number as u64 + 1);
        for case in 0..DAMAGES {
            let (image, mut program, change) = mutate(&of.image, &of.program, QUEUE_DEPTH, &mut dice);
            if change != Change::Cycles && dice.below(10) > 0 {
                program.cycles = checker::cycles(&of.system, &image, &program).unwrap_or(program.cycles);
            }
            let Some([said, stepped, found]) = verdicts(&of, &image, &program) else { continue };
            assert_eq!(said, stepped, "{powers:?}, case {case}: {change:?}");
            assert_eq!(stepped, found, "{powers:?}, case {case}: {change:?}");
            met.entry(change).or_default()[usize::from(said.is_err())] += 1;
        }
    }
    println!("changes (legal, not): {met:?}");
    let total = |kind: usize| met.values().map(|counts| counts[kind]).sum::<usize>();
    assert!(total(0) > 10 && total(1) > 30, "{met:?}");
}
