//! Text to token ids and back.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::ModelError;

/// A tokenizer read from `tokenizer.json`.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// Reads the text of a `tokenizer.json`. Truncation and padding that it asks for are left
    /// out: a prompt is fed as it is.
    ///
    /// # Errors
    /// [`ModelError::BadTokenizer`].
    pub fn from_json(json: &[u8]) -> Result<Tokenizer, ModelError> {
        Tokenizer::load(json).map_err(|detail| ModelError::BadTokenizer { detail })
    }

    pub(crate) fn load(json: &[u8]) -> Result<Tokenizer, String> {
        // The reader of tokenizers trusts the syntax, so it is checked first.
        serde_json::from_slice::<serde_json::Value>(json).map_err(|error| error.to_string())?;
        guarded(|| {
            let mut inner = tokenizers::Tokenizer::from_bytes(json)?;
            inner.with_truncation(None)?;
            inner.with_padding(None);
            Ok(Tokenizer { inner })
        })
    }

    /// The ids of a text, with the special tokens that `tokenizer.json` adds (as a rule one that
    /// starts the text).
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] if the text has no ids.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let ids = guarded(|| Ok(self.inner.encode_fast(text, true)?.get_ids().to_vec()));
        ids.map_err(|detail| ModelError::Tokenizer { action: "encode the text", detail })
    }

    /// The text of ids; special tokens and ids that it does not know are left out.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] if the decoder of the file refuses the ids.
    pub fn decode(&self, ids: &[u32]) -> Result<String, ModelError> {
        let text = guarded(|| self.inner.decode(ids, true));
        text.map_err(|detail| ModelError::Tokenizer { action: "decode the ids", detail })
    }

    /// A decoder for ids that come one at a time.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream { tokenizer: self, ids: Vec::new(), shown: 0 }
    }
}

/// Runs a call into the tokenizer, which panics on some files that contradict themselves (a template
/// that names a token that it does not define, for one); a panic is an error like the others.
fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the file contradicts itself".to_owned()),
    }
}

/// Decodes ids one at a time into pieces of text that are complete characters.
///
/// The pieces, [`TextStream::finish`] included, join to the text of all ids wherever the text of
/// an id depends on nothing before the id that precedes it.
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    /// The ids of the last piece, for context, and those that are not shown yet.
    ids: Vec<u32>,
    /// How many of `ids` are of the last piece.
    shown: usize,
}

impl TextStream<'_> {
    /// Takes the next id; returns the text that it completes, or `None` while a character of
    /// several ids is incomplete or the id has no text.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn push(&mut self, id: u32) -> Result<Option<String>, ModelError> {
        self.ids.push(id);
        let text = self.pending()?;
        if text.is_empty() || text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(None);
        }
        self.ids.drain(..self.shown);
        self.shown = self.ids.len();
        Ok(Some(text))
    }

    /// Ends the stream; returns what is left of it, empty unless the last character is incomplete.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn finish(self) -> Result<String, ModelError> {
        self.pending()
    }

    /// Text of the ids that are not shown yet: what they add to the text of those before.
    fn pending(&self) -> Result<String, ModelError> {
        let before = self.tokenizer.decode(&self.ids[..self.shown])?;
        let all = self.tokenizer.decode(&self.ids)?;
        let common = before.chars().zip(all.chars()).take_while(|(left, right)| left == right).map(|(left, _)| left.len_utf8()).sum();
        Ok(all[common..].to_owned())
    }
}
