//! Models over several chips: tensor-parallel groups and pipeline stages, against the float32 reference, on both
//! engines, and with what was compiled changed afterwards.

use std::path::PathBuf;
use std::sync::Arc;

use lpu::{Engines, Model, SessionError, Stage, Step};
use lpu_chip::{System, preset};
use lpu_compiler::{CompileError, Compiled, Options, Precision};
use lpu_isa::{ChipId, Container, Count, Extent, Image, Instruction, Item, Program, Queue, Stream};
use lpu_model::Checkpoint;

/// Every family, and shapes that no number of chips divides.
const CHECKPOINTS: &[&str] = &[
    "plain",
    "gqa",
    "odd",
    "wide",
    "wide_head",
    "deep",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma2",
    "phi3",
    "gpt2",
    "gpt_neox",
    "olmo2",
    "granite",
    "gemma",
    "gemma3",
    "smollm3",
    "stablelm",
    "stablelm_parallel",
    "phi",
    "cohere",
    "olmo3",
    "ministral",
    "mixtral",
    "qwen3_moe",
    "qwen2_moe",
    "granite_moe",
];

/// Chips of a group, and stages.
const SHAPES: &[[usize; 2]] = &[[1, 2], [1, 3], [2, 1], [2, 2], [2, 3], [4, 1], [4, 2], [8, 1]];

/// Tokens of context.
const CONTEXT: usize = 48;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("checkpoints").join(name)
}

/// A node of full-size chips, each connected to each.
fn node() -> System {
    let text = "name = 'node'\nchip = 'tsp-v1'\nchips_per_node = 8\n";
    System::from_toml(text, &mut preset).expect("a description of a node")
}

fn options(precision: Precision, [chips, stages]: [usize; 2]) -> Options {
    let (tensor_parallel, pipeline_parallel) = (Some(chips), Some(stages));
    Options { precision, context: CONTEXT, tensor_parallel, pipeline_parallel, ..Options::default() }
}

fn compiled(name: &str, shape: [usize; 2]) -> Compiled {
    let checkpoint = Checkpoint::open(&folder(name)).expect("a committed checkpoint");
    lpu::compile(&checkpoint, node(), &options(Precision::F16, shape)).expect("it fits and is legal")
}

fn reference(name: &str) -> (Vec<u32>, Vec<f32>) {
    let tokens = std::fs::read(folder(name).join("tokens.json")).expect("committed tokens");
    let stored = std::fs::read(folder(name).join("logits.npy")).expect("committed logits");
    let logits = npyz::NpyFile::new(&stored[..]).expect("a NumPy file");
    (serde_json::from_slice(&tokens).expect("a list of ids"), logits.into_vec().expect("float32 numbers"))
}

fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt()
}

fn model(name: &str, precision: Precision, shape: [usize; 2], engines: &Engines) -> Arc<Model> {
    let checkpoint = Checkpoint::open(&folder(name)).expect("a committed checkpoint");
    Model::compile(checkpoint, node(), &options(precision, shape), engines)
        .unwrap_or_else(|error| panic!("{name} {shape:?}: {error}"))
}

/// Holds the first `count` rows of logits to the reference, within a relative error, and cycles to those stated.
fn compare(name: &str, precision: Precision, shape: [usize; 2], (count, most): (usize, f64)) {
    let model = model(name, precision, shape, &Engines::default());
    let vocab = model.host().config.vocab;
    let mut sequence = model.sequence().expect("there is memory");
    let (tokens, logits) = reference(name);
    for (position, &token) in tokens[..count].iter().enumerate() {
        let found = sequence.feed(token).unwrap_or_else(|error| panic!("{name} {shape:?}: {error}"));
        assert_eq!(found.cycles, model.heads()[0].cycles, "{name} {shape:?}");
        let expected = &logits[position * vocab..(position + 1) * vocab];
        let difference = norm(found.logits.iter().zip(expected).map(|(found, expected)| found - expected));
        let error = difference / norm(expected.iter().copied());
        assert!(error <= most, "{name} {shape:?} token {position}: relative error {error}");
    }
}

#[test]
fn groups_and_stages_give_the_logits_of_every_family() {
    // Every shape with several families.
    for (number, name) in CHECKPOINTS.iter().enumerate() {
        for shape in [SHAPES[number % SHAPES.len()], SHAPES[(number + number / SHAPES.len() + 3) % SHAPES.len()]] {
            compare(name, Precision::F16, shape, (3, 0.01));
        }
    }
}

#[test]
#[ignore = "forty tokens of every family and shape take minutes"]
fn groups_and_stages_give_forty_tokens_of_every_family() {
    for name in CHECKPOINTS {
        for &shape in SHAPES {
            compare(name, Precision::F16, shape, (40, 0.01));
        }
    }
}

