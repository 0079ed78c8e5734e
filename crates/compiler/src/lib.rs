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
mod groups;
mod interface;
mod interval;
mod layout;
mod list;
mod lower;
mod part;
mod pipeline;
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
mod transfer;
mod vectors;
mod weight_bytes;

use std::collections::BTreeMap;

use lpu_chip::System;
use lpu_isa::{Image, Program, Queue};
use lpu_model::{Checkpoint, Graph};
use rayon::prelude::*;
use tracing::debug_span;

use stages::place_at;

pub use bound::{Bound, bound};
pub use buckets::buckets;
pub use error::CompileError;
pub use groups::{Laid, Parallel};
pub use interface::{Bucket, Interface, Lanes, Port, PortKind, RotaryPart, Side};
pub use layout::Layout;
pub use part::Part;
pub use pipeline::StageTimes;
pub use placement::{CacheEntry, EntryKind, MatrixTile, Placement};
pub use record::{Cause, Operation, Record, operations, to_text as tasks_text};
pub use slice_run::SliceRun;
pub use stages::{Placed, Schedule, emit, oracle, place, schedule};
pub use target::{Group, Options, Peer, Precision, Target};
pub use weight_bytes::weight_bytes;

/// A compiled model.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    /// The graphs of all stages, one after another; of each the graph that a chip of its group runs.
    pub graph: Graph,
    /// Over how many chips a layer is cut, and the number of stages.
    pub parallel: Parallel,
    /// By stage: the first chip of its group, and its blocks.
    pub stages: Vec<(u16, usize)>,
    /// For each bucket, when its stages run.
    pub times: Vec<Vec<StageTimes>>,
    /// What SRAM starts from.
    pub image: Image<'static>,
    /// One program a context bucket and sequence: those of sequence 0 by context, ascending, named by it, then those of
    /// sequence 1, and so on. All that is said a bucket holds for each sequence's program of it.
    pub programs: Vec<Program>,
    /// What the programs ask of their host and give back.
    pub interface: Interface,
    /// For each bucket, what no schedule of this graph on this chip can beat.
    pub bounds: Vec<Bound>,
    /// For each bucket of a model with experts, what [`oracle`] gives: the difference is what choosing on the chip
    /// costs.
    pub oracles: Vec<Option<u64>>,
    /// By stage: where everything is on each chip of its group.
    pub placements: Vec<Placement>,
    /// For each bucket, what was scheduled when and why.
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
    let (system, context) = (&system.into(), options.context);
    let laid = options.laid(system, checkpoint, &graph)?;
    let (target, parallel) = (laid.target.clone(), laid.parallel);
    let compiles = |checkpoint: &Checkpoint, graph: &Graph, target: &Target, context| {
        let stages = vec![graph.clone()];
        attempt(checkpoint, system, Laid { target: target.clone(), parallel, stages }, context).is_ok()
    };
    let found = attempt(checkpoint, system, laid, context);
    match parallel {
        Parallel { tensor: 1, pipeline: 1 } => {
            found.map_err(|error| fits::advised(error, checkpoint, &graph, (&target, context), &compiles))
        }
        _ => found.map_err(|error| groups::advised(error, (system, &target), checkpoint, &graph, context)),
    }
}

