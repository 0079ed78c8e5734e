//! A plan laid out: operations in order, registers at their addresses, components cut into tasks and phases.

use super::builder::PlanBuilder;
use super::linear_scan::addresses;
use super::live::{Order, live_ranges, needed};
use crate::places::At;
use crate::plan::{Bytes, ListRange, Op, Pass, PassInput, Plan, Ref, RowRun, RowWeights, Task};

/// Rows of a run that stay together, so that tasks can be cut evenly.
const ROWS: u16 = 64;
/// Operations of small components that are done as one task.
const OPS: usize = 8;
/// Bytes of rows a task, at most and at least.
const BYTES: (usize, usize) = (96 << 10, 8 << 10);
/// Tasks that a phase of passes is cut into when its rows are between these bounds.
const CUTS: usize = 16;
/// Passes by columns through the same rows that are done together, at most.
const TOGETHER: usize = 12;
/// Lanes of a task of a pass by columns.
const LANES: usize = 64;

/// Lays a plan out: order of operations, addresses of registers, tasks and phases.
pub(super) fn lay_out(mut builder: PlanBuilder<'_>, work: At) -> Plan<At> {
    let count = builder.plan.ops.len() as u32;
    let roots: Vec<u32> = (0..count).map(|op| builder.root(op)).collect();
    let needed = needed(&builder.plan, builder.registers.len());
    let kept = (0..count).filter(|&op| needed[op as usize]);
    let mut orders: Vec<Order> = kept.map(|op| (builder.positions[op as usize], roots[op as usize], op)).collect();
    orders.sort_unstable();
    let live_ranges = live_ranges(&builder.plan, &builder.registers, &builder.passes_at, &orders, &roots);
    let (found, bytes, prepared) = addresses(&builder, &live_ranges, &orders, work);
    let passes_at = std::mem::take(&mut builder.passes_at);
    let plan = builder.plan;
    let at = |place: Ref| match place {
        Ref::Word(at) => at,
        Ref::Register(register) => At(found[register as usize]),
    };
    let ops = orders.iter().map(|&(.., op)| match plan.ops[op as usize].map(at) {
        Op::Prepare { prepared, low, high, int8 } => {
            Op::Prepare { prepared: found[prepared as usize], low, high, int8 }
        }
        op => op,
    });
    let passes = plan.passes.iter().map(|pass| {
        let activation = match pass.activation {
            PassInput::I8(place) => PassInput::I8(at(place)),
            PassInput::F16(register) => PassInput::F16(found[register as usize]),
            PassInput::I8F16(register) => PassInput::I8F16(found[register as usize]),
        };
        Pass { activation, dst: at(pass.dst) }
    });
    let runs = stored_runs(&plan, at, &passes_at);
    let mut laid = Plan {
        lanes: plan.lanes,
        ops: ops.collect(),
        operands: plan.operands.iter().map(|bytes| bytes.map(at)).collect(),
        terms: plan.terms.iter().map(|&term| at(term)).collect(),
        weights: plan
            .weights
            .iter()
            .map(|weights| RowWeights {
                by_input: weights.by_input,
                rows: weights.rows.iter().map(|&(row, half)| (at(row), half)).collect(),
            })
            .collect(),
        passes: passes.collect(),
        windows: plan.windows,
        columns: plan.columns,
        runs,
        prepared,
        tasks: Vec::new(),
        phases: Vec::new(),
        work: bytes,
        sends: plan.sends,
        receives: plan.receives,
    };
    split(&mut laid.ops, &mut orders);
    cut(&mut laid, &orders, &passes_at);
    laid
}

/// Runs of at most [`ROWS`] rows, in the order in which a file has them, so that memory is read in order; passes through
/// the same rows stay together. Rows that are all one go by passes: a pass remembers its sum.
fn stored_runs(plan: &Plan<Ref>, at: impl Fn(Ref) -> At, passes_at: &[u32]) -> Vec<RowRun<At>> {
    let mut runs = Vec::with_capacity(plan.runs.len());
    for run in &plan.runs {
        let (low, high) = (at(run.low), at(run.high));
        for first in (0..run.rows).step_by(usize::from(ROWS)) {
            let bytes = if run.same { 0 } else { usize::from(first) * plan.lanes };
            let (low, high) = (low.plus(bytes), high.plus(bytes));
            let (output, rows) = (run.output + first * run.step, ROWS.min(run.rows - first));
            runs.push(RowRun { low, high, pass: run.pass, output, step: run.step, rows, same: run.same });
        }
    }
    runs.sort_unstable_by_key(|run| {
        (passes_at[run.pass as usize], if run.same { run.pass } else { 0 }, run.low, run.pass)
    });
    runs
}

