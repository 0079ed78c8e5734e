//! Counts and places of one model compiled for two contexts.

use lpu::chip::{Chip, preset};
use lpu::compiler::{Compiled, compile};
use lpu::model::Checkpoint;
use lpu::{Options, Precision};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// Share of its cycles by which the longer of two contexts, compiled apart, may cost less: tiles of tokens come and go.
const BETWEEN: f64 = 0.03;
/// The same where key-value rows displaced weights, also for a bucket of both.
const CROWDED: f64 = 0.06;

#[derive(Clone, Debug)]
struct Case {
    config: String,
    chip: Vec<(&'static str, u32)>,
    precision: Precision,
    contexts: [usize; 2],
}

fn cases() -> impl Strategy<Value = Case> {
    let model = (
        1usize..=3,
        2usize..=10,
        1usize..=3,
        1usize..=3,
        prop::sample::select(vec![32usize, 64]),
        4usize..=40,
        50usize..=900,
    );
    let figure = prop_oneof![
        (4u32..=24).prop_map(|value| ("superlanes", value)),
        (2u32..=8).prop_map(|value| ("streams", 16 * value)),
        (8u32..=32).prop_map(|value| ("alus", value)),
        (1u32..=4).prop_map(|value| ("planes_per_side", 2 * value)),
        (40u32..=100).prop_map(|value| ("slices_per_side", value)),
        (1u32..=16).prop_map(|value| ("mem_read", value)),
        (1u32..=16).prop_map(|value| ("vxm_simple", value)),
    ];
    let words = prop_oneof![(48u32..=400).boxed(), (10u32..=13).prop_map(|value| 1 << value).boxed()];
    let words = words.prop_map(|words| ("words_per_bank", words));
    let chip = (words, prop::collection::vec(figure, 0..3))
        .prop_map(|(words, others)| others.into_iter().chain([words]).collect());
    let precision = prop::sample::select(vec![Precision::F16, Precision::W8A8, Precision::W8A16]);
    let context =
        || prop_oneof![(1usize..=72).prop_map(|rows| 16 * rows), prop::sample::select(vec![256usize, 512, 1024])];
    (model, chip, precision, context(), context()).prop_map(|(model, chip, precision, one, other)| {
        let (layers, hidden, kv_heads, ranks, head_dim, inner, vocab) = model;
        let config = format!(
            r#"{{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":{},"intermediate_size":{},
            "num_hidden_layers":{layers},
            "num_attention_heads":{},"num_key_value_heads":{kv_heads},"head_dim":{head_dim},"vocab_size":{vocab},
            "rms_norm_eps":1e-5,
            "tie_word_embeddings":true,"hidden_act":"silu","rope_theta":10000.0,"max_position_embeddings":2048}}"#,
            64 * hidden,
            32 * inner,
            kv_heads * ranks,
        );
        Case { config, chip, precision, contexts: [one.min(other), one.max(other)] }
    })
}

/// The places of weights for people, without those of key-value rows.
fn weights(compiled: &Compiled) -> Vec<String> {
    compiled.placements[0].to_text().lines().filter(|line| line.contains(": plane ")).map(str::to_owned).collect()
}

/// What was found over all cases.
#[derive(Debug, Default)]
struct Found {
    refused: usize,
    free: usize,
    crowded: usize,
    /// Greatest shares of its cycles by which a bucket got longer, and a longer context shorter: free, and crowded.
    bucket: [f64; 2],
    context: [f64; 2],
}

/// What holds for a model on a chip.
fn hold(case: &Case, found: &mut Found) {
    let chip: Chip = preset("tsp-v1").expect("it ships").with(&case.chip).expect("figures within their ranges");
    let model = Checkpoint::from_config(case.config.as_bytes()).expect("the config is one");
    let for_context =
        |context| compile(&model, &chip, &Options { precision: case.precision, context, ..Options::default() }).ok();
    let [Some(short), Some(long)] = case.contexts.map(for_context) else {
        found.refused += 1;
        return;
    };
    for compiled in [&short, &long] {
        assert!(compiled.programs.is_sorted_by_key(|program| program.cycles), "a longer bucket costs less: {case:?}");
        for program in &compiled.programs {
            let report = lpu::checker::check(&chip, &compiled.image, program).expect("a program for this chip");
            assert!(report.violations.is_empty() && report.cycles == program.cycles, "{case:?}: {}", program.name);
        }
    }
    let crowded = long.placements[0].crowded;
    if crowded {
        found.crowded += 1;
    } else {
        found.free += 1;
        assert!(!short.placements[0].crowded, "{case:?}");
        assert_eq!(weights(&short), weights(&long), "{case:?}");
    }
    let longer = |least: u64, most: u64| (least as f64 - most as f64) / most as f64;
    // All buckets of the one are buckets of the other.
    let inside = short.programs.iter().all(|one| long.programs.iter().any(|other| other.name == one.name));
    for (one, other) in short.programs.iter().zip(&long.programs).filter(|(one, other)| one.name == other.name) {
        let rise = longer(other.cycles, one.cycles);
        let most = if crowded {
            CROWDED
        } else if inside {
            0.0
        } else {
            BETWEEN
        };
        assert!(rise <= most, "{case:?}: bucket {} takes {} cycles, and then {}", one.name, one.cycles, other.cycles);
        found.bucket[usize::from(crowded)] = found.bucket[usize::from(crowded)].max(rise);
    }
    let last = |compiled: &Compiled| compiled.programs.last().expect("a bucket").cycles;
    let fall = longer(last(&short), last(&long));
    assert!(
        fall <= if crowded { CROWDED } else { BETWEEN },
        "{case:?}: {} cycles, and then {}",
        last(&short),
        last(&long)
    );
    found.context[usize::from(crowded)] = found.context[usize::from(crowded)].max(fall);
}

/// Holds it for so many cases, the same in each run.
fn hold_all(count: u32) {
    let mut runner = TestRunner::deterministic();
    let mut found = Found::default();
    for _ in 0..count {
        hold(&cases().new_tree(&mut runner).expect("a case").current(), &mut found);
    }
    println!("{found:?}");
    assert!(found.free * 2 >= count as usize, "too few to mean anything: {found:?}");
}

#[test]
fn counts_of_a_bucket_only_fall_as_longer_ones_are_added() {
    hold_all(60);
}
