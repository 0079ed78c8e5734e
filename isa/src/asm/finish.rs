//! The end of assembly: what was gathered becomes a container, and what only the whole shows is judged.

use std::borrow::Cow;

use super::error::{AsmError, Span};
use super::regions::{RegionText, Values};
use super::source_map::ProgramLines;
use super::state::{ExtentContent, ExtentText, LikeText, ParsedText, ProgramText, QueueText, StartText};
use crate::container::{check_extent, check_pair, check_region, extent_overlaps};
use crate::error::ContentError;
use crate::fetch::blocks;
use crate::image::{Extent, Fill, Image};
use crate::program::{ChipId, ChipProgram, Container, Program, QueueSet, WordRun};
use crate::queue::{Item, Queue};
use crate::text::place::moved;

/// Bytes that a text may make without spelling them out, that is by `.fill`, short `.values` and numbers of chips: this
/// many, and more the longer the text is (assumed). Keeps a short text from taking much memory.
const GENERATED: u64 = 1 << 22;
/// Such bytes a byte of the text.
const GENERATED_EACH: u64 = 64;
/// What a chip counts.
const CHIP_BYTES: u64 = 24;

/// What a text may still make without spelling it out.
struct TextBudget {
    most: u64,
    left: u64,
}

impl TextBudget {
    fn of(source_bytes: u64) -> Self {
        let most = GENERATED + GENERATED_EACH * source_bytes;
        Self { most, left: most }
    }

