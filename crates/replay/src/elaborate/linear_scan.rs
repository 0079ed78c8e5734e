//! Linear scan allocation: addresses of virtual registers by live range.
//!
//! Positions are scanned in order, operations of a position component by component. What a component frees, it takes
//! again itself; another takes it from the next position on, because components of one position may run side by side.

use super::builder::{NO_OP, PlanBuilder, StorageClass, VirtualRegister};
use super::live::{LiveRange, Order, defs, uses};
use crate::places::At;

/// Free addresses of one storage class, and its bytes.
struct FreeList {
    free: Vec<u32>,
    bytes: usize,
}

/// Addresses by storage class, a list each.
type ByClass = [Vec<u32>; 3];

/// What is free at a position, and what was never taken.
struct Allocator {
    lists: [FreeList; 3],
    next: At,
    prepared: u32,
}

impl Allocator {
    fn new(lanes: usize, work: At) -> Self {
        let list = |bytes: usize| FreeList { free: Vec::new(), bytes: bytes.next_multiple_of(64) };
        Self { lists: [4 * lanes, lanes, 0].map(list), next: work, prepared: 0 }
    }

    /// An address of a class: one that the component freed itself, one that is free, or a new one.
    fn take(&mut self, own: &mut ByClass, class: StorageClass) -> u32 {
        let which = list(class);
        if let Some(free) = own[which].pop().or_else(|| self.lists[which].free.pop()) {
            return free;
        }
        if class == StorageClass::Prepared {
            self.prepared += 1;
            return self.prepared - 1;
        }
        let at = self.next;
        self.next = at.plus(self.lists[which].bytes);
        at.0
    }

    fn free(&mut self, class: StorageClass, address: u32) {
        self.lists[list(class)].free.push(address);
    }
}

/// Number of a class's list.
fn list(class: StorageClass) -> usize {
    match class {
        StorageClass::Wide => 0,
        StorageClass::Narrow => 1,
        StorageClass::Prepared => 2,
    }
}

/// By position: registers that begin there without an operation that makes them.
fn births(registers: &[VirtualRegister], positions: usize) -> Vec<Vec<u32>> {
    let mut births: Vec<Vec<u32>> = vec![Vec::new(); positions];
    for (number, register) in registers.iter().enumerate().filter(|(_, register)| register.start != u32::MAX) {
        if register.op == NO_OP {
            births[register.start as usize].push(number as u32);
        }
    }
    births
}

/// Addresses of registers; of prepared activations their numbers.
pub(super) fn addresses(
    builder: &PlanBuilder<'_>,
    live_ranges: &[LiveRange],
    orders: &[Order],
    work: At,
) -> (Vec<u32>, u64, usize) {
    let registers = &builder.registers;
    let last = live_ranges.iter().map(|range| range.position).max().unwrap_or(0) as usize;
    let mut ends: Vec<Vec<u32>> = vec![Vec::new(); last + 1];
    let births = births(registers, last + 1);
    let mut allocator = Allocator::new(builder.places.lanes, work);
    let mut found = vec![u32::MAX; registers.len()];
    let mut rank = 0;
    for position in 0..=last as u32 {
        let (mut own, mut held): (ByClass, ByClass) = Default::default();
        for &register in &births[position as usize] {
            found[register as usize] = allocator.take(&mut own, registers[register as usize].class);
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
                found[register as usize] = allocator.take(&mut own, registers[register as usize].class);
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
        for (list, freed) in allocator.lists.iter_mut().zip(held.iter_mut().zip(&mut own)) {
            list.free.append(freed.0);
            list.free.append(freed.1);
        }
        for register in std::mem::take(&mut ends[position as usize]) {
            allocator.free(registers[register as usize].class, found[register as usize]);
        }
    }
    (found, (allocator.next.bytes() - work.bytes()) as u64, allocator.prepared as usize)
}
