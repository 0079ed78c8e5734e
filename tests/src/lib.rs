//! Cross-crate tests: file tests, whole models, goldens.
