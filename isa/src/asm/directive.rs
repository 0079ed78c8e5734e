//! Directive lines: everything that starts with a dot.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use super::element::{self, ElementRange};
use super::error::{AsmError, Span, suggestion};
use super::lex::{DirectiveWord, SourceLine};
use super::regions::{RegionText, Values};
use super::source::{LoadChip, LoadFile};
use super::state::{
    Arguments, EACH, ExpansionBudget, ExtentContent, ExtentText, LikeText, Open, ParsedText, ProgramText, QueueText,
    StartText,
};
use super::symbol::{Scope, SymbolValue, Trouble, is_operand};
use crate::container::{check_name, check_program_head};
use crate::operand::Format;
use crate::program::{ChipId, ChipRef, Region, RegionKind};
use crate::queue::Queue;
use crate::text::operand::number;
use crate::text::place;

/// Those that the lines' order follows from.
pub(super) const INCLUDE: (&str, &str) = (".include", ".include FILE");
pub(super) const REPT: (&str, &str) = (".rept", ".rept COUNT [NAME]");

/// Directives other than the kinds of region, with their written form.
pub(crate) const USAGE: &[(&str, &str)] = &[
    (".chip", ".chip NAME [LANES FINGERPRINT]"),
    (".equ", ".equ NAME VALUE"),
    INCLUDE,
    REPT,
    (".endr", ".endr"),
    (".image", ".image \"FILE\""),
    (".zero", ".zero RUN"),
    (".data", ".data RUN [RUN] [LANES]"),
    (".file", ".file RUN [RUN] OFFSET [LANES]"),
    (".host", ".host [OFFSET LENGTH]"),
    (".hex", ".hex DIGITS.."),
    (".program", ".program NAME"),
    (".cycles", ".cycles NUMBER"),
    (".interval", ".interval NUMBER"),
    (".chips", ".chips NUMBER"),
    (".like", ".like CHIP[..CHIP] CHIP [LINK=LINK ..]"),
    (".start", ".start CHIP[..CHIP] CYCLE"),
    (".at", ".at RUNS, .."),
    (".values", ".values REGION VALUE|FIRST..LAST[+STEP] .."),
    (".fill", ".fill REGION VALUE"),
    (".queue", ".queue [CHIP[..CHIP]/]QUEUE"),
    (".block", ".block REGION [CHIP/]QUEUE"),
];

/// What a run of a range counts where lines are repeated.
const RUN_BYTES: u64 = 20;
/// What an extent on one more chip counts, alongside its bytes.
const EXTENT_BYTES: u64 = 64;

/// The written form of a region.
pub(crate) const REGION_USAGE: &str = ".KIND NAME FORMAT [VECTORS, LANES] at RUNS, ..";

fn region_kind(directive: &str) -> Option<RegionKind> {
    RegionKind::ALL.iter().copied().find(|kind| directive.strip_prefix('.') == Some(kind.text()))
}

/// Takes one directive line.
pub(super) fn line<'a>(
    text: &mut ParsedText<'a>,
    line: &SourceLine<'_>,
    load: LoadFile<'_, 'a>,
    chip: LoadChip<'_>,
) -> Result<(), AsmError> {
    // Arguments name constants and labels while the line changes other parts of the text.
    let constants = std::mem::take(&mut text.constants);
    let program = text.programs.len().checked_sub(1);
    let labels = program.map(|program| std::mem::take(&mut text.programs[program].labels));
    let scope = Scope { constants: &constants, labels: labels.as_ref(), regions: None, slice: None };
    let given = known_names(text, line, scope, load, chip);
    text.constants = constants;
    if let (Some(program), Some(labels)) = (program, labels) {
        text.programs[program].labels = labels;
    }
    match given? {
        Some((name, span, value)) => text.give(&name, span, value, false),
        None => Ok(()),
    }
}

/// A name with its place and value.
type NamedValue = (String, Span, SymbolValue);

