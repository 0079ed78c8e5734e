//! Instruction lines: `& @120 read 4096, e0`. Mnemonics and operands follow the table.

use super::error::{AsmError, Span, suggestion};
use super::lex::Line;
use super::state::{Open, QueueText, Text};
use crate::program::ChipId;
use crate::queue::{Item, Queue};
use crate::table::{Instruction, OperandBits, TABLE, TableRow};
use crate::text::operand::{expected, number, parse};
use crate::timeline::{MAX_CYCLES, QueueError, validate_item, wait};

/// The furthest that one `@` may move a queue's clock (assumed); keeps a short text from becoming a huge queue.
const FURTHEST: u64 = 1 << 32;

/// An instruction line, taken apart.
struct Parsed {
    item: Item,
    mnemonic: Span,
    at: Option<(u64, Span)>,
}

/// Takes one instruction line into the open queue.
pub(super) fn line(text: &mut Text<'_>, line: &Line<'_>, errors: &mut Vec<AsmError>) {
    let (chip, name, queue) = match open_queue(text, line) {
        Ok(open) => open,
        Err(error) => {
            errors.push(error);
            return;
        }
    };
    let before = errors.len();
    if let Some(parsed) = parse_line(line, errors) {
        place(chip, name, queue, &parsed, errors);
    }
    queue.unsure = errors.len() > before;
}

fn open_queue<'t>(text: &'t mut Text<'_>, line: &Line<'_>) -> Result<(ChipId, Queue, &'t mut QueueText), AsmError> {
    let missing =
        || AsmError::new(line.span(line.text.trim()), "an instruction stands outside a queue", "start a queue with `.queue mem.e0` first");
    let Open::Queue(chip, name) = text.open else { return Err(missing()) };
    let program = text.programs.last_mut().ok_or_else(missing)?;
    Ok((chip, name, program.queues.entry((chip, name)).or_default()))
}

fn parse_line(line: &Line<'_>, errors: &mut Vec<AsmError>) -> Option<Parsed> {
    let mut rest = line.text.trim();
    let paired = rest.strip_prefix('&').map(|after| rest = after.trim_start()).is_some();
    let mut at = None;
    if let Some(after) = rest.strip_prefix('@') {
        let length = after.find([' ', '\t']).unwrap_or(after.len());
        let span = line.span(&rest[..=length]);
        let Some(cycle) = number::<u64>(&after[..length]).filter(|_| !paired) else {
            let message = if paired { "a paired instruction issues with the one before it" } else { "`@` takes a cycle number" };
            errors.push(AsmError::new(
                span,
                message,
                if paired { "leave out `@`" } else { "write it as `@120 `, in front of the mnemonic" },
            ));
            return None;
        };
        at = Some((cycle, span));
        rest = after[length..].trim_start();
    }
    let length = rest.find([' ', '\t']).unwrap_or(rest.len());
    let (mnemonic, operands) = rest.split_at(length);
    let span = line.span(mnemonic);
    let Some(row) = TableRow::by_mnemonic(mnemonic) else {
        let known = TABLE.iter().map(|row| row.mnemonic);
        let help = suggestion(mnemonic, known, "the instructions are listed in docs/isa.md");
        errors.push(AsmError::new(span, format!("unknown mnemonic `{mnemonic}`"), help));
        return None;
    };
    let instruction = operand_bits(row, operands.trim(), line, span, errors).and_then(|bits| Instruction::from_bits(row.opcode, &bits))?;
    Some(Parsed { item: Item { instruction, paired }, mnemonic: span, at })
}

