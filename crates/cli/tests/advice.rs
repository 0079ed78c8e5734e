//! Advice is tried: each case provokes an error, takes the command or the number that its message advises, and follows
//! it.

mod common;

use std::fs;

use lpu::chip::{Chip, preset};
use lpu::compiler::{CompileError, Part, compile, compile_graph};
use lpu::model::Checkpoint;
use lpu::{Options, Precision};

use common::{lpu, root, scratch};

/// The message of a command that is refused.
fn refused(arguments: &[&str], status: i32) -> String {
    let output = lpu(arguments);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {message}");
    message
}

fn works(arguments: &[&str], advised_by: &str) {
    let output = lpu(arguments);
    assert!(
        output.status.success(),
        "{advised_by}\nfollowed by {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The word after a text in a message, without punctuation.
fn after<'m>(message: &'m str, text: &str) -> &'m str {
    let (_, rest) = message.split_once(text).unwrap_or_else(|| panic!("no `{text}` in {message}"));
    rest.trim_start().split([' ', ';', '\n']).next().unwrap().trim_end_matches([',', ':'])
}

/// Arguments with some options replaced, or added at the end.
fn with<'a>(arguments: &[&'a str], options: &[(&'a str, &'a str)]) -> Vec<&'a str> {
    let mut arguments = arguments.to_vec();
    for &(option, value) in options {
        match arguments.iter().position(|argument| *argument == option) {
            Some(at) => arguments[at + 1] = value,
            None => arguments.extend([option, value]),
        }
    }
    arguments
}

/// Follows each advice of `message` on the request `arguments`: the values of these options.
fn follow(arguments: &[&str], message: &str, advice: &[&[&str]]) {
    for options in advice {
        let values: Vec<(&str, &str)> = options.iter().map(|option| (*option, after(message, option))).collect();
        works(&with(arguments, &values), message);
    }
}

#[test]
fn a_request_that_is_too_long_is_told_what_fits() {
    let plain = root("tests/checkpoints/plain");
    let gpt2 = root("tests/checkpoints/gpt2");
    let file = scratch("too-long").join("plain.lpb").display().to_string();
    works(&["compile", &plain, "-o", &file, "--context", "16"], "set-up");
    type Case<'a> = (&'a [&'a str], &'a [&'a [&'a str]]);
    let cases: &[Case<'_>] = &[
        (
            &["generate", &plain, "--tokens", "1,2", "--context", "4", "--max-tokens", "30"],
            &[&["--max-tokens"], &["--context"]],
        ),
        (&["generate", &gpt2, "--tokens", "1,2,3", "--max-tokens", "60"], &[&["--max-tokens"]]),
        (&["generate", &gpt2, "--tokens", "1,2,3", "--max-tokens", "60", "--context", "16"], &[&["--max-tokens"]]),
        (&["generate", &file, "--tokens", "1,2", "--max-tokens", "20"], &[&["--max-tokens"]]),
    ];
    for (arguments, advice) in cases {
        let message = refused(arguments, 1);
        // Few tokens are generated when the advice is followed, or many: stop ids end neither.
        follow(&[arguments, &["--ignore-eos"][..]].concat(), &message, advice);
    }
    // A context that no chip holds is not advised, nor is one that only the prompt would exceed.
    let message = refused(&["generate", &plain, "--tokens", "1,2", "--context", "16", "--max-tokens", "4000000000"], 1);
    assert!(!message.contains("--context"), "{message}");
    follow(&["generate", &plain, "--tokens", "1,2", "--context", "16"], &message, &[&["--max-tokens"]]);
    let long = (1..=17).map(|id| id.to_string()).collect::<Vec<_>>().join(",");
    let message = refused(&["generate", &plain, "--tokens", &long, "--context", "4", "--max-tokens", "1"], 1);
    assert!(!message.contains("--max-tokens"), "{message}");
    follow(&["generate", &plain, "--tokens", &long, "--max-tokens", "1"], &message, &[&["--context"]]);
    assert_eq!(after(&message, "at most"), "16");
    // A context is what its program holds, for files too.
    works(&["compile", &plain, "-o", &file, "--context", "9"], "set-up");
    for context in ["1", "9", "16"] {
        works(&["generate", &file, "--tokens", "1", "--max-tokens", "16", "--context", context], "");
    }
    works(&["compile", &plain, "-o", &file, "--context", "16"], "set-up");
    // Compile again, as advised for the file.
    let message = refused(&["generate", &file, "--tokens", "1,2", "--max-tokens", "20"], 1);
    let context = after(&message, "compile again with --context");
    works(&["compile", &plain, "-o", &file, "--context", context], &message);
    works(&["generate", &file, "--tokens", "1,2", "--max-tokens", "20"], &message);
}

