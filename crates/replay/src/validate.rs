//! Whether plans that came from a file may run: every place is in the arena, every number names something that exists,
//! no task of a phase touches what another one writes, and each mailbox is filled once. It does not say that a plan is
//! right; its checksum does. That mailboxes are read after they are filled is what [`crate::steps`] finds.

use std::sync::Arc;

use lpu_isa::{Flow, Unit};
use smallvec::SmallVec;

use crate::arena::Arena;
use crate::places::At;
use crate::plan::{AluInput, Bytes, ChipPlan, ListRange, Movement, Op, PassInput, Plan, RowRun, Task};
use crate::run::MAX_LANES;

/// The most rows of a run, and lanes of a task of a pass by columns.
const MOST: usize = 64;

/// Bytes of the arena: the first, and after the last.
type Range = (usize, usize);

/// What an operation touches.
#[derive(Default)]
struct Touched {
    reads: SmallVec<[Range; 8]>,
    writes: SmallVec<[Range; 4]>,
}

/// Whether each of so many chips has a plan, and a mailbox of another chip for each of its receives.
pub(crate) fn chips_fit(plans: &[Arc<Plan<At>>], chips: &[ChipPlan], count: usize) -> bool {
    let plan = |chip: usize| plans.get(chips.get(chip)?.plan as usize);
    chips.len() == count
        && chips.iter().enumerate().all(|(chip, of)| {
            plan(chip).is_some_and(|plan| of.sources.len() == plan.receives as usize)
                && of.sources.iter().all(|source| {
                    usize::from(source.chip) != chip
                        && plan(usize::from(source.chip)).is_some_and(|plan| source.send < plan.sends)
                })
        })
}

/// Whether a plan may run over an arena, on a chip of so many lanes.
pub(crate) fn validate(plan: &Plan<At>, arena: &Arena, lanes: usize) -> bool {
    let most = plan.ops.len();
    let fits = lanes == plan.lanes && lanes <= MAX_LANES && lanes.is_multiple_of(16) && plan.prepared <= most;
    fits && plan.sends as usize <= most && Validator::new(plan, arena).plan().is_some()
}

struct Validator<'a> {
    plan: &'a Plan<At>,
    arena: &'a Arena,
    /// Words of SRAM that some operation writes, in order.
    written: Vec<Range>,
    /// What the phase at hand reads and writes, and in which task.
    reads: Vec<(Range, u32)>,
    writes: Vec<(Range, u32)>,
    /// Whether activations have been prepared in earlier phases: as halves, as digits; and those of this phase.
    prepared: Vec<[bool; 2]>,
    preparing: Vec<(u32, bool)>,
    /// Outputs of passes that some task makes, a bit each.
    outputs: Vec<u64>,
    /// The last phase in which some of each pass is done.
    phase_of: Vec<usize>,
    /// Mailboxes that are filled.
    sent: Vec<bool>,
}

/// Numbers of prepared activations as bytes after all others.
fn after_all(prepared: u32) -> Range {
    let at = usize::MAX / 2 + prepared as usize;
    (at, at + 1)
}

fn overlap(one: Range, other: Range) -> bool {
    one.0 < other.1 && other.0 < one.1
}

/// The entries of a list that a span names.
fn of<T>(list: &[T], span: ListRange) -> Option<&[T]> {
    list.get(span.start as usize..span.end as usize)
}

/// Nothing, unless it holds.
fn must(holds: bool) -> Option<()> {
    holds.then_some(())
}

impl<'a> Validator<'a> {
    fn new(plan: &'a Plan<At>, arena: &'a Arena) -> Self {
        Self {
            plan,
            arena,
            written: Vec::new(),
            reads: Vec::new(),
            writes: Vec::new(),
            prepared: vec![[false; 2]; plan.prepared],
            preparing: Vec::new(),
            outputs: vec![0; plan.passes.len() * plan.lanes.div_ceil(64)],
            phase_of: vec![usize::MAX; plan.passes.len()],
            sent: vec![false; plan.sends as usize],
        }
    }

    fn plan(&mut self) -> Option<()> {
        let plan = self.plan;
        let words = self.arena.words_end().bytes();
        for op in &plan.ops {
            let written = self.op(op)?.writes.into_iter().filter(|write| write.0 < words);
            self.written.extend(written);
        }
        self.written.sort_unstable();
        self.written.dedup_by(|next, last| {
            let joined = next.0 <= last.1;
            last.1 = if joined { last.1.max(next.1) } else { last.1 };
            joined
        });
        for (number, &phase) in plan.phases.iter().enumerate() {
            for (task, &what) in (phase.start..).zip(of(&plan.tasks, phase)?) {
                self.task(number, task, what)?;
            }
            self.apart()?;
            for (prepared, int8) in self.preparing.drain(..) {
                self.prepared[prepared as usize][usize::from(int8)] = true;
            }
        }
        must(self.sent.iter().all(|&sent| sent))
    }

