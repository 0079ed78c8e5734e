//! GGUF files: the logits and token ids of the same model elsewhere, and files that are damaged or hostile.

mod families;
mod split;

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
    assert_eq!(types("llama-q8_0"), "Q8_0 float32");
    assert_eq!(types("llama-q4_0"), "Q4_0 Q6_K float32");
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
    let error = refused(Checkpoint::open(folder.path())).to_string();
    assert!(error.contains("there is no config.json; give a Hugging Face model folder"), "{error}");
    folder.put("other.gguf", "");
    let error = refused(Checkpoint::open(folder.path())).to_string();
    assert!(error.ends_with("there is no config.json, but other.gguf; give the path of that file"), "{error}");
    let error = refused(Checkpoint::open(&folder.path().join("other.gguf"))).to_string();
    assert!(error.contains("it ends at byte 0, inside its header: the magic at byte 0 has 4 bytes"), "{error}");
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
    let with_counts = |tensors: u64, values: u64| {
        [b"GGUF", &3u32.to_le_bytes()[..], &tensors.to_le_bytes(), &values.to_le_bytes()].concat()
    };
    let arch = |name: &str| new().value("general.architecture", 8, &text(name));
    let whole = |number: u32| number.to_le_bytes();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"GGML0000".to_vec(), "it does not begin with `GGUF`"),
        (new().file(1, 0), "it is of version 1; versions 2 and 3 are read"),
        (new().file(3 << 24, 0), "it is in big-endian byte order"),
        (
            b"GGUF\x03\0\0\0\x01".to_vec(),
            "it ends at byte 9, inside its header: the number of tensors at byte 8 has 8 bytes",
        ),
        (with_counts(u64::MAX, 0), "it counts 18446744073709551615 tensors and has room for at most 0"),
        (with_counts(0, u64::MAX), "it counts 18446744073709551615 metadata values and has room for at most 0"),
        (new().value("a", 13, &[]).file(3, 0), "of the unknown type 13"),
        (
            new().value("a", 8, &u64::MAX.to_le_bytes()).file(3, 0),
            "a metadata value at byte 45 has 18446744073709551615 bytes",
        ),
        (new().value("a", 8, &text(&"a".repeat((1 << 24) + 1))).file(3, 0), "has 16777217 bytes, more than 16777216"),
        (
            new().value("a", 9, &list(0, u64::MAX)).file(3, 0),
            "has 18446744073709551615 items, more than the file has bytes left",
        ),
        (new().value("a", 9, &list(0, 1 << 24)).file(3, 1 << 24), "have more than 8388608 items"),
        (new().value("a", 9, &nested).file(3, 64), "is inside 3 others"),
        (new().value("a", 7, &[1]).value("a", 7, &[1]).file(3, 0), "`a` is there twice"),
        (new().value("general.alignment", 4, &whole(3)).file(3, 0), "`general.alignment` is 3, not a power of two"),
        (new().value("general.alignment", 4, &whole(0)).file(3, 0), "`general.alignment` is 0, not a power of two"),
        (
            new().value("general.alignment", 4, &whole(1 << 21)).file(3, 0),
            "`general.alignment` is 2097152, not a power of two",
        ),
        (new().tensor("t", &[], 0, 0).file(3, 32), "`t` has 0 dimensions"),
        (new().tensor("t", &[1; 5], 0, 0).file(3, 0), "`t` has 5 dimensions"),
        (
            new().tensor("t", &[8], 0, 0).file(3, 31),
            "it has 95 bytes and its tensors need 96 (`t` is the first that is not whole)",
        ),
        (new().tensor("t", &[8], 0, 64).file(3, 32), "it has 96 bytes and its tensors need 160 (`t`"),
        (
            new().tensor("t", &[8], 0, 4).file(3, 36),
            "`t` begins at byte 4 of the data, not at a multiple of the alignment 32",
        ),
        (new().tensor("t", &[8], 0, u64::MAX - 31).file(3, 0), "`t` of shape [8] needs more than 2^63 bytes"),
        (new().tensor("t", &[u64::MAX], 0, 0).file(3, 0), "needs more than 2^63"),
        (new().tensor("t", &[1 << 40, 1 << 40], 0, 0).file(3, 0), "needs more than 2^63"),
        (new().tensor("t", &[1 << 40, 1 << 40, 0], 0, 0).file(3, 0), "needs more than 2^63"),
        (new().tensor("t", &[33], 8, 0).file(3, 99), "`t` has rows of 33 elements and Q8_0 has blocks of 32"),
        (new().tensor("t", &[128], 12, 0).file(3, 99), "`t` has rows of 128 elements and Q4_K has blocks of 256"),
        (new().tensor("t", &[1], 0, 0).tensor("t", &[1], 0, 32).file(3, 64), "the tensor `t` is there twice"),
        (
            new().tensor("t", &[16], 0, 0).tensor("u", &[8], 0, 32).file(3, 64),
            "the tensors `t` and `u` overlap at byte 128",
        ),
        (
            new().tensor("u", &[8], 0, 32).tensor("t", &[64], 16, 0).tensor("v", &[8], 0, 32).file(3, 256),
            "has blocks of 256",
        ),
        (new().file(3, 0), "`general.architecture` is missing"),
        (new().value("general.architecture", 4, &whole(7)).file(3, 0), "`general.architecture` is not a text"),
        (
            arch("mamba").file(3, 0),
            "\"mamba\" is not read; those that are: llama, qwen2, qwen3, qwen3moe, gemma2, phi3, gpt2, gptneox",
        ),
        (arch("llama").file(3, 0), "`llama.embedding_length` is missing; add it"),
        (arch("gpt2").file(3, 0), "`gpt2.embedding_length` is missing; add it"),
        (
            arch("llama").value("llama.block_count", 5, &(-1i32).to_le_bytes()).file(3, 0),
            "`llama.block_count` is not a whole number",
        ),
        (
            arch("llama")
                .value("llama.block_count", 4, &whole(0))
                .value("llama.embedding_length", 4, &whole(8))
                .file(3, 0),
            "`llama.",
        ),
        (
            arch("qwen2").value("qwen2.expert_count", 4, &whole(8)).file(3, 0),
            "`qwen2.expert_count` is 8, which asks for experts",
        ),
        (
            arch("llama").value("llama.attention.clamp_kqv", 6, &1f32.to_le_bytes()).file(3, 0),
            "which asks for clamped queries",
        ),
        (arch("llama").value("llama.attention.causal", 7, &[0]).file(3, 0), "which asks for attention to later tokens"),
        (
            arch("llama")
                .value("llama.attention.head_count_kv", 9, &[&list(4, 2)[..], &whole(1), &whole(2)].concat())
                .file(3, 0),
            "or the same one",
        ),
        (
            arch("llama").tensor("rope_freqs.weight", &[4], 16, 0).file(3, 64),
            "rows of 4 elements and IQ2_XXS has blocks of 256",
        ),
        (
            arch("llama").tensor("rope_freqs.weight", &[4], 24, 0).file(3, 64),
            "`rope_freqs.weight` is I8 of shape [4], not a short vector",
        ),
        (
            arch("llama").tensor("rope_freqs.weight", &[4097], 0, 0).file(3, 4 * 4097),
            "F32 of shape [4097], not a short vector",
        ),
        (
            arch("llama").value("split.count", 2, &2u16.to_le_bytes()).file(3, 0),
            "it is part 1 of 2 of a model; give the path",
        ),
        (
            arch("llama").value("split.count", 2, &2000u16.to_le_bytes()).file(3, 0),
            "`split.count` is 2000; at most 1024",
        ),
    ];
    for (bytes, words) in cases {
        let error = refused(read(bytes)).to_string();
        assert!(error.contains(words), "{words}: {error}");
        assert!(error.starts_with("tiny.gguf: "), "{error}");
    }
}

