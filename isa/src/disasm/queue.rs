//! The lines of a queue: instructions with the cycles in which they issue, and comments.

use super::names::RegionNames;
use crate::asm::FURTHEST;
use crate::queue::{Item, Queue};
use crate::table::Instruction;
use crate::text::{operand, put};
use crate::timeline::{Clock, Slots, wait};

/// Width of the margin in which the cycles are.
const MARGIN: usize = 10;
/// Column of the comment after an instruction.
const COMMENT: usize = 50;

/// The written form of one item.
#[must_use]
pub fn item_text(item: &Item) -> String {
    let mut text = String::new();
    instruction(item, &mut text);
    text
}

fn instruction(item: &Item, text: &mut String) {
    if item.paired {
        text.push_str("& ");
    }
    bare_instruction(item, text);
}

fn bare_instruction(item: &Item, text: &mut String) {
    let row = item.instruction.row();
    text.push_str(row.mnemonic);
    for (index, (operand, bits)) in row.operands.iter().zip(item.instruction.operand_bits()).enumerate() {
        text.push_str(if index == 0 { " " } else { ", " });
        operand::print(operand.kind, bits, text);
    }
}

/// Lines of a queue, each with the cycle in which it issues in the margin. Waits that `@` makes again are left out.
pub(super) fn instructions(queue: Queue, items: &[Item], names: &RegionNames<'_>, text: &mut String) {
    let mut clock = Clock::default();
    let mut waits: Vec<(u64, &Item)> = Vec::new();
    let mut before = None;
    for item in items {
        let now = clock.now();
        let slots = clock.step(item);
        if matches!(item.instruction, Instruction::Nop { .. }) {
            waits.push((now, item));
            continue;
        }
        let start = waits.first().map_or(now, |&(start, _)| start);
        if now - start > FURTHEST || !wait(now - start).eq(waits.iter().map(|(_, item)| **item)) {
            waits.iter().for_each(|&(cycle, item)| line(Some(cycle), item, "", text));
        }
        waits.clear();
        let cycle = (!item.paired && !matches!(item.instruction, Instruction::Repeat { .. })).then_some(slots.first);
        line(cycle, item, &comment(queue, before, item, slots, names), text);
        before = Some(item);
    }
    waits.iter().for_each(|&(cycle, item)| line(Some(cycle), item, "", text));
}

fn line(cycle: Option<u64>, item: &Item, comment: &str, text: &mut String) {
    let start = text.len();
    match cycle {
        Some(cycle) => put(text, format_args!("@{cycle:<width$} ", width = MARGIN - 2)),
        None if item.paired => put(text, format_args!("{:<MARGIN$}", "&")),
        None => put(text, format_args!("{:MARGIN$}", "")),
    }
    bare_instruction(item, text);
    if !comment.is_empty() {
        let width = text.len() - start;
        put(text, format_args!("{:width$}; {comment}", "", width = COMMENT.saturating_sub(width).max(1)));
    }
    text.push('\n');
}

/// The cycles of a repeat, and the names of the words that are accessed.
fn comment(queue: Queue, before: Option<&Item>, item: &Item, slots: Slots, names: &RegionNames<'_>) -> String {
    let Instruction::Repeat { stride, count, .. } = item.instruction else {
        return names.word(queue, &item.instruction).unwrap_or_default();
    };
    let mut comment = format!("@{}..@{}", slots.first, slots.last());
    let name = |step| before.and_then(|before| names.word(queue, &before.instruction.strided(stride, step)));
    if let (Some(first), Some(last)) = (name(1), name(u32::from(count.0))) {
        put(&mut comment, format_args!(" {first}..{last}"));
    }
    comment
}
