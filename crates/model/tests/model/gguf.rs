//! GGUF files: the logits and token ids of the same model elsewhere, and files that are damaged or hostile.

use std::borrow::Cow;
use std::fs;
use std::path::PathBuf;

use crate::families::error;
use crate::interpret::Evaluation;
use crate::support::{Folder, refused};
use lpu_model::{Checkpoint, Dtype, ModelError};
use proptest::prelude::*;

const NAMES: [&str; 4] = ["llama-f16", "llama-q8_0", "llama-q4_0", "qwen2-q8_0"];

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/checkpoints/gguf").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    fs::read(path(&format!("{name}.gguf"))).unwrap()
}

fn read(bytes: Vec<u8>) -> Result<Checkpoint, ModelError> {
    Checkpoint::from_gguf("tiny.gguf", Cow::Owned(bytes))
}

/// What `make_gguf.py` wrote beside a file.
#[derive(serde::Deserialize)]
struct Beside {
    tokens: Vec<u32>,
    texts: Vec<String>,
    ids: Vec<Vec<u32>>,
}

fn beside(name: &str) -> Beside {
    serde_json::from_slice(&fs::read(path(&format!("{name}.json"))).unwrap()).unwrap()
}

#[test]
fn logits_are_those_of_transformers_with_the_expanded_weights() {
    for name in NAMES {
        let checkpoint = Checkpoint::open(&path(&format!("{name}.gguf"))).unwrap();
        assert_eq!(checkpoint.name(), name);
        let stored = fs::read(path(&format!("{name}.npy"))).unwrap();
        let expected: Vec<f32> = npyz::NpyFile::new(&stored[..]).unwrap().into_vec().unwrap();
        let found = Evaluation::new(&checkpoint).logits(&[checkpoint.graph()], &beside(name).tokens);
        assert_eq!(found.len() * found[0].len(), expected.len());
        let error = error(&found, &expected);
        assert!(error < 1e-5, "{name}: {error}");
    }
}

#[test]
fn stored_types_are_kept() {
    let types = |name: &str| {
        let checkpoint = read(bytes(name)).unwrap();
        let weights = checkpoint.weights();
        let mut types: Vec<&str> = weights.ids().map(|id| weights.dtype(id).name()).collect();
        types.sort_unstable();
        types.dedup();
        types.join(" ")
    };
    assert_eq!(types("llama-f16"), "float16 float32");
    assert_eq!(types("llama-q8_0"), "float32 q8_0");
    assert_eq!(types("llama-q4_0"), "float32 q4_0 q6_k");
    assert_eq!(Dtype::Q4_0.block(), (32, 18));
}

#[cfg(feature = "tokenizer")]
#[test]
fn texts_have_the_ids_of_the_tokenizer_that_the_file_was_made_from() {
    for name in NAMES {
        let checkpoint = read(bytes(name)).unwrap();
        let tokenizer = checkpoint.tokenizer().unwrap();
        let beside = beside(name);
        for (text, ids) in beside.texts.iter().zip(&beside.ids) {
            assert_eq!(tokenizer.encode(text).unwrap(), *ids, "{name}: {text:?}");
            if !text.contains('<') {
                let back = tokenizer.decode(ids).unwrap();
                // Composed as the normaliser of Qwen does; these texts are composed already.
                assert_eq!(back, *text, "{name}");
            }
        }
        assert_eq!(checkpoint.config.stop_ids, [if name == "llama-f16" { 2 } else { 1 }]);
    }
}

#[test]
fn the_config_survives_writing_and_reading() {
    for name in NAMES {
        let config = read(bytes(name)).unwrap().config;
        assert_eq!(lpu_model::Config::from_json(config.to_json().as_bytes()).unwrap(), config);
    }
}

