//! Every committed checkpoint, evaluated at the level of its graph, has the logits of `transformers`; configs of every
//! family survive being written, and ask for the right things.

use std::fs;
use std::path::PathBuf;

use crate::interpret::Evaluation;
use crate::support::refused;
use lpu_model::{Checkpoint, Config, Family, Graph, Op, Rope};
use serde_json::{Value, json};

fn folders() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/checkpoints")
}

/// Names of all committed checkpoints.
pub(crate) fn names() -> Vec<String> {
    let entries = fs::read_dir(folders()).unwrap().map(|entry| entry.unwrap());
    let folders = entries.filter(|entry| entry.path().join("config.json").exists());
    let mut names: Vec<String> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The tokens of a checkpoint and the logits of `transformers` after each.
pub(crate) fn reference(name: &str) -> (Vec<u32>, Vec<f32>) {
    let folder = folders().join(name);
    let tokens: Vec<u32> = serde_json::from_slice(&fs::read(folder.join("tokens.json")).unwrap()).unwrap();
    let bytes = fs::read(folder.join("logits.npy")).unwrap();
    (tokens, npyz::NpyFile::new(&bytes[..]).unwrap().into_vec().unwrap())
}

/// The largest error of a row of logits over the row's norm.
pub(crate) fn error(found: &[Vec<f64>], expected: &[f32]) -> f64 {
    let rows = found.iter().zip(expected.chunks(found[0].len()));
    let relative = rows.map(|(found, expected)| {
        let pairs = found.iter().zip(expected).map(|(found, expected)| (found - f64::from(*expected)).powi(2));
        let norm: f64 = expected.iter().map(|value| f64::from(*value).powi(2)).sum();
        (pairs.sum::<f64>() / norm).sqrt()
    });
    relative.fold(0.0, f64::max)
}

pub(crate) fn open(name: &str) -> Checkpoint {
    Checkpoint::open(&folders().join(name)).unwrap()
}

#[test]
fn every_checkpoint_has_the_logits_of_transformers() {
    let mut families = Vec::new();
    for name in names() {
        let checkpoint = open(&name);
        families.push(checkpoint.config.architecture);
        let (tokens, expected) = reference(&name);
        let found = Evaluation::new(&checkpoint).logits(&[checkpoint.graph()], &tokens);
        assert_eq!(found.len() * found[0].len(), expected.len());
        let error = error(&found, &expected);
        println!("{name}: {error:.2e}");
        assert!(error < 1e-5, "{name}: {error}");
    }
    for family in Family::all() {
        assert!(families.contains(&family), "no checkpoint of {family:?}");
    }
}

#[test]
fn graphs_of_every_family_can_be_cut_and_shown() {
    for name in names() {
        let checkpoint = open(&name);
        let graph = checkpoint.graph();
        let text = graph.to_text(checkpoint.weights());
        assert_eq!(text.matches('\n').count(), lines(&graph), "{text}");
        let (tokens, _) = reference(&name);
        let whole = Evaluation::new(&checkpoint).logits(std::slice::from_ref(&graph), &tokens[..3]);
        let blocks = graph.blocks().len();
        let parts: Vec<Graph> = (0..blocks).map(|block| graph.cut(block..block + 1)).collect();
        assert_eq!(Evaluation::new(&checkpoint).logits(&parts, &tokens[..3]), whole, "{name}");
    }
}

/// Lines of a graph's text: inputs, caches, blocks, nodes, outputs.
fn lines(graph: &Graph) -> usize {
    graph.inputs.len() + graph.caches.len() + graph.blocks().len() + graph.nodes.len() + graph.outputs.len()
}

#[test]
fn configs_of_every_family_survive_writing_and_reading() {
    for name in names() {
        let config = open(&name).config;
        assert_eq!(Config::from_json(config.to_json().as_bytes()).unwrap(), config, "{name}");
        let alone = Checkpoint::from_config(config.to_json().as_bytes()).unwrap();
        assert_eq!(alone.graph(), open(&name).graph(), "{name}");
        assert_eq!(alone.weights().parameters(), open(&name).weights().parameters());
    }
}

/// The config of a checkpoint with one field changed.
fn changed(name: &str, field: &str, value: Value) -> Vec<u8> {
    let mut config: Value =
        serde_json::from_slice(&fs::read(folders().join(name).join("config.json")).unwrap()).unwrap();
    config[field] = value;
    config.to_string().into_bytes()
}

fn windows(json: &[u8]) -> Vec<Option<usize>> {
    let nodes = Checkpoint::from_config(json).unwrap().graph().nodes;
    let window = nodes.iter().filter_map(|node| match node.op {
        Op::Attention { mask, .. } => Some(mask.window()),
        _ => None,
    });
    window.collect()
}

#[test]
fn windows_come_from_the_fields_of_each_family() {
    let none = [None, None];
    assert_eq!(windows(&changed("mistral", "rms_norm_eps", json!(1e-6))), [Some(7), Some(7)]);
    assert_eq!(windows(&changed("mistral", "sliding_window", Value::Null)), none);
    assert_eq!(windows(&changed("qwen2", "max_window_layers", json!(2))), [None, None, Some(9)]);
    assert_eq!(windows(&changed("qwen2", "use_sliding_window", json!(false))), [None, None, None]);
    assert_eq!(
        windows(&changed("qwen2", "layer_types", json!(["sliding_attention", "full_attention", "full_attention"]))),
        [Some(9), None, None]
    );
    assert_eq!(windows(&changed("gemma2", "sliding_window", json!(5))), [Some(5), None]);
    assert_eq!(windows(&changed("gemma2", "layer_types", Value::Null)), [Some(6), None]);
    assert_eq!(
        windows(&changed("gemma2", "layer_types", json!(["full_attention", "sliding_attention"]))),
        [None, Some(6)]
    );
    assert_eq!(windows(&changed("phi3", "sliding_window", Value::Null)), none);
    assert_eq!(windows(&changed("mixtral", "sliding_window", json!(3))), [Some(3), Some(3)]);
    assert_eq!(windows(&changed("qwen3_moe", "sliding_window", json!(3))), none);
    assert_eq!(windows(&changed("gemma3", "layer_types", Value::Null)), [Some(6), None, Some(6), None]);
    assert_eq!(windows(&changed("olmo3", "layer_types", Value::Null)), [Some(7), Some(7), Some(7), None]);
    assert_eq!(windows(&changed("ministral", "layer_types", Value::Null)), [Some(7), Some(7)]);
    assert_eq!(windows(&changed("ministral", "sliding_window", json!(3))), [Some(3), None]);
    assert_eq!(windows(&changed("qwen2_moe", "layer_types", Value::Null)), [Some(7), None]);
    assert_eq!(windows(&changed("smollm3", "sliding_window", json!(3))), [None, None, None]);
}

/// Each change of one field of a family's config, and words of the message that it gets.
#[test]
fn what_a_family_does_not_have_is_refused_with_the_field_s_name() {
    let cases = [
        ("plain", "no_rope_layers", json!([1, 0]), "`no_rope_layers` asks for layers without rotary embedding"),
        ("plain", "partial_rotary_factor", json!(0.5), "`partial_rotary_factor` is 0.5"),
        (
            "phi3",
            "rope_scaling",
            json!({"type": "longrope", "short_factor": [1], "long_factor": [1]}),
            "`short_factor` has 1 factors for 6 pairs",
        ),
        ("phi3", "rope_scaling", json!({"type": "su"}), "`rope_scaling.short_factor` is missing"),
        (
            "phi3",
            "rope_scaling",
            json!({"type": "longrope", "short_factor": [0.4], "long_factor": [1]}),
            "a list of numbers of at least 0.5",
        ),
        ("mistral", "rope_scaling", json!({"type": "su"}), "\"su\" is not supported"),
        ("smollm3", "no_rope_layers", json!([1, 0]), "`no_rope_layers` has 2 entries for 3 layers"),
        ("smollm3", "no_rope_layers", json!(["x", 0, 1]), "not a list of whole numbers"),
        ("qwen2_moe", "mlp_only_layers", json!([1]), "`mlp_only_layers` asks for layers without experts"),
        ("qwen2_moe", "num_experts_per_tok", json!(7), "a token takes 7 experts of 6"),
        ("granite_moe", "num_experts_per_tok", json!(6), "a token takes 6 experts of 5"),
        ("stablelm", "qk_layernorm", json!(true), "norms of single heads"),
        ("phi", "qk_layernorm", json!(true), "norms of queries and keys"),
        ("cohere", "use_qk_norm", json!(true), "norms of single heads"),
        ("gemma", "use_bidirectional_attention", json!(true), "attention to later tokens"),
        ("gemma3", "rope_parameters", json!({"other_attention": {}}), "`rope_parameters.other_attention` is an object"),
        (
            "olmo3",
            "rope_parameters",
            json!({"full_attention": {"rope_type": "x"}}),
            "rotary type \"x\" is not supported",
        ),
        (
            "plain",
            "quantization",
            json!({"group_size": 64, "bits": 4}),
            "`quantization` says that this is an MLX checkpoint, quantised to 4 bits in groups of 64",
        ),
        (
            "plain",
            "quantization_config",
            json!({"group_size": 32, "bits": 8}),
            "MLX checkpoint, quantised to 8 bits in groups of 32",
        ),
        (
            "plain",
            "quantization_config",
            json!({"quant_method": "gptq", "group_size": 32, "bits": 4}),
            "`quantization_config` is set",
        ),
        ("phi3", "partial_rotary_factor", json!(1.5), "`partial_rotary_factor` is 1.5, but must be above 0"),
        ("gemma2", "use_bidirectional_attention", json!(true), "attention to later tokens"),
        ("gemma2", "query_pre_attn_scalar", json!(0), "`query_pre_attn_scalar` is 0, but must be above 0"),
        ("gemma2", "layer_types", json!(["full_attention"]), "`layer_types` has 1 entries for 2 layers"),
        (
            "gemma2",
            "layer_types",
            json!(["full_attention", "linear_attention"]),
            "`layer_types` has \"linear_attention\"",
        ),
        ("gemma2", "hidden_activation", json!("relu"), "`hidden_activation` is \"relu\"; the supported ones are: silu"),
        ("gpt2", "add_cross_attention", json!(true), "attention to another sequence"),
        ("gpt2", "n_head", json!(7), "`hidden_size` 50 is not a multiple of `num_attention_heads` 7"),
        ("gpt_neox", "rotary_pct", json!(0.2), "3 elements of a head would be rotated"),
        ("granite", "residual_multiplier", json!(0), "`residual_multiplier` is 0, but must be above 0"),
        ("mixtral", "num_experts_per_tok", json!(6), "a token takes 6 experts of 5"),
        ("qwen3_moe", "mlp_only_layers", json!([1]), "`mlp_only_layers` asks for layers without experts"),
        ("qwen3_moe", "decoder_sparse_step", json!(2), "`decoder_sparse_step` asks for layers without experts"),
    ];
    for (name, field, value, words) in cases {
        let read = Config::from_json(&changed(name, field, value.clone()));
        assert!(read.is_err(), "{name} {field} = {value} is accepted");
        let error = refused(read).to_string();
        assert!(error.contains(words), "{name} {field} = {value}: {error}");
        assert!(error.starts_with("config.json: "), "{error}");
    }
}

/// Layers with rotary embedding, with the number of their set of frequencies.
fn rotary(json: &[u8]) -> Vec<(usize, usize)> {
    let config = Config::from_json(json).unwrap();
    let nodes = Checkpoint::from_config(json).unwrap().graph().nodes;
    let mut layers: Vec<(usize, usize)> = Vec::new();
    for node in nodes {
        if let (Op::Rotary { table, .. }, lpu_model::Block::Attention(layer)) = (node.op, node.block) {
            assert!(config.rotary_tables().contains(&table) && table < config.ropes.len());
            layers.push((layer, table));
        }
    }
    layers.dedup();
    layers
}

#[test]
fn layers_turn_by_the_frequencies_of_their_kind() {
    assert_eq!(rotary(&changed("smollm3", "no_rope_layer_interval", json!(4))), [(0, 0), (2, 0)]);
    assert_eq!(rotary(&changed("smollm3", "no_rope_layers", Value::Null)), [(0, 0), (2, 0)]);
    assert_eq!(rotary(&changed("smollm3", "no_rope_layers", json!([0, 1, 0, 1]))), [(1, 0)]);
    assert_eq!(rotary(&changed("gemma3", "sliding_window", json!(3))), [(0, 1), (1, 0), (2, 1), (3, 0)]);
    let local = json!(["sliding_attention", "sliding_attention", "sliding_attention", "sliding_attention"]);
    assert_eq!(rotary(&changed("olmo3", "layer_types", local)), [(0, 1), (1, 1), (2, 1), (3, 1)]);
    let theta = |json: &[u8]| {
        let ropes = Config::from_json(json).unwrap().ropes.into_iter();
        ropes
            .map(|rope| match rope {
                Rope::Default { theta } | Rope::Linear { theta, .. } => theta,
                other => panic!("{other:?}"),
            })
            .collect::<Vec<f64>>()
    };
    assert_eq!(theta(&changed("gemma3", "rope_local_base_freq", Value::Null)), [1e6, 1e4]);
    assert_eq!(theta(&changed("gemma3", "rope_local_base_freq", json!(777.0))), [1e6, 777.0]);
    let nested =
        json!({"full_attention": {"rope_theta": 5.0}, "sliding_attention": {"rope_type": "linear", "factor": 2.0}});
    let mut config: Value = serde_json::from_slice(&changed("gemma3", "rope_parameters", nested)).unwrap();
    config["rope_scaling"] = Value::Null;
    assert_eq!(theta(config.to_string().as_bytes()), [5.0, 1e4]);
    assert_eq!(theta(&changed("olmo3", "rope_parameters", Value::Null)), [5e5, 5e5]);
}

/// Gemma 3 with pictures: the text model under `text_config`, and its tensors behind a prefix, in both spellings.
#[test]
fn the_text_part_of_a_larger_model_is_the_text_model() {
    let alone = open("gemma3");
    let inner: Value = serde_json::from_slice(&fs::read(folders().join("gemma3/config.json")).unwrap()).unwrap();
    let outer = json!({
        "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "eos_token_id": [1, 106],
        "text_config": inner, "vision_config": { "hidden_size": 1 },
    });
    let bytes = fs::read(folders().join("gemma3/model.safetensors")).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = String::from_utf8(bytes[8..8 + length].to_vec()).unwrap();
    for prefix in ["language_model.model.", "model.language_model."] {
        let header = header.replace("\"model.", &format!("\"{prefix}"));
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend(&bytes[8 + length..]);
        let found =
            Checkpoint::from_parts(outer.to_string().as_bytes(), vec![("a".into(), file.into())], None).unwrap();
        assert_eq!((found.graph(), &found.config.stop_ids[..]), (alone.graph(), &[1, 106][..]));
        assert_eq!(Config::from_json(found.config.to_json().as_bytes()).unwrap(), found.config);
        for id in alone.weights().ids() {
            assert_eq!(found.weights().vector_f32(id), alone.weights().vector_f32(id), "{}", alone.weights().name(id));
        }
    }
    // The sizes that published configs leave out.
    let mut outer = outer;
    for key in ["vocab_size", "num_attention_heads", "num_key_value_heads"] {
        outer["text_config"].as_object_mut().unwrap().remove(key);
    }
    let config = Config::from_json(outer.to_string().as_bytes()).unwrap();
    assert_eq!((config.vocab, config.heads, config.kv_heads), (262_208, 8, 4));
}

/// Fields that are absent have the family's own default.
#[test]
fn an_absent_tie_is_that_of_the_family() {
    let tied = ["gpt2", "gemma", "gemma2", "gemma3", "smollm3", "cohere"];
    for name in names() {
        let config = Config::from_json(&changed(&name, "tie_word_embeddings", Value::Null)).unwrap();
        assert_eq!(config.tie_embeddings, tied.contains(&name.as_str()), "{name}");
    }
}

#[test]
fn positions_beyond_the_learned_ones_are_refused() {
    let checkpoint = open("gpt2");
    let mut row = vec![0.0; checkpoint.config.hidden];
    assert!(checkpoint.position_row(47, &mut row).unwrap());
    assert_eq!(checkpoint.config.learned_positions, Some(48));
    let error = refused(checkpoint.position_row(48, &mut row)).to_string();
    assert_eq!(error, "position 48 is out of range; this model has learned positions 0 to 47, feed fewer tokens");
    assert!(!open("plain").position_row(1000, &mut row[..0]).unwrap());
}
