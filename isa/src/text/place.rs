//! The written form of places and names: `1/e0:5x4+2`, `mxm.e0.lw`, names bare or in quotes.

use std::fmt;
use std::str::FromStr;

use super::operand::number;
use crate::program::{ChipId, SliceId, WordRun};
use crate::queue::{Hemisphere, PlanePort, Queue};

/// Prints `e0:5x4+2`: slice, first word, and where not 1 the count and the distance; chips other than 0 in front.
impl fmt::Display for WordRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.chip.0 != 0 {
            write!(f, "{}/", self.chip.0)?;
        }
        write!(f, "{}:{}", self.slice, self.word)?;
        if self.count != 1 {
            write!(f, "x{}", self.count)?;
        }
        if self.stride != 1 {
            write!(f, "+{}", self.stride)?;
        }
        Ok(())
    }
}

/// A written form that stands for nothing; the message says what is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{expected} is expected; write it so")]
pub struct NotWritten {
    /// What is expected, with an example.
    pub expected: &'static str,
}

const RUN: NotWritten = NotWritten { expected: "a run of words such as e0:5, e0:5x4 or 1/w3:16x4+2" };
pub(crate) const RUN_ON_CHIPS: NotWritten =
    NotWritten { expected: "a run of words such as e0:5, e0:5x4, 1/w3:16x4 or 0..7/e0:5" };
const QUEUE: NotWritten = NotWritten { expected: "a queue such as mem.e0, vxm.3, mxm.w1.lw, sxm.e2 or c2c.0" };

/// Chip prefix and rest.
pub(crate) fn chip(text: &str) -> Option<(ChipId, &str)> {
    match text.split_once('/') {
        Some((chip, rest)) => Some((ChipId(number(chip)?), rest)),
        None => Some((ChipId(0), text)),
    }
}

/// Prefix of one chip or of several in a row, the first and the last, and rest.
pub(crate) fn chips(text: &str) -> Option<(ChipId, ChipId, &str)> {
    let range = text.split_once('/').and_then(|(chips, rest)| Some((chips.split_once("..")?, rest)));
    let Some(((first, last), rest)) = range else { return chip(text).map(|(chip, rest)| (chip, chip, rest)) };
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((ChipId(first), ChipId(last), rest))
}

fn sided(text: &str) -> Option<(Hemisphere, u16)> {
    let side = Hemisphere::BOTH.into_iter().find(|side| text.starts_with(side.letter()))?;
    Some((side, number(&text[1..])?))
}

impl FromStr for WordRun {
    type Err = NotWritten;

    fn from_str(text: &str) -> Result<Self, NotWritten> {
        run(text).ok_or(RUN)
    }
}

fn run(text: &str) -> Option<WordRun> {
    let (chip, text) = chip(text)?;
    let (slice, words) = text.split_once(':')?;
    let (side, index) = sided(slice)?;
    let (words, stride) =
        words.split_once('+').map_or(Some((words, 1)), |(words, stride)| Some((words, number(stride)?)))?;
    let (word, count) = words.split_once('x').map_or(Some((words, 1)), |(word, count)| Some((word, number(count)?)))?;
    Some(WordRun { chip, slice: SliceId { side, index }, word: number(word)?, count, stride })
}

/// Reads a run and on how many more chips in a row it is the same: `0..7/e0:5`.
pub(crate) fn run_on_chips(text: &str) -> Option<(WordRun, u16)> {
    let (first, last, rest) = chips(text)?;
    Some((run(&format!("{}/{rest}", first.0))?, last.0 - first.0))
}

const RUNS: NotWritten = NotWritten {
    expected: "runs of words such as e0:5, 1/w3:16x4+2, e0..e3:5 or 0..7/e0..e3:5, of at most 64 slices of one side",
};

/// The most slices that a written range has on all its chips (assumed); keeps a short text from becoming many runs.
const WIDEST: usize = 64;

/// Reads a run, or the same run in each of several slices, on each of several chips: `e0..e3:5`, `0..7/e0:5`.
pub(crate) fn runs(text: &str) -> Result<Vec<WordRun>, NotWritten> {
    range(text).ok_or(RUNS)
}

