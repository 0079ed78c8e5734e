//! Every architecture that is read from GGUF files: the logits of `transformers` with the weights as the file holds
//! them, and the graph of the folder that the file stands for.

use std::fs;
use std::path::PathBuf;

use crate::families::error;
use crate::interpret::Evaluation;
use lpu_model::{Checkpoint, Family};

/// Files that `make_gguf_families.py` makes, with the family of each.
const FILES: [(&str, Family); 24] = [
    ("mixtral", Family::Mixtral),
    ("mixtral-single", Family::Mixtral),
    ("mistral", Family::Mistral),
    ("qwen3", Family::Qwen3),
    ("qwen3moe", Family::Qwen3Moe),
    ("gemma2", Family::Gemma2),
    ("phi3", Family::Phi3),
    ("gpt2", Family::Gpt2),
    ("gptneox", Family::GptNeoX),
    ("olmo2", Family::Olmo2),
    ("granite", Family::Granite),
    ("split", Family::Qwen3),
    ("gemma", Family::Gemma),
    ("gemma3", Family::Gemma3),
    ("smollm3", Family::SmolLm3),
    ("qwen2moe", Family::Qwen2Moe),
    ("stablelm", Family::StableLm),
    ("stablelm-parallel", Family::StableLm),
    ("phi2", Family::Phi),
    ("command-r", Family::Cohere),
    ("granitemoe", Family::GraniteMoe),
    ("olmo3", Family::Olmo3),
    ("qwen2-yarn", Family::Qwen2),
    ("phi3-longrope", Family::Phi3),
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/checkpoints/gguf")
}

/// What the script wrote beside a file: the tokens that it fed, and the model's `config.json`.
#[derive(serde::Deserialize)]
struct Beside {
    tokens: Vec<u32>,
    config: serde_json::Value,
}

fn beside(name: &str) -> Beside {
    serde_json::from_slice(&fs::read(folder().join(format!("{name}.json"))).unwrap()).unwrap()
}

