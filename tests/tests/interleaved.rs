//! Many sequences of one model on one machine: each gives, bit for bit, what it gives by itself, in whatever order they
//! take turns, and runs begin as soon as the checker's proof allows.

use std::path::PathBuf;
use std::sync::Arc;

use lpu::chip::{System, preset};
use lpu::model::Checkpoint;
use lpu::{Engines, Model, Options, Precision};
use lpu_tests::dice::Dice;
use proptest::prelude::*;

const CHECKPOINTS: &[&str] =
    &["plain", "gqa", "odd", "wide_head", "deep", "gemma2", "gpt2", "olmo2", "phi", "gemma3", "mixtral", "qwen2_moe"];

/// Chips of a group, and stages.
const SHAPES: &[[usize; 2]] = &[[1, 1], [1, 2], [1, 3], [2, 1], [2, 2], [4, 1]];

const PRECISIONS: &[Precision] = &[Precision::F16, Precision::W8A16, Precision::W8A8];

const CONTEXT: usize = 48;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("checkpoints").join(name)
}

/// One chip, or a node of four.
fn system(shape: [usize; 2]) -> System {
    match shape {
        [1, 1] => System::preset("tsp-v1").expect("it ships"),
        _ => System::from_toml("name = 'node'\nchip = 'tsp-v1'\nchips_per_node = 4\n", &mut preset).expect("a node"),
    }
}

/// What a model is compiled for.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    precision: Precision,
    shape: [usize; 2],
}

impl Case {
    fn model(self, sequences: usize, context: usize, engines: &Engines) -> Arc<Model> {
        let Case { name, precision, shape: [tensor, pipeline] } = self;
        let (tensor_parallel, pipeline_parallel) = (Some(tensor), Some(pipeline));
        let options = Options { precision, context, sequences, tensor_parallel, pipeline_parallel };
        let checkpoint = Checkpoint::open(&folder(name)).expect("a committed checkpoint");
        Model::compile(checkpoint, system(self.shape), &options, engines)
            .unwrap_or_else(|error| panic!("{self:?}, {sequences} sequences: {error}"))
    }
}

/// Cycles and logits of a token, in bits.
type Bits = (u64, Vec<u32>);

/// Feeds tokens to sequences in turn as dice fall, and holds each to what a model of one sequence gives.
fn hold(case: Case, lengths: &[usize], seed: u64, engines: &Engines) {
    let mut dice = Dice(seed);
    let vocab = Checkpoint::open(&folder(case.name)).expect("a committed checkpoint").config.vocab;
    let alone = case.model(1, CONTEXT, &Engines::default());
    let prompts: Vec<Vec<u32>> =
        lengths.iter().map(|&length| (0..length).map(|_| dice.below(vocab) as u32).collect()).collect();
    let expected: Vec<Vec<Bits>> = prompts
        .iter()
        .map(|prompt| {
            let mut sequence = alone.sequence().expect("there is memory");
            prompt.iter().map(|&token| bits(sequence.feed(token).expect("a token"))).collect()
        })
        .collect();
    let together = case.model(lengths.len(), CONTEXT, engines);
    let mut sequences = together.sequences().expect("there is memory");
    assert_eq!(sequences.len(), lengths.len());
    let mut fed = vec![0; lengths.len()];
    loop {
        let open: Vec<usize> = (0..lengths.len()).filter(|&number| fed[number] < lengths[number]).collect();
        let Some(&number) = open.get(dice.below(open.len().max(1))) else { break };
        let token = prompts[number][fed[number]];
        let stated = sequences[number].stated_cycles();
        let (cycles, logits) = bits(sequences[number].feed(token).unwrap_or_else(|error| panic!("{case:?}: {error}")));
        let (alone, expected) = &expected[number][fed[number]];
        assert!(logits == *expected, "{case:?}: token {} of sequence {number}", fed[number]);
        // Stages are cut by what they hold, key-value rows included, so that they may be others.
        assert_eq!(cycles, if case.shape[1] == 1 { *alone } else { stated }, "{case:?}");
        fed[number] += 1;
    }
}

fn bits(token: lpu::Token) -> Bits {
    (token.cycles, token.logits.into_iter().map(f32::to_bits).collect())
}

fn any_case() -> impl Strategy<Value = Case> {
    let parts = (prop::sample::select(CHECKPOINTS), prop::sample::select(PRECISIONS), prop::sample::select(SHAPES));
    parts.prop_map(|(name, precision, shape)| Case { name, precision, shape })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn sequences_on_one_machine_are_as_by_themselves(
        case in any_case(),
        lengths in prop::collection::vec(1usize..8, 2..5),
        seed: u64,
    ) {
        hold(case, &lengths, seed, &Engines::default());
    }
}

#[test]
fn both_engines_agree_on_all_sequences() {
    let engines = Engines { verify: true, ..Engines::default() };
    for (name, precision, shape) in
        [("gqa", Precision::F16, [1, 1]), ("odd", Precision::W8A16, [1, 2]), ("plain", Precision::W8A8, [2, 1])]
    {
        hold(Case { name, precision, shape }, &[2, 3], 5, &engines);
    }
}
