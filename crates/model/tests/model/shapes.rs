//! Shapes of known models by name.

use std::collections::BTreeSet;

use lpu_model::{KnownShape, ModelError};

use crate::support::refused;

/// Elements of all tensors, as the models' pages state them.
const PUBLISHED: [(&str, usize); 7] = [
    ("gpt2", 124_439_808),
    ("llama-2-70b", 68_976_648_192),
    ("llama-2-7b", 6_738_415_616),
    ("llama-3.1-8b", 8_030_261_248),
    ("mixtral-8x7b", 46_702_792_704),
    ("smollm2-135m", 134_515_008),
    ("tinyllama-1.1b", 1_100_048_384),
];

#[test]
fn known_shapes_have_the_published_numbers_of_parameters() {
    for (name, parameters) in PUBLISHED {
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
    for (name, near) in [("llama2-7b", "llama-2-7b"), ("Mixtral", "mixtral-8x7b"), ("gtp2", "gpt2"), ("", "phi-4")] {
        let error = KnownShape::named(name).unwrap_err();
        let ModelError::UnknownShape { nearest, .. } = &error else { panic!("{error}") };
        assert!(nearest.split(", ").any(|known| known == near), "{name}: {nearest}");
    }
    assert!(refused(KnownShape::named("qwen").and_then(KnownShape::checkpoint)).to_string().contains("lpu models"));
}
