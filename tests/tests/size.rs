//! The SmolLM2-135M shape on the full-size chip.

use lpu::model::Checkpoint;
use lpu::{Options, Precision, Session, chip, compiler};

const CONFIG: &str = r#"{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":576,"intermediate_size":1536,
"num_hidden_layers":30,"num_attention_heads":9,"num_key_value_heads":3,"vocab_size":49152,"rms_norm_eps":1e-5,
"tie_word_embeddings":true,"hidden_act":"silu","rope_theta":100000.0,"max_position_embeddings":8192}"#;

/// A checkpoint of this shape with weights from a fixed generator, as bf16.
fn random() -> Checkpoint {
    let shapes = Checkpoint::from_config(CONFIG.as_bytes()).unwrap();
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
    let mut header = serde_json::to_vec(&header).unwrap();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.append(&mut data);
    Checkpoint::from_parts(CONFIG.as_bytes(), vec![("model.safetensors".into(), file.into())], None).unwrap()
}

#[test]
#[ignore = "slow and large: 135 million parameters; `.ci/run` runs it in release"]
fn a_smollm2_shape_compiles_and_runs_a_token() {
    let tsp = chip::preset("tsp-v1").unwrap();
    let checkpoint = random();
    let options = Options { precision: Precision::F16, context: 256 };
    let message = compiler::compile(&checkpoint, &tsp, &options).unwrap_err().to_string();
    assert!(message.contains("306237440 bytes") && message.contains("220487680"), "{message}");
    let begin = std::time::Instant::now();
    let options = Options { precision: Precision::W8A8, context: 256 };
    let compiled = compiler::compile(&checkpoint, &tsp, &options).unwrap();
    println!("compiled in {:?}, bound {:?}", begin.elapsed(), compiled.bound);
    let program = &compiled.programs[0];
    let report = lpu::checker::check(&tsp, &compiled.image, program).unwrap();
    assert_eq!(report.violations.len(), 0);
    drop((report, compiled));
    let mut session = Session::compile(checkpoint, &tsp, &options).unwrap();
    let begin = std::time::Instant::now();
    let token = session.feed(17).unwrap();
    println!("{} cycles, {:.0} a second", token.cycles, token.cycles as f64 / begin.elapsed().as_secs_f64());
    assert_eq!(token.cycles, session.program().cycles);
    assert_eq!(token.logits.len(), 49152);
    assert!(token.logits.iter().all(|logit| logit.is_finite()));
}
