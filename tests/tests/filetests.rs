//! File tests of the compiler: each file of `tests/filetests` is a small graph and a chip, and after `[expect]` what
//! each stage of the compiler makes of them. `BLESS=1` rewrites what is expected.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use lpu::chip::{Chip, preset};
use lpu::compiler::{Compiled, Part, tasks_text};
use lpu::isa::{Container, Image, disassemble};
use lpu::model::Checkpoint;
use lpu::{Options, Precision};

/// Where what is expected begins.
const EXPECT: &str = "[expect]\n";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("filetests")
}

/// Every stage of one file, as the text after [`EXPECT`].
fn stages(input: &str) -> String {
    let table: toml::Table = toml::from_str(input).expect("a file test is TOML");
    let text = |key: &str| table[key].as_str().unwrap_or_else(|| panic!("`{key}` is a text"));
    let figures = table.get("figures").and_then(toml::Value::as_table).cloned().unwrap_or_default();
    let figures: Vec<(&str, u32)> =
        figures.iter().map(|(name, value)| (name.as_str(), value.as_integer().expect("a figure") as u32)).collect();
    let chip = preset(text("chip")).expect("a preset").with(&figures).expect("the description is allowed");
    let config = serde_json::to_vec(&table["config"]).expect("a config is JSON");
    let checkpoint = Checkpoint::from_config(&config).expect("the config is read");
    let part = table.get("part").and_then(toml::Value::as_str);
    let graph = checkpoint.graph();
    let graph = part
        .map_or(graph.clone(), |part| Part::parse(part).expect("a part").of(&graph).expect("the graph has the part"));
    let precision = Precision::parse(text("dtype")).expect("a number format");
    let options = Options {
        precision,
        context: table["context"].as_integer().expect("a context") as usize,
        sequences: table.get("sequences").map_or(1, |of| of.as_integer().expect("a number of sequences") as usize),
        ..Options::default()
    };
    let mut out = section("graph", &graph.to_text(checkpoint.weights()));
    match lpu::compile_graph(&checkpoint, graph.clone(), &chip, &options) {
        Ok(compiled) => {
            out += &section("placement", &compiled.placements[0].to_text());
            for (program, records) in compiled.programs.iter().zip(&compiled.records) {
                let records = tasks_text(&graph, records);
                out += &section(&format!("schedule-{}", program.name), &records);
            }
            out += &section("programs", &programs(&compiled, &chip));
        }
        Err(error) => out += &section("error", &format!("{error}\n")),
    }
    out
}

fn section(name: &str, text: &str) -> String {
    assert!(!text.contains("'''"), "{name} can be written as a literal");
    format!("{name} = '''\n{text}'''\n")
}

/// A line a program: its size in cycles and instructions, its lower bound, and a digest of its text form.
fn programs(compiled: &Compiled, chip: &Chip) -> String {
    let mut out = String::new();
    // Those of all sequences, each with what is said of its bucket.
    let (bounds, oracles) = (compiled.bounds.iter().cycle(), compiled.oracles.iter().cycle());
    for ((program, bound), oracle) in compiled.programs.iter().zip(bounds).zip(oracles) {
        let image = Image { vector_bytes: chip.lanes() as u32, extents: Vec::new() };
        let container =
            Container { chip: chip.reference(), image, programs: vec![program.clone()], host: Vec::new().into() };
        let digest = blake3::hash(disassemble(&container, None).0.as_bytes()).to_hex();
        let oracle = oracle.map_or(String::new(), |cycles| format!(", {cycles} if the experts were known"));
        writeln!(
            out,
            "{}: {} cycles{oracle}; bound: bytes {}, path {}; items {}; digest {}",
            program.name,
            program.cycles,
            bound.bytes,
            bound.path,
            program.items(),
            &digest[..16]
        )
        .unwrap();
    }
    out
}

/// The first line in which two texts differ, with its number.
fn difference(expected: &str, found: &str) -> String {
    let lines = expected
        .lines()
        .map(Some)
        .chain(std::iter::repeat(None))
        .zip(found.lines().map(Some).chain(std::iter::repeat(None)));
    let longest = expected.lines().count().max(found.lines().count());
    let first = lines.take(longest).zip(1..).find(|((one, other), _)| one != other);
    first.map_or("the ends of lines".into(), |((expected, found), number)| {
        let text = |line: Option<&str>| line.unwrap_or("(nothing)").to_owned();
        format!("line {number} after [expect]:\n  expected {}\n  found    {}", text(expected), text(found))
    })
}

fn run(path: &Path, bless: bool) -> Result<(), String> {
    let text = fs::read_to_string(path).expect("a file test can be read");
    let (input, expected) = text.split_once(EXPECT).unwrap_or((&text, ""));
    let found = stages(input);
    if bless {
        fs::write(path, format!("{}\n\n{EXPECT}{found}", input.trim_end())).expect("a file test can be written");
        return Ok(());
    }
    if found == expected {
        return Ok(());
    }
    Err(format!("{}: {}", path.display(), difference(expected, &found)))
}

#[test]
fn every_stage_is_what_its_file_expects() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder()).expect("there are file tests").map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 25, "{} file tests", paths.len());
    let failed: Vec<String> = paths.iter().filter_map(|path| run(path, bless).err()).collect();
    assert!(failed.is_empty(), "`BLESS=1` accepts what follows, see docs/testing.md\n{}", failed.join("\n"));
}

#[test]
fn a_changed_line_is_found() {
    assert_eq!(difference("a\nb\n", "a\nc\n"), "line 2 after [expect]:\n  expected b\n  found    c");
    assert_eq!(difference("a\n", "a\nc\n"), "line 2 after [expect]:\n  expected (nothing)\n  found    c");
}
