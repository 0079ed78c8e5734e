//! The list scheduler.
//!
//! Method: a task becomes ready once its operands are scheduled. The ready task with the earliest feasible start is
//! scheduled next and never moved; ties go by priority, then by number. So weight loads of later matrices fill idle
//! planes, whatever the order of the graph. The storage of an intermediate vector is freed after its last use.
//!
//! Invariants:
//! - A task is scheduled once, after every task that defines an operand of it.
//! - What a scheduled task has taken (stream segments, ports, banks, queue cycles, latches, planes) is taken for good;
//!   words and accumulators are freed with the cycle of their last use.
//! - The same tasks give the same schedule: no choice depends on values, addresses of the host or hash order.
//!
//! Not claimed: that a schedule is the shortest, that an earlier ready task makes a shorter one, or that it is legal,
//! which the checker proves of the program.

use crate::engine::Engine;
use crate::error::CompileError;
use crate::record::{Cause, Record};
use crate::task::{Task, Work};

impl Engine<'_> {
    /// Schedules every task.
    pub(crate) fn run(&mut self) -> Result<(), CompileError> {
        while let Some((number, task)) = self.take() {
            match &task.work {
                Work::Tile(tile) if !self.open(tile) => self.block(number, task),
                _ => self.schedule_task(task)?,
            }
        }
        match self.unscheduled() {
            None => Ok(()),
            Some(task) => Err(CompileError::NoPlace {
                what: format!("{} (its operands or an accumulator are never free)", task.what),
                searched: 0,
            }),
        }
    }

    fn schedule_task(&mut self, task: Task) -> Result<(), CompileError> {
        let from = self.scheduler.count();
        let (ready, waited) = self.last_input(&task.inputs);
        let (cause, lost) = match &task.work {
            Work::Chain(chain) => self.schedule_chain(&task, chain)?,
            Work::Tile(tile) => self.schedule_tile(&task, tile)?,
            Work::Append(append) => self.schedule_append(&task, append)?,
            Work::Qk(product) => self.schedule_qk(&task, product)?,
            Work::Pv(product) => self.schedule_pv(&task, product)?,
            Work::Exchange(exchange) => self.schedule_exchange(&task, *exchange)?,
        };
        let cause = if lost == 0 { Cause::Inputs } else { cause };
        let (start, end) = self.scheduler.span(from).unwrap_or((ready, ready));
        let (node, what) = (task.node, task.what);
        let computed = self.scheduler.computed(from);
        let record = Record { node, what, ready, start, end, waited, cause, lost, computed };
        self.finish_task(record, &task.inputs);
        Ok(())
    }
}
