//! Numbers that are not finite: which instruction made the first one.

use std::fmt;

use lpu_emulator::{BankAccess, Computation, Observer, StreamWrite};
use lpu_isa::{Arithmetic, ChipId, Format, Instruction, Item, Queue, item_text};
use lpu_num::half::{bf16_to_f32, f16_to_f32};
use thiserror::Error;

/// A token that leads to a number that is not finite: a logit, which means nothing then whatever its sign, for no model
/// has infinite logits by right; or a number before it that later operations, `tanh` say, make finite again.
#[derive(Clone, Debug, PartialEq, Error)]
pub struct NotFinite {
    /// Position of the token, from 0.
    pub position: usize,
    /// The token.
    pub token: u32,
    /// The first id of the vocabulary whose logit is not finite, with that logit; nothing where all logits are finite.
    pub logit: Option<(usize, f32)>,
    /// What made the first number of the run that is not finite; nothing where the run took it from rows of earlier
    /// tokens.
    pub origin: Option<NotFiniteOrigin>,
}

impl fmt::Display for NotFinite {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position, token, logit, origin } = self;
        match logit {
            Some((id, value)) => write!(formatter, "logit {id} of token {token} at position {position} is {value}")?,
            None => write!(
                formatter,
                "token {token} at position {position} leads to a number that is not finite, which its logits hide"
            )?,
        }
        origin.as_ref().map_or(Ok(()), |origin| write!(formatter, "; {origin}"))
    }
}

/// What an instruction made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFiniteKind {
    /// NaN, of operands that are none.
    Nan,
    /// An infinity, of finite operands.
    Infinity,
}

/// The instruction that made the first number of a run that is not finite from operands that are.
#[derive(Clone, Debug, PartialEq)]
pub struct NotFiniteOrigin {
    /// Cycle of the dispatch.
    pub cycle: u64,
    /// The chip.
    pub chip: ChipId,
    /// The queue.
    pub queue: Queue,
    /// The first such lane.
    pub lane: usize,
    /// The instruction.
    pub instruction: Instruction,
    /// What it made.
    pub kind: NotFiniteKind,
    /// Name of the graph's node that the instruction belongs to, where the compiler makes this very program.
    pub operation: Option<String>,
}

impl fmt::Display for NotFiniteOrigin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self { cycle, queue, lane, .. }, text) = (self, item_text(&Item::from(self.instruction)));
        let made = match self.kind {
            NotFiniteKind::Nan => "a NaN",
            NotFiniteKind::Infinity => "an infinity of finite numbers",
        };
        write!(formatter, "`{text}` made {made} first, in cycle {cycle}, {queue}, lane {lane}")?;
        self.operation.as_ref().map_or(Ok(()), |operation| write!(formatter, ", which is part of {operation}"))
    }
}

/// Watches runs of the reference engine for the first number that is not finite.
#[derive(Clone, Debug, Default)]
pub struct FirstNotFinite(pub Option<NotFiniteOrigin>);

/// How the 32 bits of operands and of a result are read.
type Readers = (fn(u32) -> f32, fn(u32) -> f32);

/// How the operands and the result of an instruction that can make such a number are read.
fn readers(instruction: &Instruction) -> Option<Readers> {
    let reader = |format: Format| -> fn(u32) -> f32 {
        match format {
            Format::F16 => |bits| f16_to_f32(bits as u16),
            Format::Bf16 => |bits| bf16_to_f32(bits as u16),
            Format::F32 => f32::from_bits,
            Format::I8 | Format::I16 | Format::I32 => |_| 0.0,
        }
    };
    match *instruction {
        Instruction::Add { arithmetic: Arithmetic::F32, .. }
        | Instruction::Sub { arithmetic: Arithmetic::F32, .. }
        | Instruction::Mul { arithmetic: Arithmetic::F32, .. }
        | Instruction::Exp { .. }
        | Instruction::Tanh { .. }
        | Instruction::Rsqrt { .. }
        | Instruction::Reciprocal { .. }
        | Instruction::Abc { .. }
        | Instruction::Acc { .. } => Some((f32::from_bits, f32::from_bits)),
        Instruction::Convert { from, to, .. } => Some((reader(from), reader(to))),
        _ => None,
    }
}

impl Observer for FirstNotFinite {
    const COMPUTES: bool = true;

    fn compute(&mut self, computation: Computation<'_>) {
        if self.0.is_some() {
            return;
        }
        let Computation { cycle, chip, queue, by, from, result } = computation;
        let Some((operand, made)) = readers(by) else { return };
        // Every output of a pass takes all lanes of its activation.
        let crosses = matches!(by, Instruction::Abc { .. });
        let any = |lane: usize, is: fn(f32) -> bool| {
            let mut lanes =
                from.iter().flat_map(|from| if crosses { from } else { from.get(lane..=lane).unwrap_or_default() });
            lanes.any(|&bits| is(operand(bits)))
        };
        for (lane, &bits) in result.iter().enumerate() {
            let value = made(bits);
            let kind = match value {
                _ if value.is_nan() && !any(lane, f32::is_nan) => NotFiniteKind::Nan,
                // The power of a large number is infinite by right: a sigmoid is 0 then.
                _ if value.is_infinite()
                    && !matches!(by, Instruction::Exp { .. })
                    && !any(lane, |value| !value.is_finite()) =>
                {
                    NotFiniteKind::Infinity
                }
                _ => continue,
            };
            self.0 = Some(NotFiniteOrigin { cycle, chip, queue, lane, instruction: *by, kind, operation: None });
            return;
        }
    }
}

/// Passes a run on to an observer, and sees whether some ALU operation [overflows](lpu_lanes::overflows).
pub(crate) struct Watched<'a, O> {
    pub(crate) observer: &'a mut O,
    pub(crate) overflow: bool,
}

impl<O: Observer> Observer for Watched<'_, O> {
    const COMPUTES: bool = true;

    fn dispatch(&mut self, cycle: u64, chip: ChipId, queue: Queue, item: u32, instruction: &Instruction) {
        self.observer.dispatch(cycle, chip, queue, item, instruction);
    }

    fn stream_write(&mut self, write: StreamWrite<'_>) {
        self.observer.stream_write(write);
    }

    fn bank_access(&mut self, access: BankAccess) {
        self.observer.bank_access(access);
    }

    fn compute(&mut self, computation: Computation<'_>) {
        let Computation { by, from, result, .. } = computation;
        self.overflow |= from.first().is_some_and(|a| lpu_lanes::overflows(by, a, result));
        if O::COMPUTES {
            self.observer.compute(computation);
        }
    }
}