/// As many stages as a graph has places to cut: before the second matrices of a feed-forward as well, where the
/// activations go on in fp16, and experts are chosen anew.
#[test]
fn cuts_at_every_place_give_the_logits() {
    for name in ["mixtral", "qwen2_moe", "gqa", "phi", "gpt2"] {
        for chips in [1, 2] {
            let checkpoint = Checkpoint::open(&folder(name)).expect("a committed checkpoint");
            let graph = checkpoint.graph().tensor_parallel(chips).expect("a group of a power of two");
            let stages = (graph.stage_starts().len() + 1).min(8 / chips);
            compare(name, Precision::F16, [chips, stages], (3, 0.01));
            compare(name, Precision::W8A16, [chips, stages], (2, 0.1));
        }
    }
}

#[test]
fn int8_weights_and_activations_are_cut_alike() {
    for name in ["gqa", "odd", "gemma2", "gpt2", "qwen2_moe"] {
        for shape in [[2, 2], [8, 1]] {
            compare(name, Precision::W8A16, shape, (2, 0.1));
            compare(name, Precision::W8A8, shape, (2, 0.3));
        }
    }
}

#[test]
fn both_engines_agree_in_every_word_of_every_chip() {
    let engines = Engines { verify: true, ..Engines::default() };
    for (name, shape) in [("gqa", [4, 2]), ("odd", [2, 3]), ("olmo2", [8, 1])] {
        let model = model(name, Precision::F16, shape, &engines);
        let mut sequence = model.sequence().expect("there is memory");
        for token in [3, 5] {
            sequence.feed(token).unwrap_or_else(|error| panic!("{name} {shape:?}: {error}"));
        }
    }
}

#[test]
fn threads_change_nothing() {
    let of_threads = |threads| {
        let engines = Engines { threads: Some(threads), ..Engines::default() };
        let model = model("gqa", Precision::W8A16, [4, 2], &engines);
        let mut sequence = model.sequence().expect("there is memory");
        let logits: Vec<Vec<f32>> =
            [3, 5, 7].iter().map(|&token| sequence.feed(token).expect("a legal program").logits).collect();
        logits
    };
    let one = of_threads(1);
    assert_eq!(one, of_threads(2));
    assert_eq!(one, of_threads(3));
}

/// The logits of the first token of a compiled model, or what the engine says.
fn logits(compiled: Compiled, fast: bool) -> Result<Vec<Vec<f32>>, Box<SessionError>> {
    let engines = Engines { fast, ..Engines::default() };
    let checkpoint = Checkpoint::open(&folder("gqa")).expect("a committed checkpoint");
    let mut stage = Stage::of(compiled, node(), &engines)?;
    let step = Step::of(&checkpoint, CONTEXT, 0, 7).expect("a token of the vocabulary");
    Ok(stage.run(&step)?.outputs)
}

#[test]
fn exchanged_images_of_two_chips_change_the_answer() {
    let right = logits(compiled("gqa", [4, 1]), true).expect("a legal program");
    let mut exchanged = compiled("gqa", [4, 1]);
    for extent in &mut exchanged.image.extents {
        let other = match extent.place.chip.0 {
            1 => 2,
            2 => 1,
            other => other,
        };
        *extent = extent.clone().on_chip(ChipId(other));
    }
    let wrong = logits(exchanged, true).expect("the program is still legal");
    assert_ne!(right, wrong);
}

/// Every send and receive of a program: its set, queue and item.
fn exchanges(program: &Program) -> Vec<(usize, Queue, usize)> {
    let is_exchange = |item: &Item| matches!(item.instruction, Instruction::Send { .. } | Instruction::Receive { .. });
    let of_queue = |(set, queue, items): (usize, Queue, &[Item])| {
        let found = items.iter().enumerate().filter(|(_, item)| is_exchange(item));
        found.map(|(number, _)| (set, queue, number)).collect::<Vec<_>>()
    };
    let sets = program.sets.iter().enumerate();
    let queues = sets.flat_map(|(set, queues)| queues.iter().map(move |(&queue, items)| (set, queue, &items[..])));
    queues.flat_map(of_queue).collect()
}

/// A changed copy of a program.
type Edit = fn(&mut Program, usize, Queue, usize);

fn other_stream(program: &mut Program, set: usize, queue: Queue, number: usize) {
    let items = program.sets[set].get_mut(&queue).expect("the queue is there");
    let other = |stream: Stream| Stream::new(stream.direction(), stream.number() ^ 1);
    items[number].instruction = match items[number].instruction {
        Instruction::Send { src } => Instruction::Send { src: other(src) },
        Instruction::Receive { dst } => Instruction::Receive { dst: other(dst) },
        kept => kept,
    };
}

