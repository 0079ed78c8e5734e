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
        if crate::json::is_pointer(json) {
            return Err("this is a Git LFS pointer in place of the file, which `git lfs pull` fetches".to_owned());
        }
        let json = crate::json::without_mark(json);
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

    /// The text that `ids` add to that of a prompt: with the space between the two where the file's decoder leaves out
    /// one that starts a text, and with a character that the prompt leaves incomplete.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn decode_after(&self, prompt: &[u32], ids: &[u32]) -> Result<String, ModelError> {
        let mut stream = self.stream_after(prompt)?;
        stream.ids.extend_from_slice(ids);
        stream.finish()
    }

    /// A decoder for ids that come one at a time.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream { tokenizer: self, ids: Vec::new(), shown: 0 }
    }

    /// A decoder for ids that come one at a time after those of a prompt, whose text it does not repeat.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn stream_after(&self, prompt: &[u32]) -> Result<TextStream<'_>, ModelError> {
        let incomplete = |ids: &[u32]| Ok::<_, ModelError>(self.decode(ids)?.ends_with(char::REPLACEMENT_CHARACTER));
        let mut shown = prompt.len();
        if incomplete(prompt)? {
            // Bytes that are no text yet are shown with what follows, with the whole run of bytes that they are in.
            while shown > 0 && (self.ends_in_a_byte(&prompt[..shown]) || incomplete(&prompt[..shown])?) {
                shown -= 1;
            }
        }
        Ok(TextStream { tokenizer: self, ids: prompt.to_vec(), shown })
    }

    /// Whether the last id that has text is that of a single byte, as SentencePiece vocabularies have them. A run of
    /// such ids is decoded as a whole, so its text may change until another id ends it.
    fn ends_in_a_byte(&self, ids: &[u32]) -> bool {
        let special = |token: &String| self.inner.get_added_vocabulary().is_special_token(token);
        let last = ids.iter().rev().filter_map(|&id| self.inner.id_to_token(id)).find(|token| !special(token));
        last.is_some_and(|token| token.len() == 6 && token.starts_with("<0x") && token.ends_with('>'))
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
/// The pieces, [`TextStream::finish`] included, join to what the ids add to the text of the prompt
/// ([`TextStream::prompt`]), wherever the text of an id depends on nothing before the id that precedes it.
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    /// The ids of the prompt or of the last piece, for context, and those that are not shown yet.
    ids: Vec<u32>,
    /// How many of `ids` are of the prompt or of the last piece.
    shown: usize,
}

impl TextStream<'_> {
    /// Of a stream that has given no piece yet: the text of the prompt, up to its last complete character.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn prompt(&self) -> Result<String, ModelError> {
        self.tokenizer.decode(&self.ids[..self.shown])
    }

    /// Takes the next id; returns the text that it completes, or `None` while a character or a run of single bytes is
    /// incomplete or the id has no text.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn push(&mut self, id: u32) -> Result<Option<String>, ModelError> {
        self.ids.push(id);
        if self.tokenizer.ends_in_a_byte(&self.ids) {
            return Ok(None);
        }
        let text = self.pending()?;
        if text.is_empty() || text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(None);
        }
        self.ids.drain(..self.shown);
        self.shown = self.ids.len();
        Ok(Some(text))
    }

    /// Ends the stream; returns what is left of it, empty unless the last character or run of single bytes is
    /// incomplete.
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
        let common = before
            .chars()
            .zip(all.chars())
            .take_while(|(left, right)| left == right)
            .map(|(left, _)| left.len_utf8())
            .sum();
        Ok(all[common..].to_owned())
    }
}