fn range(text: &str) -> Option<Vec<WordRun>> {
    let (first_chip, last_chip, text) = chips(text)?;
    let (slices, words) = text.split_once(':')?;
    let (first, last) = slices.split_once("..").unwrap_or((slices, slices));
    let first = run(&format!("{}/{first}:{words}", first_chip.0))?;
    let (side, last) = sided(last)?;
    let slices = usize::from(last.checked_sub(first.slice.index).filter(|_| side == first.slice.side)?) + 1;
    let count = slices * (usize::from(last_chip.0 - first_chip.0) + 1);
    (count <= WIDEST).then(|| (0..count).map_while(|above| moved(first, above / slices, above % slices)).collect())
}

/// The same run so many chips and slices on.
pub(crate) fn moved(run: WordRun, chips: usize, slices: usize) -> Option<WordRun> {
    let chip = ChipId(run.chip.0.checked_add(u16::try_from(chips).ok()?)?);
    let index = run.slice.index.checked_add(u16::try_from(slices).ok()?)?;
    Some(WordRun { chip, slice: SliceId { index, ..run.slice }, ..run })
}

/// Appends the first runs of a list in their shortest form, and says how many these are.
pub(crate) fn print_runs(runs: &[WordRun], out: &mut String) -> usize {
    use std::fmt::Write;
    let Some(&first) = runs.first() else { return 0 };
    let follows =
        |index: usize, slices: usize| runs.get(index).copied() == moved(first, index / slices, index % slices);
    let slices = (1..WIDEST).take_while(|&index| runs.get(index).is_some() && follows(index, usize::MAX)).count() + 1;
    let whole = |chip: &usize| {
        let mut of_chip = *chip * slices..(*chip + 1) * slices;
        of_chip.end <= runs.len().min(WIDEST) && of_chip.all(|index| follows(index, slices))
    };
    let chips = (1..).take_while(whole).count() + 1;
    let last = runs[chips * slices - 1];
    let prefix = match (first.chip.0, last.chip.0) {
        (0, 0) => String::new(),
        (first, last) if first == last => format!("{first}/"),
        (first, last) => format!("{first}..{last}/"),
    };
    let text = WordRun { chip: ChipId(0), ..first }.to_string();
    let written = match text.split_once(':') {
        Some((slice, words)) if slices > 1 => write!(out, "{prefix}{slice}..{}:{words}", last.slice),
        _ => write!(out, "{prefix}{text}"),
    };
    written.expect("a String takes all text");
    chips * slices
}

impl FromStr for Queue {
    type Err = NotWritten;

    fn from_str(text: &str) -> Result<Self, NotWritten> {
        queue(text).ok_or(QUEUE)
    }
}

fn queue(text: &str) -> Option<Queue> {
    let (unit, place) = text.split_once('.')?;
    let sides = || sided(place);
    Some(match unit {
        "mem" => sides().map(|(side, slice)| Queue::Mem(side, slice))?,
        "vxm" => Queue::Vxm(number(place)?),
        "mxm" => {
            let (plane, port) = place.split_once('.')?;
            let (side, plane) = sided(plane)?;
            Queue::Mxm(side, plane, PlanePort::ALL.into_iter().find(|each| each.name() == port)?)
        }
        "sxm" => sides().map(|(side, unit)| Queue::Sxm(side, unit))?,
        "c2c" => Queue::C2c(number(place)?),
        _ => return None,
    })
}

/// Whether a name can be without quotes.
fn bare(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/'))
}

/// Appends a name, in quotes where it needs them.
pub(crate) fn print_name(name: &str, out: &mut String) {
    if bare(name) {
        out.push_str(name);
        return;
    }
    out.push('"');
    for letter in name.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            _ => out.push(letter),
        }
    }
    out.push('"');
}

/// The name after an opening quote, and the length of its written form, quotes included.
pub(crate) fn quoted(text: &str) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((name, at + 1)),
            '\\' => match letters.next()?.1 {
                'n' => name.push('\n'),
                'r' => name.push('\r'),
                other @ ('"' | '\\') => name.push(other),
                _ => return None,
            },
            _ => name.push(letter),
        }
    }
    None
}
