//! Time to compile a SmolLM2-135M shape by number of layers: it should grow about linearly.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lpu_compiler::{Options, Precision, compile};
use lpu_model::Checkpoint;

/// A config alone: weights change neither the schedule nor the time to find it.
fn shape(layers: usize) -> Checkpoint {
    let config = format!(
        r#"{{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":576,"intermediate_size":1536,
        "num_hidden_layers":{layers},"num_attention_heads":9,"num_key_value_heads":3,"vocab_size":49152,
        "rms_norm_eps":1e-5,"tie_word_embeddings":true,"hidden_act":"silu","rope_theta":100000.0,
        "max_position_embeddings":8192}}"#
    );
    Checkpoint::from_config(config.as_bytes()).expect("the shape is one of a known family")
}

fn layers(criterion: &mut Criterion) {
    let chip = lpu_chip::preset("tsp-v1").expect("the preset is there");
    let mut group = criterion.benchmark_group("compile SmolLM2-135M shape, w8a16, context 256");
    group.sample_size(10);
    for layers in [4, 8, 16, 30] {
        let checkpoint = shape(layers);
        let options = Options { precision: Precision::W8A16, context: 256, ..Options::default() };
        group.throughput(Throughput::Elements(layers as u64));
        group.bench_with_input(BenchmarkId::from_parameter(layers), &checkpoint, |bencher, checkpoint| {
            bencher.iter(|| compile(checkpoint, &chip, &options).expect("the shape fits the chip"));
        });
    }
    group.finish();
}

criterion_group!(benches, layers);
criterion_main!(benches);
