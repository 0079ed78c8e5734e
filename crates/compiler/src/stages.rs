//! The stages of a compilation as values: [`place`] decides where everything is, [`schedule`] gives every instruction of
//! a context bucket its cycle, and [`emit`] makes the program of a schedule. Each needs nothing but its arguments.

use std::collections::BTreeMap;

use lpu_isa::{Image, Instruction, Item, Program, Queue, Region, compress};
use lpu_model::{Checkpoint, Graph};

use crate::SHORTEST_BUCKET;
use crate::buckets;
use crate::error::CompileError;
use crate::interface::Interface;
use crate::lower::{Lowered, lower};
use crate::placement::Placement;
use crate::plan::{Plan, plan};
use crate::record::{self, Record};
use crate::target::Target;

/// A graph whose weights, constants, inputs and key-value rows have their places, for all context buckets.
pub struct Placed {
    /// What it was placed for.
    pub target: Target,
    /// What SRAM starts from.
    pub image: Image<'static>,
    /// Regions of weights and key-value rows.
    pub(crate) slices: Vec<Region>,
    pub(crate) plan: Plan,
    crowded: bool,
}

impl Placed {
    /// The graph.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.plan.graph
    }

    /// Tokens that the key-value rows hold, a multiple of 16.
    #[must_use]
    pub fn context(&self) -> usize {
        self.plan.context
    }

    /// Where everything is.
    #[must_use]
    pub fn placement(&self) -> Placement {
        Placement::of(&self.plan, &self.slices, self.crowded)
    }

    /// What programs of all [`buckets`] ask of their host and give back.
    #[must_use]
    pub fn interface(&self) -> Interface {
        Interface::of(&self.plan, self.target.chip.lanes(), &buckets(self.plan.context))
    }
}

/// Every instruction of a program with its cycle.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Tokens of the context bucket.
    pub bucket: usize,
    /// Tokens that are attended to, the bucket's or sixteen more, which masks leave out.
    pub tokens: usize,
    /// Cycles of a run.
    pub cycles: u64,
    /// What each queue dispatches, in order of cycles.
    pub issues: BTreeMap<Queue, Vec<(u64, Instruction)>>,
    /// Named memory, outputs included.
    pub regions: Vec<Region>,
    /// What was scheduled when and why, a record a task in the order of scheduling.
    pub records: Vec<Record>,
}

impl Schedule {
    fn of(placed: &Placed, bucket: usize, tokens: usize, oracle: bool) -> Result<Self, CompileError> {
        let Lowered { issues, mut regions, records } = lower(placed, tokens, oracle)?;
        let chip = &placed.target.chip;
        let all = issues.values().flatten();
        let landed = all.filter_map(|(cycle, instruction)| chip.effect(*cycle, instruction.row()));
        let cycles = chip.run_cycles(landed.max());
        regions.extend(placed.slices.iter().cloned());
        Ok(Self { bucket, tokens, cycles, issues, regions, records })
    }

    /// A line a task: first and last dispatch, what it is, and why it did not start earlier.
    #[must_use]
    pub fn to_text(&self, graph: &Graph) -> String {
        record::to_text(graph, &self.records)
    }
}

/// Gives everything of a graph its place, and fills it from the checkpoint's weights where there are any. The key-value
/// rows hold `context` tokens, rounded up to a multiple of 16.
///
/// # Errors
/// [`CompileError`] says what does not fit, without advice on what would.
pub fn place(target: &Target, checkpoint: &Checkpoint, graph: Graph, context: usize) -> Result<Placed, CompileError> {
    let (plan, slices) = plan(target, checkpoint, graph, context)?;
    let (crowded, regions) = (slices.crowded(), slices.regions());
    let mut extents = plan.vectors.extents();
    extents.extend(slices.extents());
    let image = Image { vector_bytes: target.chip.lanes() as u32, extents };
    Ok(Placed { target: target.clone(), image, slices: regions, plan, crowded })
}

/// The schedule of a context bucket of `bucket` tokens, rounded up to a multiple of 16 and at most the placed context: that for so many tokens, or that for
/// sixteen more where it is shorter. Sixteen more include the spare row of each entry, which a mask leaves out like
/// tokens that are not fed yet. The shortest bucket and those below, where counts grow with each sixteen tokens, and
/// those that would need another vector of masks are scheduled as they are.
///
/// # Errors
/// [`CompileError`] when a task has no legal start, or intermediate vectors do not fit.
pub fn schedule(placed: &Placed, bucket: usize) -> Result<Schedule, CompileError> {
    shortest(placed, bucket, false)
}

/// Cycles that a bucket of a graph with experts would take if the choice of experts were known beforehand, so that their
/// weights could be loaded like any others; nothing where there are no experts.
///
/// # Errors
/// As [`schedule`].
pub fn oracle(placed: &Placed, bucket: usize) -> Result<Option<u64>, CompileError> {
    if placed.plan.experts.is_empty() {
        return Ok(None);
    }
    Ok(Some(shortest(placed, bucket, true)?.cycles))
}

fn shortest(placed: &Placed, bucket: usize, oracle: bool) -> Result<Schedule, CompileError> {
    if bucket == 0 {
        return Err(CompileError::EmptyContext);
    }
    let bucket = bucket.div_ceil(16).saturating_mul(16);
    if bucket > placed.plan.context {
        return Err(CompileError::BucketTooLong { bucket, context: placed.plan.context });
    }
    let found = Schedule::of(placed, bucket, bucket, oracle)?;
    if bucket <= SHORTEST_BUCKET || bucket.is_multiple_of(placed.target.chip.lanes()) {
        return Ok(found);
    }
    match Schedule::of(placed, bucket, bucket + 16, oracle) {
        Ok(longer) if longer.cycles < found.cycles => Ok(longer),
        Ok(_) | Err(CompileError::NoPlace { .. } | CompileError::ScratchTooLarge { .. }) => Ok(found),
        Err(error) => Err(error),
    }
}

/// The program of a schedule, named by its bucket: issues in a row become `repeat` items.
#[must_use]
pub fn emit(schedule: &Schedule) -> Program {
    let queues = schedule.issues.iter().map(|(&queue, issues)| (queue, compress(issues)));
    let queues: BTreeMap<Queue, Vec<Item>> = queues.collect();
    let (name, regions) = (schedule.bucket.to_string(), schedule.regions.clone());
    Program { name, cycles: schedule.cycles, regions, queues: vec![queues] }
}
