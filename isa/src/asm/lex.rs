//! Lines and words: comments, quotes and braces are settled here.

use std::borrow::Cow;

use super::error::{AsmError, Span};
use super::symbol::{Scope, SymbolValue, Trouble};
use crate::text::place::quoted;

/// One source line without its comment and line end.
#[derive(Clone, Copy)]
pub(super) struct SourceLine<'s> {
    /// Number in its file, from 1.
    pub(super) number: u32,
    /// Offset of its first byte in the file.
    pub(super) start: usize,
    /// Number among all lines that were assembled, and the expansion that it belongs to.
    pub(super) order: u32,
    pub(super) context: u32,
    /// Its text, expressions in braces replaced by their values.
    pub(super) text: &'s str,
    /// Its text as it is written.
    written: &'s str,
    /// What was replaced, in ascending order.
    replaced: &'s [Replaced],
}

/// An expression in braces: where its value is in the line's text, and where the expression is in the written line.
struct Replaced {
    value: (usize, usize),
    written: (usize, usize),
}

/// A line with values in place of the expressions in braces.
pub(super) struct Substituted {
    text: String,
    replaced: Vec<Replaced>,
}

/// The lines of one file from some line on.
#[derive(Clone, Copy)]
pub(super) struct SourceLines<'s> {
    source: &'s str,
    /// Offset of the next line; nothing after the last.
    at: Option<usize>,
    number: u32,
}

impl<'s> SourceLines<'s> {
    pub(super) fn of(source: &'s str) -> Self {
        Self { source, at: Some(0), number: 0 }
    }

    /// Offset of the next line.
    pub(super) fn at(&self) -> usize {
        self.at.unwrap_or(self.source.len())
    }

    /// The next line, as it is written, and the bytes it takes, line end included. It is line number `order` of all, in
    /// expansion `context`.
    pub(super) fn next(&mut self, order: u32, context: u32) -> Option<(SourceLine<'s>, usize)> {
        let start = self.at?;
        let rest = &self.source[start..];
        let (text, end) = rest.split_once('\n').map_or((rest, None), |(text, _)| (text, Some(start + text.len() + 1)));
        (self.at, self.number) = (end, self.number + 1);
        let written = code(text.strip_suffix('\r').unwrap_or(text));
        Some((
            SourceLine { number: self.number, start, order, context, text: written, written, replaced: &[] },
            text.len() + 1,
        ))
    }
}

/// A word of a directive.
pub(super) struct DirectiveWord<'s> {
    /// The text, quotes resolved.
    pub(super) text: Cow<'s, str>,
    /// Where it is.
    pub(super) span: Span,
}

impl<'s> SourceLine<'s> {
    /// The directive or mnemonic with which the line starts.
    pub(super) fn first_word(&self) -> &'s str {
        self.text.split([' ', '\t', ',']).find(|word| !word.is_empty()).unwrap_or("")
    }

    /// The span of `part`, which is a slice of this line.
    pub(super) fn span(&self, part: &str) -> Span {
        let at = (part.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize).min(self.text.len());
        let (first, last) = self.as_written(at, at + part.len());
        let column = self.written.get(..first).map_or(first, |before| before.chars().count()) as u32 + 1;
        self.span_of(first, last, column)
    }

    fn span_of(&self, first: usize, last: usize, column: u32) -> Span {
        let Self { number: line, order, context, .. } = *self;
        Span { order, line, column, start: self.start + first, length: last - first, context }
    }

    /// Where a part of the text is in the written line; an expression in braces is taken whole.
    fn as_written(&self, start: usize, end: usize) -> (usize, usize) {
        let place = |at: usize, last: bool| {
            let before = self.replaced.partition_point(|piece| piece.value.0 < at || (!last && piece.value.0 == at));
            match before.checked_sub(1).map(|index| &self.replaced[index]) {
                None => at,
                Some(Replaced { value, written }) if at >= value.1 => written.1 + (at - value.1),
                Some(Replaced { written, .. }) => {
                    if last {
                        written.1
                    } else {
                        written.0
                    }
                }
            }
        };
        let first = place(start, false);
        (first, place(end, true).max(first))
    }

    /// The line with the values of its expressions in braces; nothing where it has none. Quoted names stay as they are.
    pub(super) fn substituted(&self, scope: Scope<'_>) -> Result<Option<Substituted>, AsmError> {
        if !self.text.contains('{') {
            return Ok(None);
        }
        let (mut text, mut replaced) = (String::new(), Vec::new());
        let (mut at, mut copied) = (0, 0);
        let (mut inside, mut escaped) = (false, false);
        while let Some(&byte) = self.text.as_bytes().get(at) {
            if byte == b'"' && !escaped {
                inside = !inside;
            }
            escaped = inside && byte == b'\\' && !escaped;
            if byte != b'{' || inside {
                at += 1;
                continue;
            }
            let length = self.text[at..].find('}').ok_or_else(|| {
                AsmError::new(
                    self.span(&self.text[at..=at]),
                    "this brace does not close",
                    "write an expression as in `mem.e{8+i}`",
                )
            })?;
            let whole = &self.text[at..=at + length];
            let expression = &whole[1..length];
            let value = scope.value(expression).map_err(|trouble| match trouble {
                Trouble::Form => {
                    let message = format!("`{expression}` is no sum or product of numbers and symbols");
                    AsmError::new(self.span(whole), message, "write an expression as in `mem.e{8+i}`")
                }
                trouble => trouble.at(self.span(whole)),
            })?;
            text.push_str(&self.text[copied..at]);
            let start = text.len();
            match value {
                SymbolValue::Number(number) => text.push_str(&number.to_string()),
                SymbolValue::Operand(operand) => text.push_str(&operand),
            }
            at += whole.len();
            copied = at;
            replaced.push(Replaced { value: (start, text.len()), written: (at - whole.len(), at) });
        }
        text.push_str(&self.text[copied..]);
        Ok(Some(Substituted { text, replaced }))
    }

    /// This line, with what was substituted in it.
    pub(super) fn with<'t>(&self, substituted: &'t Substituted) -> SourceLine<'t>
    where
        's: 't,
    {
        SourceLine { text: &substituted.text, replaced: &substituted.replaced, ..*self }
    }

    /// The words of a directive: blanks and commas separate them, brackets are alone.
    pub(super) fn words(&self) -> Result<Vec<DirectiveWord<'s>>, AsmError> {
        let mut words = Vec::new();
        let mut at = 0;
        // Columns are counted on from word to word: a line may be as long as an image.
        let (mut counted, mut column) = (0, 1);
        let mut span_at = |at: usize, length| {
            let (first, last) = self.as_written(at, at + length);
            let first = first.max(counted);
            column += self.written[counted..first].chars().count() as u32;
            counted = first;
            self.span_of(first, last.max(first), column)
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
                    words.push(DirectiveWord { text: Cow::Owned(name), span: span_at(at, length) });
                    at += length;
                    continue;
                }
                _ => rest.find([' ', '\t', ',', '[', ']', '"']).unwrap_or(rest.len()),
            };
            words.push(DirectiveWord { text: Cow::Borrowed(&rest[..length]), span: span_at(at, length) });
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
