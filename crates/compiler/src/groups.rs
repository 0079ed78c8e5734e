//! Which chips of a system hold which stage: how many share a layer, how many stages there are, and where each is.
//!
//! Method: groups are runs of neighbouring chips. Stages take groups one after another along links between them, of the
//! same node first, then of the same rack, then in order of number; where that leads nowhere, the last choice is made
//! anew.

use std::collections::{BTreeMap, BTreeSet};

use lpu_chip::System;
use lpu_model::{Checkpoint, Cuts, Graph, Node, Op, ValueId, Weights};

use crate::error::CompileError;
use crate::fits::last;
use crate::layout::Layouts;
use crate::rows::ROW_SLICES;
use crate::stages::place;
use crate::target::{Group, Options, Precision, Target};

/// Groups that are tried one after another before the search is given up.
const MOST_TRIED: usize = 100_000;

/// Sizes of groups, the largest first.
const SIZES: [usize; 4] = [8, 4, 2, 1];

/// Chips of a group and number of stages of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parallel {
    /// Chips that share every layer.
    pub tensor: usize,
    /// Stages.
    pub pipeline: usize,
}

impl Default for Parallel {
    /// One chip.
    fn default() -> Self {
        Self { tensor: 1, pipeline: 1 }
    }
}

/// A graph over the chips of a system.
pub struct Laid {
    /// What each stage is compiled for.
    pub target: Target,
    /// Chips of a group and number of stages.
    pub parallel: Parallel,
    /// What a chip of each stage's group runs.
    pub stages: Vec<Graph>,
}

impl Options {
    /// How a graph is laid over a system. What is not said is chosen: the largest group that the system has, then the
    /// fewest stages that fit, each of which is placed to know that.
    ///
    /// # Errors
    /// [`CompileError`] when the system has no such groups or fewer chips, or the model fits none of them.
    pub fn laid(&self, system: &System, checkpoint: &Checkpoint, graph: &Graph) -> Result<Laid, CompileError> {
        let tensor = match self.tensor_parallel {
            Some(tensor) => tensor,
            None => SIZES.into_iter().find(|&size| Group::of(system, size).is_ok()).unwrap_or(1),
        };
        let group = Group::of(system, tensor)?;
        let target = Target { group, sequences: self.sequences, ..Target::new(system.chip(), self.precision) };
        let most = usize::from(system.chips()) / tensor;
        if let Some(stages) = self.pipeline_parallel.filter(|&stages| stages > most) {
            let (system, chips) = (system.name().to_owned(), usize::from(system.chips()));
            return Err(CompileError::TooFewChips { system, chips, stages, group: tensor });
        }
        let graph = graph.tensor_parallel(tensor)?;
        let sizes = sizes(&target, &graph, checkpoint.weights(), self.context)?;
        let cuts = graph.cuts(&sizes);
        let mut fitting = Fitting::new(&target, checkpoint, self.context);
        let stages = match self.pipeline_parallel {
            Some(stages) if stages == 0 || stages > cuts.most() => {
                return Err(CompileError::TooManyStages { stages, most: cuts.most() });
            }
            // What does not fit is refused when it is placed.
            Some(stages) if stages > 1 => fitting.stages(&cuts, stages).unwrap_or_else(|_| cuts.stages(stages, 0)),
            None if system.chips() > 1 => {
                let with_fewer = |error| match error {
                    CompileError::Stage { stage, stages, group, error, .. } => {
                        let fewer = fewer_sequences(&target, checkpoint, &graph, self.context, most);
                        CompileError::Stage { stage, stages, group, least: None, fewer, error }
                    }
                    error => error,
                };
                fitting.fewest(&cuts, most).map_err(with_fewer)?
            }
            _ => vec![graph.clone()],
        };
        Ok(Laid { target, parallel: Parallel { tensor, pipeline: stages.len() }, stages })
    }
}

/// Steps between the largest stage that a chip may hold and the smallest largest stage, at which cuts are tried.
const LIMITS: u64 = 8;

