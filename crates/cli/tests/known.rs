//! Models known by name, and programs without weights.

mod common;

use std::fs;
use std::process::Command;

use common::{json, lpu, scratch};
use lpu::Package;
use lpu::isa::{Container, Extent, Fill, WordRun};

/// What a command printed, which has to succeed.
fn text(arguments: &[&str]) -> String {
    let output = lpu(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn models_lists_every_known_model_with_its_figures() {
    let (list, table) = (json(&lpu(&["models", "--json"])), text(&["models"]));
    let models = list["models"].as_array().unwrap();
    assert_eq!(table.lines().count(), models.len() + 1);
    assert!(models.len() > 30);
    for (line, model) in table.lines().skip(1).zip(models) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let shown = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let bytes = ["w8a8", "w8a16", "f16"].map(|format| shown(&model["bytes"][format]));
        let [name, family, parameters, layers, context] =
            ["name", "family", "parameters", "layers", "context"].map(|field| shown(&model[field]));
        let [w8a8, w8a16, f16] = bytes;
        assert_eq!(words, [name, family, parameters, w8a8, w8a16, f16, layers, context]);
        let [int8, half] = ["w8a8", "f16"].map(|format| model["bytes"][format].as_u64().unwrap());
        assert!(int8 < half && half < 2 * int8, "{line}");
        assert!(model["source"].as_str().unwrap().contains('/'), "{line}");
    }
}

#[test]
fn a_file_or_folder_comes_before_a_known_model_of_its_name() {
    let folder = scratch("known");
    let command = |model: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lpu"));
        command.current_dir(&folder).args(["inspect", "graph", model, "--part", "head"]).output().unwrap()
    };
    let known = command("gpt2");
    assert!(known.status.success() && String::from_utf8_lossy(&known.stdout).contains("50257"));
    fs::create_dir(folder.join("gpt2")).unwrap();
    fs::copy(common::root("tests/checkpoints/plain/config.json"), folder.join("gpt2/config.json")).unwrap();
    let there = command("gpt2");
    assert!(there.status.success() && !String::from_utf8_lossy(&there.stdout).contains("50257"));
}

/// The feed-forward of a layer of Llama-2-7B, 135 million weights.
#[test]
fn a_program_without_weights_is_a_small_file_that_is_checked_and_shown() {
    let folder = scratch("zeros");
    let file = folder.join("ffn.lpb").display().to_string();
    let timing = ["compile", "llama-2-7b", "--timing-only", "--part", "ffn:0", "--context", "16", "--json"];
    let (stated, written) = (json(&lpu(&timing)), json(&lpu(&[&timing[..], &["-o", &file]].concat())));
    assert_eq!(written["cycles"], stated["cycles"]);
    assert!(written["hash"]["program"].is_string());
    let bytes = fs::read(&file).unwrap();
    let container = Container::parse(&bytes).unwrap();
    let image = container.image.words() * u64::from(container.image.vector_bytes);
    let stored: usize = container.image.extents.iter().map(|extent| extent.bytes().len()).sum();
    assert!(image > 100_000_000 && stored < 100_000, "{stored} of {image} bytes are stored");
    // The rest is instructions.
    assert!((bytes.len() as u64) < image / 100, "{image} bytes in a file of {}", bytes.len());
    let zeros = container.image.extents.iter().filter(|extent| extent.fill == Fill::Zero);
    let zeros: u64 = zeros.flat_map(|extent| extent.places()).map(|place| u64::from(place.count)).sum();
    assert!(container.image.words() - zeros < 200, "{} words have bytes", container.image.words() - zeros);
    let cycles = container.programs[0].cycles.to_string();
    assert!(text(&["check", &file]).contains(&format!("legal, {cycles} cycles")));
    assert!(text(&["inspect", "dispatches", &file]).contains(&format!("{cycles} cycles")));
    assert!(text(&["disasm", &file]).contains(".zero"));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "no plans are kept");
}

/// The words of an image, neighbouring ones as one place.
fn places(container: &Container<'_>) -> Vec<WordRun> {
    let mut places: Vec<WordRun> = container.image.extents.iter().flat_map(Extent::places).collect();
    places.sort_by_key(|place| (place.chip, place.slice, place.word));
    places.dedup_by(|next, before| {
        let neighbours = (next.chip, next.slice, next.word) == (before.chip, before.slice, before.word + before.count);
        before.count += if neighbours { next.count } else { 0 };
        neighbours
    });
    places
}

#[test]
fn a_model_without_weights_has_the_programs_and_places_of_one_with_weights_and_makes_no_tokens() {
    let folder = scratch("unweighted");
    let [with, without] = ["with.lpb", "without.lpb"].map(|name| folder.join(name).display().to_string());
    for (model, dtype) in [("plain", "w8a16"), ("gpt2", "f16"), ("mixtral", "w8a16"), ("gqa", "w8a8")] {
        let model = common::root(&format!("tests/checkpoints/{model}"));
        let options = ["--context", "16", "--dtype", dtype];
        text(&[&["compile", &model, "-o", &with, "--no-cache"], &options[..]].concat());
        text(&[&["compile", &model, "-o", &without, "--timing-only"], &options[..]].concat());
        let [one, other] = [&with, &without].map(|file| fs::read(file).unwrap());
        let [one, other] = [&one, &other].map(|bytes| Container::parse(bytes).unwrap());
        assert!(one.programs == other.programs, "{model} {dtype}");
        assert_eq!(places(&one), places(&other), "{model} {dtype}");
        assert!(other.host.len() < one.host.len() / 4, "{} and {} bytes", other.host.len(), one.host.len());
        let [weighted, bare] = [one, other].map(|container| Package::parse(&container.host).unwrap());
        assert!(weighted.weights && !bare.weights);
        assert!(weighted.host.unwrap().embedding_row(0).is_some() && bare.host.unwrap().embedding_row(0).is_none());
    }
    for step in ["graph", "schedule", "placement", "dispatches", "sram"] {
        assert_eq!(text(&["inspect", step, &with]), text(&["inspect", step, &without]), "{step}");
    }
    let source = folder.join("without.lpu").display().to_string();
    fs::write(&source, text(&["disasm", &without])).unwrap();
    for file in [&source, &without] {
        assert!(text(&["check", file]).contains("legal"), "{file}");
    }
    let refused = lpu(&["generate", &without, "--tokens", "1"]);
    let message = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{message}");
    assert!(message.contains("without weights") && message.contains("lpu run"), "{message}");
}
