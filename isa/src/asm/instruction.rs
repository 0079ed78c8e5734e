//! Instruction lines: `& @120 read 4096, e0`. Mnemonics and operands follow the table.

use super::error::{AsmError, Span, suggestion};
use super::lex::SourceLine;
use super::state::{Open, ParsedText, QueueText};
use super::symbol::{Scope, SymbolValue, Trouble};
use crate::operand::Kind;
use crate::program::{ChipId, SliceId};
use crate::queue::{Item, Queue};
use crate::table::{Instruction, OperandBits, TABLE, TableRow};
use crate::text::operand::{expected, number, parse};
use crate::timeline::{MAX_CYCLES, QueueError, validate_item, wait};

/// The furthest that one `@` may move a queue's clock, a few `nop`s (assumed); keeps a short text from becoming a huge
/// queue.
pub(crate) const FURTHEST: u64 = 1 << 18;

/// An instruction line, taken apart.
struct Parsed {
    /// The cycle that the line names.
    at: Option<(u64, Span)>,
    /// The instruction, unless something is wrong with it, and its mnemonic.
    item: Option<(Item, Span)>,
}

/// Takes one instruction line into the open queue.
pub(super) fn line(text: &mut ParsedText<'_>, line: &SourceLine<'_>, errors: &mut Vec<AsmError>) {
    let open = match text.open {
        Open::Queue(first, last, name) => Some((first, last, name, None)),
        Open::Code(chip, name, number) => Some((chip, chip, name, Some(number))),
        _ => None,
    };
    let (Some((first, last, name, code)), false) = (open, text.programs.is_empty()) else {
        let comment = line.text.trim().starts_with(['#', '/']);
        let help = if comment { "a comment starts with `;`" } else { "start a queue with `.queue mem.e0` first" };
        errors.push(AsmError::new(line.span(line.text.trim()), "an instruction stands outside a queue", help));
        return;
    };
    let (label, rest) = label(line.text.trim());
    if label.is_some() && rest.is_empty() {
        let message = "a label stands in front of an instruction, in its line";
        errors.push(AsmError::new(line.span(line.text.trim()), message, "write it as `start: @5 read 0, e0`"));
        return;
    }
    if !text.room.take(u64::from(last.0 - first.0) * (line.text.len() as u64 + 1)) {
        return;
    }
    let before = errors.len();
    let mut issued = None;
    for number in first.0..=last.0 {
        let known = errors.len();
        let cycle = on_chip(text, line, rest, (ChipId(number), name, code), errors);
        if known > before {
            // What is wrong on one chip is not said again for the next.
            errors.truncate(known);
        } else if number != first.0 {
            errors[before..].iter_mut().for_each(|error| error.message += &format!(" (on chip {number})"));
        }
        let agreed: u64 = *issued.get_or_insert(cycle);
        if let Some(label) = label.filter(|_| agreed != cycle && errors.len() == before) {
            let message = format!("`{label}` is cycle {agreed} on chip {} and cycle {cycle} on chip {number}", first.0);
            errors.push(AsmError::new(
                line.span(label),
                message,
                "bring the queues to the same cycle with `@` first, or label a line of one chip",
            ));
        }
    }
    if let (Some(label), Some(cycle)) = (label, issued) {
        errors.extend(text.give(label, line.span(label), SymbolValue::Number(cycle as i64), true).err());
    }
}

/// Takes an instruction into a queue of one chip, or into instructions in memory for it, and gives back the cycle in
/// which it first issues.
fn on_chip(
    text: &mut ParsedText<'_>,
    line: &SourceLine<'_>,
    rest: &str,
    (chip, name, code): (ChipId, Queue, Option<usize>),
    errors: &mut Vec<AsmError>,
) -> u64 {
    let before = errors.len();
    let slice = match name {
        Queue::Mem(side, index) => Some((chip, SliceId { side, index })),
        _ => None,
    };
    let parsed = parse_line(
        line,
        rest,
        (chip, name),
        Scope { regions: text.programs.last().map(|program| &program.regions), slice, ..text.scope() },
        errors,
    );
    let Some(program) = text.programs.last_mut() else { return 0 };
    let queue = match code {
        None => program.queues.entry((chip, name)).or_default(),
        Some(number) => &mut program.code[number].1,
    };
    let first = match parsed.item {
        Some((item, mnemonic)) => place((chip, name), queue, item, mnemonic, parsed.at, errors),
        None => parsed.at.map_or(queue.clock.now(), |(cycle, _)| cycle),
    };
    queue.unsure = errors.len() > before;
    first
}