/// Takes a line whose numbers may be constants and labels; gives back the constant that it defines, if it does.
fn known_names<'a>(
    text: &mut ParsedText<'a>,
    line: &SourceLine<'_>,
    scope: Scope<'_>,
    load: LoadFile<'_, 'a>,
    chip: LoadChip<'_>,
) -> Result<Option<NamedValue>, AsmError> {
    let words = line.words()?;
    let Some(first) = words.first() else { return Ok(None) };
    let directive = first.text.as_ref();
    let kind = region_kind(directive);
    let usage =
        USAGE.iter().find(|(name, _)| *name == directive).map(|(_, usage)| *usage).or(kind.map(|_| REGION_USAGE));
    let Some(usage) = usage else {
        let kinds: Vec<String> = RegionKind::ALL.iter().map(|kind| format!(".{}", kind.text())).collect();
        let known = USAGE.iter().map(|(name, _)| *name).chain(kinds.iter().map(String::as_str));
        let help = suggestion(directive, known, "the directives are listed in docs/program-format.md");
        return Err(AsmError::new(first.span, format!("unknown directive `{directive}`"), help));
    };
    let arguments = Arguments::of(&words, (directive, usage), scope);
    if let Some(kind) = kind {
        return region(text, kind, arguments).map(|()| None);
    }
    match directive {
        ".equ" => return equ(arguments).map(Some),
        ".chip" => chip_line(text, arguments, chip),
        ".image" => image(text, arguments, load),
        ".zero" | ".data" | ".file" => extent(text, arguments),
        ".host" => host(text, arguments),
        ".hex" => hex(text, arguments),
        ".program" => program(text, arguments),
        ".queue" => queue(text, arguments, line.text.len()),
        ".block" => block(text, arguments),
        ".at" => more_runs(text, arguments),
        ".cycles" | ".interval" | ".chips" => number_line(text, arguments),
        ".like" => like(text, arguments, line.text.len()),
        ".start" => start(text, arguments),
        _ => values(text, arguments),
    }
    .map(|()| None)
}

fn equ(mut arguments: Arguments<'_, '_>) -> Result<NamedValue, AsmError> {
    let name = arguments.next("a name")?;
    let expected = "a number, an operand, or a sum or product of numbers and constants";
    let first = arguments.next(expected)?;
    let words: Vec<&str> =
        std::iter::once(first).chain(arguments.words.clone()).map(|word| word.text.as_ref()).collect();
    let value = words.join(" ");
    if is_operand(&value) && !value.starts_with('-') {
        return Ok((name.text.to_string(), name.span, SymbolValue::Operand(value)));
    }
    let value = arguments.scope.value(&value).map_err(|trouble| match trouble {
        Trouble::Form => arguments.mistake(first, expected),
        trouble => trouble.at(first.span),
    })?;
    Ok((name.text.to_string(), name.span, value))
}

fn twice(span: Span, what: &str) -> AsmError {
    AsmError::new(span, format!("a second `{what}`"), "leave out one of them")
}

fn chip_line(text: &mut ParsedText<'_>, mut arguments: Arguments<'_, '_>, chip: LoadChip<'_>) -> Result<(), AsmError> {
    let again = text.chip.replace(None).is_some();
    if again {
        return Err(twice(arguments.span, arguments.directive));
    }
    let name = arguments.next("a chip name")?;
    check_name("chip", &name.text).map_err(|error| AsmError::content(name.span, &error))?;
    let found = if arguments.is_empty() {
        chip(&name.text).ok_or_else(|| {
            AsmError::new(
                name.span,
                format!("there is no chip `{}`", name.text),
                "name a preset or a chip file, or give lanes and fingerprint behind the name",
            )
        })?
    } else {
        let lanes = arguments.number("a number of lanes")?;
        let word = arguments.next("a fingerprint of 64 hexadecimal digits")?;
        let fingerprint = bytes(&word.text).and_then(|bytes| bytes.try_into().ok());
        let fingerprint =
            fingerprint.ok_or_else(|| arguments.mistake(word, "a fingerprint of 64 hexadecimal digits"))?;
        (ChipRef { name: name.text.to_string(), fingerprint }, lanes)
    };
    if !(1..=1 << 16).contains(&found.1) {
        return Err(AsmError::new(
            name.span,
            format!("a chip of {} lanes does not exist", found.1),
            "give 1 to 65536 lanes",
        ));
    }
    text.chip = Some(Some(found));
    arguments.finish()
}