fn a_cycle_later(program: &mut Program, set: usize, queue: Queue, number: usize) {
    let items = program.sets[set].get_mut(&queue).expect("the queue is there");
    items.insert(number, Instruction::Nop { count: Count(1) }.into());
}

fn another_link(program: &mut Program, set: usize, queue: Queue, number: usize) {
    let item = program.sets[set].get_mut(&queue).expect("the queue is there").remove(number);
    let links = program.sets[set].iter_mut().filter(|(other, _)| matches!(other, Queue::C2c(_)) && **other != queue);
    let (_, items) = { links }.next().expect("a group has several links");
    items.insert(number.min(items.len()), item);
}

#[test]
fn edited_exchanges_fault_or_change_the_answer_on_both_engines() {
    let model = compiled("gqa", [4, 2]);
    let right = [false, true].map(|fast| logits(model.clone(), fast).expect("a legal program"));
    assert_eq!(right[0], right[1]);
    let found = exchanges(&model.programs[0]);
    assert!(found.len() >= 64, "{} exchanges", found.len());
    let edits: [(&str, Edit); 3] = [("stream", other_stream), ("cycle", a_cycle_later), ("link", another_link)];
    let mut faults = 0;
    for (index, &(set, queue, number)) in found.iter().enumerate().step_by(found.len() / 8) {
        for (what, edit) in edits {
            let mut edited = model.clone();
            edit(&mut edited.programs[0], set, queue, number);
            edited.programs[0].normalise();
            let ran = [false, true].map(|fast| logits(edited.clone(), fast));
            let label = format!("{what} of exchange {index}, {queue} of set {set}");
            match ran {
                [Ok(reference), Ok(fast)] => {
                    assert_eq!(reference, fast, "{label}");
                    assert_ne!(reference, right[0], "{label}: nothing changed");
                }
                [Err(_), Err(_)] => faults += 1,
                [reference, fast] => panic!("{label}: {:?}, {:?}", reference.err(), fast.err()),
            }
        }
    }
    assert!(faults > 0);
}

#[test]
fn a_program_is_refused_on_another_system() {
    let engines = Engines::default();
    let model = model("gqa", Precision::F16, [2, 1], &engines);
    let other = System::from_toml("name = 'node'\nchip = 'tsp-v1'\nchips_per_node = 4\n", &mut preset)
        .expect("a description of a node");
    let bytes = model.container().expect("the model is in memory").to_bytes().expect("it has a file form");
    let load = |system: &System| {
        let Container { chip, image, programs, host } = Container::parse(&bytes).expect("it was written just now");
        let extents = image.extents.into_iter().map(Extent::into_owned).collect();
        let (image, host) = (Image { extents, ..image }, host.into_owned().into());
        Model::load(Container { chip, image, programs, host }, system, &engines).map_err(Box::new)
    };
    assert!(load(&node()).is_ok());
    assert!(matches!(load(&other).map_err(|error| *error), Err(SessionError::OtherChip { .. })));
}

#[test]
fn systems_that_cannot_be_are_refused_with_numbers() {
    let checkpoint = Checkpoint::open(&folder("gqa")).expect("a committed checkpoint");
    let refused = |system: &System, shape, context| {
        let options = Options { context, ..options(Precision::F16, shape) };
        lpu_compiler::compile(&checkpoint, system, &options).expect_err("it cannot be")
    };
    let described = |text: &str| System::from_toml(text, &mut preset).expect("a description");
    let apart = described("name = 'apart'\nchip = 'tsp-v1'\nchips = 4\nlinks = ['0.0 - 1.0', '2.0 - 3.0']\n");
    // Links that do not reach, a group across nodes, more chips than there are, more stages than there are cuts.
    assert!(matches!(refused(&apart, [4, 1], 16), CompileError::NoGroup { chips: 4, .. }));
    assert!(matches!(refused(&apart, [2, 2], 16), CompileError::NoRoute { .. }));
    assert!(matches!(refused(&node(), [8, 2], 16), CompileError::TooFewChips { stages: 2, group: 8, chips: 8, .. }));
    assert!(matches!(refused(&node(), [1, 0], 16), CompileError::TooManyStages { stages: 0, .. }));
    let chains =
        described("name = 'chain'\nchip = 'tsp-v1'\nchips_per_node = 8\nnodes_per_rack = 2\nglobal_links = 2\n");
    assert!(matches!(refused(&chains, [1, 16], 16), CompileError::TooManyStages { stages: 16, .. }));
    // A context beyond what is left: the error names the stage, and the stages that would do.
    let error = refused(&node(), [2, 1], 1 << 18);
    let CompileError::Stage { stage: 0, stages: 1, group: 2, .. } = error else { panic!("{error}") };
}