/// The label in front of an instruction, and the rest of the line.
fn label(text: &str) -> (Option<&str>, &str) {
    match text.split_once(':') {
        Some((label, rest)) if !label.is_empty() && !label.contains([' ', '\t', ',', '#', '@', '&']) => {
            (Some(label), rest.trim_start())
        }
        _ => (None, text),
    }
}

fn parse_line(
    line: &SourceLine<'_>,
    mut rest: &str,
    of: (ChipId, Queue),
    scope: Scope<'_>,
    errors: &mut Vec<AsmError>,
) -> Parsed {
    let paired = rest.strip_prefix('&').map(|after| rest = after.trim_start()).is_some();
    let mut at = None;
    if let Some(after) = rest.strip_prefix('@') {
        let length = after.find([' ', '\t']).unwrap_or(after.len());
        let span = line.span(&rest[..=length]);
        let given = if paired {
            Err(("a paired instruction issues with the one before it".to_owned(), "leave out `@`".to_owned()))
        } else {
            let form = || {
                (
                    "`@` takes a cycle number".into(),
                    "write it as `@120 ` or `@start+5 `, in front of the mnemonic".into(),
                )
            };
            let given = number(&after[..length]).map_or_else(|| scope.number(&after[..length]), Ok);
            given.map_err(|trouble| trouble.reason().unwrap_or_else(form))
        };
        let cycle = match given {
            Ok(cycle) => cycle,
            Err((message, help)) => {
                errors.push(AsmError::new(span, message, help));
                return Parsed { at, item: None };
            }
        };
        at = Some((cycle, span));
        rest = after[length..].trim_start();
    }
    let length = rest.find([' ', '\t']).unwrap_or(rest.len());
    let (mnemonic, operands) = rest.split_at(length);
    let span = line.span(mnemonic);
    let Some(row) = TableRow::by_mnemonic(mnemonic) else {
        let known = TABLE.iter().map(|row| row.mnemonic);
        let help = match mnemonic.starts_with(['#', '/']) {
            true => "a comment starts with `;`".to_owned(),
            false => suggestion(mnemonic, known, "the instructions are listed in docs/isa.md"),
        };
        errors.push(AsmError::new(span, format!("unknown mnemonic `{mnemonic}`"), help));
        return Parsed { at, item: None };
    };
    if !of.1.holds(row) {
        errors.push(misplaced(of, row, span));
        return Parsed { at, item: None };
    }
    let instruction = operand_bits(row, operands.trim(), line, span, scope, errors)
        .and_then(|bits| Instruction::from_bits(row.opcode, &bits));
    Parsed { at, item: instruction.map(|instruction| (Item { instruction, paired }, span)) }
}