fn operand_bits(row: &TableRow, operands: &str, line: &Line<'_>, mnemonic: Span, errors: &mut Vec<AsmError>) -> Option<OperandBits> {
    let mut bits = OperandBits::new();
    let mut given = 0;
    for text in operands.split(',').map(str::trim).filter(|_| !operands.is_empty()) {
        if let Some(operand) = row.operands.get(given) {
            match parse(operand.kind, text) {
                Ok(value) => bits.push(value),
                Err(detail) => {
                    let message = format!("operand {} of `{}` is {}, found `{text}`", given + 1, row.mnemonic, expected(operand.kind));
                    let help = detail.map_or_else(|| format!("write `{}`", usage(row)), str::to_owned);
                    errors.push(AsmError::new(line.span(text), message, help));
                }
            }
        }
        given += 1;
    }
    if given != row.operands.len() {
        let message = format!("`{}` takes {} operands, found {given}", row.mnemonic, row.operands.len());
        errors.push(AsmError::new(mnemonic, message, format!("write `{}`", usage(row))));
    }
    (given == row.operands.len() && bits.len() == given).then_some(bits)
}

/// Mnemonic and operand names.
pub(crate) fn usage(row: &TableRow) -> String {
    let names: Vec<&str> = row.operands.iter().map(|operand| operand.name).collect();
    format!("{} {}", row.mnemonic, names.join(", ")).trim_end().to_owned()
}

/// Appends an item, with the wait before it.
fn place(chip: ChipId, name: Queue, queue: &mut QueueText, parsed: &Parsed, errors: &mut Vec<AsmError>) {
    let line = parsed.mnemonic.line;
    let before = errors.len();
    if let Some((cycle, span)) = parsed.at {
        let now = queue.clock.now();
        if cycle < now {
            let message = format!("cycle {cycle} is past: the queue has reached cycle {now}");
            errors.push(AsmError::new(span, message, format!("give a cycle of {now} or later, or move earlier instructions")));
        } else if cycle - now > FURTHEST {
            errors.push(AsmError::new(span, format!("cycle {cycle} is more than {FURTHEST} cycles ahead"), "give an earlier cycle"));
        } else if !queue.too_long {
            for item in wait(cycle - now) {
                queue.clock.step(&item);
                queue.items.push(item);
                queue.lines.push(line);
            }
        }
    }
    if let Err(error) = validate_item(name, queue.items.last(), queue.items.len(), &parsed.item) {
        let depends = matches!(error, QueueError::BadPair { .. } | QueueError::NothingToRepeat { .. });
        if !(depends && queue.unsure) {
            errors.push(explain(chip, name, &error, parsed.mnemonic));
        }
    }
    let slots = queue.clock.step(&parsed.item);
    if let Some((cycle, span)) = parsed.at.filter(|(cycle, _)| slots.count > 0 && slots.first > *cycle && errors.len() == before) {
        let message = format!("this issues in cycle {}, not in cycle {cycle}", slots.first);
        errors.push(AsmError::new(span, message, "leave out `@`: a repeat issues relative to the instruction before it"));
    }
    queue.items.push(parsed.item);
    queue.lines.push(line);
    if queue.clock.now() > MAX_CYCLES && !queue.too_long {
        queue.too_long = true;
        errors.push(AsmError::new(parsed.mnemonic, format!("the queue runs past cycle {MAX_CYCLES}"), "shorten it"));
    }
}

fn explain(chip: ChipId, name: Queue, error: &QueueError, span: Span) -> AsmError {
    match error {
        QueueError::WrongUnit { mnemonic, .. } => {
            let unit = TableRow::by_mnemonic(mnemonic).map_or("", |row| row.unit.name());
            let message = format!("`{mnemonic}` does not belong in queue {name} of chip {}", chip.0);
            AsmError::new(span, message, format!("put it in a queue of unit {unit} that holds `{mnemonic}`"))
        }
        QueueError::Malformed { malformed, .. } => AsmError::new(span, malformed.to_string(), "choose operands that fit one another"),
        QueueError::NothingToRepeat { .. } => {
            AsmError::new(span, "there is nothing to repeat", "put it right behind an unpaired instruction that is no nop and no repeat")
        }
        QueueError::BadPair { .. } => {
            let message = "this does not pair with the instruction before it";
            AsmError::new(span, message, "pair one read or gather with one write or scatter of a memory slice")
        }
    }
}