#[test]
fn what_a_file_was_not_compiled_for_is_left_out_or_compiled_again() {
    let plain = root("tests/checkpoints/plain");
    let file = scratch("again").join("plain.lpb").display().to_string();
    for (option, value) in [("--dtype", "f16"), ("--context", "32")] {
        works(&["compile", &plain, "-o", &file, "--context", "16", "--dtype", "w8a8"], "set-up");
        let request = ["generate", &file, "--tokens", "1", "--max-tokens", "2"];
        let message = refused(&with(&request, &[(option, value)]), 1);
        assert!(message.contains(&format!("leave out {option}")), "{message}");
        works(&request, &message);
        let advised = after(&message, &format!("again with {option}"));
        works(&["compile", &plain, "-o", &file, option, advised], &message);
        works(&with(&request, &[(option, value)]), &message);
    }
}

#[test]
fn ids_words_and_texts_that_are_advised_are_taken() {
    let plain = root("tests/checkpoints/plain");
    let short = ["--max-tokens", "1"];
    let message = refused(&["generate", &plain, "--tokens", "331", "--max-tokens", "1"], 1);
    works(&[&["generate", &plain, "--tokens", after(&message, "from 0 to")], &short[..]].concat(), &message);
    for (arguments, status) in [(&["generate", &plain][..], 2), (&["generate", &plain, "--prompt", "x"], 1)] {
        let message = refused(arguments, status);
        works(&[&["generate", &plain, "--tokens", after(&message, "--tokens")], &short[..]].concat(), &message);
    }
    let message = refused(&["generate", &plain, "--tokens", "1", "--max-tokens", "18446744073709551615"], 2);
    let most = after(&message, "at most");
    // It is understood, and then too much for the chip; what that advises is given.
    let request = ["generate", &plain, "--tokens", "1,2,3"];
    let message = refused(&with(&request, &[("--max-tokens", most)]), 1);
    let fits = after(&message, "--context");
    let generated = after(&message, "--max-tokens").parse::<usize>().unwrap();
    assert_eq!(fits.parse::<usize>().unwrap() + 1, generated + 3, "{message}");
    let kernel = root("examples/kernels/vector-add.lpu");
    let ramp = root("examples/kernels/ramp.npy");
    let message = refused(&["run", &kernel, "--input", &format!("a={ramp}")], 1);
    let input = after(&message, "--input").replace("FILE.npy", &ramp);
    works(&["run", &kernel, "--input", &format!("a={ramp}"), "--input", &input], &message);
    let trace = scratch("trace").join("t").display().to_string();
    let request = ["run", &kernel, "--input", &format!("a={ramp}"), "--input", &input, "--trace", &trace];
    let message = refused(&[&request[..], &["--engine", "fast"]].concat(), 2);
    assert!(message.contains("leave out --engine fast and --verify"), "{message}");
    works(&request, &message);
    let binary = scratch("binary").join("k.lpb").display().to_string();
    works(&["asm", &kernel, "-o", &binary], "set-up");
    let message = refused(&["generate", &binary, "--tokens", "1"], 1);
    assert!(message.contains("with `lpu run`"), "{message}");
    works(&["run", &binary, "--input", &format!("a={ramp}"), "--input", &input], &message);
}

#[test]
fn a_description_to_start_from_is_printed() {
    let file = scratch("start").join("mine.toml");
    let path = file.display().to_string();
    for broken in ["streams = 0\n", "name = ", "name = 'mine'\n"] {
        fs::write(&file, broken).unwrap();
        let message = refused(&["inspect", "graph", "--chip", &path], 1);
        if message.contains("`lpu chips tsp-v1`") {
            fs::write(&file, lpu(&["chips", "tsp-v1"]).stdout).unwrap();
            works(&["inspect", "graph", "--chip", &path], &message);
        } else {
            assert!(message.contains("field `"), "{message}");
        }
    }
}

