//! Names that a text gives to numbers, operands, cycles and addresses, and the sums and products in which they are.
//!
//! A constant (`.equ`) is a number or any operand. A label is the cycle in which its instruction first issues. A
//! region's name is an address: `x + 3` is the word number 3, from 0, of those words of region `x` that are in the
//! queue's slice.

use std::collections::BTreeMap;

use super::error::{AsmError, Span, suggestion};
use super::regions::RegionTable;
use crate::program::{ChipId, Region, SliceId, WordRun};
use crate::table::TABLE;
use crate::text::operand::{number, parse};

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SymbolValue {
    /// A number.
    Number(i64),
    /// An operand's written form, not a number.
    Operand(String),
}

/// A name's value, and where it was given.
pub(super) struct Symbol {
    pub(super) value: SymbolValue,
    pub(super) span: Span,
}

/// Names in order, so that messages are always the same.
pub(super) type SymbolTable = BTreeMap<String, Symbol>;

/// Whether a text is some operand's own written form, a number apart.
pub(super) fn is_operand(text: &str) -> bool {
    let kinds = TABLE.iter().flat_map(|row| row.operands.iter().map(|operand| operand.kind));
    number::<u64>(text).is_none() && kinds.into_iter().any(|kind| parse(kind, text).is_ok())
}

/// What a name can mean at one place of the text.
#[derive(Clone, Copy)]
pub(super) struct Scope<'t> {
    pub(super) constants: &'t SymbolTable,
    /// Labels of the program.
    pub(super) labels: Option<&'t SymbolTable>,
    /// The program whose regions can be named.
    pub(super) regions: Option<&'t RegionTable>,
    /// The slice in which the words of the regions are looked for.
    pub(super) slice: Option<(ChipId, SliceId)>,
}

/// Why an expression has no value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It is no expression of known form; the caller knows better what is expected.
    Form,
    /// A name that means nothing, and is like no name that does.
    Unknown(String),
    /// What is wrong, and what to do.
    Because(String, String),
}

impl Trouble {
    /// What is wrong and what to do; nothing where the form is.
    pub(super) fn reason(self) -> Option<(String, String)> {
        match self {
            Trouble::Form => None,
            Trouble::Unknown(name) => Some((
                format!("there is no symbol `{name}`"),
                "give it above its use, with `.equ` or as a label".to_owned(),
            )),
            Trouble::Because(message, help) => Some((message, help)),
        }
    }

    /// The mistake at a place where an expression is expected.
    pub(super) fn at(self, span: Span) -> AsmError {
        let (message, help) = self
            .reason()
            .unwrap_or_else(|| ("an expression is expected".into(), "write a sum of numbers and symbols".into()));
        AsmError::new(span, message, help)
    }
}

/// A part of an expression that was read so far.
enum Partial<'t> {
    Value(SymbolValue),
    Word(&'t Region, i64),
}

/// Whether a name can be given: letters, digits and `_`, a letter or `_` first, and more than `_` alone.
pub(super) fn is_name(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    first && text != "_" && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether a byte may be in a name that is used; region names may hold dots and slashes.
fn in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'/')
}

impl<'t> Scope<'t> {
    /// The value of an expression. An operand's own written form is not looked at here.
    pub(super) fn value(&self, text: &str) -> Result<SymbolValue, Trouble> {
        let mut reader = Reader { scope: self, rest: text.trim(), depth: 0 };
        let part = reader.sum()?;
        if !reader.rest.is_empty() {
            return Err(Trouble::Form);
        }
        match part {
            Partial::Value(value) => Ok(value),
            Partial::Word(region, offset) => self.word(region, offset).map(|word| SymbolValue::Number(i64::from(word))),
        }
    }

    /// The value of an expression that must be a number of at least 0.
    pub(super) fn number(&self, text: &str) -> Result<u64, Trouble> {
        match self.value(text)? {
            SymbolValue::Number(value) => u64::try_from(value)
                .map_err(|_| because(format!("`{text}` is {value}"), "make it a number of at least 0")),
            SymbolValue::Operand(operand) => {
                Err(because(format!("`{text}` is the operand `{operand}`, not a number"), "use a constant that is one"))
            }
        }
    }

