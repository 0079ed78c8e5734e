//! Many sequences of one model on one machine: each gives, bit for bit, what it gives by itself, in whatever order they
//! take turns, and runs begin as soon as the checker's proof allows.

use std::path::PathBuf;
use std::sync::Arc;

use lpu::checker::{self, Windows};
use lpu::chip::{System, preset};
use lpu::compiler::{self, CompileError};
use lpu::model::Checkpoint;
use lpu::{Engines, Interleaved, Limits, Model, Options, Precision, ProgramFile, Sampler, Turn};
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

/// What the checker finds of every program of a model.
fn windows(model: &Model) -> Vec<Windows> {
    let (image, system) = (model.image().expect("it is in memory"), model.system());
    let of_program = |program| {
        let report = checker::check_system(system, &image, program).expect("it can be judged");
        checker::prove_interval(system, program, &report).expect("its interval is proven");
        Windows::new(system, &report).expect("runs may follow one another")
    };
    model.programs().expect("they are in memory").iter().map(of_program).collect()
}

#[test]
fn runs_begin_as_soon_as_the_proof_allows_and_give_what_single_runs_give() {
    for (shape, context, lengths) in [([1, 3], 272, [254, 3, 250]), ([1, 1], 48, [4, 1, 6]), ([2, 2], 48, [2, 9, 5])] {
        let case = Case { name: "gqa", precision: Precision::W8A16, shape };
        let (alone, together) =
            (case.model(1, context, &Engines::default()), case.model(3, context, &Engines::default()));
        let limits = Limits { max_tokens: 6, ignore_stop: true };
        let prompts = lengths.map(|length| (0..length).map(|token| (token * 7 + length) % 97).collect::<Vec<u32>>());
        let mut sequences = together.sequences().expect("there is memory");
        let generations = sequences.iter_mut().zip(&prompts);
        let generations =
            generations.map(|(sequence, prompt)| sequence.generate(prompt, Sampler::greedy(), limits, None).unwrap());
        let mut interleaved = Interleaved::new(&together, generations.collect());
        let turns: Vec<Turn> = interleaved.by_ref().map(|turn| turn.expect("a token")).collect();
        let windows = windows(&together);
        let buckets = together.interface().buckets.len();
        for (number, of) in windows.iter().enumerate() {
            assert!(*of == windows[number % buckets], "sequences differ in words alone");
            let stated = together.heads()[number].interval.expect("the compiler states one").get();
            assert_eq!(stated, of.distance(), "program {number}");
        }
        // Each run against all before it, none of which is left out.
        let mut fed = [0; 3];
        let mut begun: Vec<(usize, u64)> = Vec::new();
        let mut ends = [0; 3];
        for turn in &turns {
            let program = together.interface().program(turn.sequence, fed[turn.sequence]).expect("within the context");
            let after = begun.iter().map(|&(before, start)| start + windows[program].after(&windows[before]));
            assert_eq!(turn.start, after.max().unwrap_or(0).max(ends[turn.sequence]), "{case:?}");
            assert_eq!(turn.generated.ran.cycles, together.heads()[program].cycles);
            ends[turn.sequence] = turn.start + turn.generated.ran.cycles;
            fed[turn.sequence] += 1;
            begun.push((program, turn.start));
        }
        assert_eq!(interleaved.cycles(), *ends.iter().max().unwrap());
        for (found, prompt) in interleaved.generations().iter().zip(&prompts) {
            let mut single = alone.sequence().expect("there is memory");
            let mut expected = single.generate(prompt, Sampler::greedy(), limits, None).unwrap();
            expected.by_ref().for_each(|generated| assert!(generated.is_ok()));
            assert_eq!((found.tokens(), found.outputs()), (expected.tokens(), expected.outputs()), "{case:?}");
        }
        // The order is that of the sequences, as long as all have tokens left.
        let first: Vec<usize> = turns[..6].iter().map(|turn| turn.sequence).collect();
        assert_eq!(first, [0, 1, 2, 0, 1, 2]);
    }
}