#[test]
fn a_file_is_known_by_its_first_bytes_and_other_files_are_refused() {
    let folder = Folder::new();
    folder.put("model.bin", bytes("llama-f16"));
    Checkpoint::open(&folder.path().join("model.bin")).unwrap();
    folder.put("other.bin", "GGUX");
    let error = refused(Checkpoint::open(&folder.path().join("other.bin"))).to_string();
    assert!(error.contains("this is a file, not a folder"), "{error}");
    folder.put("other.gguf", "");
    let error = refused(Checkpoint::open(&folder.path().join("other.gguf"))).to_string();
    assert!(error.contains("it ends too early: 4 bytes are needed at byte 0 and 0 are left"), "{error}");
}

/// A file of metadata and tensors, written by hand.
#[derive(Default)]
struct Written {
    values: Vec<u8>,
    value_count: u64,
    tensors: Vec<u8>,
    tensor_count: u64,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

impl Written {
    fn value(mut self, key: &str, kind: u32, value: &[u8]) -> Written {
        self.values.extend([&text(key)[..], &kind.to_le_bytes(), value].concat());
        self.value_count += 1;
        self
    }

    fn tensor(mut self, name: &str, shape: &[u64], kind: u32, offset: u64) -> Written {
        self.tensors.extend(text(name));
        self.tensors.extend((shape.len() as u32).to_le_bytes());
        shape.iter().for_each(|size| self.tensors.extend(size.to_le_bytes()));
        self.tensors.extend(kind.to_le_bytes());
        self.tensors.extend(offset.to_le_bytes());
        self.tensor_count += 1;
        self
    }

    fn file(&self, version: u32, data: usize) -> Vec<u8> {
        let counts = [self.tensor_count.to_le_bytes(), self.value_count.to_le_bytes()].concat();
        let mut bytes = [b"GGUF", &version.to_le_bytes()[..], &counts, &self.values, &self.tensors].concat();
        bytes.resize(bytes.len().next_multiple_of(32) + data, 0);
        bytes
    }
}

#[test]
fn damaged_and_hostile_files() {
    let new = Written::default;
    let list = |kind: u32, count: u64| [&kind.to_le_bytes()[..], &count.to_le_bytes()].concat();
    let nested = {
        let mut value = Vec::new();
        (0..5).for_each(|_| value.extend(list(9, 1)));
        value
    };
    let with_counts =
        |tensors: u64, values: u64| [b"GGUF", &3u32.to_le_bytes()[..], &tensors.to_le_bytes(), &values.to_le_bytes()].concat();
    let arch = |name: &str| new().value("general.architecture", 8, &text(name));
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"GGML0000".to_vec(), "it does not begin with `GGUF`"),
        (new().file(1, 0), "it is of version 1"),
        (new().file(3 << 24, 0), "of another byte order"),
        (with_counts(u64::MAX, 0), "it ends too early"),
        (with_counts(0, u64::MAX), "it ends too early"),
        (new().value("a", 13, &[]).file(3, 0), "of the unknown type 13"),
        (new().value("a", 8, &u64::MAX.to_le_bytes()).file(3, 0), "it ends too early: 18446744073709551615 bytes"),
        (new().value("a", 9, &list(0, u64::MAX)).file(3, 0), "has 18446744073709551615 items, more than the file has bytes left"),
        (new().value("a", 9, &list(0, 1 << 24)).file(3, 1 << 24), "have more than 8388608 items"),
        (new().value("a", 9, &nested).file(3, 64), "lies in more than 3 others"),
        (new().value("a", 7, &[1]).value("a", 7, &[1]).file(3, 0), "`a` stands twice"),
        (new().value("general.alignment", 4, &3u32.to_le_bytes()).file(3, 0), "is not a power of two"),
        (new().tensor("t", &[], 0, 0).file(3, 0), "`t` has 0 dimensions"),
        (new().tensor("t", &[1; 5], 0, 0).file(3, 0), "`t` has 5 dimensions"),
        (new().tensor("t", &[8], 0, 0).file(3, 31), "`t` of shape [8] needs 32 bytes and the file has 31 left"),
        (new().tensor("t", &[8], 0, 64).file(3, 32), "starts at byte 64 of the data, beyond the file"),
        (new().tensor("t", &[u64::MAX], 0, 0).file(3, 0), "needs more than 2^64"),
        (new().tensor("t", &[1 << 40, 1 << 40], 0, 0).file(3, 0), "needs more than 2^64"),
        (new().tensor("t", &[33], 8, 0).file(3, 99), "`t` has rows of 33 elements in blocks of 32"),
        (new().tensor("t", &[1], 0, 0).tensor("t", &[1], 0, 0).file(3, 32), "the tensor `t` stands twice"),
        (new().file(3, 0), "`general.architecture` is missing"),
        (new().value("general.architecture", 4, &7u32.to_le_bytes()).file(3, 0), "`general.architecture` is not a text"),
        (arch("mamba").file(3, 0), "\"mamba\" is not read from such a file; those that are: llama, qwen2"),
        (arch("llama").file(3, 0), "as the metadata stand, config.json: `hidden_size` is missing"),
        (arch("llama").value("llama.expert_count", 4, &8u32.to_le_bytes()).file(3, 0), "experts are not read"),
        (arch("llama").value("llama.block_count", 5, &(-1i32).to_le_bytes()).file(3, 0), "`llama.block_count` is not a whole number"),
        (arch("qwen2").value("qwen2.rope.scaling.type", 8, &text("yarn")).file(3, 0), "`hidden_size` is missing"),
        (arch("llama").tensor("rope_freqs.weight", &[4], 12, 0).file(3, 64), "`rope_freqs.weight` is number 12 of shape [4]"),
    ];
    for (bytes, words) in cases {
        let error = refused(read(bytes)).to_string();
        assert!(error.contains(words), "{words}: {error}");
        assert!(error.starts_with("tiny.gguf: "), "{error}");
    }
}

