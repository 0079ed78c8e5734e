//! Linear scan allocation: addresses of virtual registers by live range.
//!
//! Positions are scanned in order, operations of a position component by component. What a component frees, it takes
//! again itself; another takes it from the next position on, because components of one position may run side by side.

use super::builder::{NO_OP, PlanBuilder, StorageClass};
use super::live::{LiveRange, Order, defs, uses};
use crate::places::At;

/// Free addresses of one storage class, and its bytes.
struct FreeList {
    free: Vec<u32>,
    bytes: usize,
}

/// Addresses of registers; of prepared activations their numbers.
pub(super) fn addresses(
    builder: &PlanBuilder<'_>,
    live_ranges: &[LiveRange],
    orders: &[Order],
    work: At,
) -> (Vec<u32>, u64, usize) {
    let lanes = builder.places.lanes;
    let registers = &builder.registers;
    let last = live_ranges.iter().map(|range| range.position).max().unwrap_or(0) as usize;
    let mut ends: Vec<Vec<u32>> = vec![Vec::new(); last + 1];
    let mut births: Vec<Vec<u32>> = vec![Vec::new(); last + 1];
    for (number, register) in registers.iter().enumerate().filter(|(_, register)| register.start != u32::MAX) {
        if register.op == NO_OP {
            births[register.start as usize].push(number as u32);
        }
    }
    let mut next = work;
    let mut prepared = 0u32;
    let mut lists = [4 * lanes, lanes, 0].map(|bytes| FreeList { free: Vec::new(), bytes: bytes.next_multiple_of(64) });
    let mut found = vec![u32::MAX; registers.len()];
    let list = |class: StorageClass| match class {
        StorageClass::Wide => 0,
        StorageClass::Narrow => 1,
        StorageClass::Prepared => 2,
    };
    let mut take = |lists: &mut [FreeList; 3], own: &mut [Vec<u32>; 3], class: StorageClass| {
        let which = list(class);
        own[which].pop().or_else(|| lists[which].free.pop()).unwrap_or_else(|| {
            if class == StorageClass::Prepared {
                prepared += 1;
                return prepared - 1;
            }
            let at = next;
            next = next.plus(lists[which].bytes);
            at.0
        })
    };
    let mut rank = 0;
    for position in 0..=last as u32 {
        let (mut own, mut held): ([Vec<u32>; 3], [Vec<u32>; 3]) = Default::default();
        for &register in &births[position as usize] {
            found[register as usize] = take(&mut lists, &mut own, registers[register as usize].class);
            ends[live_ranges[register as usize].position as usize].push(register);
        }
        let mut component = u32::MAX;
        while let Some(&(_, root, op)) = orders.get(rank).filter(|order| order.0 == position) {
            if root != component {
                // What a component frees, another may not take before the phase ends: they may run side by side.
                for (held, own) in held.iter_mut().zip(&mut own) {
                    held.append(own);
                }
                component = root;
            }
            let op = &builder.plan.ops[op as usize];
            defs(&builder.plan, op, |register| {
                if registers[register as usize].op == NO_OP {
                    return;
                }
                found[register as usize] = take(&mut lists, &mut own, registers[register as usize].class);
                let range = live_ranges[register as usize];
                if range.own.is_none_or(|own| own == 0) {
                    ends[range.position as usize].push(register);
                }
            });
            let mut done = Vec::new();
            uses(&builder.plan, op, |register| {
                if live_ranges[register as usize].own == Some(rank as u32) && !done.contains(&register) {
                    done.push(register);
                }
            });
            for register in done {
                own[list(registers[register as usize].class)].push(found[register as usize]);
            }
            rank += 1;
        }
        for (list, freed) in lists.iter_mut().zip(held.iter_mut().zip(&mut own)) {
            list.free.append(freed.0);
            list.free.append(freed.1);
        }
        for register in std::mem::take(&mut ends[position as usize]) {
            lists[list(registers[register as usize].class)].free.push(found[register as usize]);
        }
    }
    (found, (next.bytes() - work.bytes()) as u64, prepared as usize)
}