    /// Whether no task of this phase touches what another one writes; makes ready for the next phase.
    fn apart(&mut self) -> Option<()> {
        self.writes.sort_unstable();
        let mut writes: Vec<(Range, u32)> = Vec::with_capacity(self.writes.len());
        for (range, task) in self.writes.drain(..) {
            match writes.last_mut().filter(|last| overlap(last.0, range)) {
                Some(last) => {
                    must(last.1 == task)?;
                    last.0.1 = last.0.1.max(range.1);
                }
                None => writes.push((range, task)),
            }
        }
        for (range, task) in self.reads.drain(..) {
            let first = writes.partition_point(|write| write.0.1 <= range.0);
            must(writes[first..].iter().take_while(|write| overlap(write.0, range)).all(|write| write.1 == task))?;
        }
        Some(())
    }

    fn task(&mut self, phase: usize, number: u32, task: Task) -> Option<()> {
        let plan = self.plan;
        match task {
            Task::Ops(span) => {
                for op in of(&plan.ops, span)? {
                    let Touched { reads, writes } = self.op(op)?;
                    let mut others = writes
                        .iter()
                        .enumerate()
                        .flat_map(|(at, write)| writes[..at].iter().chain(&reads).map(move |other| (write, other)));
                    must(!others.any(|(write, other)| overlap(*write, *other)))?;
                    self.reads.extend(reads.into_iter().map(|range| (range, number)));
                    self.writes.extend(writes.into_iter().map(|range| (range, number)));
                    match *op {
                        Op::Prepare { prepared, int8, .. } => self.preparing.push((prepared, int8)),
                        Op::Send { number, .. } => must(!std::mem::replace(&mut self.sent[number as usize], true))?,
                        _ => {}
                    }
                }
            }
            Task::Runs(span) => {
                for run in of(&plan.runs, span)? {
                    self.run(phase, number, run)?;
                }
            }
            Task::Columns { columns, lane, lanes } => {
                let all = of(&plan.columns, columns).filter(|all| !all.is_empty())?;
                let rows = of(&plan.operands, all[0].rows)?;
                let (lane, lanes) = (usize::from(lane), usize::from(lanes));
                must((1..=MOST).contains(&lanes) && lane + lanes <= plan.lanes)?;
                for row in rows {
                    let Bytes::Plane(row) = *row else { return None };
                    self.read_row(self.place(row, plan.lanes)?, number);
                }
                for columns in all {
                    must(columns.rows == all[0].rows)?;
                    let halves = matches!(self.pass(phase, columns.pass)?, PassInput::F16(_));
                    let inputs = if halves { rows.len() / 2 } else { rows.len() };
                    must(inputs <= plan.lanes && (!halves || rows.len().is_multiple_of(2)))?;
                    (lane..lane + lanes).try_for_each(|lane| self.output(columns.pass, lane))?;
                }
            }
        }
        Some(())
    }

    fn run(&mut self, phase: usize, task: u32, run: &RowRun<At>) -> Option<()> {
        let lanes = self.plan.lanes;
        let (output, step, rows) = (usize::from(run.output), usize::from(run.step), usize::from(run.rows));
        must((1..=MOST).contains(&rows) && output + (rows - 1) * step < lanes)?;
        let bytes = if run.same { lanes } else { rows * lanes };
        for at in [run.low, run.high] {
            self.read_row(self.place(at, bytes)?, task);
        }
        self.pass(phase, run.pass)?;
        (0..rows).try_for_each(|row| self.output(run.pass, output + row * step))
    }

    /// A part of a pass: its activations are ready, and it writes its result as a task of its own.
    fn pass(&mut self, phase: usize, number: u32) -> Option<PassInput<At>> {
        let pass = self.plan.passes.get(number as usize)?;
        if self.phase_of[number as usize] == phase {
            return Some(pass.activation);
        }
        self.phase_of[number as usize] = phase;
        let taken = match pass.activation {
            PassInput::I8(at) => self.place(at, self.plan.lanes)?,
            PassInput::F16(prepared) | PassInput::I8F16(prepared) => {
                let digits = matches!(pass.activation, PassInput::I8F16(_));
                must(self.prepared.get(prepared as usize)?[usize::from(digits)])?;
                after_all(prepared)
            }
        };
        self.reads.push((taken, u32::MAX));
        self.writes.push((self.place(pass.dst, 4 * self.plan.lanes)?, u32::MAX - 1 - number));
        Some(pass.activation)
    }

    /// Notes that a task makes an output of a pass, which no other does.
    fn output(&mut self, pass: u32, output: usize) -> Option<()> {
        let bits = &mut self.outputs[pass as usize * self.plan.lanes.div_ceil(64) + output / 64];
        let before = std::mem::replace(bits, *bits | 1 << (output % 64));
        must(before != *bits)
    }

    /// Notes that a task reads rows of weights, unless nothing ever writes them.
    fn read_row(&mut self, range: Range, task: u32) {
        let next = self.written.partition_point(|written| written.1 <= range.0);
        let changes = self.written.get(next).is_some_and(|&written| overlap(written, range));
        if changes || range.0 >= self.arena.words_end().bytes() {
            self.reads.push((range, task));
        }
    }

    fn place(&self, at: At, bytes: usize) -> Option<Range> {
        must(self.arena.holds(at, bytes))?;
        Some((at.bytes(), at.bytes() + bytes))
    }