fn image<'a>(
    text: &mut ParsedText<'a>,
    mut arguments: Arguments<'_, '_>,
    load: LoadFile<'_, 'a>,
) -> Result<(), AsmError> {
    let again = text.file.replace(None).is_some();
    if again {
        return Err(twice(arguments.span, arguments.directive));
    }
    let name = arguments.next("a file name")?;
    let content = load(&name.text).map_err(|reason| {
        AsmError::new(
            name.span,
            format!("the image file `{}` cannot be read: {reason}", name.text),
            "put it beside the text or correct its name",
        )
    })?;
    text.room.add(EACH * content.len() as u64);
    text.file = Some(Some(content));
    arguments.finish()
}

fn extent(text: &mut ParsedText<'_>, mut arguments: Arguments<'_, '_>) -> Result<(), AsmError> {
    let span = arguments.span;
    let (place, more) = arguments.run_on_chips()?;
    let zero = arguments.directive == ".zero";
    let second = arguments.words.as_slice().first().filter(|word| !zero && word.text.contains(':'));
    let other = second.map(|word| Ok((word.span, arguments.run_on_chips()?))).transpose()?;
    if let Some((span, (_, found))) = other.filter(|(_, (_, found))| *found != more) {
        let message =
            format!("the first run is on {} chips, the second on {}", u32::from(more) + 1, u32::from(found) + 1);
        return Err(AsmError::new(span, message, "give both ranges as many chips"));
    }
    let other = other.map(|(_, (other, _))| other);
    let content = match arguments.directive {
        ".file" => Some(ExtentContent::File { offset: arguments.number("an offset in the file")?, length: None }),
        _ => Some(ExtentContent::Hex(Vec::new())).filter(|_| !zero),
    };
    let said = arguments.words.as_slice().first().filter(|_| !zero);
    let lanes = said.map(|word| Ok((arguments.number("a number of lanes")?, word.span))).transpose()?;
    let bytes = match content {
        Some(ExtentContent::File { .. }) => {
            let width = if other.is_some() { 2 } else { 1 };
            let whole = text.chip.as_ref().and_then(Option::as_ref).map_or(1 << 16, |(_, lanes)| *lanes);
            u64::from(lanes.map_or(whole, |(lanes, _)| lanes)).saturating_mul(width * u64::from(place.count))
        }
        _ => 0,
    };
    if text.room.take(u64::from(more).saturating_mul(bytes.saturating_add(EXTENT_BYTES))) {
        text.extents.push(ExtentText { place, other, more, span, content, lanes });
        text.open = Open::Extent;
    }
    arguments.finish()
}

fn host(text: &mut ParsedText<'_>, mut arguments: Arguments<'_, '_>) -> Result<(), AsmError> {
    if text.host.is_some() {
        return Err(twice(arguments.span, arguments.directive));
    }
    let content = if arguments.is_empty() {
        ExtentContent::Hex(Vec::new())
    } else {
        ExtentContent::File {
            offset: arguments.number("an offset in the file")?,
            length: Some(arguments.number("a length in bytes")?),
        }
    };
    text.host = Some((content, arguments.span));
    text.open = Open::Host;
    arguments.finish()
}

/// The bytes of an even number of hexadecimal digits.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|value| value as u8);
    digits.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

fn hex(text: &mut ParsedText<'_>, mut arguments: Arguments<'_, '_>) -> Result<(), AsmError> {
    let more = text.extents.last().filter(|_| text.open == Open::Extent).map_or(0, |extent| extent.more);
    let digits: u64 = arguments.words.clone().map(|word| word.text.len() as u64).sum();
    if !text.room.take(u64::from(more) * digits) {
        return Ok(());
    }
    let content = match text.open {
        Open::Extent => text.extents.last_mut().and_then(|extent| extent.content.as_mut()),
        Open::Host => text.host.as_mut().map(|(content, _)| content),
        _ => None,
    };
    let Some(ExtentContent::Hex(out)) = content else {
        return Err(AsmError::new(arguments.span, "`.hex` continues nothing", "put it behind `.data RUN` or `.host`"));
    };
    while !arguments.is_empty() {
        let expected = "an even number of hexadecimal digits";
        let word = arguments.next(expected)?;
        out.extend(bytes(&word.text).ok_or_else(|| arguments.mistake(word, expected))?);
    }
    Ok(())
}

