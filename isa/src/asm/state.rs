//! What the assembler has gathered so far, and the arguments of one directive.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr;

use super::error::{AsmError, Span};
use super::lex::Word;
use crate::program::{ChipId, ChipRef, Region, WordRun};
use crate::queue::{Item, Queue};
use crate::text::operand::number;
use crate::text::place::NotWritten;
use crate::timeline::Clock;

/// Bytes as the text gives them.
pub(super) enum Content {
    Zero,
    Hex(Vec<u8>),
    File { offset: u64, length: Option<u64> },
}

pub(super) struct ExtentText {
    pub(super) place: WordRun,
    pub(super) span: Span,
    pub(super) content: Content,
}

/// Initial values of a region.
pub(super) enum Values {
    None,
    Each(Vec<u32>),
    Same(u32),
}

pub(super) struct RegionText {
    pub(super) region: Region,
    pub(super) span: Span,
    pub(super) values: Values,
    pub(super) values_span: Span,
}

#[derive(Default)]
pub(super) struct QueueText {
    pub(super) items: Vec<Item>,
    pub(super) lines: Vec<u32>,
    pub(super) clock: Clock,
    /// The line before had a mistake: what depends on it is not judged.
    pub(super) unsure: bool,
    /// The queue was reported as too long.
    pub(super) too_long: bool,
}

pub(super) struct ProgramText {
    pub(super) name: String,
    pub(super) span: Span,
    pub(super) cycles: Option<u64>,
    pub(super) chips: Option<(u16, Span)>,
    pub(super) regions: Vec<RegionText>,
    pub(super) queues: BTreeMap<(ChipId, Queue), QueueText>,
}

/// What `.hex` or `.at` continues, and where instructions go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Open {
    Nothing,
    Extent,
    Host,
    Region,
    Queue(ChipId, Queue),
}

/// All that was gathered.
pub(super) struct Text<'a> {
    /// Chip and lanes; the inner nothing after a mistake.
    pub(super) chip: Option<Option<(ChipRef, u32)>>,
    /// The file beside the text; the inner nothing when it could not be loaded.
    pub(super) file: Option<Option<Cow<'a, [u8]>>>,
    pub(super) extents: Vec<ExtentText>,
    pub(super) host: Option<(Content, Span)>,
    pub(super) programs: Vec<ProgramText>,
    pub(super) open: Open,
}

/// The words of a directive, taken one by one.
pub(super) struct Arguments<'w, 's> {
    pub(super) directive: &'w str,
    pub(super) span: Span,
    pub(super) usage: &'static str,
    pub(super) words: std::slice::Iter<'w, Word<'s>>,
}

impl<'w, 's> Arguments<'w, 's> {
    pub(super) fn mistake(&self, word: &Word<'_>, expected: &str) -> AsmError {
        AsmError::new(word.span, format!("{expected} is expected, found `{}`", word.text), format!("write `{}`", self.usage))
    }

    pub(super) fn next(&mut self, expected: &str) -> Result<&'w Word<'s>, AsmError> {
        let message = || AsmError::new(self.span, format!("`{}` lacks {expected}", self.directive), format!("write `{}`", self.usage));
        self.words.next().ok_or_else(message)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.as_slice().is_empty()
    }

    pub(super) fn number<T: FromStr>(&mut self, expected: &str) -> Result<T, AsmError> {
        let word = self.next(expected)?;
        number(&word.text).ok_or_else(|| self.mistake(word, expected))
    }

    pub(super) fn run(&mut self) -> Result<WordRun, AsmError> {
        let word = self.next("a run of words such as e0:5x4")?;
        word.text.parse().map_err(|NotWritten { expected }| self.mistake(word, expected))
    }

    pub(super) fn literally(&mut self, text: &str) -> Result<(), AsmError> {
        let expected = format!("`{text}`");
        let word = self.next(&expected)?;
        if word.text == text { Ok(()) } else { Err(self.mistake(word, &expected)) }
    }

    pub(super) fn finish(mut self) -> Result<(), AsmError> {
        let usage = self.usage;
        let surplus = |word: &Word<'_>| {
            Err(AsmError::new(
                word.span,
                format!("`{}` takes nothing here, found `{}`", self.directive, word.text),
                format!("write `{usage}`"),
            ))
        };
        self.words.next().map_or(Ok(()), surplus)
    }
}
