//! The command as its users run it: files in and out, and every kind of bad input.

mod common;

use std::fs;
use std::process::{Command, Stdio};

use common::{json, lpu, root, scratch};

#[test]
fn the_shipped_model_continues_as_its_float32_twin() {
    let expected: serde_json::Value =
        serde_json::from_slice(&fs::read(root("examples/model/expected.json")).unwrap()).unwrap();
    let found = json(&lpu(&["generate", "--json", "--max-tokens", "24", "--ignore-eos"]));
    assert_eq!(found["prompt_tokens"], expected["prompt_ids"]);
    assert_eq!(found["tokens"].as_array().unwrap()[..], expected["ids"].as_array().unwrap()[..24]);
    for key in [
        "model",
        "chip",
        "dtype",
        "context",
        "engine",
        "text",
        "cycles",
        "latency",
        "utilization",
        "sram",
        "instructions",
        "hash",
        "host",
    ] {
        assert!(!found[key].is_null(), "{key} is missing");
    }
    let instructions = &found["instructions"];
    assert!(instructions["preloaded"].as_u64().unwrap() > 1000 && instructions["fetched"] == 0, "{instructions}");
}

#[test]
fn a_gguf_file_runs_and_compiles_like_a_folder() {
    let folder = scratch("gguf");
    let file = folder.join("tiny.lpb").display().to_string();
    let model = root("tests/checkpoints/gguf/llama-q4_0.gguf");
    let feed = ["--prompt", "the cat", "--max-tokens", "3", "--ignore-eos", "--json"];
    let direct = json(&lpu(&[&["generate", &model, "--context", "16"], &feed[..]].concat()));
    assert_eq!(direct["model"], "llama-q4_0");
    assert_eq!(direct["tokens"].as_array().unwrap().len(), 3);
    json(&lpu(&["compile", &model, "-o", &file, "--context", "16", "--json"]));
    let loaded = json(&lpu(&[&["generate", &file], &feed[..]].concat()));
    assert_eq!(
        (&direct["tokens"], &direct["text"], &direct["hash"]),
        (&loaded["tokens"], &loaded["text"], &loaded["hash"])
    );
    let graph = String::from_utf8(lpu(&["inspect", "graph", &model]).stdout).unwrap();
    assert!(graph.contains("linear(head.norm) weight=output.weight [290 x 256]"), "{graph}");
}