    fn word(&self, region: &Region, offset: i64) -> Result<u32, Trouble> {
        let Some((chip, slice)) = self.slice else { return Err(Trouble::Form) };
        let name = &region.name;
        let place = if chip.0 == 0 { slice.to_string() } else { format!("{}/{slice}", chip.0) };
        let runs = region.runs.iter().filter(|run| (run.chip, run.slice) == (chip, slice));
        let words: u64 = runs.clone().map(|run| u64::from(run.count)).sum();
        if words == 0 {
            let written = |run: &WordRun| {
                if run.chip == chip { run.slice.to_string() } else { format!("{}/{}", run.chip.0, run.slice) }
            };
            let mut places: Vec<String> = region.runs.iter().take(8).map(written).collect();
            places.dedup();
            let places = places.join(", ");
            return Err(because(
                format!("region `{name}` has no word in slice {place}"),
                &format!("use it in a slice of its own: {places}"),
            ));
        }
        let mut left = u64::try_from(offset).ok().filter(|&offset| offset < words).ok_or_else(|| {
            let message = format!("region `{name}` has {words} words in slice {place}, there is no word {offset}");
            because(message, &format!("words of a region count from 0 to {}", words - 1))
        })?;
        for run in runs {
            if left < u64::from(run.count) {
                return Ok(run.word.saturating_add((left as u32).saturating_mul(run.stride)));
            }
            left -= u64::from(run.count);
        }
        Err(Trouble::Form)
    }

    fn name(&self, name: &str) -> Result<Partial<'t>, Trouble> {
        let named = self.labels.and_then(|labels| labels.get(name)).or_else(|| self.constants.get(name));
        if let Some(named) = named {
            return Ok(Partial::Value(named.value.clone()));
        }
        if let Some(found) = self.regions.and_then(|program| program.region(name)) {
            return match self.slice {
                Some(_) => Ok(Partial::Word(&found.region, 0)),
                None => Err(because(
                    format!("`{name}` is a region, whose words have addresses in the queues of its slices alone"),
                    "use a number, a constant or a label",
                )),
            };
        }
        if is_operand(name) {
            return Ok(Partial::Value(SymbolValue::Operand(name.to_owned())));
        }
        let labels = self.labels.iter().flat_map(|labels| labels.keys());
        let regions = self.regions.filter(|_| self.slice.is_some());
        let regions = regions.iter().flat_map(|regions| regions.names.keys());
        let known = self.constants.keys().chain(labels).chain(regions).map(String::as_str);
        match suggestion(name, known, "") {
            help if help.is_empty() => Err(Trouble::Unknown(name.to_owned())),
            help => Err(because(format!("there is no symbol `{name}`"), &help)),
        }
    }

    /// A name, or the name in front of the first `/`, which then divides; and the length of what was taken.
    fn longest_name(&self, text: &str) -> Result<(Partial<'t>, usize), Trouble> {
        let whole = self.name(text);
        match text.find('/') {
            Some(cut) if whole.is_err() => Ok((self.name(&text[..cut])?, cut)),
            _ => Ok((whole?, text.len())),
        }
    }
}

fn because(message: String, help: &str) -> Trouble {
    Trouble::Because(message, help.to_owned())
}

/// Reads an expression from left to right.
struct Reader<'s, 't> {
    scope: &'s Scope<'t>,
    rest: &'s str,
    depth: u32,
}

