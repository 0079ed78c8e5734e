//! From a decode graph to a program: placement of every weight and vector, a cycle for every instruction.
//!
//! [`compile`] does it all; its parts are [`bound`] (what no schedule can beat) and [`Interface`] (what the host
//! supplies and reads a token).

mod attend;
mod bound;
mod chain;
mod engine;
mod error;
mod fits;
mod interface;
mod layout;
mod lower;
mod part;
mod plan;
mod planes;
mod quantize;
mod record;
mod rows;
mod scheduler;
mod tables;
mod tile;
mod vectors;

use lpu_chip::Chip;
use std::collections::BTreeMap;

use lpu_isa::{Image, Instruction, Item, Program, Queue, Region, compress};
use lpu_model::{Checkpoint, Graph};
use tracing::debug_span;

use lower::Lowered;
use plan::Plan;

pub use bound::{Bound, bound};
pub use error::CompileError;
pub use interface::{Bucket, Interface, Lanes, Port, PortKind, RotaryPart, Side};
pub use layout::Layout;
pub use part::Part;
pub use record::{Cause, Operation, Record, operations};

/// Number formats of weights and activations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// fp16 weights and activations, fp32 sums.
    F16,
    /// int8 weights with a scale an output channel, int8 activations with a scale a vector; keys, values and queries in
    /// fp16.
    W8A8,
    /// int8 weights with a scale an output channel, widened to fp16 as they are loaded; fp16 activations, fp32 sums.
    #[default]
    W8A16,
}

impl Precision {
    /// The format of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::F16, Self::W8A8, Self::W8A16].into_iter().find(|precision| precision.name() == name)
    }

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::W8A8 => "w8a8",
            Self::W8A16 => "w8a16",
        }
    }
}

/// What to compile for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Number formats.
    pub precision: Precision,
    /// Tokens that the key-value rows hold; rounded up to a multiple of 16.
    pub context: usize,
}

/// A compiled model.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What SRAM starts from.
    pub image: Image<'static>,
    /// One program a context bucket, ascending, named by its context.
    pub programs: Vec<Program>,
    /// What the programs ask of their host and give back.
    pub interface: Interface,
    /// For each program, what no schedule of this graph on this chip can beat.
    pub bounds: Vec<Bound>,
    /// For each program of a model with experts: cycles that it would take if the choice of experts were known
    /// beforehand, so that their weights could be loaded like any others. The difference is what choosing on the chip
    /// costs.
    pub oracles: Vec<Option<u64>>,
    /// Where everything lies.
    pub placement: Placement,
    /// For each program, what was scheduled when and why.
    pub records: Vec<Vec<Record>>,
}

/// Tokens of the shortest context bucket (assumed: shorter ones save few cycles).
const SHORTEST_BUCKET: usize = 256;

/// The context buckets that programs are compiled for: doubling up to a context, which is rounded up to whole rows of
/// key-value slices. All share one placement, so a longer context goes on with the next program where the last one
/// stopped.
#[must_use]
pub fn buckets(context: usize) -> Vec<usize> {
    let context = context.div_ceil(16).saturating_mul(16);
    let doubling = std::iter::successors(Some(SHORTEST_BUCKET), |tokens| tokens.checked_mul(2));
    doubling.take_while(|&tokens| tokens < context).chain([context]).collect()
}

/// Where everything lies, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    lines: Vec<String>,
    used_bytes: u64,
    crowded: bool,
}

impl Placement {
    /// One line a matrix vector, cache entry or region.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = self.lines.join("\n");
        text.push('\n');
        text
    }

    /// Whether key-value rows of this context took places that weights have in a compilation for a shorter one, or
    /// reach into a second bank. Unless they do, every weight is where it is in any compilation of the same model for a
    /// shorter context.
    #[must_use]
    pub fn crowded(&self) -> bool {
        self.crowded
    }

    /// Bytes of SRAM taken by weights, constants, inputs, outputs and key-value rows.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes
    }
}

/// Compiles the whole decode step of a checkpoint.
///
/// # Errors
/// [`CompileError`] says what does not fit and what would.
pub fn compile(checkpoint: &Checkpoint, chip: &Chip, options: &Options) -> Result<Compiled, CompileError> {
    compile_graph(checkpoint, checkpoint.graph(), chip, options)
}

/// Compiles a graph, or a part of one, of a checkpoint.
///
/// # Errors
/// [`CompileError`] says what does not fit and what would.
pub fn compile_graph(
    checkpoint: &Checkpoint,
    graph: Graph,
    chip: &Chip,
    options: &Options,
) -> Result<Compiled, CompileError> {
    attempt(checkpoint, graph.clone(), chip, options)
        .map_err(|error| fits::advised(error, checkpoint, &graph, chip, *options))
}