/// Makes one operation of four neighbours in one component that copy the four bytes of the same lanes.
fn split(ops: &mut Vec<Op<At>>, orders: &mut Vec<Order>) {
    let byte = |op: &Op<At>, byte: u8| match *op {
        Op::Copy { dst, src: Bytes::Lane(src, found) } if found == byte => Some((dst, src)),
        _ => None,
    };
    let (mut first, mut kept) = (0, 0);
    while first < ops.len() {
        let of = |index: usize| byte(ops.get(first + index)?, index as u8);
        let mut count = 1;
        ops[kept] = match (of(0), of(1), of(2), of(3)) {
            (Some(a), Some(b), Some(c), Some(d))
                if [b, c, d].iter().all(|other| other.1 == a.1)
                    && (orders[first].0, orders[first].1) == (orders[first + 3].0, orders[first + 3].1) =>
            {
                count = 4;
                Op::Split { dst: [a.0, b.0, c.0, d.0], src: a.1 }
            }
            _ => ops[first],
        };
        orders[kept] = orders[first];
        first += count;
        kept += 1;
    }
    ops.truncate(kept);
    orders.truncate(kept);
}

/// Cuts a plan into phases and tasks.
fn cut(plan: &mut Plan<At>, orders: &[Order], passes_at: &[u32]) {
    let last = orders.iter().map(|order| order.0).chain(passes_at.iter().copied()).max();
    plan.columns.sort_by_key(|columns| (passes_at[columns.pass as usize], columns.rows.start, columns.pass));
    let (mut op, mut run, mut column) = (0, 0, 0);
    for position in 0..=last.unwrap_or(0) {
        let start = plan.tasks.len() as u32;
        let mut from = op;
        while let Some(&(_, root, _)) = orders.get(op).filter(|order| order.0 == position) {
            while orders.get(op).is_some_and(|order| (order.0, order.1) == (position, root)) {
                op += 1;
            }
            if op - from >= OPS {
                plan.tasks.push(Task::Ops(ListRange { start: from as u32, end: op as u32 }));
                from = op;
            }
        }
        if op > from {
            plan.tasks.push(Task::Ops(ListRange { start: from as u32, end: op as u32 }));
        }
        let at = |number: u32| passes_at[number as usize];
        let end = run + plan.runs[run..].partition_point(|run| at(run.pass) <= position);
        let size = |run: &RowRun<At>| plan.passes[run.pass as usize].activation.planes() * run.stored() * plan.lanes;
        let bytes: usize = plan.runs[run..end].iter().map(size).sum();
        let most = (bytes / CUTS).clamp(BYTES.1, BYTES.0);
        let mut tasks = Vec::new();
        while run < end {
            let (begin, mut taken) = (run, 0);
            // Runs of the same rows stay together, so that their weights are widened once.
            while run < end
                && (taken == 0 || plan.runs[run].low == plan.runs[run - 1].low || taken + size(&plan.runs[run]) <= most)
            {
                taken += size(&plan.runs[run]);
                run += 1;
            }
            tasks.push(Task::Runs(ListRange { start: begin as u32, end: run as u32 }));
        }
        while let Some(first) = plan.columns.get(column).filter(|columns| at(columns.pass) == position) {
            let rest = &plan.columns[column..];
            let same = rest
                .iter()
                .take(TOGETHER)
                .take_while(|columns| at(columns.pass) == position && columns.rows == first.rows)
                .count();
            let columns = ListRange { start: column as u32, end: (column + same) as u32 };
            for lane in (0..plan.lanes).step_by(LANES) {
                let lanes = LANES.min(plan.lanes - lane) as u16;
                tasks.push(Task::Columns { columns, lane: lane as u16, lanes });
            }
            column += same;
        }
        plan.tasks.append(&mut tasks);
        let end = plan.tasks.len() as u32;
        if end > start {
            plan.phases.push(ListRange { start, end });
        }
    }
}
