//! From a decode graph to programs: a place for every weight and vector, a cycle for every instruction.
//!
//! [`compile`] is a line of stages, each a function of one value to the next: [`place`] gives a [`Placed`] graph,
//! [`schedule`] a [`Schedule`] for a context bucket, [`emit`] its program. Beside it are [`bound`] (what no schedule
//! can beat) and [`Interface`] (what the host supplies and reads a token).

mod attempts;
mod attend;
mod bound;
mod buckets;
mod chain;
mod engine;
mod error;
mod exchange;
mod fits;
mod interface;
mod layout;
mod list;
mod lower;
mod part;
mod placement;
mod plan;
mod planes;
mod quantize;
mod record;
mod rows;
mod scheduler;
mod slice_run;
mod stages;
mod tables;
mod target;
mod task;
mod tile;
mod vectors;

use lpu_chip::System;
use lpu_isa::{Image, Program, Queue};
use lpu_model::{Checkpoint, Entry, Graph};
use tracing::debug_span;

pub use bound::{Bound, bound};
pub use buckets::buckets;
pub use error::CompileError;
pub use interface::{Bucket, Interface, Lanes, Port, PortKind, RotaryPart, Side};
pub use layout::Layout;
pub use part::Part;
pub use placement::{CacheEntry, EntryKind, MatrixTile, Placement};
pub use record::{Cause, Operation, Record, operations, to_text as tasks_text};
pub use slice_run::SliceRun;
pub use stages::{Placed, Schedule, emit, oracle, place, schedule};
pub use target::{Group, Options, Peer, Precision, Target};

/// A compiled model.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The graph that each chip runs.
    pub graph: Graph,
    /// What SRAM starts from.
    pub image: Image<'static>,
    /// One program a context bucket, ascending, named by its context.
    pub programs: Vec<Program>,
    /// What the programs ask of their host and give back.
    pub interface: Interface,
    /// For each program, what no schedule of this graph on this chip can beat.
    pub bounds: Vec<Bound>,
    /// For each program of a model with experts, what [`oracle`] gives: the difference is what choosing on the chip
    /// costs.
    pub oracles: Vec<Option<u64>>,
    /// Where everything is.
    pub placement: Placement,
    /// For each program, what was scheduled when and why.
    pub records: Vec<Vec<Record>>,
}

/// Compiles the whole decode step of a checkpoint.
/// ```
/// use lpu_compiler::{Options, Precision, compile};
/// use lpu_model::Checkpoint;
///
/// let config = br#"{"model_type": "llama", "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 48,
///     "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 24,
///     "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "tie_word_embeddings": false}"#;
/// let shape = Checkpoint::from_config(config)?;
/// let options = Options { precision: Precision::F16, context: 16, ..Options::default() };
/// let compiled = compile(&shape, &lpu_chip::preset("tsp-v1")?, &options)?;
/// assert!(compiled.programs[0].cycles >= compiled.bounds[0].cycles());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`CompileError`] says what does not fit and what would.
pub fn compile(
    checkpoint: &Checkpoint,
    system: impl Into<System>,
    options: &Options,
) -> Result<Compiled, CompileError> {
    compile_graph(checkpoint, checkpoint.graph(), system, options)
}

/// Compiles a graph, or a part of one, of a checkpoint: places it for a context, and schedules and emits a program for
/// each of its [`buckets`].
///
/// # Errors
/// [`CompileError`] says what does not fit and what would.
pub fn compile_graph(
    checkpoint: &Checkpoint,
    graph: Graph,
    system: impl Into<System>,
    options: &Options,
) -> Result<Compiled, CompileError> {
    let (target, context) = (options.target(&system.into())?, options.context);
    let graph = graph.tensor_parallel(target.group.chips(), Entry::Host)?;
    let compiles = |checkpoint: &Checkpoint, graph: &Graph, target: &Target, context| {
        attempt(checkpoint, graph.clone(), target, context).is_ok()
    };
    attempt(checkpoint, graph.clone(), &target, context)
        .map_err(|error| fits::advised(error, checkpoint, &graph, (&target, context), &compiles))
}

/// [`compile_graph`] whose errors advise nothing.
fn attempt(checkpoint: &Checkpoint, graph: Graph, target: &Target, context: usize) -> Result<Compiled, CompileError> {
    let placed = debug_span!("place").in_scope(|| place(target, checkpoint, graph, context))?;
    let mut programs = Vec::new();
    let (mut bounds, mut oracles, mut records) = (Vec::new(), Vec::new(), Vec::new());
    for tokens in buckets(placed.context()) {
        let _span = debug_span!("schedule", tokens).entered();
        oracles.push(oracle(&placed, tokens)?);
        let schedule = schedule(&placed, tokens)?;
        programs.push(emit(&schedule));
        records.push(schedule.records);
        bounds.push(bound(placed.graph(), &target.chip, target.precision, tokens));
    }
    let (placement, interface) = (placed.placement(), placed.interface());
    let graph = placed.graph().clone();
    let mut compiled =
        Compiled { graph, image: placed.image, programs, interface, bounds, oracles, placement, records };
    compiled.take_shorter();
    let depth = target.chip.values().queue_depth;
    match compiled.fullest() {
        Some((items, context, queue)) if items > depth as usize => {
            let (chip, context) = (target.chip.name().to_owned(), context.to_owned());
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
            |program: &'_ Program| program.sets.iter().flatten().map(|(&queue, items)| (items.len(), queue)).max();
        let found = self
            .programs
            .iter()
            .filter_map(|program| queues(program).map(|(items, queue)| (items, program.name.as_str(), queue)));
        found.max_by_key(|&(items, ..)| items)
    }
}
