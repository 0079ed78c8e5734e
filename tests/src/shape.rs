//! Checkpoints of real shapes with random weights, for sizes and speeds.

use lpu::chip::{Chip, preset};
use lpu::model::Checkpoint;

/// The shape of SmolLM2-135M.
pub const SMOLLM2: &str = r#"{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":576,
"intermediate_size":1536,
"num_hidden_layers":30,"num_attention_heads":9,"num_key_value_heads":3,"vocab_size":49152,"rms_norm_eps":1e-5,
"tie_word_embeddings":true,"hidden_act":"silu","rope_theta":100000.0,"max_position_embeddings":8192}"#;

/// The shape of TinyLlama-1.1B.
pub const TINYLLAMA: &str = r#"{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":2048,
"intermediate_size":5632,
"num_hidden_layers":22,"num_attention_heads":32,"num_key_value_heads":4,"vocab_size":32000,"rms_norm_eps":1e-5,
"tie_word_embeddings":false,"hidden_act":"silu","rope_theta":10000.0,"max_position_embeddings":2048}"#;

/// A checkpoint of a shape with weights from a fixed generator, as bf16.
///
/// # Panics
/// When the config is none.
#[must_use]
pub fn random(config: &str) -> Checkpoint {
    let shapes = Checkpoint::from_config(config.as_bytes()).expect("the config is one");
    let weights = shapes.weights();
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    let mut state = 1u64;
    for id in weights.ids() {
        let shape = weights.shape(id);
        let start = data.len();
        let norm = shape.len() == 1;
        let spread = 3.0 / (shape[shape.len() - 1] as f32).sqrt();
        for _ in 0..shape.iter().product::<usize>() {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let unit = (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
            let value = if norm { 1.0 + 0.2 * unit } else { spread * unit };
            data.extend(lpu::num::half::f32_to_bf16(value).to_le_bytes());
        }
        let entry = serde_json::json!({"dtype": "BF16", "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(weights.name(id).to_owned(), entry);
    }
    let mut header = serde_json::to_vec(&header).expect("a header of names and numbers serialises");
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.append(&mut data);
    let files = vec![("model.safetensors".into(), file.into())];
    Checkpoint::from_parts(config.as_bytes(), files, None).expect("the checkpoint is whole")
}

/// Weights that a token reads: those of every product of a matrix and a vector.
///
/// # Panics
/// When the config is none.
#[must_use]
pub fn parameters(config: &str) -> u64 {
    let shapes = Checkpoint::from_config(config.as_bytes()).expect("the config is one");
    let weights = shapes.weights();
    let tied = config.contains(r#""tie_word_embeddings":true"#);
    let read = weights
        .ids()
        .filter(|&id| weights.shape(id).len() == 2 && (tied || !weights.name(id).contains("embed_tokens")));
    read.map(|id| weights.shape(id).iter().product::<usize>() as u64).sum()
}

/// `tsp-v1` with another number of words a bank.
///
/// # Panics
/// When that is no chip.
#[must_use]
pub fn larger(words_per_bank: u32) -> Chip {
    changed("tsp-v1-larger", &[("words_per_bank", words_per_bank)])
}

/// `tsp-v1` with other figures.
///
/// # Panics
/// When that is no chip.
#[must_use]
pub fn changed(name: &str, figures: &[(&str, u32)]) -> Chip {
    let text = preset("tsp-v1").expect("the preset is valid").to_toml();
    let lines = text.lines().map(|line| match line.split_once(" = ") {
        Some(("name", _)) => format!("name = \"{name}\""),
        Some((field, _)) => figures
            .iter()
            .find(|(name, _)| *name == field)
            .map_or(line.to_owned(), |(_, value)| format!("{field} = {value}")),
        None => line.to_owned(),
    });
    Chip::from_toml(&lines.collect::<Vec<_>>().join("\n")).expect("the description is valid")
}