#[test]
fn a_program_file_has_the_programs_of_all_sequences() {
    let case = Case { name: "odd", precision: Precision::W8A8, shape: [1, 1] };
    let engines = Engines { cache: false, ..Engines::default() };
    let memory = case.model(3, 272, &engines);
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("interleaved.lpb");
    std::fs::write(&path, memory.container().unwrap().to_bytes().unwrap()).unwrap();
    let file = Model::open(ProgramFile::open(&path).unwrap(), system([1, 1]), &engines).unwrap();
    assert_eq!(file.interface(), memory.interface());
    assert_eq!((file.interface().sequences(), file.host().options()), (3, memory.host().options()));
    let [mut of_memory, mut of_file] = [&memory, &file].map(|model| model.sequences().unwrap());
    for (token, number) in [(3, 2), (9, 0), (4, 2), (4, 1), (8, 0)] {
        assert_eq!(of_memory[number].feed(token).unwrap(), of_file[number].feed(token).unwrap());
    }
    let names: Vec<&str> = file.heads().iter().map(|program| program.name.as_str()).collect();
    assert_eq!(names, ["256", "272", "256.sequence1", "272.sequence1", "256.sequence2", "272.sequence2"]);
}

#[test]
fn sequences_that_do_not_fit_are_refused_with_numbers_that_do() {
    let (mut fewer_found, mut contexts, mut systems) = (0, 0, 0);
    for name in ["plain", "gqa", "gpt2"] {
        let config = std::fs::read(folder(name).join("config.json")).expect("a committed config");
        let shape = Checkpoint::from_config(&config).expect("a config of a known family");
        for words in [24, 40, 64, 160] {
            let chip = preset("tsp-v1").unwrap().with(&[("words_per_bank", words)]).expect("it is allowed");
            let two = "name = 'two'\nchip = 'c'\nchips_per_node = 2\n";
            let two = System::from_toml(two, &mut |_| Ok(chip.clone())).expect("a node");
            for (context, sequences) in [(16, 2), (16, 40), (48, 7), (16, usize::MAX)] {
                let options = Options { precision: Precision::W8A8, context, sequences, ..Options::default() };
                let compiles = |system: &System, options: Options| {
                    lpu::compile(&shape, system, &options).unwrap_or_else(|error| panic!("{name} {words}: {error}"));
                };
                let one = System::single(&chip);
                if let Err(error) = compiler::compile(&shape, &one, &options) {
                    let message = error.to_string();
                    if let CompileError::ContextTooLarge { fits, fewer, needed, available, .. } = error {
                        for number in [needed, available, sequences as u64, context as u64] {
                            assert!(message.contains(&number.to_string()), "{message}");
                        }
                        if let Some(context) = fits {
                            contexts += 1;
                            assert!(message.contains(&format!("a context of {context} fits")), "{message}");
                            compiles(&one, Options { context, ..options });
                        }
                        if let Some(sequences) = fewer {
                            fewer_found += 1;
                            assert!(message.ends_with(&format!("--sequences {sequences}")), "{message}");
                            compiles(&one, Options { sequences, ..options });
                        }
                    }
                }
                let on_two = Options { tensor_parallel: Some(1), ..options };
                if let Err(error) = compiler::compile(&shape, &two, &on_two) {
                    let message = error.to_string();
                    if let CompileError::Stage { least: None, fewer: Some(sequences), .. } = error {
                        systems += 1;
                        assert!(message.ends_with(&format!("--sequences {sequences}")), "{message}");
                        compiles(&two, Options { sequences, ..on_two });
                    }
                }
            }
            let none = Options { sequences: 0, ..Options::default() };
            assert_eq!(compiler::compile(&shape, &chip, &none).unwrap_err(), CompileError::NoSequences);
        }
    }
    assert!(fewer_found > 3 && systems > 3, "{fewer_found} fewer, {contexts} contexts, {systems} on two chips");
}
