//! What the assembler has gathered so far, and the arguments of one directive.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::str::FromStr;

use super::error::{AsmError, Span};
use super::lex::DirectiveWord;
use super::regions::RegionTable;
use super::source_map::LineOrigin;
use super::symbol::{Scope, Symbol, SymbolTable, SymbolValue, Trouble, is_name, is_operand};
use crate::program::{ChipId, ChipRef, WordRun};
use crate::queue::{Item, Queue};
use crate::text::operand::number;
use crate::text::place::{self, NotWritten};
use crate::timeline::Clock;

/// Bytes as the text gives them.
pub(super) enum ExtentContent {
    Hex(Vec<u8>),
    File { offset: u64, length: Option<u64> },
}

pub(super) struct ExtentText {
    pub(super) place: WordRun,
    /// Words whose bytes are given in turn with those of `place`.
    pub(super) other: Option<WordRun>,
    /// More chips in a row on which the same is.
    pub(super) more: u16,
    pub(super) span: Span,
    /// Nothing where the words are zero.
    pub(super) content: Option<ExtentContent>,
    /// Lanes of each word that are given, where that is said.
    pub(super) lanes: Option<(u32, Span)>,
}

#[derive(Default)]
pub(super) struct QueueText {
    pub(super) items: Vec<Item>,
    pub(super) lines: Vec<LineOrigin>,
    pub(super) clock: Clock,
    /// The line before had a mistake: what depends on it is not judged.
    pub(super) unsure: bool,
    /// The queue was reported as too long.
    pub(super) too_long: bool,
}

/// Chips, from a first to a last, that share the queues of another.
pub(super) struct LikeText {
    pub(super) chips: (ChipId, ChipId),
    pub(super) of: ChipId,
    /// Links of that chip that are other links here.
    pub(super) links: BTreeMap<u16, u16>,
    pub(super) span: Span,
}

/// The cycle in which the queues of chips, from a first to a last, start.
pub(super) struct StartText {
    pub(super) chips: (ChipId, ChipId),
    pub(super) cycle: u64,
    pub(super) span: Span,
}

pub(super) struct ProgramText {
    pub(super) name: String,
    pub(super) span: Span,
    pub(super) cycles: Option<u64>,
    pub(super) interval: Option<NonZeroU64>,
    pub(super) chips: Option<(u16, Span)>,
    pub(super) likes: Vec<LikeText>,
    pub(super) starts: Vec<StartText>,
    pub(super) regions: RegionTable,
    pub(super) labels: SymbolTable,
    pub(super) queues: BTreeMap<(ChipId, Queue), QueueText>,
    /// Instructions in memory, each series for one queue.
    pub(super) code: Vec<((ChipId, Queue), QueueText)>,
}

/// What `.hex` or `.at` continues, and where instructions go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Open {
    Nothing,
    Extent,
    Host,
    Region,
    /// One queue of each chip from the first to the last.
    Queue(ChipId, ChipId, Queue),
    /// Instructions in memory for a queue, and which series of the last program.
    Code(ChipId, Queue, usize),
}

/// All that was gathered.
pub(super) struct ParsedText<'a> {
    /// Chip and lanes; the inner nothing after a mistake.
    pub(super) chip: Option<Option<(ChipRef, u32)>>,
    /// The file alongside the text; the inner nothing when it could not be loaded.
    pub(super) file: Option<Option<Cow<'a, [u8]>>>,
    pub(super) extents: Vec<ExtentText>,
    pub(super) host: Option<(ExtentContent, Span)>,
    pub(super) programs: Vec<ProgramText>,
    pub(super) program_names: BTreeSet<String>,
    pub(super) constants: SymbolTable,
    pub(super) open: Open,
    pub(super) room: ExpansionBudget,
    /// Constants that the iterations at hand have given, from the outermost on.
    iterations: Vec<Vec<String>>,
}

/// Bytes that a text may bring alongside its own (see `EXPANDED`), a byte of it and of the files that it includes.
pub(super) const EACH: u64 = 16;

/// Bytes that a text may still bring alongside its own.
#[derive(Default)]
pub(super) struct ExpansionBudget {
    left: u64,
    exceeded: bool,
    told: bool,
}

