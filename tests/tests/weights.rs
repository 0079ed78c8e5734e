//! Weights that are not finite, or that the format cannot hold, are refused by tensor and place: every tensor of
//! checkpoints that store them in every way, through folder and GGUF.

use std::borrow::Cow;
use std::fs;
use std::path::PathBuf;

use lpu_chip::preset;
use lpu_compiler::{CompileError, Options, Part, Precision, compile_graph};
use lpu_model::Checkpoint;
use lpu_num::half::f32_to_f16;
use serde_json::Value;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("checkpoints").join(name)
}

/// A tensor in a file: name, type, shape, first byte.
struct Stored {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    start: usize,
}

/// The tensors of a safetensors file.
fn tensors(bytes: &[u8]) -> Vec<Stored> {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let entries = header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__");
    let sizes = |value: &Value| {
        value.as_array().unwrap().iter().map(|size| size.as_u64().unwrap() as usize).collect::<Vec<usize>>()
    };
    entries
        .map(|(name, entry)| Stored {
            name: name.clone(),
            dtype: entry["dtype"].as_str().unwrap().to_owned(),
            shape: sizes(&entry["shape"]),
            start: 8 + length + sizes(&entry["data_offsets"])[0],
        })
        .collect()
}

/// The bytes of a number in a type.
fn bytes_of(dtype: &str, value: f32) -> Vec<u8> {
    match dtype {
        "F32" => value.to_le_bytes().to_vec(),
        "BF16" => value.to_le_bytes()[2..].to_vec(),
        _ => f32_to_f16(value).to_le_bytes().to_vec(),
    }
}

/// Compiles a whole checkpoint.
fn compiled(checkpoint: &Checkpoint, precision: Precision) -> Result<(), CompileError> {
    compile_graph(
        checkpoint,
        checkpoint.graph(),
        &preset("tsp-v1").unwrap(),
        &Options { precision, context: 16, ..Options::default() },
    )
    .map(|_| ())
}

/// How the message names the element at `place` of a tensor.
fn shown(name: &str, place: &[usize]) -> String {
    match *place {
        [element] => format!("tensor \"{name}\", element {element}: "),
        [row, column] => format!("tensor \"{name}\", row {row}, column {column}: "),
        [expert, row, column] => format!("tensor \"{name}\", expert {expert}, row {row}, column {column}: "),
        _ => unreachable!("no tensor has more dimensions"),
    }
}

#[test]
fn every_tensor_with_a_bad_element_is_refused_by_its_place() {
    for model in ["gpt2", "phi3", "gpt_neox", "qwen2_moe", "granite_moe", "cohere", "phi", "gemma3"] {
        let config = fs::read(folder(model).join("config.json")).unwrap();
        let bytes = fs::read(folder(model).join("model.safetensors")).unwrap();
        for (number, Stored { name, dtype, shape, start }) in tensors(&bytes).into_iter().enumerate() {
            let elements: usize = shape.iter().product();
            for (turn, value) in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY].into_iter().enumerate() {
                // Places all over the tensor: the last, the first, and one that moves from tensor to tensor.
                let element = [elements - 1, 0, (number * 7919 + 13) % elements][(turn + number) % 3];
                let place: Vec<usize> = (0..shape.len())
                    .map(|axis| element / shape[axis + 1..].iter().product::<usize>() % shape[axis])
                    .collect();
                let mut changed = bytes.clone();
                let raw = bytes_of(&dtype, value);
                changed[start + element * raw.len()..][..raw.len()].copy_from_slice(&raw);
                let files = vec![("model.safetensors".to_owned(), Cow::Owned(changed))];
                let checkpoint = Checkpoint::from_parts(&config, files, None).unwrap();
                let precision = [Precision::F16, Precision::W8A16, Precision::W8A8][(turn + number) % 3];
                let error =
                    compiled(&checkpoint, precision).expect_err(&format!("{model}: {value} at {place:?} of {name}"));
                assert!(matches!(error, CompileError::NotFinite { .. }), "{error}");
                let (message, expected) = (error.to_string(), shown(&name, &place));
                assert!(message.starts_with(&expected), "{model}: {message}\n{expected}");
                assert!(message.contains(&format!("the value is {value}")), "{message}");
            }
        }
    }
}