#[test]
fn a_tensor_of_a_type_that_is_not_read_is_named() {
    let mut bytes = bytes("llama-f16");
    let name = b"blk.1.attn_q.weight";
    let place = bytes.windows(name.len()).position(|window| window == name).unwrap() + name.len();
    // Two dimensions, then the type.
    bytes[place + 4 + 16..place + 4 + 16 + 4].copy_from_slice(&12u32.to_le_bytes());
    let error = refused(read(bytes)).to_string();
    assert!(error.contains("\"model.layers.1.self_attn.q_proj.weight\" is of type number 12; only"), "{error}");
}

#[cfg(feature = "tokenizer")]
#[test]
fn a_tokenizer_that_cannot_be_taken_over_leaves_the_model_usable() {
    let mut bytes = bytes("llama-q8_0");
    let name = b"llama-bpe";
    let place = bytes.windows(name.len()).position(|window| window == name).unwrap();
    bytes[place..place + 5].copy_from_slice(b"other");
    let checkpoint = read(bytes).unwrap();
    let error = refused(checkpoint.tokenizer()).to_string();
    assert!(error.contains("the way \"other-bpe\" of cutting words is not read"), "{error}");
    assert!(error.ends_with("give token ids with --tokens"), "{error}");
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = bytes("qwen2-q8_0");
    for length in (0..whole.len()).step_by(97) {
        refused(read(whole[..length].to_vec()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_damaged_file_is_read_or_refused(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = bytes("qwen2-q8_0");
        // Where metadata and entries end; the rest is weights.
        let header = 20_000.min(bytes.len());
        for (place, value) in edits {
            bytes[place.index(header)] = value;
        }
        if let Ok(checkpoint) = read(bytes) {
            let weights = checkpoint.weights();
            for id in weights.ids() {
                prop_assert!(!weights.vector_f32(id).is_empty());
            }
            #[cfg(feature = "tokenizer")]
            let _ = checkpoint.tokenizer().map(|tokenizer| tokenizer.encode("the cat").is_ok());
        }
    }
}