/// Places stages to know whether they fit; those of the same structure once.
struct Fitting<'a> {
    target: &'a Target,
    checkpoint: &'a Checkpoint,
    /// The model without its weights, where its config tells its graph.
    shape: Option<Checkpoint>,
    context: usize,
    known: BTreeMap<String, Result<(), CompileError>>,
}

impl<'a> Fitting<'a> {
    fn new(target: &'a Target, checkpoint: &'a Checkpoint, context: usize) -> Self {
        let shape = Checkpoint::from_config(checkpoint.config.to_json().as_bytes()).ok();
        let shape = shape.filter(|shape| shape.graph() == checkpoint.graph());
        Self { target, checkpoint, shape, context, known: BTreeMap::new() }
    }

    /// Whether stages fit.
    fn fit(&mut self, stages: &[Graph]) -> Result<(), CompileError> {
        let (target, context, shape) = (self.target, self.context, self.shape.as_ref().unwrap_or(self.checkpoint));
        for (number, stage) in stages.iter().enumerate() {
            let structure = stage.structure(shape.weights());
            let placed = || place(target, shape, stage.clone(), context).map(|_| ());
            let fits = self.known.entry(structure).or_insert_with(placed).clone();
            fits.map_err(|error| CompileError::of_stage((number, stages.len()), target.group.chips(), error))?;
        }
        Ok(())
    }

    /// So many stages that fit, over whose cuts as little crosses as that allows.
    fn stages(&mut self, cuts: &Cuts<'_>, count: usize) -> Result<Vec<Graph>, CompileError> {
        let even = cuts.stages(count, 0);
        self.fit(&even)?;
        let smallest = cuts.smallest(count);
        let values = self.target.chip.values();
        let words = u64::from(2 * values.slices_per_side) * u64::from(self.target.chip.words_per_slice());
        for step in 0..LIMITS {
            let limit = words.saturating_sub(step * (words.saturating_sub(smallest) / LIMITS));
            let stages = cuts.stages(count, limit);
            if self.fit(&stages).is_ok() {
                return Ok(stages);
            }
        }
        Ok(even)
    }

