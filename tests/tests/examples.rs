//! Every example of `examples/*.rs` runs and prints what it promises.

use std::path::Path;
use std::process::Command;

/// The lines that an example prints; cargo puts examples next to the folder of this test.
fn lines(name: &str) -> Vec<String> {
    let test = std::env::current_exe().unwrap();
    let example = test.parent().unwrap().with_file_name("examples").join(name);
    let output = Command::new(&example).output().unwrap_or_else(|error| {
        panic!("{}: {error}; build it with `cargo build -p lpu-tests --examples`", example.display())
    });
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The number before a word.
fn before<T: std::str::FromStr>(line: &str, word: &str) -> T {
    let words: Vec<&str> = line.split_whitespace().map(|each| each.trim_end_matches([',', ';'])).collect();
    let at = words.iter().position(|each| *each == word).unwrap_or_else(|| panic!("no `{word}` in: {line}"));
    words[at - 1].parse().unwrap_or_else(|_| panic!("no number before `{word}` in: {line}"))
}

fn cycles(line: &str) -> u64 {
    before(line, "cycles")
}

#[test]
fn feed_measures_what_was_stated() {
    let lines = lines("feed");
    assert_eq!(lines.len(), 9);
    assert!(lines.iter().all(|line| cycles(line) == cycles(&lines[0])), "{lines:?}");
}

#[test]
fn a_slower_chip_takes_more_cycles_and_a_slower_clock_more_time() {
    let lines = lines("chip");
    let [published, slow, half] = &lines[..] else { panic!("{lines:?}") };
    assert!(cycles(published) < cycles(slow) && cycles(published) == cycles(half), "{lines:?}");
    let [whole, halved]: [f64; 2] = [published, half].map(|line| before(line, "us"));
    assert!((halved / whole - 2.0).abs() < 0.01, "{lines:?}");
}

#[test]
fn the_observer_sees_each_dispatch_of_the_kernel() {
    let lines = lines("observer");
    let (last, dispatches) = lines.split_last().unwrap();
    assert_eq!(last, "32 cycles; lane 319 is 638");
    for (unit, expected) in [("mem.", 12), ("vxm.", 1)] {
        assert_eq!(dispatches.iter().filter(|line| line.contains(unit)).count(), expected, "{lines:?}");
    }
}

#[test]
fn a_token_takes_the_cycles_of_its_stages() {
    let lines = lines("pipeline");
    let (tokens, stages): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.starts_with("token"));
    let whole: u64 = stages.iter().map(|line| cycles(line)).sum();
    assert_eq!((tokens.len(), stages.len()), (3, 5));
    assert!(tokens.iter().all(|line| cycles(line) == whole), "{lines:?}");
}

#[test]
fn timing_is_never_below_its_bound() {
    let lines = lines("timing");
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|line| before::<f64>(line, "of") >= 1.0), "{lines:?}");
}

#[test]
fn every_example_is_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let tests = include_str!("examples.rs");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(tests.contains(&format!("lines(\"{name}\")")), "no test runs the example {name}");
        }
    }
}
