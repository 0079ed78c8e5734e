//! Lines in the order in which they are assembled: those of the text, of the files that it includes, and of what it
//! repeats.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::directive;
use super::error::{AsmError, Span};
use super::finish;
use super::instruction;
use super::lex::{SourceLine, SourceLines};
use super::source::{ExpansionCause, IncludedFile, IncludedFiles, LoadChip, LoadFile, beside};
use super::source_map::SourceMap;
use super::state::{Arguments, EACH, ParsedText};
use super::symbol::SymbolValue;
use crate::program::Container;

/// Bytes of lines that a text may bring alongside its own, by repeating, including again, and writing for several chips
/// (assumed). Keeps a short text from taking much memory and time.
const EXPANDED: u64 = 1 << 20;
/// What an iteration counts alongside its lines.
const ITERATION: u64 = 8;
/// The most expansions around a line (assumed).
const DEEPEST: usize = 16;
/// The most files that a text includes (assumed).
const MOST_FILES: usize = 1024;

/// The assembler at work.
pub(super) struct Expansion<'a, 'l> {
    text: ParsedText<'a>,
    sources: IncludedFiles,
    errors: Vec<AsmError>,
    /// The expansion in which a place of a file had mistakes first: elsewhere they are not repeated.
    reported: BTreeMap<(u32, usize), u32>,
    /// Lines so far.
    order: u32,
    /// Bytes of the text and of the files that it includes.
    bytes: u64,
    load: LoadFile<'l, 'a>,
    chip: LoadChip<'l>,
}

impl<'a, 'l> Expansion<'a, 'l> {
    pub(super) fn new(source: &str, load: LoadFile<'l, 'a>, chip: LoadChip<'l>) -> Self {
        let bytes = source.len() as u64;
        let mut text = ParsedText::new();
        text.room.add(EXPANDED + EACH * bytes);
        Self {
            text,
            sources: IncludedFiles::default(),
            errors: Vec::new(),
            reported: BTreeMap::new(),
            order: 0,
            bytes,
            load,
            chip,
        }
    }

    /// Takes all lines of the text.
    pub(super) fn text(&mut self, source: &str) {
        let mut lines = SourceLines::of(source);
        self.lines(&mut lines, usize::MAX, 0);
    }

    /// Builds the container of what was taken.
    pub(super) fn finish(mut self) -> Result<(Container<'a>, SourceMap), Vec<AsmError>> {
        let finished = match self.text.room.exceeded() {
            false => finish::finish(self.text, self.bytes, &mut self.errors),
            true => None,
        };
        self.errors.sort_by_key(|error| error.span);
        let mut reported = BTreeMap::new();
        self.errors.retain(|error| first(&mut reported, &self.sources, error.span));
        for error in &mut self.errors {
            error.file = self.sources.file(self.sources.file_of(error.span.context)).cloned();
            error.trail = self.sources.trail(error.span.context);
        }
        match finished {
            Some((container, programs)) if self.errors.is_empty() => {
                Ok((container, SourceMap { programs, sources: self.sources }))
            }
            _ => Err(self.errors),
        }
    }

    /// Takes the lines before offset `end` of a file.
    fn lines(&mut self, lines: &mut SourceLines<'_>, end: usize, context: u32) {
        while lines.at() < end && !self.text.room.exceeded() {
            self.order += 1;
            let Some((line, bytes)) = lines.next(self.order, context) else { return };
            let before = self.errors.len();
            if context == 0 || self.text.room.take(bytes as u64) {
                self.line(&line, lines);
            }
            if self.text.room.tell() {
                self.errors.push(too_much(line.span(line.text.trim())));
            }
            if self.errors.len() > before {
                let Self { errors, reported, sources, .. } = self;
                let new = errors.split_off(before);
                errors.extend(new.into_iter().filter(|error| first(reported, sources, error.span)));
            }
        }
    }

    fn line(&mut self, line: &SourceLine<'_>, lines: &mut SourceLines<'_>) {
        let substituted = match line.substituted(self.text.scope()) {
            Ok(substituted) => substituted,
            Err(error) => {
                // The body of what cannot be repeated is no part of the text.
                if line.first_word() == ".rept" {
                    body(lines);
                }
                return self.errors.push(error);
            }
        };
        let line = &substituted.as_ref().map_or(*line, |substituted| line.with(substituted));
        let done = match line.first_word() {
            "" => Ok(()),
            ".rept" => self.rept(line, lines),
            ".include" => self.include(line),
            ".endr" => Err(AsmError::new(line.span(line.text.trim()), "`.endr` ends no `.rept`", "leave it out")),
            word if word.starts_with('.') => {
                let file = self.sources.file(self.sources.file_of(line.context)).map(|file| file.name.as_str());
                let mut load = |name: &str| (self.load)(&beside(file, name));
                directive::line(&mut self.text, line, &mut load, self.chip)
            }
            _ => {
                instruction::line(&mut self.text, line, &mut self.errors);
                Ok(())
            }
        };
        self.errors.extend(done.err());
    }