fn program(text: &mut ParsedText<'_>, mut arguments: Arguments<'_, '_>) -> Result<(), AsmError> {
    let name = arguments.next("a name")?;
    text.open = Open::Nothing;
    let again = !text.program_names.insert(name.text.to_string());
    text.programs.push(ProgramText::new(&name.text, arguments.span));
    check_program_head(&name.text, 0, 1).map_err(|error| AsmError::content(name.span, &error))?;
    if again {
        return Err(AsmError::new(name.span, format!("a second program `{}`", name.text), "rename one"));
    }
    arguments.finish()
}

/// The program that a line belongs to.
fn current<'t>(text: &'t mut ParsedText<'_>, arguments: &Arguments<'_, '_>) -> Result<&'t mut ProgramText, AsmError> {
    let missing = || {
        AsmError::new(
            arguments.span,
            format!("`{}` stands outside a program", arguments.directive),
            "start one with `.program NAME` first",
        )
    };
    text.programs.last_mut().ok_or_else(missing)
}

fn number_line(text: &mut ParsedText<'_>, mut arguments: Arguments<'_, '_>) -> Result<(), AsmError> {
    let program = current(text, &arguments)?;
    let (directive, span) = (arguments.directive, arguments.span);
    let checked = |cycles, chips| {
        check_program_head("this program", cycles, chips).map_err(|error| AsmError::content(span, &error))
    };
    let again = match directive {
        ".cycles" => {
            let cycles = arguments.number("a number of cycles")?;
            checked(cycles, 1)?;
            program.cycles.replace(cycles).is_some()
        }
        ".interval" => {
            let interval: NonZeroU64 = arguments.number("a number of cycles, at least 1")?;
            checked(interval.get(), 1)?;
            program.interval.replace(interval).is_some()
        }
        _ => {
            let chips = arguments.number("a number of chips")?;
            checked(0, usize::from(chips))?;
            program.chips.replace((chips, span)).is_some()
        }
    };
    if again { Err(twice(span, directive)) } else { arguments.finish() }
}

/// One chip or several in a row.
fn chip_range(arguments: &mut Arguments<'_, '_>) -> Result<(ChipId, ChipId), AsmError> {
    let expected = "a chip such as 3, or chips such as 1..7";
    let word = arguments.next(expected)?;
    let (first, last) = word.text.split_once("..").unwrap_or((&word.text, &word.text));
    let range = number::<u16>(first).zip(number::<u16>(last)).filter(|(first, last)| first <= last);
    range.map(|(first, last)| (ChipId(first), ChipId(last))).ok_or_else(|| arguments.mistake(word, expected))
}

/// Chips that share the queues of another.
fn like(text: &mut ParsedText<'_>, mut arguments: Arguments<'_, '_>, bytes: usize) -> Result<(), AsmError> {
    let chips = chip_range(&mut arguments)?;
    let of = ChipId(arguments.number("the chip whose queues they share")?);
    let mut links = BTreeMap::new();
    while !arguments.is_empty() {
        let expected = "a link of that chip and the link that it is here, such as 0=4";
        let word = arguments.next(expected)?;
        let pair = word.text.split_once('=').and_then(|(of, here)| number::<u16>(of).zip(number::<u16>(here)));
        let (of_set, of_chip) = pair.ok_or_else(|| arguments.mistake(word, expected))?;
        if links.insert(of_set, of_chip).is_some() {
            return Err(AsmError::new(word.span, format!("link {of_set} is named twice"), "leave out one of them"));
        }
    }
    let span = arguments.span;
    current(text, &arguments)?;
    // Links are written once and held by every chip.
    let more = if links.is_empty() { 0 } else { u64::from(chips.1.0 - chips.0.0) };
    if text.room.take(more * bytes as u64) {
        current(text, &arguments)?.likes.push(LikeText { chips, of, links, span });
    }
    arguments.finish()
}

/// The cycle in which the queues of chips start.
fn start(text: &mut ParsedText<'_>, mut arguments: Arguments<'_, '_>) -> Result<(), AsmError> {
    let chips = chip_range(&mut arguments)?;
    let cycle = arguments.number("a cycle")?;
    let span = arguments.span;
    check_program_head("this program", cycle, 1).map_err(|error| AsmError::content(span, &error))?;
    current(text, &arguments)?.starts.push(StartText { chips, cycle, span });
    arguments.finish()
}