    /// Takes so many bytes; takes nothing and is false when fewer are left.
    fn take(&mut self, bytes: u64) -> bool {
        let left = self.left.checked_sub(bytes);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

const START: Span = Span { order: 1, line: 1, column: 1, start: 0, length: 0, context: 0 };

/// Builds the container; nothing when there are errors.
pub(super) fn finish<'a>(
    text: ParsedText<'a>,
    source_bytes: u64,
    errors: &mut Vec<AsmError>,
) -> Option<(Container<'a>, Vec<ProgramLines>)> {
    let ParsedText { chip, file, extents: stated, host, programs: texts, .. } = text;
    if chip.is_none() {
        errors.push(AsmError::new(START, "the text names no chip", "start it with `.chip tsp-v1` or another chip"));
    }
    if texts.is_empty() {
        errors.push(AsmError::new(START, "there is no program", "start one with `.program NAME`"));
    }
    let (chip, lanes) = chip.flatten()?;
    let chips = texts.iter().map(chip_count).max().unwrap_or(1);
    let mut extents: Vec<(Extent<'a>, Span)> = Vec::new();
    for text in stated {
        if let Some(fill) = initial(&text, lanes, file.as_ref(), errors) {
            extents.extend(
                (0..=usize::from(text.more)).filter_map(|chips| Some((on_chip(text.place, &fill, chips)?, text.span))),
            );
        }
    }
    let mut budget = TextBudget::of(source_bytes);
    let mut affordable = true;
    for program in &texts {
        let chips = chip_count(program);
        if !budget.take(chips as u64 * CHIP_BYTES) {
            let message = format!("{chips} chips in a text of {source_bytes} bytes");
            errors.push(AsmError::new(program.span, message, "name fewer chips"));
            (affordable, budget.left) = (false, 0);
        }
        for region in program.regions.list.iter().filter(|region| !region.unsure) {
            match check_region(&region.region, lanes, chips) {
                Err(error) => errors.push(AsmError::content(region.span, &error)),
                Ok(()) => values(region, &program.code, lanes, &mut budget, &mut extents, errors),
            }
        }
    }
    judge(&extents, lanes, chips, errors);
    let host = match &host {
        None => Cow::Borrowed(&[][..]),
        Some((content, span)) => given_bytes(content, 0, file.as_ref(), *span, errors).unwrap_or_default(),
    };
    if !affordable {
        return None;
    }
    let (programs, lines) = texts.into_iter().map(|text| program(text, errors)).unzip();
    if !errors.is_empty() {
        return None;
    }
    let extents = extents.into_iter().map(|(extent, _)| extent).collect();
    let container = Container { chip, image: Image { vector_bytes: lanes, extents }, programs, host };
    match container.validate() {
        Ok(()) => Some((container, lines)),
        Err(error) => {
            errors.push(AsmError::content(START, &error));
            None
        }
    }
}

/// Chips of a program: as stated, or just enough for what names one.
fn chip_count(program: &ProgramText) -> usize {
    let queues = program.queues.iter().filter(|(_, queue)| !queue.items.is_empty()).map(|((chip, _), _)| *chip);
    let regions = program.regions.list.iter().flat_map(|region| region.region.runs.iter().map(|run| run.chip));
    let likes = program.likes.iter().flat_map(|like| [like.chips.1, like.of]);
    let starts = program.starts.iter().map(|start| start.chips.1);
    let needed = queues.chain(regions).chain(likes).chain(starts).max().map_or(1, |chip| usize::from(chip.0) + 1);
    program.chips.map_or(needed, |(chips, _)| usize::from(chips))
}

/// Each extent by itself, and those that are right next to each other.
fn judge(extents: &[(Extent<'_>, Span)], lanes: u32, chips: usize, errors: &mut Vec<AsmError>) {
    let mut right: Vec<(WordRun, Span)> = Vec::new();
    let mut wrong = None;
    for (extent, span) in extents {
        match check_extent(extent, lanes, chips) {
            Ok(()) => right.extend(extent.places().map(|place| (place, *span))),
            // A line for several chips is wrong once.
            Err(error) if wrong.replace(*span) != Some(*span) => errors.push(AsmError::content(*span, &error)),
            Err(_) => {}
        }
    }
    let places: Vec<WordRun> = right.iter().map(|(place, _)| *place).collect();
    for (before, index) in extent_overlaps(&places) {
        let error = ContentError::ExtentOverlap { before: places[before], place: places[index] };
        errors.push(AsmError::content(right[index].1, &error));
    }
}

/// The extent of these words so many chips on.
fn on_chip<'a>(place: WordRun, fill: &Fill<'a>, chips: usize) -> Option<Extent<'a>> {
    let fill = match fill {
        Fill::Pairs(bytes, other) => Fill::Pairs(bytes.clone(), moved(*other, chips, 0)?),
        fill => fill.clone(),
    };
    Some(Extent { place: moved(place, chips, 0)?, fill })
}

/// What the words of a stated extent start as.
fn initial<'a>(
    text: &ExtentText,
    lanes: u32,
    file: Option<&Option<Cow<'a, [u8]>>>,
    errors: &mut Vec<AsmError>,
) -> Option<Fill<'a>> {
    let Some(content) = &text.content else { return Some(Fill::Zero) };
    let given = match text.lanes {
        Some((given, span)) if !(1..=lanes).contains(&given) => {
            let message = format!("{given} of the {lanes} lanes of a word cannot be given");
            errors.push(AsmError::new(span, message, format!("give 1 to {lanes}, or leave the number out for all")));
            return None;
        }
        given => given.map_or(lanes, |(given, _)| given),
    };
    let place = text.place;
    if let Err(error) = check_pair(place, text.other) {
        errors.push(AsmError::content(text.span, &error));
        return None;
    }
    let width = if text.other.is_some() { 2 } else { 1 };
    let length = width * u64::from(place.count) * u64::from(given);
    let bytes = given_bytes(content, length, file, text.span, errors)?;
    if bytes.len() as u64 != length {
        let paired = text.other.map_or(String::new(), |other| format!(" with {other}"));
        let message = format!(
            "extent {place}{paired} of {given} lanes a word takes {length} bytes but {} are given",
            bytes.len()
        );
        let help = "give one byte a lane of each word, or say behind the run how many lanes are given";
        errors.push(AsmError::new(text.span, message, help));
        return None;
    }
    Some(match text.other {
        Some(other) => Fill::Pairs(bytes, other),
        None => Fill::Bytes(bytes),
    })
}

/// The bytes that the text gives, in itself or from the file, of which it takes `length` where the text does not say
/// how many.
fn given_bytes<'a>(
    content: &ExtentContent,
    length: u64,
    file: Option<&Option<Cow<'a, [u8]>>>,
    span: Span,
    errors: &mut Vec<AsmError>,
) -> Option<Cow<'a, [u8]>> {
    let (offset, length) = match content {
        ExtentContent::Hex(bytes) => return Some(Cow::Owned(bytes.clone())),
        ExtentContent::File { offset, length: stated } => (*offset, stated.unwrap_or(length)),
    };
    let Some(file) = file else {
        errors.push(AsmError::new(span, "the text names no image file", "name one with `.image \"FILE\"`"));
        return None;
    };
    let bytes = file.as_ref()?;
    let range = usize::try_from(offset).ok().zip(offset.checked_add(length).and_then(|end| usize::try_from(end).ok()));
    let Some(range) = range.map(|(start, end)| start..end).filter(|range| range.end <= bytes.len()) else {
        let message = format!("{length} bytes from offset {offset} run past the image file's end at {}", bytes.len());
        errors.push(AsmError::new(span, message, "correct the offset or give the whole file"));
        return None;
    };
    Some(match bytes {
        Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[range]),
        Cow::Owned(bytes) => Cow::Owned(bytes[range].to_vec()),
    })
}

