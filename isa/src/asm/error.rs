//! Errors of the assembler: where, what, and what to do about it.

use std::fmt;
use std::sync::Arc;

use super::source::IncludedFile;
use crate::error::ContentError;

/// A piece of one line of a file. Spans are in the order in which their lines are assembled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Number of the line among all that were assembled.
    pub(super) order: u32,
    /// Line of its file, from 1.
    pub line: u32,
    /// Column of the first character, from 1, in characters.
    pub column: u32,
    /// Offset of the first byte in its file.
    pub start: usize,
    /// Length in bytes.
    pub length: usize,
    /// The expansion that the line belongs to.
    pub(super) context: u32,
}

/// One mistake in a source text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct AsmError {
    /// Where it is.
    pub span: Span,
    /// The included file that it is in; none for the text itself.
    pub file: Option<Arc<IncludedFile>>,
    /// How the line came to be assembled, from the inside: iterations and inclusions.
    pub trail: Vec<String>,
    /// What is wrong.
    pub message: String,
    /// What to do next.
    pub help: String,
}

impl fmt::Display for AsmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}, ", file.name)?;
        }
        write!(f, "line {}, column {}: {}; {}", self.span.line, self.span.column, self.message, self.help)?;
        self.trail.iter().try_for_each(|step| write!(f, "; {step}"))
    }
}

impl AsmError {
    pub(super) fn new(span: Span, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { span, file: None, trail: Vec::new(), message: message.into(), help: help.into() }
    }

    /// A mistake in the content: its message ends with what to do, after a semicolon.
    pub(super) fn content(span: Span, error: &ContentError) -> Self {
        let text = error.to_string();
        let (message, help) = text.rsplit_once("; ").unwrap_or((&text, "correct it"));
        Self::new(span, message, help)
    }
}

/// Names that a wrong one is compared with, at most: a long text may have as many mistakes as names.
const MOST_COMPARED: usize = 200;

/// `; did you mean ..` for the closest of `known`, or `otherwise`.
pub(super) fn suggestion<'k>(given: &str, known: impl Iterator<Item = &'k str>, otherwise: &str) -> String {
    let given = &given.to_ascii_lowercase();
    let limit = 1 + given.len().min(12) / 4;
    let alike = known.filter(|each| each.len().abs_diff(given.len()) <= 4 * limit).take(MOST_COMPARED);
    let closest = alike
        .map(|each| (distance(given, &each.to_ascii_lowercase()), each))
        .min()
        .filter(|(distance, _)| *distance <= limit);
    closest.map_or_else(|| otherwise.to_owned(), |(_, each)| format!("did you mean `{each}`?"))
}

/// Letters to insert, remove, replace or swap with a neighbour to turn one word into the other; long words are far from
/// all.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(40).collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                let swap = if swapped { rows[i - 2][j - 2] + 1 } else { usize::MAX };
                let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                replace.min(swap).min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1)
            };
        }
    }
    rows[a.len()][b.len()]
}