/// Beyond 65,504 a weight is refused where it is rounded to fp16, and taken where it is not: as int8 with a scale, and
/// as a bias or a norm's weight, which stay in float32.
#[test]
fn weights_beyond_fp16_are_refused_where_they_are_rounded_to_it() {
    let config = fs::read(folder("gpt2").join("config.json")).unwrap();
    let bytes = fs::read(folder("gpt2").join("model.safetensors")).unwrap();
    let with = |name: &str, value: f32, precision: Precision| {
        let stored = tensors(&bytes).into_iter().find(|stored| stored.name == name).unwrap();
        let mut changed = bytes.clone();
        changed[stored.start + 4 * 51..][..4].copy_from_slice(&value.to_le_bytes());
        let files = vec![("model.safetensors".to_owned(), Cow::Owned(changed))];
        compiled(&Checkpoint::from_parts(&config, files, None).unwrap(), precision)
    };
    let matrix = "transformer.h.1.mlp.c_proj.weight";
    for value in [70_000.0, -65_520.0, f32::MAX] {
        let error = with(matrix, value, Precision::F16).unwrap_err();
        assert!(matches!(error, CompileError::HalfOverflow { .. }), "{error}");
        let expected = format!(
            "tensor \"{matrix}\", row 1, column 1: the value is {value}, but the greatest that fp16 holds is 65504"
        );
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
    // It is the head's matrix, too.
    assert!(matches!(with("transformer.wte.weight", 1e9, Precision::F16), Err(CompileError::HalfOverflow { .. })));
    for value in [65_504.0, 65_519.0, -65_504.0] {
        with(matrix, value, Precision::F16).unwrap();
    }
    with(matrix, 1e9, Precision::W8A16).unwrap();
    with("transformer.h.0.mlp.c_fc.bias", 1e9, Precision::F16).unwrap();
    with("transformer.wpe.weight", 1e9, Precision::F16).unwrap();
}

/// A part refuses what is in the part.
#[test]
fn a_part_is_compiled_beside_bad_weights_of_others() {
    let config = fs::read(folder("plain").join("config.json")).unwrap();
    let mut bytes = fs::read(folder("plain").join("model.safetensors")).unwrap();
    let stored = tensors(&bytes).into_iter().find(|stored| stored.name == "model.layers.1.mlp.up_proj.weight").unwrap();
    bytes[stored.start..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let checkpoint =
        Checkpoint::from_parts(&config, vec![("model.safetensors".to_owned(), Cow::Owned(bytes))], None).unwrap();
    let part = |name: &str| {
        let graph = Part::parse(name).unwrap().of(&checkpoint.graph()).unwrap();
        let options = Options { precision: Precision::F16, context: 16, ..Options::default() };
        compile_graph(&checkpoint, graph, &preset("tsp-v1").unwrap(), &options).map(|_| ())
    };
    part("layer:0").unwrap();
    part("attention:1").unwrap();
    assert!(matches!(part("ffn:1"), Err(CompileError::NotFinite { .. })));
}

/// In a GGUF file, found by the bytes of a row: of a plain matrix, and of one whose outputs are in pairs.
#[test]
fn bad_elements_of_a_gguf_file_are_refused() {
    let bytes = fs::read(folder("gguf").join("llama-f16.gguf")).unwrap();
    let checkpoint = Checkpoint::from_gguf("m.gguf", Cow::Owned(bytes.clone())).unwrap();
    let weights = checkpoint.weights();
    let matrices: Vec<_> =
        weights.ids().filter(|&id| weights.shape(id).len() == 2 && weights.dtype(id).name().contains("16")).collect();
    assert!(matrices.len() > 5);
    for (number, id) in matrices.into_iter().enumerate() {
        let row = (number * 5 + 1) % weights.shape(id)[0];
        let mut values = vec![0.0; weights.shape(id)[1]];
        weights.row_f32(id, row, &mut values);
        let raw: Vec<u8> = values.iter().flat_map(|value| f32_to_f16(*value).to_le_bytes()).collect();
        let at = bytes.windows(raw.len()).position(|window| window == raw).unwrap();
        let column = values.len() - 1 - number;
        let mut changed = bytes.clone();
        changed[at + 2 * column..][..2].copy_from_slice(&f32_to_f16(f32::NAN).to_le_bytes());
        let error =
            compiled(&Checkpoint::from_gguf("m.gguf", Cow::Owned(changed)).unwrap(), Precision::W8A16).unwrap_err();
        let place = weights.place(id, row, column);
        assert!(place.contains(&format!("column {column}")) && error.to_string().starts_with(&place), "{error}");
    }
}
