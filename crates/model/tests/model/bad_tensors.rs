//! Tensor files that are damaged, hostile, or belong to another model.

use std::borrow::Cow;

use crate::support::{Parts, refused, tiny};
use lpu_model::{Checkpoint, Dtype, ModelError};
use proptest::prelude::*;
use serde_json::{Value, json};

fn read(parts: &Parts, file: Vec<u8>) -> Result<Checkpoint, ModelError> {
    let file = ("tiny.safetensors".to_owned(), Cow::Owned(file));
    Checkpoint::from_parts(&parts.config_json(), vec![file], None)
}

/// A file of any header text and `data` zero bytes.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn tensor(shape: Value, start: u64, end: u64) -> Value {
    json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, end] })
}

#[test]
fn damaged_and_hostile_files() {
    let huge = u64::MAX;
    let two = |a: Value, b: Value| json!({ "a": a, "b": b }).to_string();
    let twice = format!("{{\"a\": {0}, \"a\": {0}}}", tensor(json!([0]), 0, 0));
    let cases = [
        (vec![], "the header needs 8 bytes and the file has 0"),
        (vec![1, 2, 3], "the header needs 8 bytes and the file has 3"),
        (vec![0xff; 8], "needs 18446744073709551615 bytes"),
        (vec![0xff; 100], "needs 18446744073709551615 bytes"),
        (file("{}", 0)[..9].to_vec(), "needs 10 bytes and the file has 9"),
        (file("", 4), "damaged: EOF"),
        (file("[]", 0), "damaged: invalid type"),
        (file("\u{0}", 0), "damaged: expected value"),
        (file(&"[".repeat(100_000), 0), "damaged: "),
        (file(&format!("{{\"a\":{}", "[".repeat(100_000)), 0), "damaged: "),
        (file(&twice, 0), "\"a\" stands twice"),
        (file(r#"{"a":{"dtype":"F3","shape":[],"data_offsets":[0,0]}}"#, 0), "unknown variant `F3`"),
        (file(r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, 4), "damaged: invalid value"),
        (
            file(&json!({ "a": tensor(json!([1]), 4, 0) }).to_string(), 4),
            "\"a\" has the bytes 4..0, but its shape needs 4",
        ),
        (file(&json!({ "a": tensor(json!([3]), 0, 8) }).to_string(), 8), "has the bytes 0..8, but its shape needs 12"),
        (file(&json!({ "a": tensor(json!([huge, 2]), 0, 8) }).to_string(), 8), "needs more than 2^64"),
        (file(&json!({ "a": tensor(json!([1u64 << 62]), 0, 8) }).to_string(), 8), "needs more than 2^64"),
        (
            file(&two(tensor(json!([2]), 0, 8), tensor(json!([2]), 4, 12)), 12),
            "\"b\" starts at byte 4, but the one before ends at 8",
        ),
        (
            file(&two(tensor(json!([2]), 0, 8), tensor(json!([2]), 12, 20)), 20),
            "\"b\" starts at byte 12, but the one before ends at 8",
        ),
        (
            file(&json!({ "a": tensor(json!([2]), 0, 8) }).to_string(), 7),
            "need 8 bytes after the header and the file has 7",
        ),
        (
            file(&json!({ "a": tensor(json!([2]), 0, 8) }).to_string(), 9),
            "need 8 bytes after the header and the file has 9",
        ),
        (file("{}", 0), "\"model.embed_tokens.weight\" is missing (searched: tiny.safetensors)"),
    ];
    for (bytes, words) in cases {
        let error = refused(read(&tiny(Dtype::F32), bytes)).to_string();
        assert!(error.contains(words), "{words}: {error}");
        assert!(error.contains("tiny.safetensors"), "{error}");
    }
}

/// Tensors that together reach beyond 2^64 bytes do not wrap around to the file's length.
#[test]
fn sums_of_lengths_do_not_wrap() {
    let step = 1u64 << 60;
    let mut entries = serde_json::Map::new();
    for number in 0..15 {
        let shape = json!([step / 4]);
        entries.insert(number.to_string(), tensor(shape, number * step, (number + 1) * step));
    }
    let last = (u64::MAX - 15 * step) / 4;
    let entry = tensor(json!([last]), 15 * step, 15 * step + last * 4);
    entries.insert("last".to_owned(), entry);
    let bytes = file(&Value::Object(entries).to_string(), 0);
    let error = refused(read(&tiny(Dtype::F32), bytes));
    assert!(matches!(error, ModelError::DataLength { .. }), "{error}");
}

#[test]
fn files_of_another_model() {
    let typed = |name: &str, dtype: safetensors::Dtype, shape: Vec<usize>, bytes: usize| {
        let mut parts = tiny(Dtype::F32);
        parts.tensors.insert(name.to_owned(), (dtype, shape, vec![0; bytes]));
        parts
    };
    let q = "model.layers.1.self_attn.q_proj.weight";
    let cases = [
        (
            typed(q, safetensors::Dtype::F32, vec![12, 24], 12 * 24 * 4),
            "tiny.safetensors: tensor \"model.layers.1.self_attn.q_proj.weight\" has the shape [12, 24], but \
             config.json gives [24, 12] (num_attention_heads * head_dim, hidden_size)",
        ),
        (typed(q, safetensors::Dtype::F32, vec![], 4), "has the shape [], but config.json gives [24, 12]"),
        (typed(q, safetensors::Dtype::I8, vec![24, 12], 24 * 12), "is of type I8; only F32, F16 and BF16 are read"),
        (
            tiny(Dtype::F32).without("lm_head.weight"),
            "\"lm_head.weight\" is missing (searched: tiny.safetensors); set \"tie_word_embeddings\": true",
        ),
        (
            tiny(Dtype::F32).without("model.layers.0.mlp.up_proj.bias"),
            "\"model.layers.0.mlp.up_proj.bias\" is missing (searched: tiny.safetensors); set \"attention_bias\"",
        ),
        (tiny(Dtype::F32).set("num_hidden_layers", json!(3)), "\"model.layers.2.input_layernorm.weight\" is missing"),
        (
            tiny(Dtype::F32).set("vocab_size", json!(12)),
            "has the shape [11, 12], but config.json gives [12, 12] (vocab_size, hidden_size)",
        ),
    ];
    for (parts, words) in cases {
        let error = refused(parts.open()).to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let parts = tiny(Dtype::BF16);
    let whole = parts.file();
    for length in 0..whole.len() {
        refused(read(&parts, whole[..length].to_vec()));
    }
    read(&parts, whole).unwrap();
}

proptest! {
    #[test]
    fn a_damaged_file_is_read_or_refused(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let parts = tiny(Dtype::BF16);
        let mut bytes = parts.file();
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        for (place, value) in edits {
            bytes[place.index(header)] = value;
        }
        if let Ok(checkpoint) = read(&parts, bytes) {
            let weights = checkpoint.weights();
            for id in weights.ids() {
                prop_assert!(!weights.vector_f32(id).is_empty());
            }
        }
    }

    #[test]
    fn a_damaged_config_is_read_or_refused(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut json = tiny(Dtype::F32).config_json();
        for (place, value) in edits {
            let place = place.index(json.len());
            json[place] = value;
        }
        if let Ok(checkpoint) = Checkpoint::from_config(&json) {
            prop_assert_eq!(checkpoint.graph().caches.len(), checkpoint.config.layers);
        }
    }

    #[test]
    fn a_config_of_any_numbers_is_read_or_refused(
        field in 0usize..12,
        value in prop_oneof![
            any::<u64>().prop_map(|n| json!(n)),
            any::<f64>().prop_map(|n| json!(n)),
            (0u64..200).prop_map(|n| json!(n)),
        ],
    ) {
        let fields = [
            "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
            "num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps", "rope_theta",
            "eos_token_id", "bos_token_id",
        ];
        let parts = tiny(Dtype::F32).set(fields[field], value);
        if let Ok(checkpoint) = Checkpoint::from_config(&parts.config_json()) {
            prop_assert!(checkpoint.weights().parameters() > 0);
            let (cos, sin) = checkpoint.config.rotary_row(0, 7, 1);
            prop_assert_eq!(cos.len() + sin.len(), checkpoint.config.head_dim);
        }
    }
}