/// The file of a model, or its first part.
fn open(name: &str) -> Checkpoint {
    let whole = folder().join(format!("{name}.gguf"));
    let path = if whole.exists() { whole } else { folder().join(format!("{name}-00001-of-00003.gguf")) };
    Checkpoint::open(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn logits_are_those_of_transformers_with_the_expanded_weights() {
    for (name, family) in FILES {
        let checkpoint = open(name);
        assert_eq!(checkpoint.config.architecture, family, "{name}");
        let stored = fs::read(folder().join(format!("{name}.npy"))).unwrap();
        let expected: Vec<f32> = npyz::NpyFile::new(&stored[..]).unwrap().into_vec().unwrap();
        let found = Evaluation::new(&checkpoint).logits(&[checkpoint.graph()], &beside(name).tokens);
        assert_eq!(found.len() * found[0].len(), expected.len());
        let error = error(&found, &expected);
        println!("{name}: {error:.2e}");
        assert!(error < 1e-5, "{name}: {error}");
    }
}

#[test]
fn graphs_are_those_of_the_folders() {
    for (name, _) in FILES {
        let checkpoint = open(name);
        let config = beside(name).config.to_string();
        let folder = Checkpoint::from_config(config.as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(checkpoint.graph(), folder.graph(), "{name}");
        let (own, other) = (checkpoint.weights(), folder.weights());
        for (id, other_id) in own.ids().zip(other.ids()) {
            assert_eq!(own.shape(id), other.shape(other_id), "{name}: {}", own.name(id));
        }
        assert_eq!(checkpoint.config.stop_ids, folder.config.stop_ids);
        assert_eq!(checkpoint.config.bos, folder.config.bos);
        for table in folder.config.rotary_tables() {
            // Both sides of the context of the first training, where there is one.
            for context in [8, 64] {
                let rows = [&checkpoint, &folder].map(|model| model.config.rotary_row(table, 9, context));
                let ([one, other], close) = (rows, |a: &f32, b: &f32| (a - b).abs() < 1e-6);
                let same = |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| close(a, b));
                assert!(same(&one.0, &other.0) && same(&one.1, &other.1), "{name}: rotary table {table}");
            }
        }
    }
}

#[test]
fn tensors_have_the_names_of_the_file() {
    for (name, _) in FILES {
        let checkpoint = open(name);
        let weights = checkpoint.weights();
        for id in weights.ids() {
            let tensor = weights.name(id);
            assert!(
                ["blk.", "token_embd.", "output", "position_embd."].iter().any(|start| tensor.starts_with(start)),
                "{name}: {tensor}"
            );
        }
    }
}

#[test]
fn configs_survive_writing_and_reading() {
    for (name, _) in FILES {
        let config = open(name).config;
        assert_eq!(lpu_model::Config::from_json(config.to_json().as_bytes()).unwrap(), config, "{name}");
    }
}

/// What the files have together is every type that is read but `Q8_K`, which no file on disk has.
#[test]
fn every_type_is_in_some_file() {
    let mut types: Vec<&str> = Vec::new();
    for (name, _) in FILES {
        let checkpoint = open(name);
        let weights = checkpoint.weights();
        types.extend(weights.ids().map(|id| weights.dtype(id).name()));
    }
    types.sort_unstable();
    types.dedup();
    let quantised = "IQ4_NL IQ4_XS MXFP4 Q2_K Q3_K Q4_0 Q4_1 Q4_K Q5_0 Q5_1 Q5_K Q6_K Q8_0";
    assert_eq!(types.join(" "), format!("{quantised} bfloat16 float16 float32"));
}

/// A file with one more number among its metadata, and a text that keeps the tensors where they are aligned to.
fn with_number(name: &str, key: &str, value: f32) -> Vec<u8> {
    let mut bytes = fs::read(folder().join(format!("{name}.gguf"))).unwrap();
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let mut more = [text(key), 6u32.to_le_bytes().to_vec(), value.to_le_bytes().to_vec()].concat();
    let filler = [text("filler"), 8u32.to_le_bytes().to_vec()].concat();
    let length = (more.len() + filler.len() + 8).next_multiple_of(32) - more.len() - filler.len() - 8;
    more.extend([filler, text(&"x".repeat(length))].concat());
    let count = u64::from_le_bytes(bytes[16..24].try_into().unwrap());
    bytes[16..24].copy_from_slice(&(count + 2).to_le_bytes());
    bytes.splice(24..24, more);
    bytes
}

/// llama.cpp multiplies cosines and sines with the factor of the file and with that of `yarn`.
#[test]
fn a_factor_of_the_file_scales_the_rotations_of_yarn() {
    let plain = open("qwen2-yarn");
    for factor in [1.0, 0.5, 1.190_238] {
        let bytes = with_number("qwen2-yarn", "qwen2.rope.scaling.attn_factor", factor);
        let scaled = Checkpoint::from_gguf("scaled", bytes.into()).unwrap();
        for position in [0, 1, 9, 60] {
            let [of, to] = [&plain, &scaled].map(|model| model.config.rotary_row(0, position, 64));
            for (plain, scaled) in of.0.iter().zip(&to.0).chain(of.1.iter().zip(&to.1)) {
                assert!((plain * factor - scaled).abs() < 1e-6, "{factor}, position {position}: {plain}, {scaled}");
            }
        }
    }
    let open =
        |name: &str, key: &str, factor: f32| Checkpoint::from_gguf("scaled", with_number(name, key, factor).into());
    assert!(open("qwen3", "qwen3.rope.scaling.attn_factor", 1.0).is_ok());
    for (name, factor) in
        [("qwen3", 1.25), ("qwen3", 0.0), ("qwen2-yarn", -1.0), ("qwen2-yarn", f32::NAN), ("qwen2-yarn", f32::INFINITY)]
    {
        let key = format!("{}.rope.scaling.attn_factor", name.trim_end_matches("-yarn"));
        let message = open(name, &key, factor).map(|_| ()).unwrap_err().to_string();
        assert!(message.contains(&format!("`{key}` ")), "{message}");
    }
}
