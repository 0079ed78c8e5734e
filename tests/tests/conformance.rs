//! Our engines meet the conformance vectors, the vectors cover the whole table, and a vector that is changed is
//! noticed.

use std::path::{Path, PathBuf};
use std::process::Command;

use lpu::conformance::{Vectors, coverage, engines, run};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance")
}

#[test]
fn engines_meet_all_vectors() {
    let vectors = Vectors::open(&folder()).unwrap();
    for engine in engines() {
        let tally = run(&vectors, engine.as_ref());
        println!("{}: {} met, {} not run", engine.name(), tally.met, tally.refused.len());
        assert_eq!(tally.failed, [], "{}", engine.name());
        if engine.name() != "fast" {
            assert_eq!(tally.refused, [], "{}", engine.name());
        }
        assert!(tally.met >= 200, "{}: {}", engine.name(), tally.met);
    }
}

#[test]
fn vectors_cover_rows_words_and_rules() {
    let covered = coverage(&Vectors::open(&folder()).unwrap());
    for (mnemonic, row) in &covered.rows {
        assert!(!row.vectors.is_empty() && row.missing.is_empty(), "{mnemonic}: {row:?}");
    }
    for (rule, vectors) in &covered.rules {
        assert!(!vectors.is_empty(), "{rule} is broken by no vector");
    }
}

/// Every digit of a vector matters: what must happen, changed in one place, does not.
#[test]
fn a_changed_vector_is_noticed() {
    let text = std::fs::read_to_string(folder().join("vectors/memory.json")).unwrap();
    let scratch = std::env::temp_dir().join(format!("lpu-conformance-{}", std::process::id()));
    std::fs::create_dir_all(scratch.join("vectors")).unwrap();
    for name in ["chip.toml", "system.toml"] {
        std::fs::copy(folder().join(name), scratch.join(name)).unwrap();
    }
    let failures = |text: &str| {
        std::fs::write(scratch.join("vectors/one.json"), text).unwrap();
        run(&Vectors::open(&scratch).unwrap(), engines()[0].as_ref()).failed.len()
    };
    assert_eq!(failures(&text), 0);
    let place = |key: &str| text.find(key).unwrap() + key.len();
    let changes = [
        (place("\"cycles\": "), "9"),
        (place("\"activity\": [["), "7"),
        (place("\"final\": {\"0/e19:0\": \""), "x"),
        (place("\"binary\": {\"0/mem.e0\": \""), "f"),
    ];
    for (at, with) in changes {
        assert_eq!(failures(&format!("{}{with}{}", &text[..at], &text[at + 1..])), 1, "{}", &text[at - 20..at + 20]);
    }
    std::fs::remove_dir_all(scratch).unwrap();
}

#[test]
#[ignore = "needs Python 3.11; `.ci/run` runs it"]
fn vectors_are_what_the_model_writes() {
    let status = Command::new("python3").arg(folder().join("model.py")).arg("--check").status().unwrap();
    assert!(status.success());
}