    /// The fewest stages, of at most `most`, that all fit a group.
    ///
    /// # Errors
    /// Why the last number of stages that was tried does not fit.
    fn fewest(&mut self, cuts: &Cuts<'_>, most: usize) -> Result<Vec<Graph>, CompileError> {
        let most = most.min(cuts.most());
        let mut failed = None;
        for count in 1..=most {
            match self.stages(cuts, count) {
                Ok(stages) => return Ok(stages),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or(CompileError::TooManyStages { stages: most + 1, most }))
    }
}

/// The error of a stage that does not fit, with the least number of stages that do.
pub(crate) fn advised(
    error: CompileError,
    (system, target): (&System, &Target),
    checkpoint: &Checkpoint,
    graph: &Graph,
    context: usize,
) -> CompileError {
    let CompileError::Stage { stage, stages, group, error, .. } = error else { return error };
    let Ok(graph) = graph.tensor_parallel(group) else { return CompileError::of_stage((stage, stages), group, *error) };
    let most = usize::from(system.chips()) / group;
    let least = || {
        let sizes = sizes(target, &graph, checkpoint.weights(), context).ok()?;
        let found = Fitting::new(target, checkpoint, context).fewest(&graph.cuts(&sizes), most);
        Some(found.ok()?.len())
    };
    let least = least();
    let fewer = match least {
        None => fewer_sequences(target, checkpoint, &graph, context, most),
        Some(_) => None,
    };
    CompileError::Stage { stage, stages, group, least, fewer, error }
}

/// The most sequences, fewer than the target's, that some number of stages holds, found with the most stages; `graph`
/// is that of a chip of a group.
fn fewer_sequences(
    target: &Target,
    checkpoint: &Checkpoint,
    graph: &Graph,
    context: usize,
    most: usize,
) -> Option<usize> {
    let fits = |sequences| {
        let target = Target { sequences, ..target.clone() };
        let Ok(sizes) = sizes(&target, graph, checkpoint.weights(), context) else { return false };
        let cuts = graph.cuts(&sizes);
        Fitting::new(&target, checkpoint, context).stages(&cuts, most.min(cuts.most())).is_ok()
    };
    last(target.sequences.min(target.most_sequences()), usize::MAX, fits)
}

/// Words of weights and key-value rows of every node.
fn sizes(target: &Target, graph: &Graph, weights: &Weights, context: usize) -> Result<Vec<u64>, CompileError> {
    let layouts = Layouts::of(graph, target.chip.lanes())?;
    let tiles = |value: ValueId| layouts.values[&value].tiles.len() as u64;
    let rows = |value: ValueId| -> u64 {
        layouts.values[&value].tiles.iter().map(|tile| tile.len().next_multiple_of(16) as u64).sum()
    };
    let bytes = if target.precision == Precision::F16 { 2 } else { 1 };
    let sequences = target.sequences.min(target.most_sequences()) as u64;
    let size = |(number, node): (usize, &Node)| match node.op {
        Op::Linear { .. } => tiles(node.inputs[0]) * rows(node.output) * bytes,
        Op::ExpertLinear { weight, choice: 0 } => {
            tiles(node.inputs[0]) * rows(node.output) * bytes * weights.shape(weight)[0] as u64
        }
        Op::Attention { .. } => {
            let heads = &layouts.heads[&number];
            let entries = 2 * heads.key_groups().max(heads.value_groups()) + heads.value_groups();
            2 * (entries * (context + ROW_SLICES)) as u64 * sequences
        }
        _ => 0,
    };
    Ok(graph.nodes.iter().enumerate().map(size).collect())
}

/// The first chip of each stage's group.
///
/// # Errors
/// [`CompileError::NoRoute`] when so many groups are not connected one after another.
pub(crate) fn first_chips(system: &System, chips: usize, stages: usize) -> Result<Vec<u16>, CompileError> {
    let group = |chip: u16| chip / chips as u16;
    let mut neighbours: BTreeMap<u16, BTreeSet<u16>> = BTreeMap::new();
    for (one, other) in system.links() {
        let [one, other] = [one, other].map(|end| group(end.chip.0));
        neighbours.entry(one).or_default().insert(other);
        neighbours.entry(other).or_default().insert(one);
    }
    let (node, rack) = system
        .topology()
        .map_or((1, 1), |topology| (topology.chips_per_node, topology.chips_per_node * topology.nodes_per_rack));
    let far = |from: u16, to: u16| {
        let chip = |group: u16| group * chips as u16;
        let same = |size: u16| chip(from) / size.max(1) == chip(to) / size.max(1);
        if same(node) { 0 } else { 2 - u8::from(same(rack)) }
    };
    let mut path = vec![0u16];
    // By depth: the groups to try next, the best last.
    let mut untried: Vec<Vec<u16>> = Vec::new();
    let mut tried = 0;
    while path.len() < stages {
        let last = path[path.len() - 1];
        if untried.len() < path.len() {
            let known = neighbours.get(&last).into_iter().flatten().copied();
            let mut next: Vec<u16> = known.filter(|group| !path.contains(group)).collect();
            next.sort_by_key(|&group| std::cmp::Reverse((far(last, group), group)));
            untried.push(next);
        }
        tried += 1;
        match untried.last_mut().and_then(Vec::pop) {
            Some(next) => path.push(next),
            None if path.len() > 1 && tried < MOST_TRIED => {
                untried.pop();
                path.pop();
            }
            None => {
                let (from, to) = (last * chips as u16, (last + 1) * chips as u16);
                return Err(CompileError::NoRoute { system: system.name().to_owned(), from, to });
            }
        }
    }
    Ok(path.into_iter().map(|group| group * chips as u16).collect())
}
