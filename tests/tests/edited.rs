//! Compiled program files with a few edits: the engines agree on every word of SRAM, cycles and first faults, whatever the file has become.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use lpu::chip::{Chip, System};
use lpu::compiler::host;
use lpu::isa::{Container, RegionKind};
use lpu::model::Checkpoint;
use lpu::{Options, Precision, compiler};
use lpu_tests::edit::Base;
use lpu_tests::equal::{Engine, Pair};
use lpu_tests::grow::Dice;
use lpu_tests::shape::changed;

const CONTEXT: usize = 32;

/// A compiled file, and what the host gives it for two tokens.
struct File {
    name: String,
    chip: Chip,
    base: Base,
    tokens: Vec<Vec<(String, Vec<u8>)>>,
}

/// A checkpoint compiled to a file and read from it.
fn file(name: &str, precision: Precision, superlanes: u32) -> File {
    let chip = changed("edited", &[("superlanes", superlanes), ("words_per_bank", 512)]);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints").join(name);
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let compiled = compiler::compile(&checkpoint, &chip, &Options { precision, context: CONTEXT }).unwrap();
    let container = Container { chip: chip.reference(), image: compiled.image, programs: compiled.programs, host: Vec::new().into() };
    let bytes = container.to_bytes().unwrap();
    let parsed = Container::parse(&bytes).unwrap();
    let tokens = (0..2).map(|position| {
        let mut row = vec![0.0; checkpoint.config.hidden];
        checkpoint.embedding_row(5 + 7 * position as u32, &mut row).unwrap();
        host::inputs(&checkpoint.config, chip.lanes(), CONTEXT, position, &row)
    });
    let (tokens, base) = (tokens.collect(), Base::new(&parsed.image, &parsed.programs[0]));
    File { name: format!("{name} {} of {superlanes} superlanes", precision.name()), chip, base, tokens }
}

/// Which edits were met, in legal programs and in others.
type Met = BTreeMap<&'static str, [usize; 2]>;

/// One edited program, run twice on two engines.
fn edited(file: &File, seed: u64, met: &Mutex<Met>) {
    let mut dice = Dice(seed);
    let count = 1 + dice.below(3);
    let edited = file.base.edit(&file.chip, count, &mut dice);
    let combination = dice.below(8);
    let engine = |combination: usize, threads| Engine { threads, mapped: combination & 1 == 0, restored: combination & 2 == 0 };
    let engines = [engine(combination, 1 + combination / 4), engine(combination ^ 3, 2)];
    let mut pair = Pair::on(&System::single(&file.chip), &edited.image, &edited.program, &engines);
    let mut legal = true;
    for token in &file.tokens {
        token.iter().for_each(|(region, bytes)| pair.input(region, bytes));
        for region in edited.program.regions.iter().filter(|region| region.kind == RegionKind::Input && region.name.starts_with("edited")) {
            let bytes: Vec<u8> = (0..region.vectors * region.lanes).map(|_| dice.roll() as u8 & 0x3f).collect();
            pair.input(&region.name, &bytes);
        }
        match pair.run() {
            Ok(found) => legal = found,
            Err(difference) => panic!("{}, seed {seed}, {:?}: {difference}", file.name, edited.edits),
        }
        if !legal {
            break;
        }
        // The host may change any word between runs.
        for extent in &edited.image.extents {
            if dice.below(200) > 0 {
                continue;
            }
            let place = extent.places().last().unwrap_or(extent.place);
            pair.change(place.chip, place.slice, place.word, dice.below(file.chip.lanes()), dice.roll() as u8 & 0x3f);
        }
    }
    let mut met = met.lock().unwrap();
    edited.edits.into_iter().for_each(|edit| met.entry(edit).or_default()[usize::from(!legal)] += 1);
    met.entry("programs").or_default()[usize::from(!legal)] += 1;
}

const CASES: [(&str, Precision, u32); 9] = [
    ("gqa", Precision::F16, 12),
    ("gqa", Precision::W8A16, 20),
    ("gqa", Precision::W8A8, 12),
    ("odd", Precision::F16, 7),
    ("odd", Precision::W8A16, 6),
    ("odd", Precision::W8A8, 20),
    ("mixtral", Precision::F16, 20),
    ("mixtral", Precision::W8A16, 4),
    ("mixtral", Precision::W8A8, 5),
];

/// Edits of every case, so many of each, by so many threads.
fn edits(seeds: std::ops::Range<u64>) -> Met {
    let met = Mutex::new(Met::new());
    for (number, (name, precision, superlanes)) in (0..).zip(CASES) {
        let file = file(name, precision, superlanes);
        seeds.clone().for_each(|seed| edited(&file, 1_000_000 * number + seed, &met));
    }
    met.into_inner().unwrap()
}

#[test]
fn edited_files_are_equal() {
    let met = edits(0..12);
    println!("{met:?}");
    let [legal, faults] = met["programs"];
    assert!(legal >= 40 && faults >= 10, "{legal} legal, {faults} faults");
}
