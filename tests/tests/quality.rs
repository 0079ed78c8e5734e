//! How close each number format comes to float32: error of logits and agreement of the greedy choice, over 40 tokens of
//! every test checkpoint and of the model that ships. `BLESS=1` writes the table into `docs/quality.md`.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use lpu::Session;
use lpu::chip::preset;
use lpu::compiler::{Options, Precision};
use lpu::model::Checkpoint;

const FORMATS: [Precision; 3] = [Precision::F16, Precision::W8A16, Precision::W8A8];

/// What is measured of one checkpoint in one format.
struct Quality {
    mean: f64,
    worst: f64,
    agreed: usize,
    tokens: usize,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints")
}

/// Folders with reference logits, in order.
fn names() -> Vec<String> {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap());
    let with_logits = entries.filter(|entry| entry.path().join("logits.npy").exists());
    let mut names: Vec<String> = with_logits.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn open(name: &str) -> Checkpoint {
    let own = folder().join(name);
    let path = if own.join("config.json").exists() { own } else { folder().join("../../examples/model") };
    Checkpoint::open(&path).unwrap()
}

fn argmax(values: &[f32]) -> usize {
    (0..values.len()).max_by(|&a, &b| values[a].total_cmp(&values[b]).then(b.cmp(&a))).unwrap()
}

fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt()
}

fn measure(name: &str, precision: Precision) -> Quality {
    let chip = preset("tsp-v1").unwrap();
    let checkpoint = open(name);
    let vocab = checkpoint.config.vocab;
    let tokens: Vec<u32> = serde_json::from_slice(&fs::read(folder().join(name).join("tokens.json")).unwrap()).unwrap();
    let stored = fs::read(folder().join(name).join("logits.npy")).unwrap();
    let logits: Vec<f32> = npyz::NpyFile::new(&stored[..]).unwrap().into_vec().unwrap();
    let mut session =
        Session::compile(checkpoint, &chip, &Options { precision, context: 48, ..Options::default() }).unwrap();
    let mut quality = Quality { mean: 0.0, worst: 0.0, agreed: 0, tokens: tokens.len() };
    for (&token, expected) in tokens.iter().zip(logits.chunks(vocab)) {
        let found = session.feed(token).unwrap().logits;
        let error =
            norm(found.iter().zip(expected).map(|(found, expected)| found - expected)) / norm(expected.iter().copied());
        quality.mean += error / tokens.len() as f64;
        quality.worst = quality.worst.max(error);
        quality.agreed += usize::from(argmax(&found) == argmax(expected));
    }
    quality
}

#[test]
#[ignore = "2,160 decode steps"]
fn every_format_is_as_close_as_its_table_says() {
    let mut table =
        String::from("| Checkpoint | f16 | | | w8a16 | | | w8a8 | | |\n|---|---|---|---|---|---|---|---|---|---|\n");
    table += "| | mean | worst | greedy | mean | worst | greedy | mean | worst | greedy |\n";
    for name in names() {
        write!(table, "| {name}").unwrap();
        for precision in FORMATS {
            let Quality { mean, worst, agreed, tokens } = measure(&name, precision);
            write!(table, " | {mean:.4} | {worst:.4} | {agreed}/{tokens}").unwrap();
            let most = if precision == Precision::F16 { 0.003 } else { 0.1 };
            assert!(mean <= most, "{name} {}: mean error {mean}", precision.name());
            assert!(agreed * 2 > tokens, "{name} {}: {agreed} of {tokens} greedy choices agree", precision.name());
        }
        table += " |\n";
    }
    println!("{table}");
    if std::env::var_os("BLESS").is_some() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/quality.md");
        let text = fs::read_to_string(&page).unwrap();
        let before = text.split("| Checkpoint |").next().unwrap();
        fs::write(&page, format!("{before}{table}")).unwrap();
    }
}