impl<'t> Reader<'_, 't> {
    fn take(&mut self, sign: char) -> bool {
        let found = self.rest.strip_prefix(sign);
        if let Some(rest) = found {
            self.rest = rest.trim_start();
        }
        found.is_some()
    }

    fn sum(&mut self) -> Result<Partial<'t>, Trouble> {
        let mut total = self.product()?;
        loop {
            let minus = if self.take('+') {
                false
            } else if self.take('-') {
                true
            } else {
                return Ok(total);
            };
            let next = self.product()?;
            total = add(total, next, minus)?;
        }
    }

    fn product(&mut self) -> Result<Partial<'t>, Trouble> {
        let mut total = self.term()?;
        while let Some(sign) = ['*', '/', '%'].into_iter().find(|sign| self.take(*sign)) {
            let next = self.term()?;
            let (Partial::Value(SymbolValue::Number(a)), Partial::Value(SymbolValue::Number(b))) = (&total, &next)
            else {
                return Err(because(
                    "only numbers can be multiplied and divided".into(),
                    "leave addresses and operands out of products",
                ));
            };
            if sign != '*' && *b < 1 {
                return Err(because(format!("{a} cannot be divided by {b}"), "divide by a number of at least 1"));
            }
            total = Partial::Value(SymbolValue::Number(match sign {
                '*' => a.checked_mul(*b).ok_or_else(too_large)?,
                '/' => a.div_euclid(*b),
                _ => a.rem_euclid(*b),
            }));
        }
        Ok(total)
    }

    fn term(&mut self) -> Result<Partial<'t>, Trouble> {
        let open = self.take('(');
        if open || self.take('-') {
            // Deeper than anyone writes, it would only serve to exhaust the stack.
            self.depth += 1;
            if self.depth > 32 {
                return Err(Trouble::Form);
            }
            let inner =
                if open { self.sum()? } else { add(Partial::Value(SymbolValue::Number(0)), self.term()?, true)? };
            self.depth -= 1;
            return if open && !self.take(')') { Err(Trouble::Form) } else { Ok(inner) };
        }
        let digits = self.rest.starts_with(|letter: char| letter.is_ascii_digit());
        let in_term = |byte: u8| if digits { byte.is_ascii_digit() } else { in_name(byte) };
        let length = self.rest.bytes().position(|byte| !in_term(byte)).unwrap_or(self.rest.len());
        let term = &self.rest[..length];
        let (part, length) = match term.bytes().next() {
            None => return Err(Trouble::Form),
            Some(b'0'..=b'9') => {
                (Partial::Value(SymbolValue::Number(number::<i64>(term).ok_or(Trouble::Form)?)), length)
            }
            Some(_) => self.scope.longest_name(term)?,
        };
        self.rest = self.rest[length..].trim_start();
        Ok(part)
    }
}

fn too_large() -> Trouble {
    because("the number is too large".into(), "numbers have 64 bits")
}

fn add<'t>(a: Partial<'t>, b: Partial<'t>, minus: bool) -> Result<Partial<'t>, Trouble> {
    let Partial::Value(SymbolValue::Number(b)) = b else {
        return Err(because(
            "only a number can be added or taken away".into(),
            "write the address or operand first, then the number",
        ));
    };
    let b = if minus { b.checked_neg().ok_or_else(too_large)? } else { b };
    Ok(match a {
        Partial::Value(SymbolValue::Number(a)) => {
            Partial::Value(SymbolValue::Number(a.checked_add(b).ok_or_else(too_large)?))
        }
        Partial::Value(SymbolValue::Operand(operand)) => Partial::Value(SymbolValue::Operand(step(&operand, b)?)),
        Partial::Word(region, offset) => Partial::Word(region, offset.checked_add(b).ok_or_else(too_large)?),
    })
}

/// The stream or latch so many numbers on: `w4` and 2 make `w6`.
fn step(operand: &str, by: i64) -> Result<String, Trouble> {
    let stepped = operand.chars().next().filter(|letter| matches!(letter, 'e' | 'w' | 'a')).and_then(|letter| {
        let sum = number::<i64>(&operand[1..])?.checked_add(by).filter(|sum| *sum >= 0)?;
        Some(format!("{letter}{sum}"))
    });
    stepped.ok_or_else(|| {
        because(format!("nothing can be added to the operand `{operand}`"), "only streams and latches have numbers")
    })
}

#[cfg(test)]
mod tests {
    use super::super::regions::{RegionText, Values};
    use super::*;
    use crate::operand::Format;
    use crate::program::{RegionKind, WordRun};
    use crate::queue::Hemisphere;

