//! Opening folders: one file, shards, other names, types, and what is missing.

use std::fs;

use crate::support::{Folder, Parts, element, refused, stored, tiny};
use lpu_model::{Checkpoint, Config, Dtype, ModelError};
use serde_json::json;

fn index(parts: &Parts, shard: impl Fn(&str) -> String) -> String {
    let map: serde_json::Map<String, serde_json::Value> =
        parts.tensors.keys().map(|name| (name.clone(), json!(shard(name)))).collect();
    json!({ "metadata": {}, "weight_map": map }).to_string()
}

/// Every tensor of `checkpoint` has the values that it was written with.
fn check_values(checkpoint: &Checkpoint, parts: &Parts) {
    let weights = checkpoint.weights();
    let names: Vec<&String> = parts.tensors.keys().collect();
    for id in weights.ids() {
        let ends = |name: &&String| name.ends_with(weights.name(id));
        let number = names.iter().position(ends).unwrap();
        let shift = if names[number].contains("norm") { 1.0 } else { 0.0 };
        let expected = |i: usize| shift + element(number as u64, i as u64);
        let values = weights.vector_f32(id);
        assert_eq!(values.len(), weights.shape(id).iter().product::<usize>());
        for (i, value) in values.iter().enumerate() {
            assert_eq!(*value, expected(i), "{} {i}", weights.name(id));
        }
        let columns = *weights.shape(id).last().unwrap();
        let mut row = vec![0.0; columns];
        for number in 0..values.len() / columns {
            weights.row_f32(id, number, &mut row);
            assert_eq!(row, values[number * columns..][..columns]);
        }
    }
}

#[test]
fn one_file_of_each_type() {
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        let (folder, parts) = (Folder::new(), tiny(dtype));
        parts.write(folder.path());
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        check_values(&checkpoint, &parts);
        let name = folder.path().file_name().unwrap().to_str().unwrap();
        assert_eq!(checkpoint.name(), name);
        let weights = checkpoint.weights();
        assert!(weights.ids().all(|id| weights.dtype(id) == dtype));
        let elements: usize = parts.tensors.values().map(|(_, shape, _)| shape.iter().product::<usize>()).sum();
        assert_eq!(weights.parameters(), elements);
    }
}

#[test]
fn tensors_of_several_types_in_one_file() {
    let mut parts = tiny(Dtype::F32);
    let other = tiny(Dtype::BF16).tensors;
    for (name, tensor) in other.into_iter().step_by(2) {
        parts.tensors.insert(name, tensor);
    }
    check_values(&parts.open().unwrap(), &parts);
}

#[test]
fn shards_with_an_index() {
    let (folder, parts) = (Folder::new(), tiny(Dtype::F32));
    let first = |name: &str| name.contains("layers.0");
    folder
        .put("config.json", parts.config_json())
        .put("b.safetensors", parts.file_of(first))
        .put("a.safetensors", parts.file_of(|name| !first(name)))
        // Not in the index, so not looked at.
        .put("c.safetensors", "nonsense")
        .put(
            "model.safetensors.index.json",
            index(&parts, |name| if first(name) { "b" } else { "a" }.to_owned() + ".safetensors"),
        );
    check_values(&Checkpoint::open(folder.path()).unwrap(), &parts);

    fs::remove_file(folder.path().join("b.safetensors")).unwrap();
    let error = refused(Checkpoint::open(folder.path())).to_string();
    assert!(error.contains("b.safetensors: "), "{error}");
}

#[test]
fn files_of_any_name_without_an_index() {
    let (folder, parts) = (Folder::new(), tiny(Dtype::F32));
    let first = |name: &str| name.contains("layers.0");
    folder
        .put("config.json", parts.config_json())
        .put("two.safetensors", parts.file_of(first))
        .put("one.safetensors", parts.file_of(|name| !first(name)));
    check_values(&Checkpoint::open(folder.path()).unwrap(), &parts);

    folder.put("three.safetensors", parts.file_of(first));
    let error = refused(Checkpoint::open(folder.path()));
    assert!(matches!(error, ModelError::TensorTwice { .. }), "{error}");
}

#[test]
fn names_without_the_model_prefix() {
    let mut parts = tiny(Dtype::F32);
    let strip = |name: String| name.strip_prefix("model.").unwrap_or(&name).to_owned();
    let tensors = std::mem::take(&mut parts.tensors);
    parts.tensors = tensors.into_iter().map(|(name, tensor)| (strip(name), tensor)).collect();
    let checkpoint = parts.open().unwrap();
    assert_eq!(checkpoint.weights().name(checkpoint.embedding()), "embed_tokens.weight");

    // Not consistently absent: the one without is not the one asked for.
    let mut parts = tiny(Dtype::F32);
    let tensor = parts.tensors.remove("model.norm.weight").unwrap();
    parts.tensors.insert("norm.weight".to_owned(), tensor);
    let error = refused(parts.open()).to_string();
    assert!(error.contains("\"model.norm.weight\" is missing"), "{error}");
}