#[test]
fn a_config_that_does_not_match_its_weights_is_corrected_as_told() {
    let folder = scratch("config");
    let plain = root("tests/checkpoints/plain");
    fs::copy(format!("{plain}/model.safetensors"), folder.join("model.safetensors")).unwrap();
    let good: serde_json::Value = serde_json::from_slice(&fs::read(format!("{plain}/config.json")).unwrap()).unwrap();
    for (field, broken) in
        [("tie_word_embeddings", !good["tie_word_embeddings"].as_bool().unwrap_or(false)), ("attention_bias", true)]
    {
        let mut config = good.clone();
        config[field] = broken.into();
        let write = |config: &serde_json::Value| fs::write(folder.join("config.json"), config.to_string()).unwrap();
        write(&config);
        let request = ["generate", folder.to_str().unwrap(), "--tokens", "1", "--max-tokens", "1"];
        if field == "tie_word_embeddings" && broken {
            continue;
        }
        let message = refused(&request, 1);
        assert!(message.contains(&format!("\"{field}\"")), "{message}");
        config[field] = (!broken).into();
        write(&config);
        works(&request, &message);
    }
}

/// A `tsp-v1` with fewer words.
fn small(words_per_bank: u32) -> Chip {
    let text = preset("tsp-v1").unwrap().to_toml();
    let line = text.lines().find(|line| line.starts_with("words_per_bank ")).unwrap().to_owned();
    Chip::from_toml(&text.replace(&line, &format!("words_per_bank = {words_per_bank}"))).unwrap()
}

fn shape(name: &str) -> Checkpoint {
    Checkpoint::from_config(&fs::read(root(&format!("tests/checkpoints/{name}/config.json"))).unwrap()).unwrap()
}

#[test]
fn what_a_compiler_says_would_fit_compiles() {
    let (mut contexts, mut formats, mut parts) = (0, 0, 0);
    for model in ["plain", "gqa", "gpt2", "deep"] {
        let checkpoint = shape(model);
        for words in [16, 24, 32, 64, 160] {
            let chip = small(words);
            for precision in [Precision::F16, Precision::W8A16, Precision::W8A8] {
                for context in [16, 512, 16_384, 4_000_000_000] {
                    let options = Options { precision, context, ..Options::default() };
                    let of = || format!("{model}, {words} words, {}, context {context}", precision.name());
                    let error = match compile(&checkpoint, &chip, &options) {
                        Ok(_) => continue,
                        Err(error) => error,
                    };
                    let message = error.to_string();
                    if let CompileError::ContextTooLarge { fits: Some(fits), .. } = error {
                        contexts += 1;
                        assert_eq!(after(&message, "a context of").parse::<usize>().unwrap(), context, "{message}");
                        assert!(fits < context && message.contains(&format!("a context of {fits} fits")), "{message}");
                        compile(&checkpoint, &chip, &Options { context: fits, ..options })
                            .unwrap_or_else(|error| panic!("{}: {error}", of()));
                    } else if let Some((_, format)) = message.split_once("; in ") {
                        formats += 1;
                        let precision = Precision::parse(format.split(' ').next().unwrap()).unwrap();
                        compile(&checkpoint, &chip, &Options { precision, ..options })
                            .unwrap_or_else(|error| panic!("{}: {error}", of()));
                    } else if message.contains("layer:0") {
                        parts += 1;
                        let part = Part::Layer(0).of(&checkpoint.graph()).unwrap();
                        compile_graph(&checkpoint, part, &chip, &options)
                            .unwrap_or_else(|error| panic!("{}: {error}", of()));
                    }
                }
            }
        }
    }
    println!("{contexts} contexts, {formats} formats, {parts} parts");
    assert!(contexts > 10 && formats > 0, "{contexts} contexts, {formats} formats, {parts} parts");
}

