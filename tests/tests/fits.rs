//! The README's table of which shape fits which chip.

use lpu::chip::preset;
use lpu::model::KnownShape;
use lpu::{Options, Precision, compiler};

/// Shapes by name, and the words a bank that the README gives them.
fn table() -> Vec<(String, u32, u64)> {
    let readme = include_str!("../../README.md");
    let rows = readme
        .lines()
        .skip_while(|line| !line.starts_with("| Shape |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    let number = |text: &str| text.split(' ').next().and_then(|word| word.parse().ok()).expect("a number");
    cells
        .flat_map(|cells| {
            let (words, mib) = (number(cells[2]) as u32, number(cells[3]));
            cells[1].split(", ").map(|name| (name.to_owned(), words, mib)).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
#[ignore = "slow: shapes of up to 1.7 billion parameters"]
fn shapes_fit_the_chips_that_the_readme_names_and_no_smaller_ones() {
    let table = table();
    assert!(table.len() >= 11);
    let options = Options { precision: Precision::W8A16, context: 1024, ..Options::default() };
    for (name, words, mib) in table {
        let shape = KnownShape::named(&name).and_then(KnownShape::checkpoint).unwrap();
        let chip = |words| preset("tsp-v1").unwrap().with(&[("words_per_bank", words)]).unwrap();
        assert_eq!(chip(words).sram_bytes() >> 20, mib, "{name}");
        compiler::compile(&shape, &chip(words), &options).unwrap_or_else(|error| panic!("{name}: {error}"));
        let smaller = compiler::compile(&shape, &chip(words / 2), &options).unwrap_err().to_string();
        assert!(smaller.contains("bytes"), "{name}: {smaller}");
    }
}
