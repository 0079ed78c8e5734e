//! Models as the command reads them: names, notes, folders without weights, and text after a prompt.

mod common;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use common::{lpu, root, scratch};

/// A copy of a test checkpoint under another name.
fn copied(model: &str, to: &Path) -> String {
    fs::create_dir_all(to).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(Path::new(&root("tests/checkpoints")).join(model).join(file), to.join(file)).unwrap();
    }
    to.display().to_string()
}

/// Two copies of a folder under different names are one program: from the folder, and from files of any name.
#[test]
fn the_hash_of_a_program_does_not_depend_on_names() {
    let place = scratch("names");
    let [one, other] = ["one", "another name"].map(|name| copied("qwen3", &place.join(name)));
    let [file, second] = ["a.lpb", "b.lpb"].map(|name| place.join(name).display().to_string());
    let feed = ["--tokens", "5", "--max-tokens", "1", "--ignore-eos", "--context", "16", "--json"];
    let mut hashes = Vec::new();
    for (folder, file, name) in [(&one, &file, "one"), (&other, &second, "another name")] {
        let direct = common::json(&lpu(&[&["generate", folder], &feed[..]].concat()));
        assert_eq!(direct["model"], name);
        let compiled = common::json(&lpu(&["compile", folder, "-o", file, "--context", "16", "--json"]));
        assert_eq!(compiled["model"], name);
        hashes.extend([direct["hash"]["program"].clone(), compiled["hash"]["program"].clone()]);
    }
    assert_eq!(fs::read(&file).unwrap(), fs::read(&second).unwrap());
    let loaded = common::json(&lpu(&[&["generate", &file], &feed[..]].concat()));
    assert_eq!(loaded["model"], "a");
    hashes.push(loaded["hash"]["program"].clone());
    assert!(hashes[0].is_string() && hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}

#[test]
fn shapes_need_no_weights() {
    let place = scratch("shapes");
    let whole = copied("gemma3", &place.join("whole"));
    let folder = place.join("bare");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(Path::new(&whole).join("config.json"), folder.join("config.json")).unwrap();
    let (bare, config) = (folder.display().to_string(), folder.join("config.json").display().to_string());
    let cycles = |model: &str| {
        common::json(&lpu(&["compile", model, "--timing-only", "--context", "16", "--json"]))["cycles"].clone()
    };
    assert_eq!((cycles(&bare), cycles(&config)), (cycles(&whole), cycles(&whole)));
    for step in ["graph", "placement", "schedule", "dispatches", "sram"] {
        let shown = |model: &str| {
            let output = lpu(&["inspect", step, model, "--context", "16"]);
            assert!(
                output.status.success() && !output.stdout.is_empty(),
                "{step} {}",
                String::from_utf8_lossy(&output.stderr)
            );
            output.stdout
        };
        assert!(shown(&bare) == shown(&config) && shown(&bare) == shown(&whole), "{step}");
    }
    let refused = lpu(&["generate", &bare, "--tokens", "1"]);
    assert!(
        refused.status.code() == Some(1)
            && String::from_utf8_lossy(&refused.stderr).contains("there is no *.safetensors file")
    );
}

/// A stored head alongside a table that is said to be shared: it is used, and the command says so.
#[test]
fn a_stored_head_of_a_tied_model_is_noted() {
    let place = scratch("tied");
    let model = copied("mistral", &place.join("m"));
    let feed = ["--tokens", "5,9", "--max-tokens", "3", "--ignore-eos", "--context", "16", "--json"];
    let generate = || lpu(&[&["generate", &model], &feed[..]].concat());
    let (plain, path) = (generate(), place.join("m/config.json"));
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["tie_word_embeddings"] = json!(true);
    fs::write(&path, config.to_string()).unwrap();
    let noted = generate();
    assert_eq!(common::json(&plain)["hash"]["outputs"], common::json(&noted)["hash"]["outputs"]);
    assert_eq!(String::from_utf8_lossy(&plain.stderr), "");
    assert!(
        String::from_utf8_lossy(&noted.stderr)
            .starts_with("note: config.json says that the head shares the embedding table, but ")
    );
}

/// Words that begin with a space, which the decoder leaves out at the start of a text: it is there between prompt and
/// continuation.
#[test]
fn the_continuation_begins_with_its_space() {
    let place = scratch("space");
    let model = copied("qwen3", &place.join("m"));
    let vocab: serde_json::Map<String, Value> = (0..149).map(|id: u32| (format!("\u{2581}w{id}"), json!(id))).collect();
    let metaspace =
        json!({ "type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": true });
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": metaspace, "post_processor": null, "decoder": metaspace,
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "\u{2581}w0" },
    });
    fs::write(place.join("m/tokenizer.json"), tokenizer.to_string()).unwrap();
    let feed = ["--prompt", "w7 w8", "--max-tokens", "4", "--ignore-eos", "--context", "16"];
    let found = common::json(&lpu(&[&["generate", &model, "--json"], &feed[..]].concat()));
    assert_eq!(found["prompt_tokens"], json!([7, 8]));
    let expected: String = found["tokens"].as_array().unwrap().iter().map(|id| format!(" w{id}")).collect();
    assert_eq!(found["text"], json!(expected));
    let text = lpu(&[&["generate", &model], &feed[..]].concat()).stdout;
    assert!(String::from_utf8(text).unwrap().starts_with(&format!("w7 w8{expected}\n")));
}
