//! Models over the chips of a tensor-parallel group, against the float32 reference and against one chip.

use std::path::PathBuf;

use lpu::{Engines, Model};
use lpu_chip::{System, preset};
use lpu_compiler::{Options, Precision};
use lpu_model::Checkpoint;

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

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("checkpoints").join(name)
}

/// A node of full-size chips, each connected to each.
fn node() -> System {
    let text = "name = 'node'\nchip = 'tsp-v1'\nchips_per_node = 8\n";
    System::from_toml(text, &mut preset).unwrap()
}

fn reference(name: &str) -> (Vec<u32>, Vec<f32>) {
    let tokens = std::fs::read(folder(name).join("tokens.json")).unwrap();
    let stored = std::fs::read(folder(name).join("logits.npy")).unwrap();
    let logits = npyz::NpyFile::new(&stored[..]).unwrap();
    (serde_json::from_slice(&tokens).unwrap(), logits.into_vec().unwrap())
}

fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt()
}

/// The largest relative error of the first `count` rows of logits.
fn error(name: &str, precision: Precision, [chips, stages]: [usize; 2], count: usize) -> Result<f64, String> {
    let checkpoint = Checkpoint::open(&folder(name)).unwrap();
    let vocab = checkpoint.config.vocab;
    let options = Options { precision, context: 48, tensor_parallel: Some(chips), pipeline_parallel: Some(stages) };
    let model =
        Model::compile(checkpoint, &node(), &options, &Engines::default()).map_err(|error| error.to_string())?;
    let mut sequence = model.sequence().map_err(|error| error.to_string())?;
    let (tokens, logits) = reference(name);
    let mut worst = 0.0f64;
    for (position, &token) in tokens[..count].iter().enumerate() {
        let found = sequence.feed(token).map_err(|error| error.to_string())?;
        assert_eq!(found.cycles, model.heads()[0].cycles, "{name} over {chips}");
        let expected = &logits[position * vocab..(position + 1) * vocab];
        let difference = norm(found.logits.iter().zip(expected).map(|(found, expected)| found - expected));
        worst = worst.max(difference / norm(expected.iter().copied()));
    }
    Ok(worst)
}

#[test]
fn look() {
    let names = std::env::var("NAMES").unwrap_or_default();
    let names: Vec<&str> = if names.is_empty() { CHECKPOINTS.to_vec() } else { names.split(',').collect() };
    for name in names {
        for shape in [[1, 2], [1, 3], [2, 1], [2, 2], [2, 3], [4, 1], [4, 2], [8, 1]] {
            println!("{name} {shape:?} {:?}", error(name, Precision::F16, shape, 4));
        }
    }
}