    fn wide(&self, at: At) -> Option<Range> {
        self.place(at, 4 * self.plan.lanes)
    }

    fn bytes(&self, bytes: Bytes<At>) -> Option<Range> {
        match bytes {
            Bytes::Plane(at) => self.place(at, self.plan.lanes),
            Bytes::Lane(at, byte) => self.wide(at).filter(|_| byte < 4),
        }
    }

    /// The words of a window, of which there is at least one.
    fn window(&self, window: ListRange) -> Option<impl Iterator<Item = Option<Range>>> {
        let words = of(&self.plan.windows, window).filter(|words| !words.is_empty())?;
        Some(words.iter().map(|&word| self.place(word, self.plan.lanes)))
    }

    /// What an operation touches, if it can be done.
    fn op(&self, op: &Op<At>) -> Option<Touched> {
        let plan = self.plan;
        let mut touched = Touched::default();
        let Touched { reads, writes } = &mut touched;
        match *op {
            Op::Join { dst, parts } => {
                for &part in parts.iter().flatten() {
                    reads.push(self.bytes(part)?);
                }
                writes.push(self.wide(dst)?);
            }
            Op::Alu { instruction, dst, sources } => {
                let operands = lpu_lanes::sources(&instruction)?;
                must(
                    operands
                        .iter()
                        .zip(&sources)
                        .all(|(operand, source)| operand.is_some() != matches!(source, AluInput::None)),
                )?;
                for source in sources {
                    if let AluInput::Wide(at) = source {
                        reads.push(self.wide(at)?);
                    }
                }
                writes.push(self.wide(dst)?);
            }
            Op::Copy { dst, src } => {
                reads.push(self.bytes(src)?);
                writes.push(self.place(dst, plan.lanes)?);
            }
            Op::Split { dst, src } => {
                reads.push(self.wide(src)?);
                for dst in dst {
                    writes.push(self.place(dst, plan.lanes)?);
                }
            }
            Op::Gather { dst, map, window } => {
                reads.extend([self.bytes(map[0])?, self.bytes(map[1])?]);
                for word in self.window(window)? {
                    reads.push(word?);
                }
                writes.push(self.place(dst, plan.lanes)?);
            }
            Op::Scatter { src, map, window } => {
                reads.extend([self.bytes(src)?, self.bytes(map[0])?, self.bytes(map[1])?]);
                for word in self.window(window)? {
                    writes.push(word?);
                }
            }
            Op::Switch { instruction, operands, taken } => {
                must(instruction.row().unit == Unit::Sxm)?;
                let streams = |flow| {
                    instruction
                        .streams()
                        .into_iter()
                        .filter(|used| used.flow == flow)
                        .map(|used| usize::from(used.width))
                        .sum::<usize>()
                };
                let operands = of(&plan.operands, operands)?;
                let (sources, results) = operands.split_at_checked(usize::from(taken))?;
                must(sources.len() == streams(Flow::In) && results.len() == streams(Flow::Out))?;
                for &source in sources {
                    reads.push(self.bytes(source)?);
                }
                for &result in results {
                    must(matches!(result, Bytes::Plane(_)))?;
                    writes.push(self.bytes(result)?);
                }
            }
            Op::Move { dst, src, movement } => {
                must(match movement {
                    Movement::Lanes { by, .. } => by.unsigned_abs() <= 16,
                    Movement::Superlanes { by, .. } => 16 * usize::from(by.unsigned_abs()) <= plan.lanes,
                })?;
                reads.push(self.wide(src)?);
                writes.push(self.wide(dst)?);
            }
            Op::Fold { dst, src, .. } => {
                reads.push(self.wide(src)?);
                writes.push(self.wide(dst)?);
            }
            Op::Zero { dst, from } => {
                must(usize::from(from) <= plan.lanes)?;
                writes.push(self.wide(dst)?);
            }
            Op::Prepare { prepared, low, high, .. } => {
                must((prepared as usize) < plan.prepared)?;
                reads.extend([self.bytes(low)?, self.bytes(high)?]);
                writes.push(after_all(prepared));
            }
            Op::Add { dst, terms, .. } => {
                let terms = of(&plan.terms, terms)?;
                must(!terms.is_empty())?;
                for &term in terms {
                    reads.push(self.wide(term)?);
                }
                writes.push(self.wide(dst)?);
            }
            Op::Pass { dst, planes, low, high, .. } => {
                reads.extend([self.bytes(low)?, self.bytes(high)?]);
                for plane in planes {
                    for row in &plan.weights.get(plane as usize)?.rows {
                        reads.push(self.place(row.0, plan.lanes)?);
                    }
                }
                writes.push(self.wide(dst)?);
            }
            Op::Send { number, src } => {
                must(number < plan.sends)?;
                reads.push(self.bytes(src)?);
            }
            Op::Receive { dst, number } => {
                must(number < plan.receives)?;
                writes.push(self.place(dst, plan.lanes)?);
            }
        }
        Some(touched)
    }
}

#[cfg(test)]
mod tests;