    fn value(text: &str) -> Result<String, String> {
        let span = Span { order: 1, line: 1, column: 1, start: 0, length: 0, context: 0 };
        let named = |value| Symbol { value, span };
        let constants: SymbolTable = [
            ("four", SymbolValue::Number(4)),
            ("x_bus", SymbolValue::Operand("w4".into())),
            ("eps", SymbolValue::Operand("#0.5".into())),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), named(value)))
        .collect();
        let slice = |index| SliceId { side: Hemisphere::East, index };
        let run = |index, word, count, stride| WordRun { chip: ChipId(0), slice: slice(index), word, count, stride };
        let region = |name: &str, runs| RegionText {
            region: Region {
                name: name.into(),
                kind: RegionKind::State,
                format: Format::I8,
                vectors: 1,
                lanes: 1,
                runs,
            },
            span,
            values: Values::None,
            values_span: span,
            unsure: false,
        };
        let mut program = RegionTable::default();
        program.add(region("kv.a", vec![run(1, 10, 2, 3), run(2, 9, 1, 1), run(1, 50, 1, 1)]));
        program.add(region("far", vec![run(7, 0, 1, 1)]));
        program.add(region("kv/a", vec![run(1, 70, 1, 1)]));
        let scope =
            Scope { constants: &constants, labels: None, regions: Some(&program), slice: Some((ChipId(0), slice(1))) };
        match scope.value(text) {
            Ok(SymbolValue::Number(number)) => Ok(number.to_string()),
            Ok(SymbolValue::Operand(operand)) => Ok(operand),
            Err(trouble) => Err(trouble.reason().map_or("form".into(), |(message, help)| format!("{message}; {help}"))),
        }
    }

    #[test]
    fn expressions() {
        for (text, expected) in [
            ("7", "7"),
            ("2*four+1", "9"),
            ("1 + four * (2 - 5)", "-11"),
            ("x_bus", "w4"),
            ("x_bus + four - 1", "w7"),
            ("-four + 1", "-3"),
            ("eps", "#0.5"),
            ("e3 + four", "e7"),
            ("9/four", "2"),
            ("four/2*3 + 9 % four", "7"),
            ("-9 / four", "-3"),
            ("(0-9) % four", "3"),
            ("kv/a", "70"),
            ("kv.a", "10"),
            ("kv.a + 1", "13"),
            ("kv.a+2", "50"),
        ] {
            assert_eq!(value(text).as_deref(), Ok(expected), "{text}");
        }
        for (text, expected) in [
            ("", "form"),
            ("four four", "form"),
            ("(4", "form"),
            (
                "nothing_like_it",
                "there is no symbol `nothing_like_it`; give it above its use, with `.equ` or as a label",
            ),
            ("nope/2", "there is no symbol `nope`; give it above its use, with `.equ` or as a label"),
            ("four/0", "4 cannot be divided by 0; divide by a number of at least 1"),
            ("four % -2", "4 cannot be divided by -2; divide by a number of at least 1"),
            ("out + 1", "nothing can be added to the operand `out`; only streams and latches have numbers"),
            ("fuor", "there is no symbol `fuor`; did you mean `four`?"),
            (
                "kv.a + 3",
                "region `kv.a` has 3 words in slice e1, there is no word 3; words of a region count from 0 to 2",
            ),
            ("far", "region `far` has no word in slice e1; use it in a slice of its own: e7"),
            ("four * kv.a", "only numbers can be multiplied and divided; leave addresses and operands out of products"),
            (
                "four + kv.a",
                "only a number can be added or taken away; write the address or operand first, then the number",
            ),
            ("eps + 1", "nothing can be added to the operand `#0.5`; only streams and latches have numbers"),
            ("9223372036854775807 + 1", "the number is too large; numbers have 64 bits"),
        ] {
            assert_eq!(value(text), Err(expected.to_owned()), "{text}");
        }
        assert_eq!(value(&"(".repeat(10_000)), Err("form".into()));
        assert_eq!(value(&"-".repeat(10_000)), Err("form".into()));
    }
}
