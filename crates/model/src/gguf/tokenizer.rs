//! The `tokenizer.json` that does what a GGUF file's tokenizer does: byte-level BPE (`gpt2`) or SentencePiece BPE
//! (`llama`).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::GgufError;
use super::reader::{Metadata, MetadataValue as Item};

/// Why a tokenizer cannot be taken over, without advice: that is to do without.
struct TokenizerFault(String);

impl From<String> for TokenizerFault {
    fn from(detail: String) -> TokenizerFault {
        TokenizerFault(detail)
    }
}

impl From<&str> for TokenizerFault {
    fn from(detail: &str) -> TokenizerFault {
        TokenizerFault(detail.to_owned())
    }
}

impl From<GgufError> for TokenizerFault {
    fn from(error: GgufError) -> TokenizerFault {
        let text = error.to_string();
        TokenizerFault(text.split_once("; ").map_or(text.clone(), |(detail, _)| detail.to_owned()))
    }
}

/// The space of SentencePiece.
const SPACE: &str = "\u{2581}";

/// Kinds of tokens, as the file numbers them.
const UNKNOWN: i128 = 2;
const CONTROL: i128 = 3;
const USER: i128 = 4;
const UNUSED: i128 = 5;
const BYTE: i128 = 6;

/// How words are cut before they are encoded; the pattern that `tokenizers` takes, and whether a run of digits is cut
/// up first.
struct Cut {
    names: &'static [&'static str],
    pattern: Option<&'static str>,
    digits: bool,
    nfc: bool,
    /// Whether a whole word that is a token is taken as it is.
    whole_words: bool,
}

/// Words of letters, marks with a mark before them, and digits `digits` at a time.
macro_rules! words {
    ($digits:literal) => {
        concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
            $digits,
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )
    };
}

/// The way of GPT-2.
const PLAIN: Cut = Cut { names: &[], pattern: None, digits: false, nfc: false, whole_words: false };

const CUTS: &[Cut] = &[
    Cut {
        names: &["gpt-2", "gpt2", "default", "olmo", "phi-2", "mpt", "jina-es", "jina-de", "jina-code", "gigachat"],
        ..PLAIN
    },
    Cut { names: &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"], digits: true, ..PLAIN },
    Cut {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "lfm2"],
        pattern: Some(words!("{1,3}")),
        whole_words: true,
        ..PLAIN
    },
    Cut { names: &["dbrx", "smaug-bpe"], pattern: Some(words!("{1,3}")), ..PLAIN },
    Cut { names: &["qwen2", "deepseek-r1-qwen"], pattern: Some(words!("")), nfc: true, ..PLAIN },
    Cut { names: &["stablelm2", "megrez"], pattern: Some(words!("")), ..PLAIN },
    Cut {
        names: &["tekken"],
        pattern: Some(concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
            r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )),
        whole_words: true,
        ..PLAIN
    },
];

/// The vocabulary of a file.
struct Vocabulary<'a> {
    tokens: Vec<&'a str>,
    kinds: Vec<i128>,
    /// The first id of each token.
    ids: BTreeMap<&'a str, usize>,
}

/// The tokenizer of a file, if it has one.
pub(super) fn json(metadata: &Metadata) -> Option<Result<Value, String>> {
    metadata.get("tokenizer.ggml.model").map(|_| convert(metadata).map_err(|TokenizerFault(detail)| detail))
}

fn convert(metadata: &Metadata) -> Result<Value, TokenizerFault> {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let whole = |item: &Item| -> Option<i128> { if let Item::Whole(number) = item { Some(*number) } else { None } };
    let tokens: Vec<&str> = metadata
        .list(&key("tokens"), "a list of texts", text)?
        .ok_or("the metadata value `tokenizer.ggml.tokens` is missing")?;
    let kinds =
        metadata.list(&key("token_type"), "a list of whole numbers", whole)?.unwrap_or_else(|| vec![1; tokens.len()]);
    if kinds.len() != tokens.len() {
        return Err(TokenizerFault(format!(
            "`tokenizer.ggml.token_type` has {} entries for {} tokens",
            kinds.len(),
            tokens.len()
        )));
    }
    let mut ids = BTreeMap::new();
    for (id, token) in tokens.iter().enumerate() {
        ids.entry(*token).or_insert(id);
    }
    let vocabulary = Vocabulary { tokens, kinds, ids };
    let model = metadata.text(&key("model"))?.unwrap_or_default();
    // A first token, where the metadata do not say whether there is one, is put by SentencePiece and by the cuts that
    // take whole words.
    let (mut tokenizer, begins) = match model {
        "gpt2" => {
            let cut = cut(metadata)?;
            (byte_level(metadata, &vocabulary, cut)?, cut.whole_words)
        }
        "llama" => (sentence_piece(metadata, &vocabulary)?, true),
        other => {
            return Err(TokenizerFault(format!(
                "the tokenizer model \"{other}\" is not read; those that are: gpt2, llama"
            )));
        }
    };
    let object = tokenizer.as_object_mut().expect("an object was made");
    object.insert("version".to_owned(), json!("1.0"));
    object.insert("truncation".to_owned(), Value::Null);
    object.insert("padding".to_owned(), Value::Null);
    object.insert("added_tokens".to_owned(), vocabulary.added());
    object.insert("post_processor".to_owned(), ends(metadata, &vocabulary, begins)?);
    Ok(tokenizer)
}

