//! Which operations are needed, and for how long values live.

use super::builder::{NO_OP, VirtualRegister};
use crate::plan::{AluInput, Op, PassInput, Plan, Ref};

/// Where an operation is: position, component, number.
pub(super) type Order = (u32, u32, u32);

/// When a register is last used.
#[derive(Clone, Copy, Debug)]
pub(super) struct LiveRange {
    pub(super) position: u32,
    /// Rank of the last operation of its own component that uses it; nothing when an operation of another does.
    pub(super) own: Option<u32>,
}

/// Calls `f` with every register that an operation takes.
pub(super) fn uses(plan: &Plan<Ref>, op: &Op<Ref>, mut f: impl FnMut(u32)) {
    let mut of = |place: Ref| {
        if let Ref::Register(register) = place {
            f(register);
        }
    };
    match *op {
        Op::Join { parts, .. } => parts.iter().flatten().for_each(|part| of(part.of())),
        Op::Alu { sources, .. } => sources.iter().for_each(|source| {
            if let AluInput::Wide(place) = source {
                of(*place);
            }
        }),
        Op::Copy { src, .. } | Op::Send { src, .. } => of(src.of()),
        Op::Gather { map, .. } => map.iter().for_each(|byte| of(byte.of())),
        Op::Scatter { src, map, .. } => [src, map[0], map[1]].iter().for_each(|byte| of(byte.of())),
        Op::Switch { operands, taken, .. } => {
            plan.operands[operands.range()][..usize::from(taken)].iter().for_each(|bytes| of(bytes.of()));
        }
        Op::Move { src, .. } | Op::Fold { src, .. } => of(src),
        Op::Split { src, .. } => of(src),
        Op::Zero { .. } | Op::Receive { .. } => {}
        Op::Prepare { low, high, .. } => [low, high].iter().for_each(|byte| of(byte.of())),
        Op::Add { terms, .. } => plan.terms[terms.range()].iter().for_each(|&term| of(term)),
        Op::Pass { planes, low, high, .. } => {
            [low, high].iter().for_each(|byte| of(byte.of()));
            for plane in planes {
                plan.weights[plane as usize].rows.iter().for_each(|row| of(row.0));
            }
        }
    }
}

/// Calls `f` with every register that an operation makes.
pub(super) fn defs(plan: &Plan<Ref>, op: &Op<Ref>, mut f: impl FnMut(u32)) {
    let mut of = |place: Ref| {
        if let Ref::Register(register) = place {
            f(register);
        }
    };
    match *op {
        Op::Join { dst, .. }
        | Op::Alu { dst, .. }
        | Op::Copy { dst, .. }
        | Op::Gather { dst, .. }
        | Op::Move { dst, .. }
        | Op::Fold { dst, .. }
        | Op::Add { dst, .. }
        | Op::Pass { dst, .. }
        | Op::Receive { dst, .. } => of(dst),
        Op::Switch { operands, taken, .. } => {
            plan.operands[operands.range()][usize::from(taken)..].iter().for_each(|bytes| of(bytes.of()));
        }
        Op::Prepare { prepared, .. } => of(Ref::Register(prepared)),
        Op::Split { dst, .. } => dst.into_iter().for_each(of),
        Op::Scatter { .. } | Op::Zero { .. } | Op::Send { .. } => {}
    }
}

pub(super) fn live_ranges(
    plan: &Plan<Ref>,
    registers: &[VirtualRegister],
    passes_at: &[u32],
    orders: &[Order],
    roots: &[u32],
) -> Vec<LiveRange> {
    let mut live_ranges: Vec<LiveRange> = registers
        .iter()
        .map(|register| LiveRange { position: register.start, own: (register.op != NO_OP).then_some(0) })
        .collect();
    let outside = |range: &mut LiveRange, position: u32| {
        range.position = range.position.max(position);
        range.own = None;
    };
    for (rank, &(position, root, op)) in orders.iter().enumerate() {
        uses(plan, &plan.ops[op as usize], |register| {
            let (range, register) = (&mut live_ranges[register as usize], registers[register as usize]);
            if register.op != NO_OP && register.start == position && roots[register.op as usize] == root {
                range.own = range.own.map(|_| rank as u32);
            } else {
                outside(range, position);
            }
        });
    }
    taken_by_passes(plan, |register, pass| outside(&mut live_ranges[register as usize], passes_at[pass as usize]));
    for (number, pass) in plan.passes.iter().enumerate() {
        if let Ref::Register(register) = pass.dst {
            outside(&mut live_ranges[register as usize], passes_at[number]);
        }
    }
    live_ranges
}

/// Calls `f` with every register that a pass takes, and the pass.
fn taken_by_passes(plan: &Plan<Ref>, mut f: impl FnMut(u32, u32)) {
    let mut used = |place: Ref, pass: u32| {
        if let Ref::Register(register) = place {
            f(register, pass);
        }
    };
    for (number, pass) in plan.passes.iter().enumerate() {
        let activation = match pass.activation {
            PassInput::I8(place) => place,
            PassInput::F16(register) | PassInput::I8F16(register) => Ref::Register(register),
        };
        used(activation, number as u32);
    }
    for run in &plan.runs {
        used(run.low, run.pass);
        used(run.high, run.pass);
    }
    for columns in &plan.columns {
        plan.operands[columns.rows.range()].iter().for_each(|row| used(row.of(), columns.pass));
    }
}

/// By operation, whether a store, a send or a pass rests on it.
pub(super) fn needed(plan: &Plan<Ref>, registers: usize) -> Vec<bool> {
    let mut wanted = vec![false; registers];
    taken_by_passes(plan, |register, _| wanted[register as usize] = true);
    let mut needed = vec![false; plan.ops.len()];
    for (op, needed) in plan.ops.iter().zip(&mut needed).rev() {
        defs(plan, op, |register| *needed |= wanted[register as usize]);
        *needed |= match *op {
            Op::Copy { dst: Ref::Word(_), .. } | Op::Scatter { .. } | Op::Send { .. } => true,
            Op::Zero { dst: Ref::Register(register), .. } => wanted[register as usize],
            _ => false,
        };
        if *needed {
            uses(plan, op, |register| wanted[register as usize] = true);
        }
    }
    needed
}
