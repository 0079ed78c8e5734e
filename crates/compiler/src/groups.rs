//! Which chips of a system hold which stage: how many share a layer, how many stages there are, and where each is.
//!
//! Method: groups are runs of neighbouring chips. Stages take groups one after another along links between them, of the
//! same node first, then of the same rack, then in order of number; where that leads nowhere, the last choice is made
//! anew.

use std::collections::{BTreeMap, BTreeSet};

use lpu_chip::System;
use lpu_model::{Checkpoint, Graph, Node, Op, ValueId, Weights};

use crate::error::CompileError;
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

impl Options {
    /// The target of these options on a system, and how a graph is laid over it. What is not said is chosen: the
    /// largest group that the system has, then the fewest stages that fit, each of which is placed to know that.
    ///
    /// # Errors
    /// [`CompileError`] when the system has no such groups or fewer chips, or the model fits none of them.
    pub fn laid(
        &self,
        system: &System,
        checkpoint: &Checkpoint,
        graph: &Graph,
    ) -> Result<(Target, Parallel), CompileError> {
        let tensor = match self.tensor_parallel {
            Some(tensor) => tensor,
            None => SIZES.into_iter().find(|&size| Group::of(system, size).is_ok()).unwrap_or(1),
        };
        let group = Group::of(system, tensor)?;
        let target = Target { group, ..Target::new(system.chip(), self.precision) };
        let most = usize::from(system.chips()) / tensor;
        if let Some(stages) = self.pipeline_parallel.filter(|&stages| stages > most) {
            let (system, chips) = (system.name().to_owned(), usize::from(system.chips()));
            return Err(CompileError::TooFewChips { system, chips, stages, group: tensor });
        }
        let cuts = graph.tensor_parallel(tensor)?.stage_starts().len() + 1;
        let pipeline = match self.pipeline_parallel {
            Some(stages) if stages == 0 || stages > cuts => {
                return Err(CompileError::TooManyStages { stages, most: cuts });
            }
            Some(stages) => stages,
            None if system.chips() == 1 => 1,
            None => fewest(&target, checkpoint, graph, self.context, most.min(cuts))?,
        };
        Ok((target, Parallel { tensor, pipeline }))
    }
}

/// The fewest stages, of at most `most`, whose graphs all fit a group.
///
/// # Errors
/// Why the last number of stages that was tried does not fit.
pub(crate) fn fewest(
    target: &Target,
    checkpoint: &Checkpoint,
    graph: &Graph,
    context: usize,
    most: usize,
) -> Result<usize, CompileError> {
    let shape = Checkpoint::from_config(checkpoint.config.to_json().as_bytes()).ok();
    let shape = shape.as_ref().filter(|shape| shape.graph() == checkpoint.graph()).unwrap_or(checkpoint);
    let mut failed = None;
    let mut stages = 1;
    while stages <= most {
        match fits(target, shape, graph, context, stages) {
            Ok(()) => return Ok(stages),
            Err(error) => failed = Some(error),
        }
        stages += 1;
    }
    Err(failed.unwrap_or(CompileError::TooManyStages { stages: most + 1, most }))
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
    let starts = graph.tensor_parallel(group).map_or(0, |graph| graph.stage_starts().len());
    let most = (usize::from(system.chips()) / group).min(starts + 1);
    let least = fewest(target, checkpoint, graph, context, most).ok();
    CompileError::Stage { stage, stages, group, least, error }
}

/// Places every stage of a graph; those of the same structure once.
fn fits(
    target: &Target,
    checkpoint: &Checkpoint,
    graph: &Graph,
    context: usize,
    stages: usize,
) -> Result<(), CompileError> {
    let group = target.group.chips();
    let mut known = BTreeSet::new();
    let of_stages = graph.tensor_parallel(group)?;
    let sizes = sizes(target, &of_stages, checkpoint.weights(), context)?;
    for (stage, graph) in of_stages.stages(stages, &sizes).into_iter().enumerate() {
        if !known.insert(graph.structure(checkpoint.weights())) {
            continue;
        }
        place(target, checkpoint, graph, context)
            .map_err(|error| CompileError::of_stage((stage, stages), group, error))?;
    }
    Ok(())
}

/// The graph over a group in stages of about as many words of SRAM.
///
/// # Errors
/// [`CompileError`] when it cannot be cut.
pub fn stages(
    target: &Target,
    graph: &Graph,
    stages: usize,
    weights: &Weights,
    context: usize,
) -> Result<Vec<Graph>, CompileError> {
    let graph = graph.tensor_parallel(target.group.chips())?;
    let sizes = sizes(target, &graph, weights, context)?;
    Ok(graph.stages(stages, &sizes))
}

/// Words of weights and key-value rows of every node.
fn sizes(target: &Target, graph: &Graph, weights: &Weights, context: usize) -> Result<Vec<u64>, CompileError> {
    let layouts = Layouts::of(graph, target.chip.lanes())?;
    let tiles = |value: ValueId| layouts.values[&value].tiles.len() as u64;
    let rows = |value: ValueId| -> u64 {
        layouts.values[&value].tiles.iter().map(|tile| tile.len().next_multiple_of(16) as u64).sum()
    };
    let bytes = if target.precision == Precision::F16 { 2 } else { 1 };
    let size = |(number, node): (usize, &Node)| match node.op {
        Op::Linear { .. } => tiles(node.inputs[0]) * rows(node.output) * bytes,
        Op::ExpertLinear { weight, choice: 0 } => {
            tiles(node.inputs[0]) * rows(node.output) * bytes * weights.shape(weight)[0] as u64
        }
        Op::Attention { .. } => {
            let heads = &layouts.heads[&number];
            let entries = 2 * heads.key_groups().max(heads.value_groups()) + heads.value_groups();
            2 * (entries * (context + ROW_SLICES)) as u64
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