fn queue(text: &mut ParsedText<'_>, mut arguments: Arguments<'_, '_>, bytes: usize) -> Result<(), AsmError> {
    current(text, &arguments)?;
    text.open = Open::Nothing;
    let expected = "a queue such as mem.e0, vxm.3, mxm.w1.lw, sxm.e2, 1/mem.w0 or 0..7/mem.e4";
    let word = arguments.next(expected)?;
    let parsed =
        place::chips(&word.text).and_then(|(first, last, rest)| Some((first, last, rest.parse::<Queue>().ok()?)));
    let (first, last, queue) = parsed.ok_or_else(|| arguments.mistake(word, expected))?;
    if text.room.take(u64::from(last.0 - first.0) * bytes as u64) {
        text.open = Open::Queue(first, last, queue);
    }
    arguments.finish()
}

fn queue_name(arguments: &mut Arguments<'_, '_>) -> Result<(ChipId, Queue), AsmError> {
    let expected = "a queue such as mem.e0, vxm.3, mxm.w1.lw, sxm.e2 or 1/mem.w0";
    let word = arguments.next(expected)?;
    let parsed = place::chip(&word.text).and_then(|(chip, rest)| Some((chip, rest.parse::<Queue>().ok()?)));
    parsed.ok_or_else(|| arguments.mistake(word, expected))
}

/// Instructions that a queue fetches from a region.
fn block(text: &mut ParsedText<'_>, mut arguments: Arguments<'_, '_>) -> Result<(), AsmError> {
    let program = current(text, &arguments)?;
    let name = arguments.next("the name of a region")?;
    let index = region_index(program, name)?;
    let (chip, queue) = queue_name(&mut arguments)?;
    let region = &mut program.regions.list[index];
    let (kind, format) = (region.region.kind, region.region.format);
    if (kind, format) != (RegionKind::Code, Format::I8) {
        let message =
            format!("region `{}` is a `{}` of {format}; instructions stand in a `code` of i8", name.text, kind.text());
        return Err(AsmError::new(name.span, message, "name another region or change this one"));
    }
    if !matches!(region.values, Values::None) {
        return Err(AsmError::new(
            arguments.span,
            format!("region `{}` has values already", name.text),
            "leave out one of them",
        ));
    }
    (region.values, region.values_span) = (Values::Code(program.code.len()), arguments.span);
    let open = Open::Code(chip, queue, program.code.len());
    program.code.push(((chip, queue), QueueText::default()));
    text.open = open;
    arguments.finish()
}

/// Where in a program a region is.
fn region_index(program: &ProgramText, name: &DirectiveWord<'_>) -> Result<usize, AsmError> {
    program.regions.names.get(name.text.as_ref()).copied().ok_or_else(|| {
        let help = suggestion(&name.text, program.regions.names.keys().map(String::as_str), "declare it first");
        AsmError::new(name.span, format!("this program has no region `{}`", name.text), help)
    })
}

fn region(text: &mut ParsedText<'_>, kind: RegionKind, mut arguments: Arguments<'_, '_>) -> Result<(), AsmError> {
    let program = current(text, &arguments)?;
    let name = arguments.next("a name")?;
    let format = arguments.next("a number format")?;
    let expected = "a number format such as f16";
    let format = Format::ALL
        .iter()
        .copied()
        .find(|each| each.text() == format.text)
        .ok_or_else(|| arguments.mistake(format, expected))?;
    arguments.literally("[")?;
    let vectors = arguments.number("a number of vectors")?;
    let lanes = arguments.number("a number of lanes")?;
    arguments.literally("]")?;
    arguments.literally("at")?;
    let region = Region { name: name.text.to_string(), kind, format, vectors, lanes, runs: Vec::new() };
    let again = !program.regions.add(RegionText {
        region,
        span: arguments.span,
        values: Values::None,
        values_span: arguments.span,
        unsure: false,
    });
    text.open = Open::Region;
    let constant = arguments.scope.constants.get(name.text.as_ref());
    more_runs(text, arguments)?;
    if let Some(first) = constant {
        let message = format!("region `{}` has the name of the constant in line {}", name.text, first.span.line);
        return Err(AsmError::new(name.span, message, "rename one"));
    }
    if again {
        return Err(AsmError::new(name.span, format!("a second region `{}` in this program", name.text), "rename one"));
    }
    Ok(())
}