#[test]
fn a_model_that_no_chip_holds_is_told_what_does_compile() {
    let config = r#"{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":576,
        "intermediate_size":1536,"num_hidden_layers":30,"num_attention_heads":9,"num_key_value_heads":3,
        "vocab_size":49152,"tie_word_embeddings":true}"#;
    let file = scratch("no-chip").join("config.json");
    fs::write(&file, config).unwrap();
    let request = ["compile", file.to_str().unwrap(), "--timing-only", "--dtype", "f16", "--context", "2048"];
    let message = refused(&request, 1);
    assert!(message.contains("does not fit one chip"), "{message}");
    works(&with(&request, &[("--part", after(&message, "such as"))]), &message);
    // In another format the weights fit, and so does a shorter context.
    let message = refused(&with(&request, &[("--dtype", "w8a16")]), 1);
    let context = message.trim().strip_suffix(" fits").unwrap().rsplit(' ').next().unwrap();
    works(&with(&request, &[("--dtype", "w8a16"), ("--context", context)]), &message);
    let longer = (context.parse::<usize>().unwrap() + 256).to_string();
    refused(&with(&request, &[("--dtype", "w8a16"), ("--context", &longer)]), 1);
}

/// Files of a folder that are not what they should be: what the message says of them, and that the file itself in their
/// place helps.
#[test]
fn files_that_are_damaged_are_replaced_as_told() {
    let shipped = root("examples/model");
    let folder = scratch("replaced");
    let files = ["config.json", "model.safetensors", "tokenizer.json"];
    let put = |name: &str| fs::copy(format!("{shipped}/{name}"), folder.join(name)).unwrap();
    for file in files {
        put(file);
    }
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n".as_slice();
    let utf16: Vec<u8> = fs::read_to_string(format!("{shipped}/config.json"))
        .unwrap()
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let weights = fs::read(format!("{shipped}/model.safetensors")).unwrap();
    let request = ["generate", folder.to_str().unwrap(), "--prompt", "a", "--max-tokens", "1"];
    works(&request, "set-up");
    let cases: [(&str, &[u8], &str, &str); 11] = [
        ("config.json", pointer, "is a Git LFS pointer", "git lfs pull"),
        ("model.safetensors", pointer, "is a Git LFS pointer", "git lfs pull"),
        ("tokenizer.json", pointer, "is a Git LFS pointer", "git lfs pull"),
        ("config.json", b"", "the file is empty", "one JSON object"),
        ("config.json", b"[]", "the file holds a list", "one JSON object"),
        ("config.json", &utf16, "encoded in UTF-16", "save it as UTF-8"),
        ("config.json", b"{\"a\": }", "line 1 column 7", "correct the text at that place"),
        ("model.safetensors", &weights[..weights.len() - 1], "truncated or damaged", "download it again"),
        ("model.safetensors", &weights[..5], "truncated", "download it again"),
        ("model.safetensors", b"\x04\0\0\0\0\0\0\0{{{{", "header is damaged", "download the file again"),
        ("tokenizer.json", b"{", "tokenizer.json", "download it again"),
    ];
    for (name, bytes, what, advice) in cases {
        fs::write(folder.join(name), bytes).unwrap();
        let message = refused(&request, 1);
        assert!(message.contains(name) && message.contains(what) && message.contains(advice), "{message}");
        put(name);
        works(&request, &message);
    }
    let file = folder.join("model.gguf");
    fs::write(&file, pointer).unwrap();
    let message = refused(&["generate", file.to_str().unwrap(), "--tokens", "1"], 1);
    assert!(message.contains("model.gguf: this is a Git LFS pointer"), "{message}");
}

#[test]
fn a_config_of_another_name_is_called_by_it() {
    let file = scratch("named").join("shape.txt");
    let config = fs::read_to_string(root("tests/checkpoints/plain/config.json")).unwrap();
    let request = ["compile", file.to_str().unwrap(), "--timing-only", "--context", "16"];
    for (broken, what) in
        [("", "the file is empty"), (&config.replace("hidden_size", "hidden"), "`hidden_size` is missing")]
    {
        fs::write(&file, broken).unwrap();
        let message = refused(&request, 1);
        assert!(
            message.contains("shape.txt: ") && message.contains(what) && !message.contains("config.json"),
            "{message}"
        );
        fs::write(&file, &config).unwrap();
        works(&request, &message);
    }
}
