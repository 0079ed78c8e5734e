//! A small plan that is valid, and one change after another that makes it invalid.

use std::sync::Arc;

use lpu_isa::{Arithmetic, Instruction, PassFormat, Source as Operand, Stream};

use super::*;
use crate::places::Places;
use crate::plan::{Columns, Mailbox, Pass, Way};

const LANES: usize = 64;
/// Words of SRAM; intermediate values are after them.
const WORDS: u32 = 64;

fn word(number: u32) -> At {
    At(4 * number)
}

/// Vectors of 32-bit lanes among the intermediate values.
fn wide(number: u32) -> At {
    At(4 * WORDS + 16 * number)
}

fn span(start: u32, end: u32) -> ListRange {
    ListRange { start, end }
}

fn add() -> Instruction {
    Instruction::Add {
        arithmetic: Arithmetic::F32,
        dst: None,
        a: Operand::Stream(Stream::east(0)),
        b: Operand::Stream(Stream::east(4)),
    }
}

fn run(pass: u32, low: u32, high: u32, output: u16) -> RowRun<At> {
    RowRun { low: word(low), high: word(high), pass, output, step: 2, rows: 4, same: false }
}

/// Three phases: bytes are gathered and activations prepared; an fp16 pass by rows in two tasks and an int8 pass by
/// columns; their sum is written.
fn plan() -> Plan<At> {
    let plane = |number| Bytes::Plane(word(number));
    Plan {
        lanes: LANES,
        ops: vec![
            Op::Join { dst: wide(0), parts: [Some(plane(0)), None, None, None] },
            Op::Copy { dst: wide(1), src: plane(1) },
            Op::Prepare { prepared: 0, low: plane(2), high: plane(3), int8: false },
            Op::Alu {
                instruction: add(),
                dst: wide(4),
                sources: [AluInput::Wide(wide(2)), AluInput::Splat(1), AluInput::None],
            },
            Op::Add { dst: wide(5), format: PassFormat::I8, terms: span(0, 2) },
            Op::Copy { dst: word(40), src: Bytes::Lane(wide(5), 3) },
            Op::Scatter { src: plane(4), map: [plane(5), plane(6)], window: span(0, 2) },
            Op::Send { number: 0, src: plane(7) },
            Op::Send { number: 1, src: Bytes::Lane(wide(5), 2) },
            Op::Receive { dst: word(44), number: 0 },
        ],
        operands: vec![plane(30), plane(31)],
        terms: vec![wide(3), wide(4)],
        windows: vec![word(41), word(42)],
        weights: Vec::new(),
        passes: vec![
            Pass { activation: PassInput::F16(0), dst: wide(2) },
            Pass { activation: PassInput::I8(wide(1)), dst: wide(3) },
        ],
        runs: vec![run(0, 10, 14, 0), run(0, 18, 22, 1)],
        columns: vec![Columns { pass: 1, rows: span(0, 2) }],
        prepared: 1,
        tasks: vec![
            Task::Ops(span(0, 1)),
            Task::Ops(span(1, 3)),
            Task::Runs(span(0, 1)),
            Task::Runs(span(1, 2)),
            Task::Columns { columns: span(0, 1), lane: 0, lanes: 64 },
            Task::Ops(span(3, 6)),
            Task::Ops(span(6, 7)),
            Task::Ops(span(7, 8)),
            Task::Ops(span(8, 10)),
        ],
        phases: vec![span(0, 2), span(2, 5), span(5, 8), span(8, 9)],
        work: 6 * 256,
        sends: 2,
        receives: 1,
    }
}

fn accepted(change: impl Fn(&mut Plan<At>)) -> bool {
    let mut plan = plan();
    change(&mut plan);
    let arena = Arena::new(None, &Places::bytes(u64::from(WORDS) * LANES as u64, LANES))
        .and_then(|words| words.with_work(6 * 256))
        .unwrap();
    validate(&plan, &arena, LANES)
}

type Change = fn(&mut Plan<At>);

#[test]
fn valid_plans_are_accepted() {
    let changes: [Change; 5] = [
        |_| (),
        |plan| plan.runs[0].same = true,
        |plan| plan.runs[1].output = 57,
        |plan| plan.ops[0] = Op::Fold { dst: wide(0), src: wide(3), way: Way::Lanes, integers: true },
        // A later operation of the same task takes what an earlier one made.
        |plan| plan.ops[1] = Op::Copy { dst: At(wide(1).0 + 4), src: Bytes::Plane(wide(1)) },
    ];
    for (number, change) in changes.iter().enumerate() {
        assert!(accepted(change), "change {number}");
    }
}