/// [`compile_graph`] whose errors advise nothing.
fn attempt(
    checkpoint: &Checkpoint,
    system: &System,
    Laid { target, parallel, stages }: Laid,
    context: usize,
) -> Result<Compiled, CompileError> {
    let placed =
        debug_span!("place").in_scope(|| place_stages(checkpoint, (system, &target), (parallel, stages), context))?;
    let structures: Vec<String> = placed.iter().map(|placed| placed.graph().structure(checkpoint.weights())).collect();
    let (graph, firsts) = joined(&placed);
    let mut compiled = Compiled { graph, parallel, ..Compiled::default() };
    let buckets = buckets(placed[0].context());
    let schedules = schedules(&placed, &structures, &buckets)?;
    let chained = |(&tokens, schedules): (&usize, &Schedules<'_>)| {
        let of_stages: Vec<&Schedule> = structures.iter().map(|structure| &schedules[structure.as_str()].0).collect();
        debug_span!("chain", tokens).in_scope(|| pipeline::chain(system, &placed, &of_stages, tokens))
    };
    let programs: Vec<_> = buckets.par_iter().zip(&schedules).map(chained).collect();
    for ((tokens, schedules), chained) in buckets.into_iter().zip(schedules).zip(programs) {
        let (programs, times) = chained?;
        let of_stages: Vec<&Schedule> = structures.iter().map(|structure| &schedules[structure.as_str()].0).collect();
        // What choosing on the chip costs a stage, it costs the program.
        let saved = structures.iter().map(|structure| {
            let (schedule, oracle) = &schedules[structure.as_str()];
            oracle.map(|oracle| schedule.cycles - oracle.min(schedule.cycles))
        });
        let saved: Option<u64> = saved.flatten().reduce(|one, other| one + other);
        compiled.oracles.push(saved.map(|saved| programs[0].cycles - saved));
        let bounds = placed.iter().map(|placed| bound(placed.graph(), &target.chip, target.precision, tokens));
        compiled.bounds.push(bounds.fold(Bound { bytes: 0, path: 0 }, |all, stage| Bound {
            bytes: all.bytes + stage.bytes,
            path: all.path + stage.path,
        }));
        compiled.records.push(pipeline::records(&of_stages, &times, &firsts));
        compiled.programs.extend(programs);
        compiled.times.push(times);
    }
    compiled.place(placed);
    compiled.by_sequence();
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

/// By structure: the schedule of its stages, and what [`oracle`] gives.
type Schedules<'a> = BTreeMap<&'a str, (Schedule, Option<u64>)>;

/// By bucket: the schedules of all stages. Stages of one structure have one.
fn schedules<'a>(
    placed: &[Placed],
    structures: &'a [String],
    buckets: &[usize],
) -> Result<Vec<Schedules<'a>>, CompileError> {
    let known: BTreeMap<&str, &Placed> = structures.iter().map(String::as_str).zip(placed).rev().collect();
    let all: Vec<(usize, (&str, &Placed))> = buckets
        .iter()
        .flat_map(|&tokens| known.iter().map(move |(&structure, &placed)| (tokens, (structure, placed))))
        .collect();
    let made = |&(tokens, (structure, placed)): &(usize, (&'a str, &Placed))| {
        let _span = debug_span!("schedule", tokens).entered();
        let oracle = oracle(placed, tokens)?;
        Ok((structure, (schedule(placed, tokens)?, oracle)))
    };
    let made: Vec<Result<_, CompileError>> = all.par_iter().map(made).collect();
    let mut made = made.into_iter();
    buckets.iter().map(|_| made.by_ref().take(known.len()).collect()).collect()
}

/// Every stage of a graph in its place.
fn place_stages(
    checkpoint: &Checkpoint,
    (system, target): (&System, &Target),
    (Parallel { tensor, pipeline }, stages): (Parallel, Vec<Graph>),
    context: usize,
) -> Result<Vec<Placed>, CompileError> {
    let firsts = groups::first_chips(system, tensor, pipeline)?;
    let place = |(stage, graph): (usize, Graph)| {
        if target.group != Group::at(system, firsts[stage], tensor)? {
            let why = format!("the chips from {} on see one another through other links", firsts[stage]);
            return Err(CompileError::NoGroup { system: system.name().to_owned(), chips: tensor, why });
        }
        place_at(target, checkpoint, graph, (context, firsts[stage])).map_err(|error| match pipeline * tensor {
            1 => error,
            _ => CompileError::of_stage((stage, pipeline), tensor, error),
        })
    };
    let placed: Vec<Result<Placed, CompileError>> =
        stages.into_iter().enumerate().collect::<Vec<_>>().into_par_iter().map(place).collect();
    placed.into_iter().collect()
}

/// The graphs of all stages as one list of nodes, for people, and the first node of each.
fn joined(placed: &[Placed]) -> (Graph, Vec<usize>) {
    let mut all = placed[0].graph().clone();
    let mut firsts = vec![0];
    for placed in &placed[1..] {
        firsts.push(all.nodes.len());
        all.append(placed.graph());
    }
    (all, firsts)
}

impl Compiled {
    /// Takes image, placement and interface of all stages.
    fn place(&mut self, placed: Vec<Placed>) {
        self.placements = placed.iter().map(Placed::placement).collect();
        self.interface.buckets = placed[0].interface().buckets;
        self.stages = placed.iter().map(|placed| (placed.first, placed.graph().blocks().len())).collect();
        for placed in placed {
            let [inputs, outputs] = placed.ports();
            self.interface.inputs.extend(inputs);
            self.interface.outputs.extend(outputs);
            self.image.vector_bytes = placed.image.vector_bytes;
            self.image.extents.extend(placed.image.extents);
        }
    }

    /// Puts programs that were made bucket by bucket in the order of sequences.
    fn by_sequence(&mut self) {
        let sequences = self.interface.sequences();
        let mut programs: Vec<(usize, Program)> = std::mem::take(&mut self.programs).into_iter().enumerate().collect();
        programs.sort_by_key(|(number, _)| number % sequences);
        self.programs = programs.into_iter().map(|(_, program)| program).collect();
    }

    /// Lets a bucket take the schedule of the next longer one where that is shorter: it attends to more tokens, which
    /// masks leave out.
    fn take_shorter(&mut self) {
        let buckets = self.bounds.len();
        for longer in (1..buckets).rev() {
            let bucket = longer - 1;
            if self.programs[longer].cycles < self.programs[bucket].cycles {
                for programs in self.programs.chunks_mut(buckets) {
                    let name = std::mem::take(&mut programs[bucket].name);
                    programs[bucket] = Program { name, ..programs[longer].clone() };
                }
                self.records[bucket] = self.records[longer].clone();
                self.times[bucket] = self.times[longer].clone();
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
