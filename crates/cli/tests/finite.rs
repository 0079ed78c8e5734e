//! Logits that are not finite are refused, with the instruction that made the first number that is not.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use lpu::isa::{Format, Instruction};
use lpu::model::Checkpoint;
use lpu::num::half::f16_to_f32;
use lpu::{
    Engines, FirstNotFinite, NotFinite, NotFiniteKind, Options, Precision, ProgramFile, Session, SessionError, chip,
};

use common::{lpu, root};

const FORMATS: [Precision; 3] = [Precision::F16, Precision::W8A16, Precision::W8A8];

fn message(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A copy of a checkpoint of the tests whose tensors, as float32 all, went through `change` by name, which may leave
/// out rows.
fn changed(from: &str, name: &str, mut change: impl FnMut(&str, &mut Vec<f32>)) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let from = PathBuf::from(root("tests/checkpoints")).join(from);
    fs::copy(from.join("config.json"), folder.join("config.json")).unwrap();
    let bytes = fs::read(from.join("model.safetensors")).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let mut data: Vec<u8> = Vec::new();
    for (name, tensor) in header.as_object_mut().unwrap().iter_mut().filter(|(name, _)| *name != "__metadata__") {
        let [start, end] = [0, 1].map(|at| 8 + length + tensor["data_offsets"][at].as_u64().unwrap() as usize);
        let mut values: Vec<f32> = match tensor["dtype"].as_str().unwrap() {
            "F32" => {
                bytes[start..end].chunks_exact(4).map(|cell| f32::from_le_bytes(cell.try_into().unwrap())).collect()
            }
            "F16" => bytes[start..end]
                .chunks_exact(2)
                .map(|cell| f16_to_f32(u16::from_le_bytes([cell[0], cell[1]])))
                .collect(),
            other => panic!("{other}"),
        };
        change(name, &mut values);
        tensor["dtype"] = "F32".into();
        if let [_, width] = &tensor["shape"].as_array().unwrap()[..] {
            let width = width.as_u64().unwrap() as usize;
            tensor["shape"] = vec![values.len() / width, width].into();
        }
        tensor["data_offsets"] = vec![data.len(), data.len() + 4 * values.len()].into();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
    let header = header.to_string().into_bytes();
    fs::write(folder.join("model.safetensors"), [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat())
        .unwrap();
    folder
}

/// Products of gate and up of a layer are beyond fp16; the down projection makes up for it.
fn overflowing(layer: usize) -> PathBuf {
    changed("plain", &format!("overflow{layer}"), |name, values| {
        let factor = match name.strip_prefix(&format!("model.layers.{layer}.mlp.")) {
            Some("up_proj.weight") => 65_536.0,
            Some("gate_proj.weight") => 16.0,
            Some("down_proj.weight") => 1.0 / 1_048_576.0,
            _ => 1.0,
        };
        values.iter_mut().for_each(|value| *value *= factor);
    })
}

/// Only token 9 overflows: its row is large and the first norm's weights make it larger.
fn one_token() -> PathBuf {
    changed("plain", "one-token", |name, values| match name {
        "model.embed_tokens.weight" => {
            let row = &mut values[9 * 96..10 * 96];
            let most = row.iter().fold(0.0f32, |most, value| most.max(value.abs()));
            row.iter_mut().for_each(|value| *value *= 60_000.0 / most);
        }
        "model.layers.0.input_layernorm.weight" => values.fill(4.0),
        _ => {}
    })
}

/// The first element of the keys of layer 0 is beyond fp16, so that all scores there are infinite and the soft cap
/// makes them finite. There is one key-value head: zeros of queries that meet the infinity of another head would give
/// NaN.
fn capped_score() -> PathBuf {
    let folder = changed("gemma2", "capped-score", |name, values| {
        if name.contains("k_proj") || name.contains("v_proj") {
            values.truncate(16 * 72);
        }
        if name == "model.layers.0.self_attn.k_proj.weight" {
            values.iter_mut().take(72).for_each(|value| *value = (*value * 1e6).clamp(-60_000.0, 60_000.0));
        }
    });
    let config = fs::read_to_string(folder.join("config.json")).unwrap();
    fs::write(folder.join("config.json"), config.replace("\"num_key_value_heads\": 3", "\"num_key_value_heads\": 1"))
        .unwrap();
    folder
}

/// One element of the last norm is beyond fp16, so that all logits are infinite and the soft cap makes them finite.
fn capped_logit() -> PathBuf {
    changed("gemma2", "capped-logit", |name, values| match name {
        "model.norm.weight" => values[3] = 1e6,
        "model.embed_tokens.weight" => {
            values.iter_mut().skip(3).step_by(72).for_each(|value| *value = 0.5f32.copysign(*value))
        }
        _ => {}
    })
}

fn session(folder: &Path, precision: Precision, engines: &Engines) -> Session {
    let tsp = chip::preset("tsp-v1").unwrap();
    Session::compile_for(
        Checkpoint::open(folder).unwrap(),
        &tsp,
        &Options { precision, context: 16, ..Options::default() },
        engines,
    )
    .unwrap()
}

fn refused(session: &mut Session, token: u32) -> NotFinite {
    match session.feed(token) {
        Err(SessionError::NotFinite(error)) => *error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_engine_and_source_names_the_same_instruction() {
    let tsp = chip::preset("tsp-v1").unwrap();
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("overflow.lpb");
    for layer in 0..2 {
        let folder = overflowing(layer);
        for precision in FORMATS {
            let mut fast = session(&folder, precision, &Engines::default());
            if precision == Precision::W8A8 {
                assert!(fast.feed(5).unwrap().logits.iter().all(|logit| logit.is_finite()));
                continue;
            }
            lpu::write_file(&file, &fast.container().unwrap().to_bytes().unwrap()).unwrap();
            let found = refused(&mut fast, 5);
            let origin = found.origin.clone().unwrap();
            assert!(
                matches!(origin.instruction, Instruction::Convert { from: Format::F32, to: Format::F16, .. }),
                "{found}"
            );
            assert_eq!((found.position, found.token, origin.kind), (0, 5, NotFiniteKind::Infinity), "{found}");
            let operation = origin.operation.as_deref().unwrap();
            assert!(operation.starts_with(&format!("layers.{layer}.feed_forward")), "{found}");
            let opened = ProgramFile::open(&file).unwrap();
            let mapped = Session::open(opened, &tsp, &Engines { cache: false, ..Engines::default() }).unwrap();
            for mut other in [mapped, session(&folder, precision, &Engines::REFERENCE)] {
                assert_eq!(refused(&mut other, 5).to_string(), found.to_string());
            }
        }
    }
}

#[test]
fn a_soft_cap_hides_no_overflow() {
    for (folder, within) in [(capped_score(), "layers.0."), (capped_logit(), "")] {
        for precision in [Precision::F16, Precision::W8A16] {
            let mut fast = session(&folder, precision, &Engines::default());
            let found = refused(&mut fast, 5);
            let origin = found.origin.clone().unwrap();
            assert!(
                matches!(origin.instruction, Instruction::Convert { from: Format::F32, to: Format::F16, .. }),
                "{found}"
            );
            assert_eq!(
                (found.position, found.token, found.logit, origin.kind),
                (0, 5, None, NotFiniteKind::Infinity),
                "{found}"
            );
            assert!(origin.operation.as_deref().unwrap().starts_with(within), "{found}");
            for engines in [Engines::REFERENCE, Engines { verify: true, ..Engines::default() }] {
                assert_eq!(refused(&mut session(&folder, precision, &engines), 5), found);
            }
        }
    }
}

#[test]
fn a_refused_token_leaves_its_position_to_another() {
    let folder = one_token();
    for precision in [Precision::F16, Precision::W8A16] {
        let mut alone = session(&folder, precision, &Engines::default());
        let expected = [5, 6, 7].map(|token| alone.feed(token).unwrap());
        let mut disturbed = session(&folder, precision, &Engines::default());
        for (position, token) in [5, 6, 7].into_iter().enumerate() {
            let found = refused(&mut disturbed, 9);
            assert_eq!((found.position, disturbed.position()), (position, position));
            assert!(found.origin.is_some(), "{found}");
            assert!(disturbed.feed(token).unwrap() == expected[position], "position {position}");
        }
    }
}

#[test]
fn generate_ends_with_the_place_and_a_remedy_that_works() {
    let folder = one_token().display().to_string();
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("one-token.lpb").display().to_string();
    let logits = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("one-token.npy");
    let _ = fs::remove_file(&logits);
    let feed = [
        "--tokens",
        "5,9,6",
        "--max-tokens",
        "2",
        "--ignore-eos",
        "--context",
        "16",
        "--logits",
        logits.to_str().unwrap(),
    ];
    for dtype in ["f16", "w8a16"] {
        let output = lpu(&[&["generate", &folder, "--dtype", dtype], &feed[..]].concat());
        let text = message(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        for part in ["token 9 at position 1", "in cycle ", "vxm.", "lane ", "layers.0.", "--dtype w8a8"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!logits.exists());
        let followed = lpu(&[&["generate", &folder, "--dtype", "w8a8"], &feed[..]].concat());
        assert!(followed.status.success(), "{}", message(&followed));
        fs::remove_file(&logits).unwrap();
        assert!(lpu(&["compile", &folder, "-o", &file, "--dtype", dtype, "--context", "16"]).status.success());
        let output = lpu(&[&["generate", &file], &feed[..]].concat());
        assert!(output.status.code() == Some(1) && message(&output).contains("on the folder"), "{}", message(&output));
    }
}

#[test]
fn runs_whose_logits_are_finite_make_nothing_else() {
    let folders = fs::read_dir(root("tests/checkpoints")).unwrap().map(|entry| entry.unwrap().path());
    for folder in folders.filter(|folder| folder.join("config.json").exists()) {
        for precision in FORMATS {
            let mut session = session(&folder, precision, &Engines::REFERENCE);
            let mut first = FirstNotFinite::default();
            for token in [5, 6] {
                session.feed_observed(token, &mut first).unwrap();
            }
            assert_eq!(first.0, None, "{} {}", folder.display(), precision.name());
        }
    }
}