/// The bytes of a region with instructions for a queue.
fn code(text: &RegionText, items: &[Item], lanes: u32, errors: &mut Vec<AsmError>) -> Option<Vec<u8>> {
    let region = &text.region;
    let (room, block) = (region.vectors as usize / 2, 2 * lanes as usize);
    let mistake = match blocks(items, block) {
        _ if region.lanes != lanes => {
            let message = format!("region `{}` has {} lanes, instructions fill whole words", region.name, region.lanes);
            AsmError::new(text.span, message, format!("give it [{}, {lanes}]", region.vectors))
        }
        None => {
            let message =
                format!("an instruction with its pair and its repeat takes more than a block of {block} bytes");
            AsmError::new(text.values_span, message, "leave the pair or the repeat out")
        }
        Some(blocks) if blocks.len() > room => {
            let count = blocks.len();
            let message =
                format!("the instructions take {count} blocks of two words, region `{}` holds {room}", region.name);
            AsmError::new(text.values_span, message, format!("give the region [{}, {lanes}]", 2 * count))
        }
        Some(blocks) => return Some(blocks.concat()),
    };
    errors.push(mistake);
    None
}

/// The element of an index in a region.
type Element<'a> = Box<dyn Fn(u64) -> u32 + 'a>;

/// The elements that a region starts with, if it states them.
fn elements<'a>(
    text: &'a RegionText,
    series: &[((ChipId, Queue), QueueText)],
    lanes: u32,
    errors: &mut Vec<AsmError>,
) -> Option<Element<'a>> {
    let region = &text.region;
    let element: Element<'_> = match &text.values {
        Values::None => return None,
        Values::Same(value) => {
            let value = *value;
            Box::new(move |_| value)
        }
        Values::Each(each) => {
            let needed = u64::from(region.vectors) * u64::from(region.lanes);
            if needed != each.len() as u64 {
                let message =
                    format!("region `{}` has {needed} elements but {} values are given", region.name, each.len());
                errors.push(AsmError::new(text.values_span, message, "give one value an element, vector after vector"));
                return None;
            }
            Box::new(move |index| each[index as usize])
        }
        Values::Code(number) => {
            let bytes = code(text, &series[*number].1.items, lanes, errors)?;
            Box::new(move |index| bytes.get(index as usize).map_or(0, |byte| u32::from(*byte)))
        }
    };
    Some(element)
}