fn operand_bits(
    row: &TableRow,
    operands: &str,
    line: &SourceLine<'_>,
    mnemonic: Span,
    scope: Scope<'_>,
    errors: &mut Vec<AsmError>,
) -> Option<OperandBits> {
    let mut bits = OperandBits::new();
    let mut given = 0;
    for text in operands.split(',').map(str::trim).filter(|_| !operands.is_empty()) {
        if let Some(operand) = row.operands.get(given) {
            match symbolic(operand.kind, text, scope) {
                Ok(value) => bits.push(value),
                Err(Unfit::Symbol(message, help)) => errors.push(AsmError::new(line.span(text), message, help)),
                Err(Unfit::Operand(found, detail)) => {
                    let message = format!(
                        "operand {} of `{}` is {}, found {found}",
                        given + 1,
                        row.mnemonic,
                        expected(operand.kind)
                    );
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

/// Why an operand does not fit.
enum Unfit {
    /// What was found instead, and what is wrong with it beyond being of another kind.
    Operand(String, Option<&'static str>),
    /// A symbol is wrong, and what to do.
    Symbol(String, String),
}

/// The bits of an operand: its own written form, or an expression of symbols.
fn symbolic(kind: Kind, text: &str, scope: Scope<'_>) -> Result<u64, Unfit> {
    let detail = match parse(kind, text) {
        Ok(bits) => return Ok(bits),
        Err(detail) => detail,
    };
    let written = match scope.value(text) {
        Ok(SymbolValue::Number(value)) => value.to_string(),
        Ok(SymbolValue::Operand(operand)) => operand,
        Err(Trouble::Unknown(name)) if name == text && !kind.is_number() => {
            return Err(Unfit::Operand(format!("`{text}`"), detail));
        }
        Err(trouble) => {
            let otherwise = || Unfit::Operand(format!("`{text}`"), detail);
            return Err(trouble.reason().map_or_else(otherwise, |(message, help)| Unfit::Symbol(message, help)));
        }
    };
    let found = if written == text { format!("`{text}`") } else { format!("`{text}`, which is `{written}`") };
    parse(kind, &written).map_err(|detail| Unfit::Operand(found, detail))
}

/// Mnemonic and operand names.
pub(crate) fn usage(row: &TableRow) -> String {
    let names: Vec<&str> = row.operands.iter().map(|operand| operand.name).collect();
    format!("{} {}", row.mnemonic, names.join(", ")).trim_end().to_owned()
}

/// Appends an item, with the wait before it, and gives back the cycle in which it first issues.
fn place(
    (chip, name): (ChipId, Queue),
    queue: &mut QueueText,
    item: Item,
    mnemonic: Span,
    at: Option<(u64, Span)>,
    errors: &mut Vec<AsmError>,
) -> u64 {
    let before = errors.len();
    if let Some((cycle, span)) = at {
        let now = queue.clock.now();
        if cycle < now {
            let message = format!("cycle {cycle} is past: the queue has reached cycle {now}");
            let pairs = validate_item(name, queue.items.last(), queue.clock, &Item { paired: true, ..item }).is_ok();
            let beside = if pairs && cycle + 1 == now {
                format!("write `&` in place of `@{cycle}` to issue with the instruction before, or ")
            } else {
                String::new()
            };
            errors.push(AsmError::new(
                span,
                message,
                format!("{beside}give a cycle of {now} or later, or move earlier instructions"),
            ));
        } else if cycle - now > FURTHEST {
            errors.push(AsmError::new(
                span,
                format!("cycle {cycle} is more than {FURTHEST} cycles ahead"),
                "give an earlier cycle, or wait with `nop 65535` first",
            ));
        } else if !queue.too_long {
            for item in wait(cycle - now) {
                queue.clock.step(&item);
                queue.items.push(item);
                queue.lines.push(mnemonic.into());
            }
        }
    }
    if let Err(error) = validate_item(name, queue.items.last(), queue.clock, &item) {
        let depends = matches!(error, QueueError::BadPair { .. } | QueueError::NothingToRepeat { .. });
        if !(depends && queue.unsure) {
            errors.push(explain((chip, name), &item, &error, mnemonic));
        }
    }
    let slots = queue.clock.step(&item);
    if let Some((cycle, span)) =
        at.filter(|(cycle, _)| slots.count > 0 && slots.first > *cycle && errors.len() == before)
    {
        let message = format!("this issues in cycle {}, not in cycle {cycle}", slots.first);
        errors.push(AsmError::new(
            span,
            message,
            "leave out `@`: a repeat issues relative to the instruction before it",
        ));
    }
    queue.items.push(item);
    queue.lines.push(mnemonic.into());
    if queue.clock.now() > MAX_CYCLES && !queue.too_long {
        queue.too_long = true;
        errors.push(AsmError::new(mnemonic, format!("the queue runs past cycle {MAX_CYCLES}"), "shorten it"));
    }
    slots.first
}

/// The mistake of an instruction in a queue that cannot hold it.
fn misplaced((chip, name): (ChipId, Queue), row: &TableRow, span: Span) -> AsmError {
    let message = format!("`{}` does not belong in queue {name} of chip {}", row.mnemonic, chip.0);
    AsmError::new(span, message, format!("put it in a queue of unit {} that holds `{}`", row.unit.name(), row.mnemonic))
}

fn explain(of: (ChipId, Queue), item: &Item, error: &QueueError, span: Span) -> AsmError {
    match error {
        QueueError::WrongUnit { .. } => misplaced(of, item.instruction.row(), span),
        QueueError::Malformed { malformed, .. } => {
            AsmError::new(span, malformed.to_string(), "choose operands that fit one another")
        }
        QueueError::NothingToRepeat { .. } => AsmError::new(
            span,
            "there is nothing to repeat",
            "put it right behind an unpaired instruction that is no nop and no repeat",
        ),
        QueueError::BadPair { .. } => {
            let message = "this does not pair with the instruction before it";
            let help = match of.1 {
                Queue::Mem(..) => "pair one read or gather with one write or scatter of a memory slice".to_owned(),
                other => format!(
                    "leave out `&`: queue {other} issues one instruction a cycle, memory slices alone issue two"
                ),
            };
            AsmError::new(span, message, help)
        }
    }
}
