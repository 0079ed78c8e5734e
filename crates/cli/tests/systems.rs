//! The command on systems of several chips: compiled, checked, shown and run by every command, and what is refused.

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use common::{json, lpu, root, scratch};

/// Writes a description of a system, in a folder of this name, and gives its path.
fn described(folder: &Path, name: &str, wiring: &str) -> String {
    let path = folder.join(format!("{name}.toml"));
    fs::write(&path, format!("name = '{name}'\nchip = 'tsp-v1'\n{wiring}\n")).unwrap();
    path.display().to_string()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_model_on_several_chips_is_compiled_checked_shown_and_run() {
    let folder = scratch("systems");
    let system = described(&folder, "four", "chips_per_node = 4");
    let (model, file) = (root("tests/checkpoints/gqa"), folder.join("gqa.lpb").display().to_string());
    let laid = ["--system", &system, "--tensor-parallel-size", "2", "--pipeline-parallel-size", "2"];
    let how = [&laid[..], &["--context", "16", "--dtype", "f16"]].concat();
    let compiled = json(&lpu(&[&["compile", &model, "-o", &file, "--json"], &how[..]].concat()));
    assert_eq!(compiled["chip"], "four");
    let spread = &compiled["system"];
    assert_eq!((&spread["tensor_parallel"], spread["stages"].as_array().map(Vec::len)), (&2.into(), Some(2)));
    let cycles =
        |stage: usize| spread["stages"][stage]["begin"].as_u64().zip(spread["stages"][stage]["cycles"].as_u64());
    let (first, second) = (cycles(0).unwrap(), cycles(1).unwrap());
    assert!(first.0 == 0 && second.0 > first.1, "{spread}");
    assert_eq!(Some(second.0 + second.1), compiled["cycles"]["per_token"][0]["cycles"].as_u64());
    let exchanges = ["cycles", "exposed"].map(|part| spread["exchanges"][part].as_u64().unwrap());
    assert!(0 < exchanges[1] && exchanges[1] <= exchanges[0] && exchanges[0] < first.1 + second.1, "{exchanges:?}");
    assert!(spread["links"][0]["busy"].as_f64().is_some_and(|busy| 0.0 < busy && busy < 1.0));
    assert_eq!(spread["links"][0]["busy"], compiled["utilization"][0]["links"], "there is one class");
    let full = ["fullest_chip_bytes", "chip_bytes"].map(|part| spread[part].as_u64().unwrap());
    assert!(0 < full[0] && full[0] < full[1]);
    let table = text(&lpu(&[&["compile", &model, "--timing-only"], &how[..]].concat()));
    for row in ["stages                2 of 2 chips, ", "exchanges  ", "links  ", "fullest chip  "] {
        assert!(table.contains(row), "{row}: {table}");
    }
    let feed = ["--tokens", "5,6,7", "--max-tokens", "3", "--json"];
    let direct = json(&lpu(&[&["generate", &model], &how[..], &feed[..]].concat()));
    for engine in [&["--verify"][..], &["--engine", "reference"], &["--threads", "1"], &laid] {
        let system: &[&str] = if engine.len() > 2 { &[] } else { &["--system", &system] };
        let found = json(&lpu(&[&["generate", &file], system, engine, &feed].concat()));
        assert_eq!((&found["tokens"], &found["hash"]), (&direct["tokens"], &direct["hash"]), "{engine:?}");
        assert_eq!(found["cycles"]["per_token"][0], compiled["cycles"]["per_token"][0]["cycles"], "{engine:?}");
    }
    // One chip gives the same tokens.
    let alone = json(&lpu(&[&["generate", &model, "--context", "16", "--dtype", "f16"], &feed[..]].concat()));
    assert_eq!(alone["tokens"], direct["tokens"]);

    for of_system in ["--system", "--chip"] {
        assert!(text(&lpu(&["check", &file, of_system, &system])).contains("legal"));
        let ran = lpu(&["run", &file, of_system, &system, "--json"]);
        let asked = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(asked.contains("is not given; add --input"), "a run takes inputs: {asked}");
    }
    let lpu_text = folder.join("gqa.lpu").display().to_string();
    let again = folder.join("again.lpb").display().to_string();
    assert!(lpu(&["disasm", &file, "-o", &lpu_text, "--system", &system]).status.success());
    assert!(lpu(&["asm", &lpu_text, "-o", &again, "--system", &system]).status.success());
    assert!(fs::read(&file).unwrap() == fs::read(&again).unwrap());

    for step in ["graph", "placement", "schedule"] {
        let of_model = text(&lpu(&[&["inspect", step, &model], &how[..]].concat()));
        assert_eq!(of_model, text(&lpu(&["inspect", step, &file, "--system", &system])), "{step}");
    }
    let placement = text(&lpu(&[&["inspect", "placement", &model], &how[..]].concat()));
    assert!(placement.starts_with("stage 0, each of chips 0 to 1\n"));
    assert!(placement.contains("\nstage 1, each of chips 2 to 3\n"));
    let graph = text(&lpu(&[&["inspect", "graph", &model], &how[..]].concat()));
    for part in ["stage 0\n", "stage 1\n", "reduce_scatter(", "all_gather(", "piece of", "terms of", "query heads"] {
        assert!(graph.contains(part), "{part}: {graph}");
    }
    let schedule = text(&lpu(&[&["inspect", "schedule", &model], &how[..]].concat()));
    assert!(schedule.contains(".reduced") && schedule.contains(".gathered"), "{schedule}");
}

#[test]
fn what_is_not_said_is_chosen() {
    let folder = scratch("chosen");
    let system = described(&folder, "two", "chips_per_node = 2");
    let graph = text(&lpu(&["inspect", "graph", &root("tests/checkpoints/gqa"), "--system", &system]));
    assert!(graph.contains("piece of") && graph.contains("over 2") && !graph.contains("stage 1"), "{graph}");
}

#[test]
fn contradictions_are_refused_with_what_to_do() {
    let folder = scratch("contradictions");
    let system = described(&folder, "four", "chips_per_node = 4");
    let (other, three) =
        (described(&folder, "two", "chips_per_node = 2"), described(&folder, "three", "chips_per_node = 3"));
    let (model, file) = (root("tests/checkpoints/plain"), folder.join("plain.lpb").display().to_string());
    let sizes = ["--tensor-parallel-size", "2", "--pipeline-parallel-size", "2", "--system", &system];
    json(&lpu(&[&["compile", &model, "-o", &file, "--context", "16", "--json"], &sizes[..]].concat()));
    let refused = |arguments: &[&str], code: i32, parts: &[&str]| {
        let output = lpu(arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
        for part in parts {
            assert!(message.contains(part), "{arguments:?}: {message}");
        }
    };
    // Sizes and systems other than those of the file.
    for command in
        [&["generate", &file, "--tokens", "1"][..], &["inspect", "graph", &file], &["inspect", "sram", &file]]
    {
        let of = |more: &[&'static str]| [command, more, &["--system", system.as_str()]].concat();
        let tensor = of(&["--tensor-parallel-size", "4"]);
        refused(&tensor, 1, &["compiled with --tensor-parallel-size 2, not 4", "leave it out or compile"]);
        let pipeline = of(&["--pipeline-parallel-size", "1"]);
        refused(&pipeline, 1, &["compiled with --pipeline-parallel-size 2, not 1"]);
        refused(command, 1, &["`four`", "which is no preset", "give the description"]);
        refused(&[command, &["--system", &other]].concat(), 1, &["made for chip `four`", "`two` has fingerprint"]);
    }
    for command in ["check", "run", "disasm"] {
        refused(&[command, &file, "--system", &other], 1, &["made for chip `four`", "`two` has fingerprint"]);
    }
    // What a system cannot be.
    let compile = |more: &[&str], code: i32, parts: &[&str]| {
        refused(&[&["compile", &model, "--timing-only"], more].concat(), code, parts);
    };
    compile(&["--system", &three], 1, &["chips_per_node", "power of two"]);
    let group = |size: &'static str| ["--system", system.as_str(), "--tensor-parallel-size", size];
    compile(&group("3"), 1, &["3 chips of four do not make a tensor-parallel group", "choose a smaller one"]);
    compile(&group("8"), 1, &["8 chips of four do not make a tensor-parallel group", "it has 4 chips"]);
    compile(&["--tensor-parallel-size", "2"], 1, &["2 chips of tsp-v1 do not make", "it has 1 chips"]);
    let stages = [&group("2")[..], &["--pipeline-parallel-size", "3"]].concat();
    compile(&stages, 1, &["3 stages of 2 chips take 6 chips, and four has 4"]);
    compile(&group("0"), 2, &["give a whole number of at least 1"]);
    compile(&["--system", &system, "--chip", "tsp-v1"], 2, &["cannot be used with"]);
    compile(&["--system", "nowhere"], 1, &["nowhere"]);
}
