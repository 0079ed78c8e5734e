//! `config.json` in its spellings, its defaults, and what is refused, field by field.

use crate::support::{Parts, refused, tiny};
use lpu_model::{Checkpoint, Config, Dtype, Family, ModelError, Rope};
use serde_json::{Value, json};

fn read(parts: &Parts) -> Result<Config, ModelError> {
    Config::from_json(&parts.config_json())
}

#[test]
fn every_field_is_read() {
    let config = read(&tiny(Dtype::F32)).unwrap();
    let sizes = [
        config.vocab,
        config.hidden,
        config.intermediate,
        config.layers,
        config.heads,
        config.kv_heads,
        config.head_dim,
        config.max_positions,
    ];
    assert_eq!(sizes, [11, 12, 10, 2, 4, 2, 6, 64]);
    assert_eq!(config.architecture, Family::Llama);
    assert_eq!(config.norm_eps, 1e-5);
    assert!(!config.tie_embeddings);
    assert_eq!(config.rotary_dim, 6);
    assert_eq!((config.bos, config.stop_ids), (Some(1), vec![2, 9]));
    assert_eq!(config.dtype, Some(Dtype::F32));
    let rope =
        Rope::Llama3 { theta: 100.0, factor: 4.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max: 32 };
    assert_eq!(config.ropes, [rope]);
}

#[test]
fn absent_fields_have_the_defaults_of_transformers() {
    let json = br#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 24, "intermediate_size": 5,
        "num_hidden_layers": 1, "num_attention_heads": 4}"#;
    let config = Config::from_json(json).unwrap();
    assert_eq!((config.kv_heads, config.head_dim), (4, 6));
    assert_eq!((config.norm_eps, config.max_positions), (1e-6, 2048));
    assert!(!config.tie_embeddings);
    assert_eq!(config.ropes, [Rope::Default { theta: 10_000.0 }]);
    assert_eq!((config.bos, config.stop_ids), (Some(1), vec![2]));
    assert_eq!(config.dtype, None);
}

#[test]
fn null_ids_mean_none() {
    let parts = tiny(Dtype::F32).set("bos_token_id", Value::Null).set("eos_token_id", Value::Null);
    let config = read(&parts).unwrap();
    assert_eq!((config.bos, config.stop_ids), (None, vec![]));
}

#[test]
fn both_spellings_of_the_type_are_read() {
    let parts = tiny(Dtype::F32).unset("dtype");
    for (field, name) in [("dtype", "bfloat16"), ("torch_dtype", "bfloat16"), ("torch_dtype", "torch.bfloat16")] {
        let config = read(&parts.clone().set(field, json!(name))).unwrap();
        assert_eq!(config.dtype, Some(Dtype::BF16), "{field} {name}");
    }
    let other = read(&parts.set("dtype", json!("float64"))).unwrap();
    assert_eq!(other.dtype, None);
}

#[test]
fn both_spellings_of_the_rotary_parameters_are_read() {
    let scaling = |kind: &str| {
        json!({ kind: "llama3", "factor": 4, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32 })
    };
    let linear = Rope::Linear { theta: 100.0, factor: 2.5 };
    let new = read(&tiny(Dtype::F32)).unwrap().ropes.remove(0);
    let old = tiny(Dtype::F32).unset("rope_parameters").set("rope_theta", json!(100.0));
    let cases = [
        (Value::Null, Rope::Default { theta: 100.0 }),
        (json!({}), Rope::Default { theta: 100.0 }),
        (json!({"type": "default"}), Rope::Default { theta: 100.0 }),
        (json!({"rope_theta": 7}), Rope::Default { theta: 7.0 }),
        (scaling("rope_type"), new.clone()),
        (scaling("type"), new),
        (json!({"type": "linear", "factor": 2.5}), linear.clone()),
        (json!({"rope_type": "linear", "factor": 2.5}), linear),
    ];
    for field in ["rope_scaling", "rope_parameters"] {
        for (value, rope) in &cases {
            let config = read(&old.clone().set(field, value.clone())).unwrap();
            assert_eq!(config.ropes.as_slice(), std::slice::from_ref(rope), "{field} {value}");
        }
    }
}

