//! What is legal and probably a mistake: outputs that no instruction writes, values that no instruction takes,
//! immediates of another kind.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use lpu_chip::System;
use lpu_isa::{
    Arithmetic, ChipId, Flow as Way, Format, Instruction, Number, Operand, Program, Queue, RegionKind, Site, SliceId,
    Source, Stream,
};

use crate::flow::ChipFlow;
use crate::issue::Issue;
use crate::report::Report;

/// A warning; the program is legal all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// Words of an output region that no instruction of the program writes.
    OutputUnwritten {
        /// The region.
        region: String,
        /// Its words.
        words: u64,
        /// Those of them that no instruction writes.
        unwritten: u64,
    },
    /// Values put on streams of which no instruction takes any byte.
    ValueUnread {
        /// The first issue whose value is not taken.
        at: WarningSite,
        /// First stream of the group.
        stream: Stream,
        /// Streams of the group.
        width: u8,
        /// Issues of the item whose values are not taken.
        unread: u64,
        /// Issues of the item.
        issues: u64,
    },
    /// An immediate of an integer operation whose bits are those of a short binary32 number.
    FloatImmediate {
        /// The first issue.
        at: WarningSite,
        /// The operand's name.
        operand: &'static str,
        /// The immediate.
        bits: u32,
    },
}

/// Where a warning is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WarningSite {
    /// Cycle of dispatch.
    pub cycle: u64,
    /// The chip.
    pub chip: ChipId,
    /// Chips of the system; where there are several, the message names the chip.
    pub chips: u16,
    /// The queue and item.
    pub site: Site,
}

impl Warning {
    /// The short name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Warning::OutputUnwritten { .. } => "output-unwritten",
            Warning::ValueUnread { .. } => "value-unread",
            Warning::FloatImmediate { .. } => "float-immediate",
        }
    }

    /// The instruction that it is about; none for a region.
    #[must_use]
    pub const fn at(&self) -> Option<WarningSite> {
        match self {
            Warning::OutputUnwritten { .. } => None,
            Warning::ValueUnread { at, .. } | Warning::FloatImmediate { at, .. } => Some(*at),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(WarningSite { cycle, chip, chips, site }) = self.at() {
            write!(f, "cycle {cycle}, ")?;
            if chips > 1 {
                write!(f, "chip {}, ", chip.0)?;
            }
            write!(f, "{} ({}): ", site.queue, site.instruction.row().mnemonic)?;
        }
        write!(f, "{}: ", self.name())?;
        match self {
            Warning::OutputUnwritten { region, words, unwritten } => {
                write!(
                    f,
                    "no instruction writes {unwritten} of the {words} words of output `{region}`; write them, or \
                    leave them out of it"
                )
            }
            Warning::ValueUnread { stream, width, unread, issues, .. } => {
                let streams =
                    if *width == 1 { stream.to_string() } else { format!("{stream} to {}", stream.plus(width - 1)) };
                let times = if *issues == 1 { String::new() } else { format!(" in {unread} of its {issues} issues") };
                write!(
                    f,
                    "no instruction takes what it puts on {streams}{times}; the value leaves the chip unread, or is \
                    replaced on its way"
                )?;
                f.write_str("; take it as it passes, or leave it out")
            }
            Warning::FloatImmediate { at, operand, bits } => {
                let (number, integer) = (f32::from_bits(*bits), *bits as i32);
                let mnemonic = at.site.instruction.row().mnemonic;
                write!(
                    f,
                    "operand `{operand}` has the bits of #{number:?}, which this `{mnemonic}` takes as the integer \
                    {integer}"
                )?;
                f.write_str("; write an integer as #i7, or name another kind of number")
            }
        }
    }
}

impl Report {
    /// What is legal and probably a mistake, in order of cycles, outputs last, of the first chip of each class; nothing
    /// for a program that breaks a rule, whose dataflow is not whole.
    #[must_use]
    pub fn warnings(&self, system: &System, program: &Program) -> Vec<Warning> {
        if !self.violations.is_empty() {
            return Vec::new();
        }
        let at = |issue: &Issue| WarningSite {
            cycle: issue.cycle,
            chip: issue.chip,
            chips: system.chips(),
            site: Site { queue: issue.queue, item: issue.item, instruction: issue.instruction },
        };
        let mut found: Vec<((u64, ChipId, usize), Warning)> = Vec::new();
        let unread = self.flow.classes.iter().map(unread);
        let unread =
            self.flow.classes.iter().zip(unread).flat_map(|(flow, unread)| {
                unread.into_iter().map(|(first, counts)| (first, &flow.issues[first], counts))
            });
        for (first, issue, (unread, issues)) in unread {
            let fed = issue.instruction.streams().into_iter().find(|used| used.flow == Way::Out);
            let warning = fed.map(|fed| Warning::ValueUnread {
                at: at(issue),
                stream: fed.first,
                width: fed.width,
                unread,
                issues,
            });
            found.extend(warning.map(|warning| ((issue.cycle, issue.chip, first), warning)));
        }
        let mut seen = BTreeSet::new();
        let issues = self.flow.classes.iter().flat_map(|flow| flow.issues.iter().enumerate());
        for (index, issue) in issues.filter(|(_, issue)| matches!(issue.queue, Queue::Vxm(_))) {
            for (operand, bits) in float_immediates(&issue.instruction) {
                if seen.insert((issue.chip, issue.queue, issue.item, operand)) {
                    let warning = Warning::FloatImmediate { at: at(issue), operand, bits };
                    found.push(((issue.cycle, issue.chip, index), warning));
                }
            }
        }
        found.sort_by_key(|(order, _)| *order);
        found.into_iter().map(|(_, warning)| warning).chain(self.unwritten(program)).collect()
    }