#[test]
fn tensors_that_the_graph_does_not_name_are_left_alone() {
    let mut parts = tiny(Dtype::F32);
    let bytes = vec![0; 24];
    let tensor = (safetensors::Dtype::I64, vec![3], bytes);
    parts.tensors.insert("rotary.inv_freq".to_owned(), tensor);
    parts.open().unwrap();
}

#[test]
fn stop_ids_of_both_files_are_joined() {
    let (folder, parts) = (Folder::new(), tiny(Dtype::F32));
    parts.write(folder.path());
    folder.put("generation_config.json", r#"{"eos_token_id": [9, 4]}"#);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(checkpoint.config.stop_ids, [2, 4, 9]);
    folder.put("generation_config.json", r#"{"bos_token_id": 1}"#);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(checkpoint.config.stop_ids, [2, 9]);
    for damaged in ["", "[]", r#"{"eos_token_id": "2"}"#] {
        folder.put("generation_config.json", damaged);
        let error = refused(Checkpoint::open(folder.path())).to_string();
        assert!(error.starts_with("generation_config.json: "), "{error}");
    }
    // Python writes numbers that JSON does not have; only a field that is read has to be right.
    folder.put("generation_config.json", r#"{"temperature": NaN, "max_length": Infinity, "eos_token_id": 7}"#);
    assert_eq!(Checkpoint::open(folder.path()).unwrap().config.stop_ids, [2, 7, 9]);
    for bad in ["-1", "[2, -1]", "Infinity", "NaN", "1e300", "2.5"] {
        folder.put("generation_config.json", format!("{{\"eos_token_id\": {bad}}}"));
        let error = refused(Checkpoint::open(folder.path())).to_string();
        assert!(error.starts_with("generation_config.json: `eos_token_id` "), "{bad}: {error}");
    }
}

#[test]
fn embedding_rows() {
    let checkpoint = tiny(Dtype::F32).open().unwrap().with_name("small");
    assert_eq!(checkpoint.name(), "small");
    let mut row = [0.0; 12];
    checkpoint.embedding_row(10, &mut row).unwrap();
    assert_eq!(row[3], element(1, 10 * 12 + 3));
    let error = refused(checkpoint.embedding_row(11, &mut row)).to_string();
    assert_eq!(error, "token id 11 is out of range; this model has ids 0 to 10");
}

#[test]
fn extreme_values_are_read_exactly() {
    let mut parts = tiny(Dtype::F32);
    let name = "model.norm.weight";
    let bits: [u16; 12] =
        [0x0001, 0x83ff, 0x0400, 0x7bff, 0x7c00, 0xfc00, 0x8000, 0x3c00, 0xbc00, 0x3555, 0x0000, 0x5640];
    let bytes = bits.iter().flat_map(|bits| bits.to_le_bytes()).collect();
    parts.tensors.insert(name.to_owned(), (safetensors::Dtype::F16, vec![12], bytes));
    let checkpoint = parts.open().unwrap();
    let weights = checkpoint.weights();
    let id = weights.ids().find(|id| weights.name(*id) == name).unwrap();
    let expected = [
        5.9604645e-8,
        -6.097555e-5,
        6.103_515_6e-5,
        65504.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        -0.0,
        1.0,
        -1.0,
        0.333_251_95,
        0.0,
        100.0f32,
    ];
    let found: Vec<u32> = weights.vector_f32(id).iter().map(|value| value.to_bits()).collect();
    assert_eq!(found, expected.map(f32::to_bits));
    assert_eq!(stored(Dtype::F16, vec![1], &[100.0]).2, 0x5640u16.to_le_bytes());
}

#[test]
fn folders_that_hold_no_model() {
    let (folder, parts) = (Folder::new(), tiny(Dtype::F32));
    let open = |folder: &Folder| refused(Checkpoint::open(folder.path()));
    let says = |error: ModelError, words: &str| {
        let error = error.to_string();
        assert!(error.contains(words), "{error}");
    };
    let absent = folder.path().join("absent");
    says(refused(Checkpoint::open(&absent)), "there is no such folder");
    says(open(&folder), "there is no config.json");
    folder.put("config.json", parts.config_json());
    let config = folder.path().join("config.json");
    says(refused(Checkpoint::open(&config)), "this is a file, not a folder");
    says(open(&folder), "there is no *.safetensors file");
    folder.put("pytorch_model.bin", "");
    says(open(&folder), "pytorch_model.bin, which is not read; convert");
    folder.put("model.safetensors", "");
    says(open(&folder), "the header needs 8 bytes and the file has 0");
    fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    fs::create_dir(folder.path().join("model.safetensors")).unwrap();
    assert!(matches!(open(&folder), ModelError::Unreadable { .. }));
}

#[test]
fn bad_indexes() {
    let (folder, parts) = (Folder::new(), tiny(Dtype::F32));
    folder.put("config.json", parts.config_json());
    fs::create_dir(folder.path().join("below")).unwrap();
    folder.put("below/a.safetensors", parts.file());
    for shard in [
        "../a.safetensors",
        "/etc/passwd",
        "below/a.safetensors",
        "./below",
        "..",
        ".",
        "",
        "below\\a.safetensors",
        "a\0",
    ] {
        folder.put("model.safetensors.index.json", index(&parts, |_| shard.to_owned()));
        let error = refused(Checkpoint::open(folder.path()));
        assert!(matches!(error, ModelError::ShardName { .. }), "{shard}: {error}");
    }
    for json in ["", "{}", "[]", r#"{"weight_map": {}}"#, r#"{"weight_map": {"a": 1}}"#] {
        folder.put("model.safetensors.index.json", json);
        let error = refused(Checkpoint::open(folder.path()));
        assert!(matches!(error, ModelError::BadIndex { .. }), "{json}: {error}");
    }
}

/// Some editors put a mark before UTF-8 text.
#[test]
fn a_byte_order_mark_is_read_over() {
    let marked = |text: Vec<u8>| [b"\xef\xbb\xbf".to_vec(), text].concat();
    let (parts, folder) = (tiny(Dtype::F32), Folder::new());
    parts.write(folder.path());
    let plain = Checkpoint::open(folder.path()).unwrap();
    folder.put("config.json", marked(parts.config_json()));
    folder.put("generation_config.json", marked(b"{\"eos_token_id\": [7]}".to_vec()));
    folder.put("tokenizer.json", marked(b"{}".to_vec()));
    let found = Checkpoint::open(folder.path()).unwrap();
    assert_eq!((found.graph(), &found.config.stop_ids[..]), (plain.graph(), &[2, 7, 9][..]));
    assert_eq!(found.tokenizer_json(), Some(&b"{}"[..]));
    assert_eq!(Config::from_json(&marked(parts.config_json())).unwrap(), plain.config);
    let index = json!({"weight_map": parts.tensors.keys().map(|name| (name.clone(), json!("part.safetensors")))
        .collect::<serde_json::Map<_, _>>()});
    std::fs::rename(folder.path().join("model.safetensors"), folder.path().join("part.safetensors")).unwrap();
    folder.put("model.safetensors.index.json", marked(index.to_string().into_bytes()));
    Checkpoint::open(folder.path()).unwrap();
}

#[test]
fn tensors_of_mlx_are_named_as_such() {
    let mut parts = tiny(Dtype::F32);
    for kind in ["scales", "biases"] {
        parts.tensors.insert(format!("model.layers.1.mlp.up_proj.{kind}"), stored(Dtype::F32, vec![2], &[1.0, 1.0]));
    }
    let error = refused(parts.open()).to_string();
    assert!(
        error.contains("tensor \"model.layers.1.mlp.up_proj.weight\" is quantised in the format of MLX"),
        "{error}"
    );
    // A quantised tensor has another shape and type; its scales say why.
    parts.tensors.insert("model.layers.1.mlp.up_proj.weight".into(), stored(Dtype::F32, vec![10, 2], &[0.0; 20]));
    let error = refused(parts.open());
    assert!(matches!(error, ModelError::MlxTensor { .. }), "{error}");
}

/// Without weights the shape of a model is there all the same.
#[test]
fn a_shape_is_read_from_a_config_alone_or_a_folder_without_weights() {
    let (parts, folder) = (tiny(Dtype::F32), Folder::new());
    folder.put("config.json", parts.config_json());
    refused(Checkpoint::open(folder.path()));
    for path in [folder.path().to_owned(), folder.path().join("config.json")] {
        let checkpoint = Checkpoint::open_shape(&path).unwrap();
        assert!(!checkpoint.weights().present());
        assert_eq!(checkpoint.graph(), parts.open().unwrap().graph());
    }
    parts.write(folder.path());
    assert!(Checkpoint::open_shape(folder.path()).unwrap().weights().present());
    folder.put("model.safetensors", b"short");
    refused(Checkpoint::open_shape(folder.path()));
    refused(Checkpoint::open_shape(&folder.path().join("nothing")));
}