#[test]
fn the_context_of_llama3_defaults_to_the_config_s() {
    let mut parts = tiny(Dtype::F32);
    let rope = parts.config["rope_parameters"].as_object_mut().unwrap();
    rope.remove("original_max_position_embeddings");
    let context = |parts: &Parts| match read(parts).unwrap().ropes.remove(0) {
        Rope::Llama3 { original_max, .. } => original_max,
        other => panic!("{other:?}"),
    };
    assert_eq!(context(&parts), 64);
    let parts = parts.set("original_max_position_embeddings", json!(16));
    assert_eq!(context(&parts), 16);
}

#[test]
fn a_config_survives_writing_and_reading() {
    let scaled = json!({"type": "linear", "factor": 1.1, "rope_theta": 123456.7});
    for parts in [
        tiny(Dtype::F32),
        tiny(Dtype::F32)
            .set("rope_parameters", scaled)
            .set("rms_norm_eps", json!(3.1e-7))
            .set("bos_token_id", Value::Null)
            .set("eos_token_id", Value::Null)
            .unset("dtype"),
    ] {
        let config = read(&parts).unwrap();
        assert_eq!(Config::from_json(config.to_json().as_bytes()).unwrap(), config);
        let stored = serde_json::to_vec(&config).unwrap();
        assert_eq!(serde_json::from_slice::<Config>(&stored).unwrap(), config);
    }
}

#[test]
fn a_stored_config_is_checked_when_it_is_read() {
    let parts = tiny(Dtype::F32).set("num_attention_heads", json!(0));
    let error = serde_json::from_slice::<Config>(&parts.config_json()).unwrap_err();
    assert!(error.to_string().contains("num_attention_heads"), "{error}");
    assert!(serde_json::from_str::<Config>("3").is_err());
}

#[test]
fn a_config_alone_has_shapes_and_reads_as_zero() {
    let checkpoint = Checkpoint::from_config(&tiny(Dtype::F32).config_json()).unwrap();
    let whole = tiny(Dtype::F32).open().unwrap();
    assert_eq!(checkpoint.graph(), whole.graph());
    assert_eq!(checkpoint.name(), "config");
    let (absent, present) = (checkpoint.weights(), whole.weights());
    assert!(!absent.present() && present.present());
    assert_eq!(absent.parameters(), present.parameters());
    for id in absent.ids() {
        assert_eq!(absent.shape(id), present.shape(id));
        assert_eq!(absent.name(id), present.name(id));
        assert!(absent.vector_f32(id).iter().all(|value| *value == 0.0));
    }
    let mut row = [1.0; 12];
    checkpoint.embedding_row(10, &mut row).unwrap();
    assert_eq!(row, [0.0; 12]);
}

