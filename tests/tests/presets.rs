//! Layers of large shapes compile for the synthetic presets, and reports say that these are synthetic.

use lpu::chip::System;
use lpu::compiler::{Compiled, Part};
use lpu::model::Checkpoint;
use lpu::{Options, Precision, compile_graph, latency};

const LLAMA_2_7B: &str = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096,
    "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
    "vocab_size": 32000, "rms_norm_eps": 1e-05, "hidden_act": "silu", "max_position_embeddings": 4096}"#;
const LLAMA_2_70B: &str = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8192,
    "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8,
    "vocab_size": 32000, "rms_norm_eps": 1e-05, "hidden_act": "silu", "max_position_embeddings": 4096}"#;

/// Compiles a part of a shape for a preset; its report says that the chip is synthetic.
fn compiled(config: &str, part: Part, name: &str) -> Compiled {
    let checkpoint = Checkpoint::from_config(config.as_bytes()).unwrap();
    let graph = part.of(&checkpoint.graph()).unwrap();
    let options = Options { precision: Precision::W8A16, context: 256, ..Options::default() };
    let system = System::preset(name).unwrap();
    let compiled = compile_graph(&checkpoint, graph, &system, &options)
        .unwrap_or_else(|error| panic!("{part} for {name}: {error}"));
    let found = latency(&system, &compiled.image, &compiled.programs[0], compiled.bounds[0].cycles(), None).unwrap();
    println!("{part} for {name}: {} cycles, {:.2} microseconds", found.cycles, found.microseconds());
    assert!(found.table().contains("chip                  synthetic: "), "{}", found.table());
    compiled
}

#[test]
fn a_layer_of_7b_and_attention_of_70b_compile_for_lp30_like() {
    compiled(LLAMA_2_7B, Part::Layer(0), "lp30-like");
    compiled(LLAMA_2_70B, Part::Attention(0), "lp30-like");
}

#[test]
fn more_words_alone_keep_the_cycles_of_a_layer() {
    let [four, sixteen] = ["stacked-like", "stacked-16-like"].map(|name| compiled(LLAMA_2_7B, Part::Layer(0), name));
    assert_eq!(four.programs[0].cycles, sixteen.programs[0].cycles);
}

#[test]
#[ignore = "slow: 856 million parameters"]
fn a_layer_of_70b_compiles_for_all() {
    for name in ["stacked-like", "stacked-16-like", "lp30-tray-like"] {
        compiled(LLAMA_2_70B, Part::Layer(0), name);
    }
}