fn text(item: &Item) -> Option<&str> {
    match item {
        Item::Text(text) => Some(text),
        _ => None,
    }
}

impl Vocabulary<'_> {
    fn map(&self) -> Map<String, Value> {
        self.ids.iter().map(|(token, id)| ((*token).to_owned(), json!(id))).collect()
    }

    /// Tokens that are found in the text as they are written.
    fn added(&self) -> Value {
        let chosen = self.kinds.iter().enumerate().filter(|(id, kind)| {
            [UNKNOWN, CONTROL, USER].contains(kind) && self.ids[self.tokens[*id]] == *id && !self.tokens[*id].is_empty()
        });
        let added = chosen.map(|(id, kind)| {
            json!({ "id": id, "content": self.tokens[id], "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false,
                "special": *kind != USER })
        });
        Value::Array(added.collect())
    }

    /// The token of an id that the metadata name.
    fn token(&self, metadata: &Metadata, name: &str) -> Result<Option<(u64, &str)>, TokenizerFault> {
        let key = format!("tokenizer.ggml.{name}_token_id");
        let Some(id) = metadata.whole(&key)? else { return Ok(None) };
        let token = usize::try_from(id).ok().and_then(|id| self.tokens.get(id));
        let token = token.ok_or_else(|| format!("`{key}` is {id} and there are {} tokens", self.tokens.len()))?;
        Ok(Some((id, *token)))
    }
}

/// Puts a token before every text, and one after, where the metadata ask for it. `begins` is what is done when they do
/// not say.
fn ends(metadata: &Metadata, vocabulary: &Vocabulary, begins: bool) -> Result<Value, TokenizerFault> {
    let asked = |name: &str, default: bool| {
        Ok::<bool, TokenizerFault>(metadata.flag(&format!("tokenizer.ggml.add_{name}_token"))?.unwrap_or(default))
    };
    let (mut single, mut pair, mut special) = (Vec::new(), Vec::new(), Map::new());
    let mut put = |token: Option<(u64, &str)>, single: &mut Vec<Value>, pair: &mut Vec<Value>, kind: u32| {
        if let Some((id, token)) = token {
            single.push(json!({ "SpecialToken": { "id": token, "type_id": 0 } }));
            pair.push(json!({ "SpecialToken": { "id": token, "type_id": kind } }));
            special.insert(token.to_owned(), json!({ "id": token, "ids": [id], "tokens": [token] }));
        }
    };
    let first = if asked("bos", begins)? { vocabulary.token(metadata, "bos")? } else { None };
    let last = if asked("eos", false)? { vocabulary.token(metadata, "eos")? } else { None };
    put(first, &mut single, &mut pair, 0);
    single.push(json!({ "Sequence": { "id": "A", "type_id": 0 } }));
    pair.push(json!({ "Sequence": { "id": "A", "type_id": 0 } }));
    pair.push(json!({ "Sequence": { "id": "B", "type_id": 1 } }));
    put(last, &mut single, &mut pair, 1);
    Ok(json!({ "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special }))
}

/// The way of cutting words that the metadata name.
fn cut(metadata: &Metadata) -> Result<&'static Cut, TokenizerFault> {
    let name = metadata.text("tokenizer.ggml.pre")?.unwrap_or("default");
    CUTS.iter().find(|cut| cut.names.contains(&name)).ok_or_else(|| {
        let names: Vec<&str> = CUTS.iter().flat_map(|cut| cut.names).copied().collect();
        TokenizerFault(format!("the way \"{name}\" of cutting words is not read; those that are: {}", names.join(", ")))
    })
}

/// The way of GPT-2: bytes as letters, merges in order.
fn byte_level(metadata: &Metadata, vocabulary: &Vocabulary, cut: &Cut) -> Result<Value, TokenizerFault> {
    let merges = metadata.list("tokenizer.ggml.merges", "a list of texts", text)?;
    let merges = merges.ok_or("the metadata value `tokenizer.ggml.merges` is missing")?;
    let halves = |merge: &&str| merge.split_once(' ').map(|(left, right)| json!([left, right]));
    let pairs: Option<Vec<Value>> = merges.iter().map(halves).collect();
    let pairs = pairs.ok_or("`tokenizer.ggml.merges` has an entry that is not two texts with a space between")?;
    let mut steps = Vec::new();
    if cut.digits {
        steps.push(json!({ "type": "Digits", "individual_digits": true }));
    }
    if let Some(pattern) = cut.pattern {
        steps
            .push(json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false }));
    }
    steps.push(json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
        "use_regex": cut.pattern.is_none() }));
    Ok(json!({
        "normalizer": if cut.nfc { json!({ "type": "NFC" }) } else { Value::Null },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": steps },
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": { "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": cut.whole_words, "vocab": vocabulary.map(),
            "merges": pairs },
    }))
}