    /// `.rept COUNT [NAME]`: the lines up to its `.endr`, so many times.
    fn rept(&mut self, line: &SourceLine<'_>, lines: &mut SourceLines<'_>) -> Result<(), AsmError> {
        let start = *lines;
        let end = body(lines);
        let words = line.words()?;
        let mut arguments = Arguments::of(&words, directive::REPT, self.text.scope());
        let span = arguments.span;
        let end = end.ok_or_else(|| {
            AsmError::new(span, "this `.rept` has no `.endr`", "close it with `.endr` in the same file")
        })?;
        let count: u64 = arguments.number("a number of repetitions")?;
        let counter = (!arguments.is_empty()).then(|| arguments.next("the name of a counter")).transpose()?;
        let counter = counter.map(|word| (word.text.to_string(), word.span));
        arguments.finish()?;
        self.nested(line)?;
        for iteration in 0..count {
            if !self.text.room.take(ITERATION) {
                break;
            }
            self.text.begin_iteration();
            let given = counter.as_ref().map_or(Ok(()), |(name, span)| {
                self.text.give(name, *span, SymbolValue::Number(iteration as i64), false)
            });
            if given.is_ok() {
                let context = self.sources.expand(
                    line.context,
                    self.sources.file_of(line.context),
                    line.number,
                    ExpansionCause::Iteration(iteration),
                );
                let mut again = start;
                self.lines(&mut again, end, context);
            }
            self.text.end_iteration();
            given?;
            if self.text.room.exceeded() {
                break;
            }
        }
        Ok(())
    }

    /// `.include FILE`: the lines of another file.
    fn include(&mut self, line: &SourceLine<'_>) -> Result<(), AsmError> {
        let words = line.words()?;
        let mut arguments = Arguments::of(&words, directive::INCLUDE, self.text.scope());
        let word = arguments.next("a file name")?;
        let (name, span) = (word.text.to_string(), word.span);
        arguments.finish()?;
        self.nested(line)?;
        let name = beside(self.sources.file(self.sources.file_of(line.context)).map(|file| file.name.as_str()), &name);
        let number = match self.sources.find(&name) {
            Some(number) if self.sources.includes(line.context, number) => {
                return Err(AsmError::new(span, format!("`{name}` includes itself"), "leave this line out"));
            }
            Some(number) => number,
            None => {
                let source = self.read(&name).map_err(|reason| {
                    AsmError::new(
                        span,
                        format!("`{name}` cannot be included: {reason}"),
                        "put it beside the text or correct its name",
                    )
                })?;
                let bytes = source.text.len() as u64;
                self.bytes += bytes;
                // Its lines count once as lines of the text.
                self.text.room.add((EACH + 1) * bytes + 1);
                self.sources.add(source)
            }
        };
        let Some(source) = self.sources.file(number).map(Arc::clone) else { return Ok(()) };
        let context = self.sources.expand(line.context, number, line.number, ExpansionCause::Inclusion);
        self.lines(&mut SourceLines::of(&source.text), usize::MAX, context);
        Ok(())
    }

    fn read(&mut self, name: &str) -> Result<IncludedFile, String> {
        if self.sources.files() == MOST_FILES {
            return Err(format!("a text includes at most {MOST_FILES} files"));
        }
        let bytes = (self.load)(name)?.into_owned();
        let text = String::from_utf8(bytes)
            .map_err(|error| format!("byte {} is no UTF-8", error.utf8_error().valid_up_to()))?;
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        Ok(IncludedFile { name: name.to_owned(), text })
    }

    fn nested(&self, line: &SourceLine<'_>) -> Result<(), AsmError> {
        if self.sources.depth(line.context) < DEEPEST {
            return Ok(());
        }
        let message = format!("`.rept` and `.include` are nested more than {DEEPEST} deep");
        Err(AsmError::new(line.span(line.text.trim()), message, "nest them less"))
    }
}

fn too_much(span: Span) -> AsmError {
    let message = format!(
        "repetition, inclusion and lines for several chips bring more than {EXPANDED} bytes and {EACH} a byte of the \
        text"
    );
    AsmError::new(span, message, "repeat less, by `repeat` instructions where they do")
}

/// Whether this expansion is the first in which this place of a file has mistakes.
fn first(reported: &mut BTreeMap<(u32, usize), u32>, sources: &IncludedFiles, span: Span) -> bool {
    *reported.entry((sources.file_of(span.context), span.start)).or_insert(span.context) == span.context
}

/// Moves past the body of a `.rept` and its `.endr`; gives the offset of the latter.
fn body(lines: &mut SourceLines<'_>) -> Option<usize> {
    let mut open = 0u32;
    loop {
        let at = lines.at();
        let (line, _) = lines.next(0, 0)?;
        match line.first_word() {
            ".rept" => open += 1,
            ".endr" if open == 0 => return Some(at),
            ".endr" => open -= 1,
            _ => {}
        }
    }
}