    fn unwritten(&self, program: &Program) -> Vec<Warning> {
        let mut outputs = program.regions.iter().filter(|region| region.kind == RegionKind::Output).peekable();
        if outputs.peek().is_none() {
            return Vec::new();
        }
        let chips: BTreeSet<ChipId> = outputs.clone().flat_map(|region| &region.runs).map(|run| run.chip).collect();
        let issues = chips.into_iter().flat_map(|chip| self.flow.of_chip(chip));
        let mut windows: Vec<(ChipId, SliceId, u32, u32)> = issues.filter_map(|issue| written(&issue)).collect();
        windows.sort_unstable();
        // Neighbours that touch become one, so that a word is in the last window that starts no later than it, or in
        // none.
        windows.dedup_by(|next, before| {
            let joined = (next.0, next.1) == (before.0, before.1) && next.2 <= before.3;
            if joined {
                before.3 = before.3.max(next.3);
            }
            joined
        });
        let is_written = |(chip, slice, word): (ChipId, SliceId, u32)| {
            let end = windows.partition_point(|&(c, s, start, _)| (c, s, start) <= (chip, slice, word));
            windows[..end].last().is_some_and(|&(c, s, _, end)| (c, s) == (chip, slice) && word < end)
        };
        let warning = |region: &lpu_isa::Region| {
            let unwritten = region.words().filter(|&place| !is_written(place)).count() as u64;
            let (region, words) = (region.name.clone(), region.word_count());
            (unwritten > 0).then_some(Warning::OutputUnwritten { region, words, unwritten })
        };
        outputs.filter_map(warning).collect()
    }
}

/// Items that feed streams of which nothing is taken: first such issue, number of such issues, issues of the item.
fn unread(flow: &ChipFlow) -> BTreeMap<usize, (u64, u64)> {
    let mut taken = vec![false; flow.issues.len()];
    for (index, issue) in flow.issues.iter().enumerate() {
        let streams = issue.instruction.streams().into_iter().filter(|used| used.flow == Way::In);
        let count = streams.map(|used| usize::from(used.width)).sum();
        for feed in flow.feeds(index).iter().take(count) {
            taken[feed.producer as usize] = true;
        }
    }
    let feeds = |issue: &Issue| issue.instruction.streams().into_iter().any(|used| used.flow == Way::Out);
    let item = |issue: &Issue| (issue.queue, issue.item);
    let mut items = BTreeMap::new();
    for (index, issue) in flow.issues.iter().enumerate().filter(|&(index, issue)| !taken[index] && feeds(issue)) {
        items.entry(item(issue)).or_insert((index, 0, 0)).1 += 1;
    }
    if items.is_empty() {
        return BTreeMap::new();
    }
    for issue in &flow.issues {
        if let Some(found) = items.get_mut(&item(issue)) {
            found.2 += 1;
        }
    }
    items.into_values().map(|(first, unread, issues)| (first, (unread, issues))).collect()
}

/// The words that an issue may write, as a half-open range.
fn written(issue: &Issue) -> Option<(ChipId, SliceId, u32, u32)> {
    let (slice, words) = issue.words()?;
    let writes = matches!(issue.instruction, Instruction::Write { .. } | Instruction::Scatter { .. });
    writes.then_some((issue.chip, slice, words.start, words.end))
}

/// Operands of an integer operation that are immediates with the bits of a short binary32 number: name and bits.
fn float_immediates(instruction: &Instruction) -> Vec<(&'static str, u32)> {
    let integers = match *instruction {
        Instruction::Add { arithmetic, .. }
        | Instruction::Sub { arithmetic, .. }
        | Instruction::Mul { arithmetic, .. }
        | Instruction::Negate { arithmetic, .. }
        | Instruction::Abs { arithmetic, .. } => arithmetic != Arithmetic::F32,
        Instruction::Max { number, .. }
        | Instruction::Min { number, .. }
        | Instruction::Relu { number, .. }
        | Instruction::Greater { number, .. }
        | Instruction::Equal { number, .. } => number == Number::I32,
        Instruction::Convert { from, .. } => matches!(from, Format::I8 | Format::I16 | Format::I32),
        _ => false,
    };
    if !integers {
        return Vec::new();
    }
    let operands = instruction.row().operands.iter().zip(instruction.operand_bits());
    let immediate = |(operand, bits): (&lpu_isa::OperandRow, u64)| {
        let source = (operand.kind == <Source as Operand>::KIND).then(|| Source::from_bits(bits)).flatten();
        match source {
            Some(Source::Immediate(bits)) if is_short_number(bits) => Some((operand.name, bits)),
            _ => None,
        }
    };
    operands.filter_map(immediate).collect()
}

/// Whether the bits are those of a binary32 number that a person would write: of usual size, with at most six decimal
/// digits. An integer that is meant as one has such bits only by chance, and not below 729,808,896.
fn is_short_number(bits: u32) -> bool {
    let number = f32::from_bits(bits);
    let usual = (2f32.powi(-40)..2f32.powi(40)).contains(&number.abs());
    let digits = format!("{number:e}");
    let mantissa = digits.split('e').next().unwrap_or_default();
    usual && mantissa.bytes().filter(u8::is_ascii_digit).count() <= 6
}