/// The way of SentencePiece: any two neighbours that make a token merge, the token of the best score first.
fn sentence_piece(metadata: &Metadata, vocabulary: &Vocabulary) -> Result<Value, TokenizerFault> {
    let scores = metadata.list("tokenizer.ggml.scores", "a list of numbers", |item| match item {
        Item::Number(number) => Some(*number),
        Item::Whole(number) => Some(*number as f64),
        _ => None,
    })?;
    let scores = scores.ok_or("the metadata value `tokenizer.ggml.scores` is missing")?;
    if scores.len() != vocabulary.tokens.len() {
        return Err(TokenizerFault(format!(
            "`tokenizer.ggml.scores` has {} entries for {} tokens",
            scores.len(),
            vocabulary.tokens.len()
        )));
    }
    let unknown = vocabulary.token(metadata, "unknown")?.map(|(_, token)| token);
    let unknown =
        unknown.or_else(|| vocabulary.kinds.iter().position(|kind| *kind == UNKNOWN).map(|id| vocabulary.tokens[id]));
    // What `add_space_prefix` says; SentencePiece models without it do as Llama does.
    let prefix = metadata.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let mut normalizers = Vec::new();
    if prefix {
        normalizers.push(json!({ "type": "Prepend", "prepend": SPACE }));
    }
    normalizers.push(json!({ "type": "Replace", "pattern": { "String": " " }, "content": SPACE }));
    let mut decoders = vec![
        json!({ "type": "Replace", "pattern": { "String": SPACE }, "content": " " }),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    if prefix {
        decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    Ok(json!({
        "normalizer": { "type": "Sequence", "normalizers": normalizers },
        "pre_tokenizer": null,
        "decoder": { "type": "Sequence", "decoders": decoders },
        "model": { "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": true, "byte_fallback": true, "ignore_merges": false, "vocab": vocabulary.map(),
            "merges": merges(vocabulary, &scores) },
    }))
}

/// All pairs of tokens that make a token, the best first: by its score, then the longer left and right part, then ids.
fn merges(vocabulary: &Vocabulary, scores: &[f64]) -> Vec<[String; 2]> {
    let mut found = Vec::new();
    for (id, token) in vocabulary.tokens.iter().enumerate() {
        if [UNKNOWN, CONTROL, UNUSED, BYTE].contains(&vocabulary.kinds[id]) || vocabulary.ids[token] != id {
            continue;
        }
        for (place, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(place);
            if let (Some(l), Some(r)) = (vocabulary.ids.get(left), vocabulary.ids.get(right)) {
                found.push((scores[id], left, right, id, *l, *r));
            }
        }
    }
    let length = |text: &str| text.chars().count();
    found.sort_by(|a, b| {
        b.0.total_cmp(&a.0)
            .then_with(|| length(b.1).cmp(&length(a.1)))
            .then_with(|| length(b.2).cmp(&length(a.2)))
            .then_with(|| (a.3, a.4, a.5).cmp(&(b.3, b.4, b.5)))
    });
    found.into_iter().map(|(_, left, right, ..)| [left.to_owned(), right.to_owned()]).collect()
}