#[test]
fn learned_positions_are_fed_from_folder_and_file_and_end() {
    let file = scratch("gpt2").join("gpt2.lpb").display().to_string();
    let model = root("tests/checkpoints/gpt2");
    let feed = ["--tokens", "5,6,7", "--max-tokens", "5", "--ignore-eos", "--json"];
    json(&lpu(&["compile", &model, "-o", &file, "--context", "64", "--json"]));
    let direct = json(&lpu(&[&["generate", &model, "--context", "64"], &feed[..]].concat()));
    let loaded = json(&lpu(&[&["generate", &file], &feed[..]].concat()));
    assert_eq!((&direct["tokens"], &direct["hash"]), (&loaded["tokens"], &loaded["hash"]));
    let refused = lpu(&["generate", &model, "--tokens", "1", "--max-tokens", "49"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("more than the 48 positions that the model has learned"));
}

#[test]
fn what_choosing_experts_on_the_chip_costs_is_reported_by_folder_and_file() {
    let file = scratch("experts").join("mixtral.lpb").display().to_string();
    let model = root("tests/checkpoints/mixtral");
    let compiled = json(&lpu(&["compile", &model, "-o", &file, "--context", "16", "--json"]));
    let loaded = json(&lpu(&["generate", &file, "--tokens", "5,6", "--max-tokens", "3", "--json"]));
    let (cycles, oracle) =
        (&compiled["cycles"]["per_token"][0]["cycles"], &compiled["cycles"]["per_token"][0]["oracle"]);
    assert!(oracle.as_u64().unwrap() > 0 && oracle.as_u64() <= cycles.as_u64(), "{oracle} {cycles}");
    assert_eq!((oracle, cycles), (&loaded["cycles"]["oracle"], &loaded["cycles"]["per_token"][0]));
    let table = String::from_utf8(lpu(&["compile", &model, "--timing-only", "--context", "16"]).stdout).unwrap();
    assert!(table.contains("choosing on the chip costs"), "{table}");
}

#[test]
fn a_compiled_file_gives_the_tokens_of_its_folder() {
    let folder = scratch("compiled");
    let file = folder.join("gqa.lpb").display().to_string();
    let model = root("tests/checkpoints/gqa");
    let feed = ["--tokens", "5,6,7", "--max-tokens", "5", "--json"];
    let compiled = json(&lpu(&["compile", &model, "-o", &file, "--context", "16", "--dtype", "w8a8", "--json"]));
    let direct = json(&lpu(&[&["generate", &model, "--context", "16", "--dtype", "w8a8"], &feed[..]].concat()));
    let loaded = json(&lpu(&[&["generate", &file], &feed[..]].concat()));
    assert_eq!(direct["tokens"], loaded["tokens"]);
    assert_eq!(direct["hash"], loaded["hash"]);
    assert_eq!(compiled["hash"]["program"], loaded["hash"]["program"]);
    let plan = folder.join("gqa.lpb.plan0");
    assert!(plan.exists(), "compile keeps the plan");
    fs::remove_file(&plan).unwrap();
    let without = json(&lpu(&[&["generate", &file, "--no-cache"], &feed[..]].concat()));
    assert!(without["hash"] == direct["hash"] && !plan.exists(), "no plan is kept");
    let kept = json(&lpu(&[&["generate", &file], &feed[..]].concat()));
    assert!(kept["hash"] == direct["hash"] && plan.exists(), "the first start keeps the plan");
    let verified = json(&lpu(&[&["generate", &file, "--verify"], &feed[..]].concat()));
    assert_eq!(verified["hash"], direct["hash"]);
    let text = folder.join("gqa.lpu").display().to_string();
    let again = folder.join("again.lpb").display().to_string();
    assert!(lpu(&["disasm", &file, "-o", &text]).status.success());
    assert!(lpu(&["asm", &text, "-o", &again]).status.success());
    assert!(fs::read(&file).unwrap() == fs::read(&again).unwrap());
    for (option, value, reason) in [
        ("--dtype", "f16", "compiled for w8a8"),
        ("--context", "32", "context of 16"),
        ("--chip", "test-small", "tsp-v1"),
        ("--max-tokens", "17", "--context 17"),
    ] {
        let refused = lpu(&["generate", &file, "--tokens", "1", option, value]);
        assert_eq!(refused.status.code(), Some(1), "{option}");
        if option != "--max-tokens" {
            assert_eq!(lpu(&["inspect", "sram", &file, option, value]).status.code(), Some(1), "{option}");
        }
        assert!(String::from_utf8_lossy(&refused.stderr).contains(reason), "{option}");
    }
    let agreeing = ["--dtype", "w8a8", "--context", "16", "--chip", "tsp-v1"];
    assert_eq!(json(&lpu(&[&["generate", &file], &feed[..], &agreeing].concat()))["hash"], loaded["hash"]);
    for step in ["graph", "placement"] {
        let of = |what: &str| lpu(&["inspect", step, what, "--context", "16", "--dtype", "w8a8"]);
        let (of_file, of_folder) = (of(&file), of(&model));
        assert!(of_file.status.success() && of_file.stdout == of_folder.stdout, "{step}");
    }
    let good = fs::read(&file).unwrap();
    let damaged = folder.join("damaged.lpb");
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&damaged, bytes).unwrap();
        for arguments in [&["check"][..], &["generate", "--tokens", "1"]] {
            let output = lpu(&[arguments, &[damaged.to_str().unwrap()]].concat());
            let message = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{what}: {message}");
            assert!(message.contains("damaged.lpb: byte ") && message.contains("; "), "{what}: {message}");
        }
    };
    for at in (0..64).step_by(7).chain((64..good.len()).step_by(good.len() / 12)).chain([good.len() - 1]) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        refused(&bytes, &format!("byte {at} changed"));
    }
    for length in [0, 1, 63, 64, 200, good.len() / 2, good.len() - 1] {
        refused(&good[..length], &format!("cut to {length}"));
    }
}

