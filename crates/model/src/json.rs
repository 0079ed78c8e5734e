//! The JSON objects of a model folder, as Python writes them: with a byte order mark perhaps, and with `NaN` and
//! `Infinity`.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// How a file of Git LFS begins that stands for one that has not been fetched.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1";

/// Why a text is no JSON object, and what to do about it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NoObject {
    pub(crate) detail: String,
    pub(crate) hint: &'static str,
}

/// Whether these are the bytes of a Git LFS pointer.
pub(crate) fn is_pointer(bytes: &[u8]) -> bool {
    bytes.starts_with(POINTER)
}

/// JSON text without the byte order mark that some editors put before UTF-8.
pub(crate) fn without_mark(json: &[u8]) -> &[u8] {
    json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json)
}

/// The object that a text is. Python's numbers that JSON does not have, `NaN`, `Infinity` and `-Infinity`, become
/// texts: a field that is read refuses them by its name, others do not matter.
pub(crate) fn object(text: &[u8]) -> Result<Map<String, Value>, NoObject> {
    let fault = |detail: &str, hint| Err(NoObject { detail: detail.to_owned(), hint });
    let text = without_mark(text);
    if text.iter().all(u8::is_ascii_whitespace) {
        return fault("the file is empty", "it must hold one JSON object");
    }
    // JSON begins with two ASCII characters, one of which is zero in UTF-16.
    if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") || text.iter().take(2).any(|&byte| byte == 0) {
        return fault("the file is encoded in UTF-16", "save it as UTF-8");
    }
    if is_pointer(text) {
        return fault("this is a Git LFS pointer in place of the file", "run `git lfs pull` in its repository");
    }
    match serde_json::from_slice(&quoted(text)) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => fault(&format!("the file holds {}", kind(&other)), "it must hold one JSON object"),
        Err(error) => fault(&error.to_string(), "correct the text at that place"),
    }
}

/// A text with quotes about the numbers that JSON does not have; places before the first of them stay as they are.
fn quoted(text: &[u8]) -> Cow<'_, [u8]> {
    const NUMBERS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let mut made: Vec<u8> = Vec::new();
    let (mut copied, mut at, mut within) = (0, 0, false);
    while at < text.len() {
        let number = NUMBERS.into_iter().find(|number| !within && text[at..].starts_with(number));
        match (number, text[at]) {
            (Some(number), _) => {
                made.extend_from_slice(&text[copied..at]);
                made.extend([b"\"", number, b"\""].concat());
                at += number.len();
                copied = at;
                continue;
            }
            // What follows a backslash in a text does not end it.
            (None, b'\\') if within => at += 1,
            (None, b'"') => within = !within,
            _ => {}
        }
        at += 1;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    made.extend_from_slice(&text[copied..]);
    Cow::Owned(made)
}

/// What a value is, for messages.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_object_is_named() {
        let utf16 = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
        let marked = [b"\xff\xfe".to_vec(), utf16("{}")].concat();
        let cases: [(&[u8], &str); 9] = [
            (b"", "empty"),
            (b"\xef\xbb\xbf \n", "empty"),
            (&utf16("{}"), "UTF-16"),
            (&marked, "UTF-16"),
            (b"[]", "a list"),
            (b"NaN", "a string"),
            (b"3", "a number"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS pointer"),
            (b"{\"a\": 1,\n}", "line 2"),
        ];
        for (text, expected) in cases {
            let fault = object(text).unwrap_err();
            assert!(fault.detail.contains(expected), "{fault:?}");
        }
    }

    #[test]
    fn numbers_of_python_are_texts() {
        let text = br#"{"a": Infinity, "b": [-Infinity, NaN], "c\\": "NaN \" Infinity", "Infinity": 1}"#;
        let expected =
            serde_json::json!({"a": "Infinity", "b": ["-Infinity", "NaN"], "c\\": "NaN \" Infinity", "Infinity": 1});
        assert_eq!(Value::Object(object(text).unwrap()), expected);
    }

    proptest! {
        #[test]
        fn texts_without_such_numbers_stay(texts in proptest::collection::vec(".*", 0..5)) {
            let value = serde_json::json!({ "list": texts, "NaN": [1.5, true, null] });
            let Value::Object(expected) = value.clone() else { unreachable!() };
            prop_assert_eq!(object(value.to_string().as_bytes()), Ok(expected));
        }

        #[test]
        fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = object(&bytes);
        }
    }
}
