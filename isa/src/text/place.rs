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
const QUEUE: NotWritten = NotWritten { expected: "a queue such as mem.e0, vxm.3, mxm.w1.lw, sxm.e2 or c2c.0" };

/// Chip prefix and rest.
pub(crate) fn chip(text: &str) -> Option<(ChipId, &str)> {
    match text.split_once('/') {
        Some((chip, rest)) => Some((ChipId(number(chip)?), rest)),
        None => Some((ChipId(0), text)),
    }
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
    let (words, stride) = words.split_once('+').map_or(Some((words, 1)), |(words, stride)| Some((words, number(stride)?)))?;
    let (word, count) = words.split_once('x').map_or(Some((words, 1)), |(word, count)| Some((word, number(count)?)))?;
    Some(WordRun { chip, slice: SliceId { side, index }, word: number(word)?, count, stride })
}

const RUNS: NotWritten = NotWritten { expected: "runs of words such as e0:5, 1/w3:16x4+2 or e0..e3:5, of at most 64 slices of one side" };

/// The most slices of one written range (assumed); keeps a short text from becoming many runs.
const WIDEST: u16 = 64;

/// Reads a run, or the same run in each of several slices: `e0..e3:5`.
pub(crate) fn runs(text: &str) -> Result<Vec<WordRun>, NotWritten> {
    range(text).ok_or(RUNS)
}

fn range(text: &str) -> Option<Vec<WordRun>> {
    let (slices, words) = text.split_once(':')?;
    let Some((first, last)) = slices.split_once("..") else { return Some(vec![run(text)?]) };
    let first = run(&format!("{first}:{words}"))?;
    let (side, last) = sided(last)?;
    let above = last.checked_sub(first.slice.index).filter(|above| *above < WIDEST && side == first.slice.side)?;
    Some((0..=above).map(|above| WordRun { slice: SliceId { side, index: first.slice.index + above }, ..first }).collect())
}

/// Appends the first runs of a list in their shortest form, and says how many these are.
pub(crate) fn print_runs(runs: &[WordRun], out: &mut String) -> usize {
    use std::fmt::Write;
    let Some(first) = runs.first() else { return 0 };
    let same = |above: u16, run: &WordRun| {
        let index = first.slice.index.checked_add(above);
        index.is_some_and(|index| *run == WordRun { slice: SliceId { index, ..first.slice }, ..*first })
    };
    let count = (0..WIDEST).zip(runs).take_while(|(above, run)| same(*above, run)).count();
    let text = first.to_string();
    let written = match text.split_once(':') {
        Some((slice, words)) if count > 1 => write!(out, "{slice}..{}:{words}", runs[count - 1].slice),
        _ => write!(out, "{text}"),
    };
    written.expect("a String takes all text");
    count
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

/// Whether a name can stand without quotes.
fn bare(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/'))
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

/// The name behind an opening quote, and the length of its written form, quotes included.
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