#[test]
fn bad_input_gets_one_clear_message() {
    let folder = scratch("bad");
    let config = |text: &str, name: &str| {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("config.json"), text).unwrap();
        folder.display().to_string()
    };
    let plain = root("tests/checkpoints/plain");
    let empty = folder.display().to_string();
    let unknown = config(r#"{"architectures":["MambaForCausalLM"],"model_type":"mamba"}"#, "unknown");
    let zero = fs::read_to_string(format!("{plain}/config.json"))
        .unwrap()
        .replace("\"num_attention_heads\": 4", "\"num_attention_heads\": 0");
    let zero = config(&zero, "zero");
    let no_weights = config(&fs::read_to_string(format!("{plain}/config.json")).unwrap(), "no_weights");
    let cut = config(&fs::read_to_string(format!("{plain}/config.json")).unwrap(), "cut");
    let weights = fs::read(format!("{plain}/model.safetensors")).unwrap();
    fs::write(folder.join("cut/model.safetensors"), &weights[..weights.len() / 2]).unwrap();
    let plain_config = fs::read_to_string(format!("{plain}/config.json")).unwrap();
    let with_weights = |name: &str, field: &str, value: &str| {
        let line = plain_config.lines().find(|line| line.contains(&format!("\"{field}\""))).unwrap();
        let folder_path = config(&plain_config.replace(line, &format!("  \"{field}\": {value},")), name);
        fs::write(folder.join(name).join("model.safetensors"), &weights).unwrap();
        folder_path
    };
    let deeper = with_weights("deeper", "num_hidden_layers", "3");
    let wider = with_weights("wider", "intermediate_size", "300");
    let hostile = with_weights("hostile", "num_hidden_layers", "2");
    let mut lying = weights.clone();
    lying[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    fs::write(folder.join("hostile/model.safetensors"), lying).unwrap();
    let chip_file = |name: &str, field: &str, value: &str| {
        let good = String::from_utf8(lpu(&["chips", "tsp-v1"]).stdout).unwrap();
        let line = good.lines().find(|line| line.starts_with(&format!("{field} "))).unwrap();
        fs::write(folder.join(name), good.replace(line, &format!("{field} = {value}"))).unwrap();
        folder.join(name).display().to_string()
    };
    let few_streams = chip_file("few.toml", "streams", "33");
    let small_chip = chip_file("small.toml", "words_per_bank", "16");
    let big = r#"{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":8192,
        "intermediate_size":28672,"num_hidden_layers":80,
        "num_attention_heads":64,"num_key_value_heads":8,"vocab_size":128256}"#;
    let big = format!("{}/config.json", config(big, "big"));
    fs::write(folder.join("bad.lpu"), ".chip tsp-v1\n.program p\n.queue mem.e0\nraed 0, e0\nread 0, x3\n").unwrap();
    let repeats = "read 0, e0\nrepeat 65535, 1, 0\n".repeat(2000);
    fs::write(
        folder.join("bomb.lpu"),
        format!(".chip tsp-v1\n.program p\n.cycles 9\n.zero e0:0\n.queue mem.e0\n{repeats}"),
    )
    .unwrap();
    let bomb = folder.join("bomb.lpu").display().to_string();
    let bad_text = folder.join("bad.lpu").display().to_string();
    let cases: &[(&[&str], i32, &[&str])] = &[
        (&["generate", "/no/such/folder", "--tokens", "1"], 1, &["/no/such/folder"]),
        (&["generate", &empty, "--tokens", "1"], 1, &["config.json"]),
        (&["generate", &unknown, "--tokens", "1"], 1, &["Mamba", "Llama"]),
        (&["generate", &zero, "--tokens", "1"], 1, &["num_attention_heads"]),
        (&["generate", &no_weights, "--tokens", "1"], 1, &["safetensors"]),
        (&["generate", &cut, "--tokens", "1"], 1, &["model.safetensors"]),
        (&["generate", &deeper, "--tokens", "1"], 1, &["model.layers.2.", "missing"]),
        (&["generate", &wider, "--tokens", "1"], 1, &["[256, 96]", "[300, 96]", "intermediate_size"]),
        (&["generate", &hostile, "--tokens", "1"], 1, &["model.safetensors", "header"]),
        (&["generate", &plain, "--tokens", "1", "--chip", &few_streams], 1, &["streams", "33"]),
        (&["generate", &plain, "--tokens", "1", "--chip", &small_chip], 1, &["bytes"]),
        (&["generate", &plain, "--tokens", "1", "--chip", "/no/such.toml"], 1, &["/no/such.toml"]),
        (&["compile", &big, "--timing-only", "--dtype", "f16"], 1, &["f16", "bytes", "one chip", "more words a bank"]),
        (&["compile", &big, "--timing-only", "--dtype", "w8a8"], 1, &["bytes", "one chip", "more words a bank"]),
        (&["generate", &plain, "--tokens", "331"], 1, &["331", "330"]),
        (&["generate", &plain, "--prompt", "x"], 1, &["tokenizer", "--tokens"]),
        (&["generate", &plain, "--tokens", "1", "--context", "4", "--max-tokens", "40"], 1, &["context of 16"]),
        (&["compile", &plain, "--timing-only", "--context", "4000000"], 1, &["bytes", "fits"]),
        (&["generate", &plain, "--tokens", "1", "--chip", "tsp-v9"], 1, &["tsp-v9", "tsp-v1"]),
        (&["generate", &plain, "--tokens", "one"], 2, &["one"]),
        (&["generate", &plain, "--tokens", "1", "--dtype", "f64"], 2, &["f16"]),
        (&["check", &bomb], 1, &["issues", "--engine reference"]),
        (&["run", &bomb], 1, &["issues", "--engine reference"]),
        (
            &["check", &bad_text],
            1,
            &["bad.lpu:4:1", "raed 0, e0\n  | ^^^^", "did you mean `read`?", "bad.lpu:5:9", "2 mistakes"],
        ),
        (&["run", &root("examples/kernels/softmax.lpu")], 1, &["--input x="]),
        (&["run", &root("examples/kernels/softmax.lpu"), "--input", "x"], 2, &["NAME=FILE.npy"]),
        (&["run", &root("examples/kernels/softmax.lpu"), "--output", "z=z.npy"], 1, &["no region `z`", "x, y"]),
        (&["run", &root("examples/kernels/softmax.lpu"), "--output", "y=/no/such/y.npy"], 1, &["/no/such"]),
        (&["generate", &plain], 2, &["--prompt", "--tokens"]),
        (&["generate", &plain, "--tokens", "-1"], 2, &["-1"]),
        (&["generate", &plain, "--tokens", "1", "--prompt", "x"], 2, &["--prompt", "--tokens"]),
        (&["generate", &plain, "--tokens", "1", "--max-tokens", "0"], 2, &["at least 1"]),
        (&["generate", &plain, "--tokens", "1", "--max-tokens", "18446744073709551615"], 2, &["at most"]),
        (&["generate", &plain, "--tokens", "1", "--max-tokens", "4000000000"], 1, &["context", "fits"]),
        (&["generate", &plain, "--tokens", "1", "--context", "0"], 2, &["at least 1"]),
        (&["generate", &plain, "--tokens", "1", "--threads", "0"], 2, &["at least 1"]),
        (&["generate", &plain, "--tokens", "1", "--temperature", "-1"], 2, &["at least 0"]),
        (&["generate", &plain, "--tokens", "1", "--temperature", "nan"], 2, &["at least 0"]),
        (&["generate", &plain, "--tokens", "1", "--logits", "/no/such/l.npy"], 1, &["/no/such"]),
        (&["compile", &plain], 2, &["--output"]),
        (&["compile", &plain, "-o", "/no/such/m.lpb"], 1, &["/no/such"]),
        (&["generate", "llama-2-7b", "--tokens", "1"], 1, &["Llama-2-7b-hf", "no weights", "--timing-only"]),
        (&["compile", "llama-2-7b", "-o", "/dev/null"], 1, &["Llama-2-7b-hf", "no weights", "--timing-only"]),
        (&["run", "llama-2-7b"], 1, &["Llama-2-7b-hf", "no program", "lpu compile llama-2-7b --timing-only -o"]),
        (&["check", "llama-2-7b"], 1, &["Llama-2-7b-hf", "no program", "lpu compile llama-2-7b --timing-only -o"]),
        (&["run", "lama-2-7b"], 1, &["cannot read lama-2-7b"]),
        (&["compile", "lama-2-7b", "--timing-only"], 1, &["lama-2-7b", "nearest are llama-2-7b,", "lpu models"]),
        (&["inspect", "graph", "smolm2"], 1, &["no such file", "smollm2-135m"]),
        (&["compile", "./llama-2-7b", "--timing-only"], 1, &["./llama-2-7b: there is no such folder"]),
        (&["frobnicate"], 2, &["frobnicate"]),
    ];
    for (arguments, status, expected) in cases {
        let output = lpu(arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(*status), "{arguments:?}: {message}");
        for part in *expected {
            assert!(message.contains(part), "{arguments:?}: {message}");
        }
        assert!(!message.contains("panicked"), "{arguments:?}: {message}");
        assert!(output.stdout.is_empty(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    for arguments in
        [&["chips", "tsp-v1"][..], &["inspect", "dispatches"], &["generate", "--max-tokens", "2", "--json"]]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lpu"));
        let mut child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            (output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
}

#[test]
fn inspect_and_chips_show_every_step() {
    for (arguments, expected) in [
        (vec!["inspect", "graph"], "rms_norm"),
        (vec!["inspect", "placement"], "plane e0"),
        (vec!["inspect", "schedule", "--context", "16"], "held up by"),
        (vec!["inspect", "schedule", "--context", "16", "--part", "ffn:1"], "layers.1.feed_forward.down"),
        (vec!["inspect", "dispatches", "--context", "16"], "abc f16"),
        (vec!["inspect", "sram", "--context", "16"], "kv_address.e"),
        (vec!["chips"], "tsp-v1"),
        (vec!["chips", "tsp-v1"], "ISCA 2020"),
    ] {
        let output = lpu(&arguments);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.to_lowercase().contains(&expected.to_lowercase()),
            "{arguments:?}: {}",
            &text[..text.len().min(500)]
        );
    }
}

#[test]
fn broken_rules_come_with_cycle_unit_and_source_line() {
    let folder = scratch("broken");
    let file = folder.join("late.lpu").display().to_string();
    let text = fs::read_to_string(root("examples/kernels/vector-add.lpu")).unwrap();
    fs::write(
        &file,
        text.replace("@sum+vxm_to_write write c, c_bus\n", "@sum+6 write c, c_bus\n").replace(".cycles 32\n", ""),
    )
    .unwrap();
    let expected =
        format!("{file}:42: cycle 11, mem.e0 (write): register-empty: stream e4 carries no value at position 1");
    let near = "; e4 carries a value here in cycle 10, 1 cycle earlier, fed by what vxm.0 issues in cycle 5; take it \
        then, or feed it to match";
    let line = "    store: @sum+6 write c, c_bus\n";
    let other = "    vxm.0 in cycle 5, line 39: sum: @load+read_to_vxm add f32, c_bus, a_bus, b_bus\n";
    let check = lpu(&["check", &file]);
    assert_eq!(check.status.code(), Some(1));
    let listed = String::from_utf8_lossy(&check.stdout);
    assert!(listed.starts_with(&format!("{expected}{near}\n{line}{other}")), "{listed}");
    assert_eq!(listed.matches("register-empty").count(), 4, "{listed}");
    let ramp = root("examples/kernels/ramp.npy");
    for engine in ["reference", "fast"] {
        let run =
            lpu(&["run", &file, "--engine", engine, "--input", &format!("a={ramp}"), "--input", &format!("b={ramp}")]);
        assert_eq!(run.status.code(), Some(1));
        let message = String::from_utf8_lossy(&run.stderr);
        assert!(message.starts_with(&format!("error: {expected}")) && message.contains(line), "{message}");
        assert!(message.contains("lpu check") && (engine == "reference" || message.contains(near)), "{message}");
    }
}

#[test]
fn a_text_for_a_broken_chip_says_what_is_wrong_with_the_chip() {
    let folder = scratch("chip");
    fs::write(folder.join("mine.toml"), "name = 'mine'\nstreams = 0\n").unwrap();
    fs::write(folder.join("k.lpu"), ".chip mine.toml\n.program p\n.queue vxm.0\nnop 1\n").unwrap();
    let output = lpu(&["check", &folder.join("k.lpu").display().to_string()]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(1) && message.contains("k.lpu:1:7") && message.contains("field `"),
        "{message}"
    );
}

#[test]
fn every_engine_runs_every_vector() {
    let output = lpu(&["conformance", "run", &root("tests/conformance"), "--engine", "all"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.lines().count() == 3, "{text}");
    for line in text.lines() {
        assert!(line.ends_with(" met, 0 not met, 0 not run"), "{text}");
    }
}

#[test]
fn compile_says_what_each_bucket_costs_and_a_part_makes_no_tokens() {
    let model = root("tests/checkpoints/plain");
    let of = |arguments: &[&str]| {
        json(&lpu(&[&["compile", &model, "--timing-only", "--context", "600", "--json"], arguments].concat()))
    };
    for (arguments, part) in [(&[][..], false), (&["--part", "layer:0"], true)] {
        let found = of(arguments);
        let list = |key: &str| found[key].as_array().unwrap().clone();
        let per_token = found["cycles"]["per_token"].as_array().unwrap();
        let contexts: Vec<u64> = per_token.iter().map(|entry| entry["context"].as_u64().unwrap()).collect();
        assert_eq!(contexts, [256, 512, 608]);
        assert_eq!(found["context"].as_u64(), Some(608));
        assert_eq!((list("latency").len(), list("utilization").len()), (3, 3));
        for ((entry, latency), utilization) in per_token.iter().zip(list("latency")).zip(list("utilization")) {
            let (cycles, bound) = (entry["cycles"].as_f64().unwrap(), entry["lower_bound"].as_f64().unwrap());
            assert_eq!(entry["ratio"].as_f64(), Some(cycles / bound));
            assert_eq!(latency["us_per_token"].as_f64(), Some(cycles / 900.0));
            assert_eq!(latency["tokens_per_second"].is_null(), part, "{latency}");
            for (kind, share) in utilization.as_object().unwrap() {
                assert!((0.0..=1.0).contains(&share.as_f64().unwrap()), "{kind}: {share}");
            }
        }
        let table = lpu(&[&["compile", &model, "--timing-only", "--context", "600"], arguments].concat());
        let table = String::from_utf8(table.stdout).unwrap();
        assert_eq!(table.contains("tokens a second"), !part, "{table}");
    }
}

#[test]
fn warnings_come_with_source_lines_and_status_0() {
    let file = scratch("warned").join("k.lpu").display().to_string();
    fs::write(&file, ".chip tsp-v1\n.zero e0:0\n.program p\n.output y i8 [1 16] at e1:0\n.queue mem.e0\nread 0, w0\n")
        .unwrap();
    let check = lpu(&["check", &file]);
    let listed = String::from_utf8_lossy(&check.stdout);
    assert_eq!(check.status.code(), Some(0), "{listed}");
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines[0].starts_with(&format!("{file}:6: warning: cycle 0, mem.e0 (read): value-unread: ")), "{listed}");
    assert_eq!(lines[1], "    read 0, w0");
    assert!(
        lines[2].starts_with(&format!("{file}:3: warning: output-unwritten: no instruction writes 1 of the 1 words")),
        "{listed}"
    );
    assert!(lines.last().unwrap().ends_with("`p`: legal, 24 cycles, 2 warnings"), "{listed}");
}