impl ExpansionBudget {
    pub(super) fn add(&mut self, bytes: u64) {
        self.left = self.left.saturating_add(bytes);
    }

    /// Takes so many bytes; false where they are not left.
    pub(super) fn take(&mut self, bytes: u64) -> bool {
        match self.left.checked_sub(bytes).filter(|_| !self.exceeded) {
            Some(left) => self.left = left,
            None => self.exceeded = true,
        }
        !self.exceeded
    }

    pub(super) fn exceeded(&self) -> bool {
        self.exceeded
    }

    /// Whether more was asked for than was left; said once.
    pub(super) fn tell(&mut self) -> bool {
        let tell = self.exceeded && !self.told;
        self.told |= tell;
        tell
    }
}

impl ProgramText {
    pub(super) fn new(name: &str, span: Span) -> Self {
        Self {
            name: name.to_owned(),
            span,
            cycles: None,
            interval: None,
            chips: None,
            likes: Vec::new(),
            starts: Vec::new(),
            regions: RegionTable::default(),
            labels: SymbolTable::new(),
            queues: BTreeMap::new(),
            code: Vec::new(),
        }
    }
}

impl<'a> ParsedText<'a> {
    pub(super) fn new() -> Self {
        Self {
            chip: None,
            file: None,
            extents: Vec::new(),
            host: None,
            programs: Vec::new(),
            program_names: BTreeSet::new(),
            constants: SymbolTable::new(),
            open: Open::Nothing,
            room: ExpansionBudget::default(),
            iterations: Vec::new(),
        }
    }

    /// What names mean in a directive and in braces: constants, and labels of the last program.
    pub(super) fn scope(&self) -> Scope<'_> {
        Scope {
            constants: &self.constants,
            labels: self.programs.last().map(|program| &program.labels),
            regions: None,
            slice: None,
        }
    }

    /// Starts an iteration: constants that are given from now on end with it.
    pub(super) fn begin_iteration(&mut self) {
        self.iterations.push(Vec::new());
    }

    pub(super) fn end_iteration(&mut self) {
        for name in self.iterations.pop().unwrap_or_default() {
            self.constants.remove(&name);
        }
    }

    /// Gives a name to a constant of the text, or to a label of the last program.
    pub(super) fn give(&mut self, name: &str, span: Span, value: SymbolValue, label: bool) -> Result<(), AsmError> {
        if !is_name(name) || is_operand(name) {
            let message = format!("`{name}` cannot be the name of a symbol");
            return Err(AsmError::new(
                span,
                message,
                "use letters, digits and `_`, and no operand such as e0, a3 or f32",
            ));
        }
        self.free(name, span)?;
        let names = match self.programs.last_mut() {
            Some(program) if label => &mut program.labels,
            _ => {
                if let Some(given) = self.iterations.last_mut() {
                    given.push(name.to_owned());
                }
                &mut self.constants
            }
        };
        names.insert(name.to_owned(), Symbol { value, span });
        Ok(())
    }

    /// Refuses a name that a constant, or a label or region of the last program has already.
    pub(super) fn free(&self, name: &str, span: Span) -> Result<(), AsmError> {
        let program = self.programs.last();
        let region = program.and_then(|program| program.regions.region(name)).map(|region| region.span);
        let label = program.and_then(|program| program.labels.get(name));
        match label.or_else(|| self.constants.get(name)).map(|named| named.span).or(region) {
            Some(first) => Err(AsmError::new(
                span,
                format!("a second `{name}`; the first is in line {}", first.line),
                "rename one",
            )),
            None => Ok(()),
        }
    }
}

/// The words of a directive, taken one by one.
pub(super) struct Arguments<'w, 's> {
    pub(super) directive: &'w str,
    pub(super) span: Span,
    pub(super) usage: &'static str,
    pub(super) words: std::slice::Iter<'w, DirectiveWord<'s>>,
    /// What names mean; addresses mean nothing in a directive.
    pub(super) scope: Scope<'w>,
}