#[test]
fn invalid_plans_are_refused() {
    let changes: &[(&str, Change)] = &[
        ("lanes of another chip", |plan| plan.lanes = 32),
        ("more preparations than operations", |plan| plan.prepared = 11),
        ("a place far outside", |plan| plan.ops[1] = Op::Copy { dst: At(u32::MAX), src: Bytes::Plane(word(1)) }),
        ("a place across the end of words", |plan| {
            plan.ops[1] = Op::Copy { dst: At(word(WORDS).0 - 1), src: Bytes::Plane(word(1)) }
        }),
        ("a place across the end", |plan| plan.ops[0] = Op::Join { dst: At(wide(5).0 + 4), parts: [None; 4] }),
        ("a fifth byte", |plan| plan.ops[5] = Op::Copy { dst: word(40), src: Bytes::Lane(wide(5), 4) }),
        ("two tasks that write one place", |plan| {
            plan.ops[1] = Op::Copy { dst: At(wide(0).0 + 8), src: Bytes::Plane(word(1)) }
        }),
        ("a task that reads what another writes", |plan| {
            plan.ops[1] = Op::Copy { dst: wide(1), src: Bytes::Plane(wide(0)) }
        }),
        ("an operation that reads what it writes", |plan| {
            plan.ops[1] = Op::Copy { dst: At(wide(1).0 + 2), src: Bytes::Plane(wide(1)) }
        }),
        ("an operation that writes a place twice", |plan| plan.ops[1] = Op::Split { dst: [wide(1); 4], src: wide(4) }),
        ("a word written while a scatter may write it", |plan| plan.windows[1] = word(40)),
        ("an empty window", |plan| {
            plan.ops[6] =
                Op::Scatter { src: Bytes::Plane(word(4)), map: [Bytes::Plane(word(5)); 2], window: span(0, 0) }
        }),
        ("a window outside its list", |plan| plan.windows.truncate(1)),
        ("rows that a pass of this phase writes", |plan| plan.runs[0].low = wide(3)),
        ("results over written words that a row reads", |plan| {
            plan.passes[1].dst = word(38);
            plan.runs[0].low = word(39);
        }),
        ("no rows", |plan| plan.runs[0].rows = 0),
        ("more rows than fit", |plan| (plan.runs[0].rows, plan.runs[0].step) = (65, 0)),
        ("an output beyond the lanes", |plan| plan.runs[1].output = 58),
        ("an output made twice", |plan| plan.runs[1].output = 0),
        ("an output made twice by one run", |plan| plan.runs[0].step = 0),
        ("rows across the end of words", |plan| plan.runs[0].low = word(WORDS - 3)),
        ("no such pass", |plan| plan.runs[0].pass = 2),
        ("activations that are not prepared", |plan| plan.ops[2] = Op::Zero { dst: wide(5), from: 0 }),
        ("activations prepared in another form", |plan| plan.passes[0].activation = PassInput::I8F16(0)),
        ("no such preparation", |plan| plan.passes[0].activation = PassInput::F16(1)),
        ("activations prepared in the same phase", |plan| plan.phases = vec![span(0, 5), span(5, 8), span(8, 9)]),
        ("columns of half a row", |plan| {
            plan.passes[1].activation = PassInput::F16(0);
            plan.columns[0].rows = span(0, 1);
        }),
        ("columns of lanes that are not there", |plan| {
            plan.tasks[4] = Task::Columns { columns: span(0, 1), lane: 1, lanes: 64 }
        }),
        ("columns of no pass", |plan| plan.tasks[4] = Task::Columns { columns: span(0, 0), lane: 0, lanes: 64 }),
        ("columns through other rows", |plan| {
            plan.operands.push(plan.operands[0]);
            plan.columns.push(Columns { pass: 1, rows: span(1, 3) });
            plan.tasks[4] = Task::Columns { columns: span(0, 2), lane: 0, lanes: 64 };
        }),
        ("a maximum of nowhere", |plan| {
            plan.ops[3] = Op::Fold { dst: wide(4), src: At(u32::MAX), way: Way::Superlanes, integers: false }
        }),
        ("no such columns", |plan| plan.tasks[4] = Task::Columns { columns: span(1, 2), lane: 0, lanes: 64 }),
        ("columns that overlap", |plan| plan.tasks[3] = Task::Columns { columns: span(0, 1), lane: 63, lanes: 1 }),
        ("columns in lanes", |plan| plan.operands[0] = Bytes::Lane(wide(4), 0)),
        ("an ALU operation that is none", |plan| {
            plan.ops[3] = Op::Alu { instruction: Instruction::Sync {}, dst: wide(4), sources: [AluInput::None; 3] };
        }),
        ("a source too few", |plan| {
            plan.ops[3] = Op::Alu {
                instruction: add(),
                dst: wide(4),
                sources: [AluInput::Splat(1), AluInput::None, AluInput::None],
            }
        }),
        ("a source too many", |plan| {
            plan.ops[3] = Op::Alu { instruction: add(), dst: wide(4), sources: [AluInput::Splat(1); 3] }
        }),
        ("a switch that is none", |plan| {
            plan.ops[3] = Op::Switch { instruction: Instruction::Sync {}, operands: span(0, 0), taken: 0 };
        }),
        ("a sum of nothing", |plan| plan.ops[4] = Op::Add { dst: wide(5), format: PassFormat::I8, terms: span(1, 1) }),
        ("a sum that takes its own result", |plan| plan.terms[0] = wide(5)),
        ("a movement too far", |plan| {
            plan.ops[3] =
                Op::Move { dst: wide(4), src: wide(2), movement: Movement::Superlanes { by: -5, wrap: true } };
        }),
        ("zero beyond the lanes", |plan| plan.ops[3] = Op::Zero { dst: wide(4), from: 65 }),
        ("weights that are not there", |plan| {
            let low = Bytes::Plane(word(0));
            plan.ops[3] = Op::Pass { dst: wide(4), format: PassFormat::I8, planes: [0, 0], low, high: low };
        }),
        ("operations that are not there", |plan| plan.tasks[8] = Task::Ops(span(8, 11))),
        ("operations that end before they begin", |plan| plan.tasks[6] = Task::Ops(span(7, 6))),
        ("runs that are not there", |plan| plan.tasks[3] = Task::Runs(span(1, 3))),
        ("tasks that are not there", |plan| plan.phases[3] = span(8, 10)),
        ("a mailbox that is filled twice", |plan| {
            plan.ops[8] = Op::Send { number: 0, src: Bytes::Plane(word(7)) };
            plan.sends = 1;
        }),
        ("a mailbox that is filled in two phases", |plan| plan.tasks[8] = Task::Ops(span(7, 10))),
        ("a mailbox that is not there", |plan| plan.sends = 1),
        ("a mailbox that is never filled", |plan| plan.sends = 3),
        ("more mailboxes than operations", |plan| plan.sends = 11),
        ("bytes sent from outside", |plan| plan.ops[7] = Op::Send { number: 0, src: Bytes::Plane(At(u32::MAX)) }),
        ("no such receive", |plan| plan.receives = 0),
        ("bytes received outside", |plan| plan.ops[9] = Op::Receive { dst: At(u32::MAX), number: 0 }),
    ];
    for (what, change) in changes {
        assert!(!accepted(change), "{what}");
    }
}

#[test]
fn chips_have_plans_and_mailboxes_of_other_chips() {
    let plans = [Arc::new(plan())];
    let of = |plan, sources: &[(u16, u32)]| ChipPlan {
        plan,
        sources: sources.iter().map(|&(chip, send)| Mailbox { chip, send }).collect(),
    };
    let pair = |one: &ChipPlan| chips_fit(&plans, &[one.clone(), of(0, &[(0, 1)])], 2);
    assert!(pair(&of(0, &[(1, 0)])) && pair(&of(0, &[(1, 1)])));
    for (what, wrong) in [
        ("no such plan", of(1, &[(1, 0)])),
        ("a receive without a mailbox", of(0, &[])),
        ("a mailbox without a receive", of(0, &[(1, 0), (1, 1)])),
        ("its own mailbox", of(0, &[(0, 0)])),
        ("no such chip", of(0, &[(2, 0)])),
        ("no such send", of(0, &[(1, 2)])),
    ] {
        assert!(!pair(&wrong), "{what}");
    }
    assert!(!chips_fit(&plans, &[of(0, &[(1, 0)])], 1), "a mailbox of a chip that is not there");
    assert!(!chips_fit(&plans, &[], 1), "a chip without a plan");
}