/// Each change of one field, and words of the message that it gets.
#[test]
fn impossible_configs_are_refused_with_the_field_s_name() {
    let llama3 = |field: &str, value: Value| {
        let mut rope = tiny(Dtype::F32).config["rope_parameters"].clone();
        rope[field] = value;
        rope
    };
    let cases = [
        (
            "architectures",
            json!(["MambaForCausalLM"]),
            "\"MambaForCausalLM\" is not supported; the supported ones are: LlamaForCausalLM",
        ),
        ("architectures", json!("LlamaForCausalLM"), "`architectures` is \"LlamaForCausalLM\", not a list of strings"),
        ("hidden_size", json!(0), "`hidden_size` is 0"),
        ("num_attention_heads", json!(0), "`num_attention_heads` is 0"),
        ("num_key_value_heads", json!(0), "`num_key_value_heads` is 0"),
        ("num_key_value_heads", json!(3), "`num_attention_heads` 4 is not a multiple of `num_key_value_heads` 3"),
        ("num_key_value_heads", json!(8), "not a multiple of `num_key_value_heads` 8"),
        ("num_hidden_layers", json!(0), "`num_hidden_layers` is 0"),
        ("num_hidden_layers", json!(5000), "`num_hidden_layers` is 5000, beyond the limit of 4096"),
        ("intermediate_size", json!(-4), "`intermediate_size` is -4, not a whole number"),
        ("intermediate_size", json!(2.5), "`intermediate_size` is 2.5"),
        ("vocab_size", json!("11"), "`vocab_size` is \"11\""),
        ("vocab_size", json!(u64::MAX), "`vocab_size` is 18446744073709551615, beyond the limit"),
        ("vocab_size", Value::Null, "`vocab_size` is missing"),
        ("head_dim", json!(5), "5 elements of a head would be rotated"),
        ("head_dim", json!(1 << 22), "`num_attention_heads * head_dim` is 16777216"),
        ("max_position_embeddings", json!(0), "`max_position_embeddings` is 0"),
        ("hidden_act", json!("relu"), "`hidden_act` is \"relu\"; the supported ones are: silu"),
        ("attention_bias", json!(1), "`attention_bias` is 1, not true or false"),
        ("rms_norm_eps", json!(-1e-5), "`rms_norm_eps` is -0.00001"),
        ("rms_norm_eps", json!(1e300), "`rms_norm_eps` is 1000000"),
        ("rms_norm_eps", json!("NaN"), "`rms_norm_eps` is \"NaN\", not a number"),
        ("eos_token_id", json!(-1), "`eos_token_id` is -1, not a token id"),
        ("eos_token_id", json!([1, "2"]), "`eos_token_id` is [1,\"2\"]"),
        ("quantization_config", json!({"bits": 4}), "`quantization_config` is set"),
        ("partial_rotary_factor", json!(0.5), "`partial_rotary_factor` is 0.5"),
        ("rope_scaling", json!({"type": "proportional"}), "rotary type \"proportional\" is not supported"),
        ("rope_scaling", json!({"type": "linear"}), "`rope_scaling.factor` is missing"),
        (
            "rope_scaling",
            json!({"type": "linear", "factor": 0.5}),
            "`rope_scaling.factor` is 0.5, but must be at least 1",
        ),
        ("rope_scaling", json!("linear"), "`rope_scaling` is \"linear\", not an object"),
        ("rope_parameters", json!({"full_attention": {}}), "`rope_parameters.full_attention` is an object"),
        (
            "rope_parameters",
            llama3("rope_theta", json!(0)),
            "`rope_parameters.rope_theta` is 0, but must be at least 1",
        ),
        ("rope_parameters", llama3("factor", json!(1e60)), "`rope_parameters.factor` is 1000000"),
        (
            "rope_parameters",
            llama3("high_freq_factor", json!(1)),
            "`rope_parameters.high_freq_factor` is 1, but must be above",
        ),
        ("rope_parameters", llama3("low_freq_factor", Value::Null), "`rope_parameters.low_freq_factor` is missing"),
        ("rope_parameters", llama3("partial_rotary_factor", json!(0.25)), "`partial_rotary_factor` is 0.25"),
        (
            "rope_parameters",
            llama3("original_max_position_embeddings", json!(0)),
            "original_max_position_embeddings` is 0",
        ),
    ];
    for (field, value, words) in cases {
        let error = refused(read(&tiny(Dtype::F32).set(field, value.clone()))).to_string();
        assert!(error.contains(words), "{field} = {value}: {error}");
        assert!(error.starts_with("config.json: "), "{error}");
    }
}

#[test]
fn what_is_no_config_is_refused() {
    let cases = [
        ("", "the file is empty"),
        ("[1, 2]", "the file holds a list"),
        ("{\"model_type\": \"llama\", \"hidden_size\": NaN}", "`hidden_size` is \"NaN\", not a whole number"),
        ("{\"rms_norm_eps\": 1e999}", "out of range"),
        ("{}", "neither `architectures` nor `model_type` is given"),
        ("{\"model_type\": \"mamba\"}", "of `model_type` \"mamba\""),
    ];
    for (json, words) in cases {
        let error = refused(Config::from_json(json.as_bytes())).to_string();
        assert!(error.contains(words), "{json}: {error}");
    }
    let parts = tiny(Dtype::F32).unset("head_dim").set("hidden_size", json!(14));
    let error = refused(read(&parts)).to_string();
    assert!(error.contains("`hidden_size` 14 is not a multiple of `num_attention_heads` 4"));
    for field in ["hidden_size", "num_attention_heads", "num_hidden_layers", "intermediate_size"] {
        let error = refused(read(&tiny(Dtype::F32).unset(field))).to_string();
        assert!(error.contains(&format!("`{field}` is missing")), "{error}");
    }
}