fn more_runs(text: &mut ParsedText<'_>, mut arguments: Arguments<'_, '_>) -> Result<(), AsmError> {
    let inside = text.open == Open::Region;
    let region = text.programs.last_mut().and_then(|program| program.regions.list.last_mut()).filter(|_| inside);
    let Some(region) = region else {
        return Err(AsmError::new(arguments.span, "`.at` continues no region", "put it right behind a region"));
    };
    while !arguments.is_empty() {
        match arguments.runs() {
            // Runs that are written once are bounded by the text.
            Ok(runs) if arguments.span.context != 0 && !text.room.take((runs.len() as u64 - 1) * RUN_BYTES) => break,
            Ok(runs) => region.region.runs.extend(runs),
            Err(error) => {
                region.unsure = true;
                return Err(error);
            }
        }
    }
    Ok(())
}

fn values(text: &mut ParsedText<'_>, arguments: Arguments<'_, '_>) -> Result<(), AsmError> {
    let mut room = std::mem::take(&mut text.room);
    let taken = values_within(text, arguments, &mut room);
    text.room = room;
    taken
}

fn values_within(
    text: &mut ParsedText<'_>,
    mut arguments: Arguments<'_, '_>,
    room: &mut ExpansionBudget,
) -> Result<(), AsmError> {
    let program = current(text, &arguments)?;
    let name = arguments.next("the name of a region")?;
    let index = region_index(program, name)?;
    let region = &mut program.regions.list[index];
    let format = region.region.format;
    let scope = arguments.scope;
    let value = |word: &DirectiveWord<'_>| {
        let constant = || match scope.value(&word.text).ok()? {
            SymbolValue::Number(number) => element::parse(format, &number.to_string()).ok(),
            SymbolValue::Operand(operand) => element::parse(format, operand.strip_prefix('#')?).ok(),
        };
        element::parse(format, &word.text)
            .or_else(|help| constant().ok_or(help))
            .map_err(|help| AsmError::new(word.span, format!("`{}` is no element", word.text), help))
    };
    if arguments.directive == ".fill" {
        let same = value(arguments.next("a value")?)?;
        if !matches!(region.values, Values::None) {
            return Err(AsmError::new(
                arguments.span,
                format!("region `{}` has values already", name.text),
                "leave out one of them",
            ));
        }
        (region.values, region.values_span) = (Values::Same(same), arguments.span);
        return arguments.finish();
    }
    if matches!(region.values, Values::None) {
        (region.values, region.values_span) = (Values::Each(Vec::new()), arguments.span);
    }
    let Values::Each(each) = &mut region.values else {
        return Err(AsmError::new(
            arguments.span,
            format!("region `{}` is filled already", name.text),
            "leave out one of them",
        ));
    };
    let mut first = Ok(());
    for word in arguments.words {
        let taken = match element::range(scope, &word.text) {
            None => {
                let parsed = value(word);
                each.push(*parsed.as_ref().unwrap_or(&0));
                parsed.map(|_| ())
            }
            Some(Ok(range)) => {
                elements(format, &range, room, each).map_err(|(message, help)| AsmError::new(word.span, message, help))
            }
            Some(Err((message, help))) => {
                region.unsure = true;
                return Err(AsmError::new(word.span, message, help));
            }
        };
        first = first.and(taken);
    }
    first
}

/// Appends the elements of a range, each of which counts as a byte that the text brings.
fn elements(
    format: Format,
    range: &ElementRange,
    room: &mut ExpansionBudget,
    each: &mut Vec<u32>,
) -> Result<(), (String, String)> {
    let mut first = Ok(());
    let numbers = range.numbers().take_while(|_| room.take(1));
    for number in numbers {
        let parsed = element::parse(format, &number.to_string());
        each.push(*parsed.as_ref().unwrap_or(&0));
        first = first.and(parsed.map(|_| ()).map_err(|help| (format!("{number} is no element"), help)));
    }
    first
}
