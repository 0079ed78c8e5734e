//! Compiled program files with a few edits: the engines agree on every word of SRAM, on cycles and on first faults.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;

use lpu::chip::{Chip, System};
use lpu::isa::{Container, RegionKind};
use lpu::model::Checkpoint;
use lpu::{Options, Precision, Step, compiler};
use lpu_tests::dice::Dice;
use lpu_tests::edit::{Base, Edited};
use lpu_tests::equal::{Engine, Pair};
use lpu_tests::shape::changed;
use rayon::prelude::*;

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
    let compiled =
        compiler::compile(&checkpoint, &chip, &Options { precision, context: CONTEXT, ..Options::default() }).unwrap();
    let tokens = (0..2).map(|position| {
        let step = Step::of(&checkpoint, CONTEXT, position, 5 + 7 * position as u32).unwrap();
        step.inputs(&compiled.interface, &compiled.programs[0]).unwrap()
    });
    let tokens: Vec<_> = tokens.collect();
    let container = Container {
        chip: chip.reference(),
        image: compiled.image,
        programs: compiled.programs,
        host: Vec::new().into(),
    };
    let bytes = container.to_bytes().unwrap();
    let parsed = Container::parse(&bytes).unwrap();
    let base = Base::new(&parsed.image, &parsed.programs[0]);
    File { name: format!("{name} {} of {superlanes} superlanes", precision.name()), chip, base, tokens }
}

/// What was met: edits in legal programs and in others, and what went wrong.
#[derive(Default)]
struct Met {
    edits: BTreeMap<&'static str, [usize; 2]>,
    wrong: Vec<String>,
}

/// One edited program, run twice on two engines.
fn edited(file: &File, seed: u64, met: &Mutex<Met>) {
    let mut dice = Dice(seed);
    let count = 1 + dice.below(3);
    let edited = file.base.edit(&file.chip, count, &mut dice);
    let found = catch_unwind(AssertUnwindSafe(|| run(file, &edited, &mut dice)));
    let found = found.unwrap_or_else(|panic| {
        let text =
            panic.downcast_ref::<String>().cloned().or(panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        Err(format!("panicked: {}", text.unwrap_or_default()))
    });
    let mut met = met.lock().unwrap();
    match found {
        Ok(legal) => edited
            .edits
            .iter()
            .chain([&"programs"])
            .for_each(|edit| met.edits.entry(edit).or_default()[usize::from(!legal)] += 1),
        Err(why) => {
            let why = format!("{}, seed {seed}, {:?}: {why}", file.name, edited.edits);
            eprintln!("{why}");
            met.wrong.push(why);
        }
    }
}

/// Whether the program is legal.
fn run(file: &File, edited: &Edited, dice: &mut Dice) -> Result<bool, String> {
    let combination = dice.below(8);
    let engine =
        |combination: usize, threads| Engine { threads, mapped: combination & 1 == 0, restored: combination & 2 == 0 };
    let engines = [engine(combination, 1 + combination / 4), engine(combination ^ 3, 2)];
    let mut pair = Pair::on(&System::single(&file.chip), &edited.image, &edited.program, &engines);
    for token in &file.tokens {
        token.iter().for_each(|(region, bytes)| pair.input(region, bytes));
        for region in edited
            .program
            .regions
            .iter()
            .filter(|region| region.kind == RegionKind::Input && region.name.starts_with("edited"))
        {
            let bytes: Vec<u8> = (0..region.vectors * region.lanes).map(|_| dice.roll() as u8 & 0x3f).collect();
            pair.input(&region.name, &bytes);
        }
        if !pair.run()? {
            return Ok(false);
        }
        // The host may change any word between runs.
        for extent in &edited.image.extents {
            if dice.below(200) == 0 {
                let place = extent.places().last().unwrap_or(extent.place);
                pair.change(
                    place.chip,
                    place.slice,
                    place.word,
                    dice.below(file.chip.lanes()),
                    dice.roll() as u8 & 0x3f,
                );
            }
        }
    }
    Ok(true)
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

/// Edits of every case with these seeds: legal programs and others.
fn edits(seeds: std::ops::Range<u64>) -> [usize; 2] {
    let met = Mutex::new(Met::default());
    (0..CASES.len()).into_par_iter().for_each(|number| {
        let (name, precision, superlanes) = CASES[number];
        let file = file(name, precision, superlanes);
        seeds.clone().for_each(|seed| edited(&file, 1_000_000 * number as u64 + seed, &met));
    });
    let Met { edits, wrong } = met.into_inner().unwrap();
    println!("{edits:?}");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    edits["programs"]
}

#[test]
fn edited_files_are_equal() {
    let [legal, faults] = edits(0..12);
    assert!(legal >= 50 && faults >= 25, "{legal} legal, {faults} faults");
}

/// Other edits with `SEEDS=from..to`.
#[test]
#[ignore = "minutes"]
fn thousands_of_edited_files_are_equal() {
    let given = std::env::var("SEEDS").unwrap_or("100..400".into());
    let (from, to) = given
        .split_once("..")
        .and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)))
        .expect("SEEDS=from..to");
    let [legal, faults] = edits(from..to);
    assert!(legal > faults, "{legal} legal, {faults} faults");
}
