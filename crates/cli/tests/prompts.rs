//! Several prompts, each a sequence: what each gives, when it runs, and what is refused.

mod common;

use std::fs;

use common::{json, lpu, root, scratch};

const PROMPTS: [&str; 3] = ["Once upon a time", "The cat", "A dog ran"];

/// Runs the command and gives its message, which has to contain all of `parts`.
fn refused(arguments: &[&str], status: i32, parts: &[&str]) {
    let output = lpu(arguments);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{message}");
    parts.iter().for_each(|part| assert!(message.contains(part), "{part} in {message}"));
}

#[test]
fn each_prompt_gives_what_it_gives_alone() {
    let folder = scratch("prompts");
    let path = |name: &str| folder.join(name).display().to_string();
    let (prompts, file, system) = (path("prompts.txt"), path("model.lpb"), path("node.toml"));
    fs::write(&prompts, PROMPTS.join("\n")).unwrap();
    fs::write(&system, "name = 'node'\nchip = 'tsp-v1'\nchips_per_node = 4\n").unwrap();
    let model = root("examples/model");
    let staged = ["--system", &system, "--tensor-parallel-size", "1", "--pipeline-parallel-size", "3"];
    let compile = ["compile", &model, "--context", "64", "--sequences", "4", "-o", &file, "--json"];
    let compiled = json(&lpu(&[&compile[..], &staged].concat()));
    let throughput = &compiled["throughput"][0];
    let (cycles, interval) = (&compiled["cycles"]["per_token"][0]["cycles"], &throughput["interval"]);
    let (cycles, interval) = (cycles.as_u64().unwrap(), interval.as_u64().unwrap());
    assert_eq!(throughput["sequences"], 4);
    assert_eq!(throughput["filling"], cycles.div_ceil(interval));
    assert!(cycles > 2 * interval, "three stages");
    let (user, both) = (&throughput["user_tokens_per_second"], &throughput["system_tokens_per_second"]);
    assert_eq!(both.as_f64().unwrap() / user.as_f64().unwrap(), cycles as f64 / interval as f64);
    let requests: [&[&str]; 4] = [
        &["generate", &model, "--context", "64"],
        &[&["generate", &model, "--context", "64"][..], &staged].concat(),
        &["generate", &file, "--system", &system],
        &["generate", &file, "--system", &system, "--engine", "reference"],
    ];
    for request in requests {
        let often = [request, &["--prompts", &prompts, "--max-tokens", "3", "--json"]].concat();
        let found = json(&lpu(&often));
        let sequences = found["sequences"].as_array().unwrap();
        assert_eq!(sequences.len(), PROMPTS.len());
        for (sequence, prompt) in sequences.iter().zip(PROMPTS) {
            let alone = json(&lpu(&[request, &["--prompt", prompt, "--max-tokens", "3", "--json"]].concat()));
            for key in ["prompt_tokens", "tokens", "text"] {
                assert_eq!(sequence[key], alone[key], "{request:?} {prompt}");
            }
            assert_eq!(sequence["outputs"], alone["hash"]["outputs"]);
            let per_token = sequence["cycles"]["per_token"].as_array().unwrap();
            assert_eq!(per_token.len(), alone["cycles"]["per_token"].as_array().unwrap().len());
        }
        let number = |value: &serde_json::Value| value.as_u64().unwrap();
        let of = |sequence: usize, token: usize| number(&sequences[sequence]["cycles"]["starts"][token]);
        let interval = number(&found["throughput"]["interval"]);
        assert_eq!([of(0, 0), of(1, 0), of(2, 0)], [0, interval, 2 * interval], "{request:?}");
        let ends = sequences.iter().map(|sequence| number(&sequence["cycles"]["end"]));
        assert_eq!(found["cycles"]["total"], ends.max().unwrap());
    }
    let text = lpu(&["generate", &file, "--system", &system, "--prompts", &prompts, "--max-tokens", "3"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    for (number, prompt) in PROMPTS.iter().enumerate() {
        assert!(text.contains(&format!("sequence {number}, ")) && text.contains(prompt), "{text}");
    }
    assert!(text.contains(" a user, ") && text.contains("sequences             4; 3 fill the pipeline"), "{text}");
    // The file has four sequences, and that is not what is asked for.
    let other = ["generate", &file, "--system", &system, "--prompts", &prompts, "--sequences", "3"];
    refused(&other, 1, &["compiled with --sequences 4, not 3"]);
    let five = path("five.txt");
    fs::write(&five, "a\nb\nc\nd\ne\n").unwrap();
    refused(&["generate", &file, "--system", &system, "--prompts", &five], 1, &["5 prompts", "4 sequences"]);
}

#[test]
fn prompts_that_cannot_be_are_refused() {
    let folder = scratch("prompts-refused");
    let path = folder.join("prompts.txt").display().to_string();
    let write = |text: &[u8]| fs::write(&path, text).unwrap();
    let request = ["generate", "--prompts", &path, "--max-tokens", "1"];
    for (text, parts) in [
        (&b"a\n\nb\n"[..], &["line 2 is empty"][..]),
        (b"", &["has no line", "one prompt a line"]),
        (b"a\n \n", &["line 2 is empty"]),
        (b"\xff\n", &["UTF-8"]),
    ] {
        write(text);
        refused(&request, 1, parts);
    }
    write(b"a\r\nb\r\nc\n");
    refused(&[&request[..], &["--sequences", "2"]].concat(), 1, &["3 prompts", "2 sequences", "--sequences 3"]);
    assert!(lpu(&[&request[..], &["--sequences", "3"]].concat()).status.success());
    refused(&[&request[..], &["--sequences", "0"]].concat(), 2, &["at least 1"]);
    refused(&[&request[..], &["--prompt", "a"]].concat(), 2, &["cannot be used with"]);
    // More than one chip holds: what is told fits.
    let large = [&request[..], &["--sequences", "100000"]].concat();
    let output = lpu(&large);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    let fewer = message.trim().rsplit(' ').next().unwrap();
    assert!(message.contains("100000 sequences") && fewer.parse::<u32>().is_ok(), "{message}");
}
