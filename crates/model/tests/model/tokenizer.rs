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

/// SentencePiece pieces in the way of Llama 2: `<s>`, bytes as far as they are needed here, and words that begin with a
/// space, one of which the decoder leaves out at the start of a text.
fn sentence_pieces(decoder: &Value) -> Value {
    let words = [
        "<s>",
        "<0x41>",
        "<0xF0>",
        "<0x9F>",
        "<0x98>",
        "<0x80>",
        "\u{2581}",
        "\u{2581}on",
        "\u{2581}b",
        "o",
        "\u{2581}\u{2581}",
    ];
    let vocab: serde_json::Map<String, Value> =
        words.iter().zip(0..).map(|(word, id): (&&str, u32)| ((*word).to_owned(), json!(id))).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [{ "id": 0, "content": "<s>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true }],
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "Prepend", "prepend": "\u{2581}" },
            { "type": "Replace", "pattern": { "String": " " }, "content": "\u{2581}" }] },
        "pre_tokenizer": null,
        "post_processor": null,
        "decoder": decoder,
        "model": { "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "vocab": vocab, "merges": [] },
    })
}

/// Decoders that leave out a space at the start, and one that does not.
fn decoders() -> Vec<Value> {
    let replace = json!({ "type": "Replace", "pattern": { "String": "\u{2581}" }, "content": " " });
    let strip = json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 });
    let chain = |steps: Vec<Value>| json!({ "type": "Sequence", "decoders": steps });
    let (bytes, fuse) = (json!({ "type": "ByteFallback" }), json!({ "type": "Fuse" }));
    let metaspace =
        json!({ "type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "first", "split": false });
    vec![
        chain(vec![replace.clone(), bytes.clone(), fuse.clone(), strip]),
        chain(vec![bytes.clone(), metaspace]),
        chain(vec![replace, bytes, fuse]),
    ]
}

/// The text of a prompt, and the pieces that follow it.
fn streamed(tokenizer: &Tokenizer, prompt: &[u32], ids: &[u32]) -> (String, String) {
    let mut stream = tokenizer.stream_after(prompt).unwrap();
    let (before, mut text) = (stream.prompt().unwrap(), String::new());
    for id in ids {
        let piece = stream.push(*id).unwrap();
        assert!(piece.as_ref().is_none_or(|piece| !piece.is_empty()));
        text.extend(piece);
    }
    text += &stream.finish().unwrap();
    (before, text)
}

#[test]
fn the_space_between_prompt_and_continuation_is_kept() {
    for (number, decoder) in decoders().iter().enumerate() {
        let tokenizer = Tokenizer::from_json(sentence_pieces(decoder).to_string().as_bytes()).unwrap();
        let ids = [8, 2, 3, 4, 5, 7];
        assert_eq!(tokenizer.decode_after(&[0, 7], &ids).unwrap(), " b\u{1f600} on");
        assert_eq!(streamed(&tokenizer, &[0, 7], &ids).1, " b\u{1f600} on");
        // A prompt without text is no start that has been shown.
        let whole = tokenizer.decode(&ids).unwrap();
        assert_eq!(whole, if number == 2 { " b\u{1f600} on" } else { "b\u{1f600} on" });
        assert_eq!(tokenizer.decode_after(&[0], &ids).unwrap(), whole);
        assert_eq!(tokenizer.decode_after(&[], &ids).unwrap(), whole);
        // A character that the prompt leaves incomplete.
        assert_eq!(
            streamed(&tokenizer, &[7, 2, 3], &[4, 5, 8]),
            (tokenizer.decode(&[7]).unwrap(), "\u{1f600} b".to_owned())
        );
    }
}

/// Whether ids in `cut` are in a run of single bytes that are no text, and the cut is inside the run: such bytes change
/// their text when the run goes on, so what was shown of it before the cut cannot be taken back.
fn inside_broken_bytes(tokenizer: &Tokenizer, ids: &[u32], cut: usize) -> bool {
    let byte = |id: &&u32| (1..=5).contains(*id);
    let [before, after] = [&ids[..cut], &ids[cut..]].map(|part| part.iter().filter(|id| **id != 0).collect::<Vec<_>>());
    let run: Vec<u32> =
        before.iter().rev().copied().take_while(byte).collect::<Vec<_>>().into_iter().rev().copied().collect();
    let rest: Vec<u32> = after.iter().copied().take_while(byte).copied().collect();
    !run.is_empty()
        && !rest.is_empty()
        && tokenizer.decode(&[run, rest].concat()).unwrap().contains(char::REPLACEMENT_CHARACTER)
}

proptest! {
    #[test]
    fn prompt_and_continuation_join_to_the_whole_text(ids in prop::collection::vec(0..11u32, 0..12)) {
        for decoder in decoders() {
            let tokenizer = Tokenizer::from_json(sentence_pieces(&decoder).to_string().as_bytes()).unwrap();
            let whole = tokenizer.decode(&ids).unwrap();
            for cut in 0..=ids.len() {
                let (prompt, rest) = ids.split_at(cut);
                let (before, text) = streamed(&tokenizer, prompt, rest);
                prop_assert_eq!(&text, &tokenizer.decode_after(prompt, rest).unwrap());
                if !inside_broken_bytes(&tokenizer, &ids, cut) {
                    prop_assert_eq!(before + &text, whole.clone(), "{:?} | {:?}", prompt, rest);
                }
            }
        }
    }

    #[test]
    fn byte_level_texts_join_at_every_cut(ids in prop::collection::vec(0..8u32, 0..12)) {
        let tokenizer = load();
        let whole = tokenizer.decode(&ids).unwrap();
        for cut in 0..=ids.len() {
            let (before, text) = streamed(&tokenizer, &ids[..cut], &ids[cut..]);
            prop_assert_eq!(before + &text, whole.clone(), "{:?} at {}", ids, cut);
        }
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
    fn a_damaged_tokenizer_is_read_or_refused(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
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