/// A committed file with the type of one tensor, or one letter of its name, changed.
fn changed(name: &str, kind: Option<u32>, letter: Option<(usize, u8)>) -> Vec<u8> {
    let mut bytes = bytes("llama-f16");
    let place = bytes.windows(name.len()).position(|window| window == name.as_bytes()).unwrap();
    if let Some(kind) = kind {
        // Two dimensions, then the type.
        let at = place + name.len() + 4 + 16;
        bytes[at..at + 4].copy_from_slice(&kind.to_le_bytes());
    }
    if let Some((index, letter)) = letter {
        bytes[place + index] = letter;
    }
    bytes
}

#[test]
fn faults_of_tensors_are_in_the_names_of_the_file() {
    let name = "blk.1.attn_q.weight";
    let cases = [
        (
            changed(name, Some(24), None),
            "the tensor `blk.1.attn_q.weight` is of the type I8, which is not read; use a file",
        ),
        (
            changed(name, Some(1000), None),
            "the tensor `blk.1.attn_q.weight` is of the type number 1000, which is not read",
        ),
        (
            changed(name, Some(24), None),
            "in one of these: F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K",
        ),
        (
            changed(name, None, Some((0, b'c'))),
            "the tensor `clk.1.attn_q.weight` has no place in the architecture \"llama\"",
        ),
        (
            changed(name, None, Some((4, b'2'))),
            "the tensor `blk.2.attn_q.weight` has no place in the architecture \"llama\"",
        ),
        (
            changed("llama.embedding_length", None, Some((21, b'i'))),
            "`llama.embedding_length` is missing; add it with the value that the model was trained with",
        ),
    ];
    for (bytes, words) in cases {
        let error = refused(read(bytes)).to_string();
        assert!(error.contains(words), "{words}: {error}");
        assert!(!error.contains("config.json") && !error.contains("q_proj"), "{error}");
    }
}

#[test]
fn a_missing_tensor_and_one_of_another_shape_are_named_with_the_metadata() {
    let value = |file: Written, key: &str, number: u32| file.value(&format!("llama.{key}"), 4, &number.to_le_bytes());
    let sizes = [("embedding_length", 8), ("block_count", 1), ("feed_forward_length", 8), ("attention.head_count", 2)];
    let file = sizes
        .iter()
        .fold(Written::default().value("general.architecture", 8, &text("llama")), |file, (key, number)| {
            value(file, key, *number)
        });
    let table = file.tensor("token_embd.weight", &[8, 4], 0, 0);
    let error = refused(read(table.file(3, 128))).to_string();
    assert!(error.contains("the tensor `blk.0.attn_norm.weight` is missing; use another file of the model"), "{error}");
    let norm = table.tensor("blk.0.attn_norm.weight", &[9], 0, 128);
    let error = refused(read(norm.file(3, 192))).to_string();
    let words = "the tensor `blk.0.attn_norm.weight` has the shape [9], and [8] was expected (llama.embedding_length)";
    assert!(error.contains(words), "{error}");
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
    fn a_damaged_file_is_read_or_refused(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
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
