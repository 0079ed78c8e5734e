//! Lines and words: comments and quotes are settled here.

use std::borrow::Cow;

use super::error::{AsmError, Span};
use crate::text::place::quoted;

/// One source line without its comment and line end.
#[derive(Clone, Copy)]
pub(super) struct Line<'s> {
    /// Number, from 1.
    pub(super) number: u32,
    /// Offset of its first byte in the source.
    pub(super) start: usize,
    /// Its text.
    pub(super) text: &'s str,
}

/// A word of a directive.
pub(super) struct Word<'s> {
    /// The text, quotes resolved.
    pub(super) text: Cow<'s, str>,
    /// Where it stands.
    pub(super) span: Span,
}

impl<'s> Line<'s> {
    /// All lines of a source.
    pub(super) fn all(source: &'s str) -> impl Iterator<Item = Line<'s>> {
        let mut start = 0;
        source.split('\n').zip(1..).map(move |(text, number)| {
            let line = Line { number, start, text: code(text.strip_suffix('\r').unwrap_or(text)) };
            start += text.len() + 1;
            line
        })
    }

    /// The span of `part`, which is a slice of this line.
    pub(super) fn span(&self, part: &str) -> Span {
        let at = (part.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize).min(self.text.len());
        let column = self.text.get(..at).map_or(at, |before| before.chars().count()) as u32 + 1;
        Span { line: self.number, column, start: self.start + at, length: part.len() }
    }

    /// The words of a directive: blanks and commas separate them, brackets stand alone.
    pub(super) fn words(&self) -> Result<Vec<Word<'s>>, AsmError> {
        let mut words = Vec::new();
        let mut at = 0;
        // Columns are counted on from word to word: a line may be as long as an image.
        let (mut counted, mut column) = (0, 1);
        let mut span_at = |at: usize, length| {
            column += self.text[counted..at].chars().count() as u32;
            counted = at;
            Span { line: self.number, column, start: self.start + at, length }
        };
        while let Some(first) = self.text[at..].chars().next() {
            let rest = &self.text[at..];
            let length = match first {
                ' ' | '\t' | ',' => {
                    at += 1;
                    continue;
                }
                '[' | ']' => 1,
                '"' => {
                    let (name, length) = quoted(rest).ok_or_else(|| {
                        AsmError::new(
                            self.span(rest),
                            "this quoted name does not end",
                            "close it with a quote; `\\\"`, `\\\\`, `\\n` and `\\r` stand for what they name",
                        )
                    })?;
                    words.push(Word { text: Cow::Owned(name), span: span_at(at, length) });
                    at += length;
                    continue;
                }
                _ => rest.find([' ', '\t', ',', '[', ']', '"']).unwrap_or(rest.len()),
            };
            words.push(Word { text: Cow::Borrowed(&rest[..length]), span: span_at(at, length) });
            at += length;
        }
        Ok(words)
    }
}

/// The line up to its comment; a semicolon within quotes starts none.
fn code(text: &str) -> &str {
    if !text.contains('"') {
        return text.split(';').next().unwrap_or(text);
    }
    let (mut inside, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b';' if !inside => return &text[..at],
            b'"' if !escaped => inside = !inside,
            _ => {}
        }
        escaped = inside && byte == b'\\' && !escaped;
    }
    text
}