impl<'w, 's> Arguments<'w, 's> {
    /// The words after the first, which is the directive of this name and written form.
    pub(super) fn of(
        words: &'w [DirectiveWord<'s>],
        (directive, usage): (&'w str, &'static str),
        scope: Scope<'w>,
    ) -> Self {
        let start = Span { order: 0, line: 0, column: 0, start: 0, length: 0, context: 0 };
        let span = words.first().map_or(start, |word| word.span);
        Self { directive, span, usage, words: words.get(1..).unwrap_or_default().iter(), scope }
    }

    pub(super) fn mistake(&self, word: &DirectiveWord<'_>, expected: &str) -> AsmError {
        AsmError::new(
            word.span,
            format!("{expected} is expected, found `{}`", word.text),
            format!("write `{}`", self.usage),
        )
    }

    pub(super) fn next(&mut self, expected: &str) -> Result<&'w DirectiveWord<'s>, AsmError> {
        let message = || {
            AsmError::new(
                self.span,
                format!("`{}` lacks {expected}", self.directive),
                format!("write `{}`", self.usage),
            )
        };
        self.words.next().ok_or_else(message)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.as_slice().is_empty()
    }

    pub(super) fn number<T: FromStr>(&mut self, expected: &str) -> Result<T, AsmError> {
        let word = self.next(expected)?;
        if let Some(value) = number(&word.text) {
            return Ok(value);
        }
        match self.scope.number(&word.text) {
            Ok(value) => number(&value.to_string()).ok_or_else(|| self.mistake(word, expected)),
            Err(trouble) => Err(self.trouble(word, trouble, expected)),
        }
    }

    pub(super) fn trouble(&self, word: &DirectiveWord<'_>, trouble: Trouble, expected: &str) -> AsmError {
        match trouble {
            Trouble::Form => self.mistake(word, expected),
            Trouble::Unknown(name) if name == word.text => self.mistake(word, expected),
            trouble => trouble.at(word.span),
        }
    }

    /// A run, and on how many more chips in a row it is the same.
    pub(super) fn run_on_chips(&mut self) -> Result<(WordRun, u16), AsmError> {
        let word = self.next("a run of words such as e0:5x4")?;
        place::run_on_chips(&self.with_constant(&word.text))
            .ok_or_else(|| self.mistake(word, place::RUN_ON_CHIPS.expected))
    }

    /// A run, or the same run in each of several slices.
    pub(super) fn runs(&mut self) -> Result<Vec<WordRun>, AsmError> {
        let word = self.next("runs of words such as e0:5x4 or e0..e3:5")?;
        place::runs(&self.with_constant(&word.text)).map_err(|NotWritten { expected }| self.mistake(word, expected))
    }

    /// A run whose first word is a constant, with the number in its place.
    fn with_constant<'t>(&self, run: &'t str) -> Cow<'t, str> {
        let Some((slice, words)) = run.split_once(':') else { return Cow::Borrowed(run) };
        let name = words.bytes().position(|byte| !byte.is_ascii_alphanumeric() && byte != b'_').unwrap_or(words.len());
        // The name may end before an `x` and the count: `basex4`.
        for end in (1..=name).rev() {
            let rest = &words[end..];
            let counts =
                rest.strip_prefix('x').is_some_and(|count| count.starts_with(|letter: char| letter.is_ascii_digit()));
            if !(rest.is_empty() || rest.starts_with('+') || counts) {
                continue;
            }
            if let Some(SymbolValue::Number(value)) = self.scope.constants.get(&words[..end]).map(|named| &named.value)
            {
                return Cow::Owned(format!("{slice}:{value}{rest}"));
            }
        }
        Cow::Borrowed(run)
    }

    pub(super) fn literally(&mut self, text: &str) -> Result<(), AsmError> {
        let expected = format!("`{text}`");
        let word = self.next(&expected)?;
        if word.text == text { Ok(()) } else { Err(self.mistake(word, &expected)) }
    }

    pub(super) fn finish(mut self) -> Result<(), AsmError> {
        let usage = self.usage;
        let surplus = |word: &DirectiveWord<'_>| {
            Err(AsmError::new(
                word.span,
                format!("`{}` takes nothing here, found `{}`", self.directive, word.text),
                format!("write `{usage}`"),
            ))
        };
        self.words.next().map_or(Ok(()), surplus)
    }
}
