//! Shapes of known models by name.

use std::collections::BTreeSet;

use lpu_model::{KnownShape, ModelError};

use crate::support::refused;

/// Elements of all tensors, as the models' pages state them.
const PUBLISHED: &[(&str, usize)] = &[
    ("gemma-2-27b", 27_227_128_320),
    ("gemma-2-2b", 2_614_341_888),
    ("gemma-2-9b", 9_241_705_984),
    ("gpt2", 124_439_808),
    ("gpt2-medium", 354_823_168),
    ("llama-2-13b", 13_015_864_320),
    ("llama-2-70b", 68_976_648_192),
    ("llama-2-7b", 6_738_415_616),
    ("llama-3.1-70b", 70_553_706_496),
    ("llama-3.1-8b", 8_030_261_248),
    ("llama-3.2-1b", 1_235_814_400),
    ("llama-3.2-3b", 3_212_749_824),
    ("mistral-7b-v0.3", 7_248_023_552),
    ("mixtral-8x7b", 46_702_792_704),
    ("phi-3-mini-4k", 3_821_079_552),
    ("phi-4", 14_659_507_200),
    ("qwen2-0.5b", 494_032_768),
    ("qwen2-1.5b", 1_543_714_304),
    ("qwen2-7b", 7_615_616_512),
    ("qwen2.5-3b", 3_085_938_688),
    ("qwen3-30b-a3b", 30_532_122_624),
    ("qwen3-32b", 32_762_123_264),
    ("smollm-1.7b", 1_711_376_384),
    ("smollm2-135m", 134_515_008),
    ("smollm2-360m", 361_821_120),
    ("tinyllama-1.1b", 1_100_048_384),
];

#[test]
fn known_shapes_have_the_published_numbers_of_parameters() {
    for &(name, parameters) in PUBLISHED {
        let checkpoint = KnownShape::named(name).unwrap().checkpoint().unwrap();
        assert_eq!(checkpoint.weights().parameters(), parameters, "{name}");
        assert!(!checkpoint.weights().present(), "{name}");
        assert_eq!(checkpoint.name(), name);
    }
}

#[test]
fn every_known_shape_is_read_and_has_a_name_and_a_source() {
    let mut names = BTreeSet::new();
    for shape in KnownShape::all() {
        let KnownShape { name, source, .. } = shape;
        assert!(source.starts_with("config.json of ") && source.contains('/'), "{name}: {source}");
        assert!(!shape.checkpoint().unwrap().graph().nodes.is_empty(), "{name}");
        assert!(names.insert(name.to_ascii_lowercase()), "{name} is there twice");
        assert_eq!(KnownShape::named(&name.to_ascii_uppercase()).unwrap(), shape);
    }
    assert!(PUBLISHED.iter().all(|(name, _)| names.contains(*name)));
}

#[test]
fn an_unknown_name_is_refused_with_the_nearest() {
    let cases = [
        ("llama2-7b", "llama-2-7b"),
        ("lama-2-70", "llama-2-70b"),
        ("Mixtral", "mixtral-8x7b"),
        ("smolm2", "smollm2-135m"),
        ("qwen3", "qwen3-0.6b"),
        ("qwen3-30b", "qwen3-30b-a3b"),
        ("olmo", "olmo-2-7b"),
        ("gtp2", "gpt2"),
        ("", "phi-4"),
    ];
    for (name, near) in cases {
        let error = KnownShape::named(name).unwrap_err();
        let ModelError::UnknownShape { nearest, .. } = &error else { panic!("{error}") };
        assert!(nearest.split(", ").any(|known| known == near), "{name}: {nearest}");
    }
    assert!(refused(KnownShape::named("qwen").and_then(KnownShape::checkpoint)).to_string().contains("lpu models"));
}