/// [`compile_graph`] whose errors advise nothing.
fn attempt(checkpoint: &Checkpoint, graph: Graph, chip: &Chip, options: &Options) -> Result<Compiled, CompileError> {
    let (plan, slices) = debug_span!("place").in_scope(|| plan::plan(checkpoint, graph, chip, options))?;
    let mut compiled = Compiled {
        image: Image { vector_bytes: chip.lanes() as u32, extents: plan.vectors.extents() },
        programs: Vec::new(),
        interface: Interface::of(&plan, chip.lanes(), &buckets(plan.context)),
        bounds: Vec::new(),
        oracles: Vec::new(),
        placement: Placement { lines: plan.lines(), used_bytes: 0, crowded: slices.crowded() },
        records: Vec::new(),
    };
    for tokens in buckets(plan.context) {
        let _span = debug_span!("schedule", tokens).entered();
        let oracle = match plan.experts.is_empty() {
            true => None,
            false => Some(shortest(&plan, chip, options.precision, tokens, true)?.1),
        };
        compiled.oracles.push(oracle);
        let (lowered, cycles) = shortest(&plan, chip, options.precision, tokens, false)?;
        let queues: BTreeMap<Queue, Vec<Item>> =
            lowered.issues.into_iter().map(|(queue, issues)| (queue, compress(&issues))).collect();
        let mut regions = lowered.regions;
        regions.extend(slices.regions());
        let words: u64 = regions.iter().map(Region::word_count).sum();
        compiled.placement.used_bytes = compiled.placement.used_bytes.max(words * chip.lanes() as u64);
        compiled.programs.push(Program { name: tokens.to_string(), cycles, regions, queues: vec![queues] });
        compiled.bounds.push(bound(&plan.graph, chip, options.precision, tokens));
        compiled.records.push(lowered.records);
    }
    compiled.image.extents.extend(slices.extents());
    compiled.take_shorter();
    let depth = chip.values().queue_depth;
    match compiled.fullest() {
        Some((items, context, queue)) if items > depth as usize => {
            let (chip, context) = (chip.name().to_owned(), context.to_owned());
            Err(CompileError::QueueTooShallow { chip, context, queue, items, depth })
        }
        _ => Ok(compiled),
    }
}

impl Compiled {
    /// Lets a bucket take the schedule of the next longer one where that is shorter: it attends to more tokens, which
    /// masks leave out.
    fn take_shorter(&mut self) {
        for longer in (1..self.programs.len()).rev() {
            let bucket = longer - 1;
            if self.programs[longer].cycles < self.programs[bucket].cycles {
                self.programs[bucket] =
                    Program { name: self.programs[bucket].name.clone(), ..self.programs[longer].clone() };
                self.records[bucket] = self.records[longer].clone();
                self.oracles[bucket] = self.oracles[bucket].min(self.oracles[longer]);
            }
        }
    }

    /// Items of the fullest queue of all programs, with the program's name.
    fn fullest(&self) -> Option<(usize, &str, Queue)> {
        let queues =
            |program: &'_ Program| program.queues.iter().flatten().map(|(&queue, items)| (items.len(), queue)).max();
        let found = self
            .programs
            .iter()
            .filter_map(|program| queues(program).map(|(items, queue)| (items, program.name.as_str(), queue)));
        found.max_by_key(|&(items, ..)| items)
    }
}

/// The schedule for `tokens`, or that for sixteen more where it is shorter, and its cycles. Sixteen more include the
/// spare row of each entry, which a mask leaves out like tokens that are not fed yet. Those of the shortest bucket and
/// below, where counts grow with each sixteen tokens, and those that would need another vector of masks are taken as
/// they are.
fn shortest(
    plan: &Plan,
    chip: &Chip,
    precision: Precision,
    tokens: usize,
    oracle: bool,
) -> Result<(Lowered, u64), CompileError> {
    let lower = |tokens| {
        let lowered = lower::lower(plan, chip, precision, tokens, oracle)?;
        let cycles = cycles(chip, lowered.issues.values().flatten());
        Ok((lowered, cycles))
    };
    let found: (Lowered, u64) = lower(tokens)?;
    if tokens <= SHORTEST_BUCKET || tokens.is_multiple_of(chip.lanes()) {
        return Ok(found);
    }
    match lower(tokens + 16) {
        Ok(longer) if longer.1 < found.1 => Ok(longer),
        Ok(_) | Err(CompileError::NoPlace { .. } | CompileError::ScratchTooLarge { .. }) => Ok(found),
        Err(error) => Err(error),
    }
}

/// Cycles of a run.
fn cycles<'a>(chip: &Chip, issues: impl Iterator<Item = &'a (u64, Instruction)>) -> u64 {
    chip.run_cycles(issues.filter_map(|(cycle, instruction)| chip.effect(*cycle, instruction.row())).max())
}
