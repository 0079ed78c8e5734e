//! Text in and out, whole and as a stream, with a small byte-level tokenizer.

use std::borrow::Cow;

use crate::support::{refused, tiny};
use lpu_model::{Checkpoint, Dtype, ModelError, Tokenizer};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Byte-level pieces: a start token, "a", "b", " a" (merged), and the three bytes of "€".
fn tokenizer() -> Value {
    json!({
        "version": "1.0",
        "truncation": { "direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0 },
        "padding": null,
        "added_tokens": [{ "id": 0, "content": "<s>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true }],
        "normalizer": null,
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        "post_processor": { "type": "TemplateProcessing",
            "single": [{ "SpecialToken": { "id": "<s>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
            "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
            "special_tokens": { "<s>": { "id": "<s>", "ids": [0], "tokens": ["<s>"] } } },
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": { "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": { "<s>": 0, "a": 1, "b": 2, "Ġ": 3, "Ġa": 4, "â": 5, "Ĥ": 6, "¬": 7 },
            "merges": [["Ġ", "a"]] },
    })
}

fn load() -> Tokenizer {
    Tokenizer::from_json(tokenizer().to_string().as_bytes()).unwrap()
}

#[test]
fn text_and_back() {
    let tokenizer = load();
    let ids = tokenizer.encode("ab a€ b a").unwrap();
    // The start token is added, and the truncation of the file is not applied.
    assert_eq!(ids, [0, 1, 2, 4, 5, 6, 7, 3, 2, 4]);
    assert_eq!(tokenizer.decode(&ids).unwrap(), "ab a€ b a");
    assert_eq!(tokenizer.decode(&[1, 4_000_000_000]).unwrap(), "a");
    assert_eq!(tokenizer.decode(&[]).unwrap(), "");
}

#[test]
fn a_stream_gives_whole_characters() {
    let tokenizer = load();
    let mut stream = tokenizer.stream();
    let pieces: Vec<Option<String>> = [0, 1, 4, 5, 6, 7, 2].into_iter().map(|id| stream.push(id).unwrap()).collect();
    let expected = [None, Some("a"), Some(" a"), None, None, Some("€"), Some("b")];
    assert_eq!(pieces, expected.map(|piece| piece.map(str::to_owned)));
    assert_eq!(stream.finish().unwrap(), "");
}

#[test]
fn pieces_join_to_the_whole_text() {
    let tokenizer = load();
    // Every sequence of five ids out of eight, broken characters included.
    for number in 0..8u32.pow(5) {
        let ids: Vec<u32> = (0..5).map(|place| number / 8u32.pow(place) % 8).collect();
        let mut stream = tokenizer.stream();
        let mut text = String::new();
        for id in &ids {
            text.extend(stream.push(*id).unwrap());
        }
        text += &stream.finish().unwrap();
        assert_eq!(text, tokenizer.decode(&ids).unwrap(), "{ids:?}");
    }
}

#[test]
fn a_checkpoint_loads_its_tokenizer_when_it_is_asked_for() {
    let parts = tiny(Dtype::F32);
    let open = |tokenizer: Option<&[u8]>| {
        let file = ("tiny".to_owned(), Cow::Owned(parts.file()));
        Checkpoint::from_parts(&parts.config_json(), vec![file], tokenizer).unwrap()
    };
    let json = tokenizer().to_string();
    let checkpoint = open(Some(json.as_bytes()));
    assert_eq!(checkpoint.tokenizer_json(), Some(json.as_bytes()));
    assert_eq!(checkpoint.tokenizer().unwrap().encode("b").unwrap(), [0, 2]);

    let none = open(None);
    let error = refused(none.tokenizer());
    assert!(matches!(error, ModelError::NoTokenizer { .. }));
    assert!(error.to_string().ends_with("or give token ids with --tokens"));

    for damaged in ["", "{}", "nonsense", &json[..json.len() / 2]] {
        let checkpoint = open(Some(damaged.as_bytes()));
        let error = refused(checkpoint.tokenizer());
        assert!(matches!(error, ModelError::BadTokenizer { .. }), "{error}");
    }
}

#[test]
fn a_file_that_contradicts_itself_is_an_error_not_a_panic() {
    let mut json = tokenizer();
    json["post_processor"]["special_tokens"] = json!({});
    let encoded = Tokenizer::from_json(json.to_string().as_bytes()).and_then(|tokenizer| tokenizer.encode("a"));
    refused(encoded);
}

proptest! {
    #[test]
    fn a_damaged_tokenizer_is_read_or_refused(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut json = tokenizer().to_string().into_bytes();
        for (place, value) in edits {
            let place = place.index(json.len());
            json[place] = value;
        }
        if let Ok(tokenizer) = Tokenizer::from_json(&json)
            && let Ok(ids) = tokenizer.encode("ab a€ b a")
        {
            let _ = tokenizer.decode(&ids);
        }
    }
}
