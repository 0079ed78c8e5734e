//! Rotary frequencies and rows against those of the `transformers` package.
//!
//! The figures are the `inv_freq` of a `LlamaRotaryEmbedding` (torch on a CPU, float32) and the
//! `cos` and `sin` that its `forward` returns, printed in full. That library's power, sine and
//! cosine are within a unit in the last place, so that much is allowed.

#![allow(clippy::excessive_precision, reason = "the figures stand as they were printed")]

use crate::support::tiny;
use lpu_model::{Config, Dtype, Rope};

const LLAMA3: Rope =
    Rope::Llama3 { theta: 500_000.0, factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max: 8192 };

fn close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let apart = (f64::from(*found) - f64::from(*expected)).abs();
        let unit = f64::from(expected.abs().next_up()) - f64::from(expected.abs());
        assert!(apart <= unit, "{found} is not {expected}");
    }
}

fn config(rope: Rope, head_dim: usize) -> Config {
    let mut config = Config::from_json(&tiny(Dtype::F32).config_json()).unwrap();
    config.ropes = vec![rope];
    config.rotary_dim = head_dim;
    config
}

#[test]
fn frequencies_of_llama3() {
    // Three short waves kept, three long ones divided by 8, two between.
    let expected = [
        1.0,
        0.193922758102417,
        0.03760603070259094,
        0.00729266507551074,
        0.0005248460220173001,
        3.428102354519069e-05,
        6.647869668086059e-06,
        1.289173155782919e-06,
    ];
    close(&LLAMA3.inv_freq(16, 1), &expected);
}

#[test]
fn frequencies_of_linear_and_default() {
    let theta = 10_000.0;
    let expected = [1.0, 0.10000000149011612, 0.009999999776482582, 0.0010000000474974513];
    close(&Rope::Default { theta }.inv_freq(8, 1), &expected);
    let expected = [0.25, 0.02500000037252903, 0.0024999999441206455, 0.0002500000118743628];
    close(&Rope::Linear { theta, factor: 4.0 }.inv_freq(8, 1), &expected);
}

#[test]
fn rows_of_llama3() {
    let config = config(LLAMA3, 16);
    let cases: [(u32, [f32; 8], [f32; 8]); 3] = [
        (
            1,
            [
                0.5403023362159729,
                0.981255829334259,
                0.9992929697036743,
                0.9999734163284302,
                0.9999998807907104,
                1.0,
                1.0,
                1.0,
            ],
            [
                0.8414709568023682,
                0.19270959496498108,
                0.0375971682369709,
                0.0072926003485918045,
                0.0005248460220173001,
                3.428102354519069e-05,
                6.647869668086059e-06,
                1.289173155782919e-06,
            ],
        ),
        (
            100,
            [
                0.8623188734054565,
                0.8563066124916077,
                -0.814453125,
                0.7456633448600769,
                0.9986230134963989,
                0.9999940991401672,
                0.9999997615814209,
                1.0,
            ],
            [
                -0.5063656568527222,
                0.5164677500724792,
                -0.5802294015884399,
                0.6663228869438171,
                0.05246051028370857,
                0.003428095718845725,
                0.0006647869013249874,
                0.00012891730875708163,
            ],
        ),
        (
            4095,
            [
                -0.06597599387168884,
                -0.7588617205619812,
                -0.9982806444168091,
                0.01833311840891838,
                -0.5467252731323242,
                0.9901627898216248,
                0.9996294975280762,
                0.9999860525131226,
            ],
            [
                -0.9978212118148804,
                0.6512517929077148,
                -0.058615200221538544,
                -0.9998319149017334,
                0.8373120427131653,
                0.1399201601743698,
                0.027219664305448532,
                0.005279139615595341,
            ],
        ),
    ];
    for (position, cos, sin) in cases {
        let row = config.rotary_row(0, position, 1);
        close(&row.0, &cos);
        close(&row.1, &sin);
    }
}

#[test]
fn rows_of_default() {
    let config = config(Rope::Default { theta: 10_000.0 }, 8);
    assert_eq!(config.rotary_row(0, 0, 1), (vec![1.0; 4], vec![0.0; 4]));
    let (cos, sin) = config.rotary_row(0, 2047, 1);
    close(&cos, &[0.24971525371074677, -0.8792673349380493, -0.0496266707777977, -0.4584086835384369]);
    close(&sin, &[-0.968319296836853, -0.47632861137390137, 0.9987678527832031, 0.8887414932250977]);
    let (cos, sin) = config.rotary_row(0, Config::LAST_POSITION, 1);
    assert!(cos.iter().chain(&sin).all(|value| value.abs() <= 1.0));
}

/// What `rotary.py` printed: `yarn`, `dynamic` and `longrope` at contexts below and beyond the first training's.
#[test]
fn rows_that_follow_the_context_are_those_of_transformers() {
    #[derive(serde::Deserialize)]
    struct Case {
        family: String,
        fields: serde_json::Map<String, serde_json::Value>,
        context: usize,
        rows: Vec<(u32, Vec<f32>, Vec<f32>)>,
    }
    let cases: Vec<Case> = serde_json::from_str(include_str!("rotary.json")).unwrap();
    assert!(cases.len() >= 30);
    for Case { family, fields, context, rows } in cases {
        let mut json = serde_json::json!({ "model_type": family, "vocab_size": 9, "intermediate_size": 9,
            "num_hidden_layers": 1 });
        json.as_object_mut().unwrap().extend(fields);
        let config = Config::from_json(json.to_string().as_bytes()).unwrap();
        for (position, cos, sin) in rows {
            let found = config.rotary_row(0, position, context);
            // A frequency is at most 1 and within a unit in the last place, and so is a sine.
            let allowed =
                f64::from(f32::EPSILON) * (2.0 + f64::from(position)) * f64::from(config.ropes[0].attention_factor());
            for (found, expected) in found.0.iter().chain(&found.1).zip(cos.iter().chain(&sin)) {
                let apart = (f64::from(*found) - f64::from(*expected)).abs();
                assert!(apart <= allowed, "{json} context {context} position {position}: {found} is not {expected}");
            }
            assert_eq!(found.0.len() + found.1.len(), cos.len() + sin.len());
        }
    }
}

/// Below the first training's context the frequencies are one set, beyond it others, and every angle stays one that has
/// a sine.
#[test]
fn every_rotary_row_is_finite() {
    let factors = serde_json::json!([0.5, 1.0, 1.5, 2.0]);
    let ropes = [
        serde_json::json!({ "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64,
            "beta_fast": 1.0, "beta_slow": 32.0 }),
        serde_json::json!({ "rope_type": "yarn", "factor": 1.0, "original_max_position_embeddings": 1 }),
        serde_json::json!({ "rope_type": "dynamic", "factor": 8.0 }),
        serde_json::json!({ "rope_type": "longrope", "short_factor": factors, "long_factor": factors,
            "original_max_position_embeddings": 1 }),
    ];
    for rope in ropes {
        let mut json: serde_json::Value =
            serde_json::from_slice(&tiny(Dtype::F32).set("head_dim", serde_json::json!(8)).config_json()).unwrap();
        json["rope_parameters"] = rope;
        let config = Config::from_json(json.to_string().as_bytes()).unwrap();
        for position in [0, 1, 63, 64, 4095, Config::LAST_POSITION] {
            for context in [1, 64, 65, 1 << 19, usize::MAX] {
                let (cos, sin) = config.rotary_row(0, position, context);
                assert!(cos.iter().chain(&sin).all(|value| value.is_finite()), "{json} {position} {context}");
            }
        }
    }
}