/// The extents of a region's initial values: one for each series of consecutive words.
fn values(
    text: &RegionText,
    series: &[((ChipId, Queue), QueueText)],
    lanes: u32,
    budget: &mut TextBudget,
    extents: &mut Vec<(Extent<'_>, Span)>,
    errors: &mut Vec<AsmError>,
) {
    let region = &text.region;
    let Some(element) = elements(text, series, lanes, errors) else { return };
    if !budget.take(region.word_count().saturating_mul(u64::from(lanes))) {
        let message = format!("`.values`, `.fill` and `.block` make more than {} bytes", budget.most);
        let help = "put the data in a file named by `.image`, or use `.zero`";
        errors.push(AsmError::new(text.values_span, message, help));
        return;
    }
    let planes = u64::from(region.format.bytes());
    let mut open: Option<(WordRun, Vec<u8>)> = None;
    for ((chip, slice, word), index) in region.words().zip(0u64..) {
        let (vector, plane) = (index / planes, index % planes);
        let word_bytes = (0..u64::from(lanes)).map(|lane| {
            let live = lane < u64::from(region.lanes);
            if live { (element(vector * u64::from(region.lanes) + lane) >> (8 * plane)) as u8 } else { 0 }
        });
        match &mut open {
            Some((run, bytes)) if (run.chip, run.slice, run.word + run.count) == (chip, slice, word) => {
                run.count += 1;
                bytes.extend(word_bytes);
            }
            _ => {
                let next = (WordRun::one(chip, slice, word), word_bytes.collect());
                extents.extend(open.replace(next).map(|done| (extent(done), text.values_span)));
            }
        }
    }
    extents.extend(open.map(|done| (extent(done), text.values_span)));
}

fn extent<'a>((place, bytes): (WordRun, Vec<u8>)) -> Extent<'a> {
    let fill = if bytes.iter().all(|byte| *byte == 0) { Fill::Zero } else { Fill::Bytes(Cow::Owned(bytes)) };
    Extent { place, fill }
}

fn program(text: ProgramText, errors: &mut Vec<AsmError>) -> (Program, ProgramLines) {
    let chips = chip_count(&text);
    let mut queues = vec![QueueSet::new(); chips];
    let mut lines =
        ProgramLines { origin: text.span.into(), cycles_stated: text.cycles.is_some(), ..ProgramLines::default() };
    for ((chip, name), queue) in text.queues {
        if queue.items.is_empty() {
            continue;
        }
        match queues.get_mut(usize::from(chip.0)) {
            Some(of_chip) => of_chip.insert(name, queue.items),
            None => {
                let span = text.chips.map_or(text.span, |(_, span)| span);
                let ChipId(number) = chip;
                errors.push(AsmError::new(
                    span,
                    format!("queue {name} is on chip {number}, but there are {chips} chips"),
                    "give the program more chips",
                ));
                continue;
            }
        };
        let mut of_items = queue.lines;
        // Fetched items follow those that the queue holds; which come first is plain where there is one series for the
        // queue.
        let mut series = text.code.iter().filter(|(of, _)| *of == (chip, name));
        if let (Some((_, fetched)), None) = (series.next(), series.next()) {
            of_items.extend(&fetched.lines);
        }
        lines.queues.insert((chip, name), of_items);
    }
    let runs = chip_programs(&text.likes, &text.starts, &queues, &mut lines, errors);
    let regions = text.regions.list.into_iter().map(|region| region.region).collect();
    let cycles = text.cycles.unwrap_or(0);
    let mut program = Program { name: text.name, cycles, interval: text.interval, regions, sets: queues, chips: runs };
    program.normalise();
    (program, lines)
}

/// What each chip runs, of sets that are one a chip.
fn chip_programs(
    likes: &[LikeText],
    starts: &[StartText],
    queues: &[QueueSet],
    lines: &mut ProgramLines,
    errors: &mut Vec<AsmError>,
) -> Vec<ChipProgram> {
    let mut runs: Vec<ChipProgram> =
        (0..queues.len()).map(|set| ChipProgram { set: set as u16, ..ChipProgram::default() }).collect();
    let beyond = |last: ChipId, span: Span| {
        let message = format!("chip {} is named, but there are {} chips", last.0, queues.len());
        (usize::from(last.0) >= queues.len()).then(|| AsmError::new(span, message, "give the program more chips"))
    };
    for LikeText { chips: (first, last), of, links, span } in likes {
        if let Some(error) = beyond((*last).max(*of), *span) {
            errors.push(error);
            continue;
        }
        if let Some(link) = links.keys().find(|link| !queues[usize::from(of.0)].contains_key(&Queue::C2c(**link))) {
            let message = format!("chip {} has no queue c2c.{link}", of.0);
            errors.push(AsmError::new(*span, message, "leave that link out, or name one that it has"));
        }
        let taken = (first.0..=last.0).find(|&chip| {
            let run = &runs[usize::from(chip)];
            chip == of.0 || run.set != chip || !queues[usize::from(chip)].is_empty()
        });
        let chained = runs[usize::from(of.0)].set != of.0;
        if let Some(chip) = taken.or(chained.then_some(of.0)) {
            let message = format!("chip {chip} shares queues, and has queues of its own or shares others");
            errors.push(AsmError::new(*span, message, "name chips without queues, and then the one that has them"));
            continue;
        }
        for chip in first.0..=last.0 {
            let run = &mut runs[usize::from(chip)];
            run.set = of.0;
            run.links.clone_from(links);
            lines.likes.insert(ChipId(chip), (*of, links.iter().map(|(of_set, here)| (*here, *of_set)).collect()));
        }
    }
    for StartText { chips: (first, last), cycle, span } in starts {
        match beyond(*last, *span) {
            Some(error) => errors.push(error),
            None => runs[usize::from(first.0)..=usize::from(last.0)].iter_mut().for_each(|run| run.start = *cycle),
        }
    }
    runs
}
