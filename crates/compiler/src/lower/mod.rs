//! Lowering: turns the graph's operations into tasks. A value is made in the representations that its consumers ask
//! for, as part of the chain that computes it, so that little is stored without a use.

mod activate;
mod attention;
mod builder;
mod demand;
mod linear;
mod route;
mod vector;

use std::collections::BTreeMap;
use std::ops::Range;

use lpu_chip::Chip;
use lpu_isa::{Format, Region, RegionKind};
use lpu_model::{Op as GraphOp, ValueId};

use crate::chain::{Chain, Feed, Op};
use crate::engine::{Engine, Issues};
use crate::error::CompileError;
use crate::interface::region_name;
use crate::plan::Plan;
use crate::record::Record;
use crate::target::{Precision, Target};
use crate::task::{Task, VReg, Work};
use builder::{ChainBuilder, Def};
use demand::{Demands, Representation};
use route::Route;

/// A value as the input of matrices.
#[derive(Clone, Debug, Default)]
struct Activation {
    /// By side and vector.
    sides: [Vec<VReg>; 2],
    /// Groups of vectors that share a scale, and what a result of theirs is multiplied by (`w8a8`).
    groups: Vec<(Range<usize>, VReg)>,
    /// What every result is multiplied by, where the norm's factor was left for later.
    factor: Option<VReg>,
}

/// What is still to be done to a value where it is read: a factor for all of it, and then a bias by vector.
#[derive(Clone, Debug)]
struct Pending {
    factor: VReg,
    bias: Vec<Option<VReg>>,
}

/// A vector of a value: one row of it, and the elements of one tile of its layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct VectorId {
    value: ValueId,
    row: usize,
    tile: usize,
}

impl VectorId {
    /// A vector of row 0: decode steps have one row.
    const fn first_row(value: ValueId, tile: usize) -> Self {
        Self { value, row: 0, tile }
    }
}

/// The vectors of an input whose products one accumulation group sums.
type PartialSum = (Range<usize>, usize);

/// The state of lowering one program.
pub(crate) struct Lowering<'a> {
    chip: &'a Chip,
    plan: &'a Plan,
    engine: Engine<'a>,
    precision: Precision,
    demands: Demands,
    /// Virtual registers of each representation of each vector; a query representation has a virtual register a member.
    representations: BTreeMap<(VectorId, Representation), Vec<VReg>>,
    /// Values whose fp32 vectors still lack a factor and a bias.
    pending: BTreeMap<ValueId, Pending>,
    activations: BTreeMap<ValueId, Activation>,
    /// Jobs of each output vector.
    accumulations: BTreeMap<VectorId, Vec<PartialSum>>,
    /// Cosines and sines by set of rotary frequencies.
    rotary: BTreeMap<usize, [VReg; 2]>,
    /// By value of shares.
    routes: BTreeMap<ValueId, Route>,
    /// By name.
    masks: BTreeMap<String, Vec<VReg>>,
    /// Tokens that the program attends to.
    tokens: usize,
    /// Chains begun so far.
    parity: usize,
    /// Node being lowered.
    node: usize,
    /// By node: the number of its block, and that of nodes before it in the block.
    blocks: Vec<(u64, u64)>,
    /// By value: the first node that reads it.
    first_uses: BTreeMap<ValueId, usize>,
}

/// What lowering makes.
pub(crate) struct Lowered {
    pub(crate) issues: Issues,
    /// Inputs, outputs and constants.
    pub(crate) regions: Vec<Region>,
    pub(crate) records: Vec<Record>,
}

/// Schedules a plan for a context of `tokens`, at most sixteen more than the placed one. With `oracle`, as if
/// the choice of experts were known now: the first ones' weights are read like any others. Nothing runs such a
/// schedule; it says what choosing on the chip costs.
pub(crate) fn lower(plan: &Plan, target: &Target, tokens: usize, oracle: bool) -> Result<Lowered, CompileError> {
    let &Target { ref chip, precision } = target;
    let mut engine = Engine::new(chip, plan.vectors.clone());
    let rotary = plan
        .inputs
        .rotary
        .iter()
        .map(|(&table, places)| (table, places.clone().map(|place| engine.fixed(place))))
        .collect();
    let mut masks: BTreeMap<String, Vec<VReg>> = BTreeMap::new();
    for (name, places) in &plan.inputs.masks {
        let places = places[..places.len().min(tokens.div_ceil(chip.lanes()))].iter();
        masks.insert(name.clone(), places.map(|place| engine.fixed(place.clone())).collect());
    }
    let blocks = plan.graph.nodes.chunk_by(|a, b| a.block == b.block).zip(0u64..);
    let blocks = blocks.flat_map(|(nodes, block)| (0u64..).zip(nodes).map(move |(at, _)| (block, at))).collect();
    let mut first_uses = BTreeMap::new();
    for (number, node) in plan.graph.nodes.iter().enumerate() {
        for &input in &node.inputs {
            first_uses.entry(input).or_insert(number);
        }
    }
    let mut lowering = Lowering {
        chip,
        plan,
        precision,
        demands: Demands::new(&plan.graph, precision != Precision::W8A8),
        representations: BTreeMap::new(),
        pending: BTreeMap::new(),
        activations: BTreeMap::new(),
        accumulations: BTreeMap::new(),
        routes: BTreeMap::new(),
        rotary,
        masks,
        tokens,
        parity: 0,
        node: 0,
        blocks,
        first_uses,
        engine,
    };
    lowering.inputs();
    for (number, node) in plan.graph.nodes.iter().enumerate() {
        lowering.node = number;
        if lowering.demands.is_fused(number) {
            continue;
        }
        match node.op {
            GraphOp::RmsNorm { eps, .. } => lowering.rms_norm(number, node.inputs[0], eps),
            GraphOp::Linear { .. } | GraphOp::ExpertLinear { .. } => lowering.linear(number, node.inputs[0]),
            GraphOp::Rotary { table, .. } => lowering.rotary(number, table),
            GraphOp::Attention { .. } => lowering.attention(number),
            GraphOp::Add => lowering.add(number),
            GraphOp::Gated { .. } => lowering.gated(number),
            GraphOp::LayerNorm { eps, .. } => lowering.layer_norm(number, node.inputs[0], eps),
            GraphOp::HeadNorm { head_dim, eps, .. } => lowering.head_norm(number, node.inputs[0], head_dim, eps),
            GraphOp::Route { active, normalise } => lowering.route(number, active, normalise),
            GraphOp::ExpertScale { .. }
            | GraphOp::Scale { .. }
            | GraphOp::SoftCap { .. }
            | GraphOp::Activate { .. } => lowering.element_wise(number),
            _ => {
                return Err(CompileError::Unsupported {
                    node: node.name.clone(),
                    what: "this operation is not lowered".into(),
                });
            }
        }
    }
    lowering.tiles(oracle);
    let outputs: Vec<(String, Vec<VReg>)> = plan.graph.outputs.iter().map(|&value| lowering.output(value)).collect();
    let mut engine = lowering.engine;
    engine.run()?;
    for (name, vregs) in outputs {
        let places: Vec<_> = vregs.into_iter().map(|vreg| engine.storage(vreg)).collect();
        engine.vectors.region(&name, RegionKind::Output, Format::F32, chip.lanes(), &places);
    }
    let (issues, vectors, records) = engine.finish();
    Ok(Lowered { issues, regions: vectors.regions(), records })
}

impl Lowering<'_> {
    fn tile_count(&self, value: ValueId) -> usize {
        self.plan.layouts[&value].tiles.len()
    }

    /// Vector `tile` of a value.
    fn read(&mut self, builder: &mut ChainBuilder, value: ValueId, tile: usize) -> Feed {
        let mut feed =
            builder.input(self.representations[&(VectorId::first_row(value, tile), Representation::Plain)][0]);
        if let Some(Pending { factor, bias }) = self.pending.get(&value) {
            let factor = builder.input(*factor);
            feed = builder.op(Op::Mul, &[feed, factor]);
            if let Some(bias) = bias[tile] {
                let bias = builder.input(bias);
                feed = builder.op(Op::Add, &[feed, bias]);
            }
        }
        feed
    }

    /// The fp32 vectors of a value.
    fn plain(&self, value: ValueId) -> Vec<VReg> {
        self.vectors(value, Representation::Plain).into_iter().map(|vregs| vregs[0]).collect()
    }

    /// The virtual registers of a representation of a value, by vector.
    fn vectors(&self, value: ValueId, representation: Representation) -> Vec<Vec<VReg>> {
        let of_tile = |tile| self.representations[&(VectorId::first_row(value, tile), representation)].clone();
        (0..self.tile_count(value)).map(of_tile).collect()
    }

    /// The region name and the virtual registers of an output of the graph.
    fn output(&mut self, value: ValueId) -> (String, Vec<VReg>) {
        let vregs = self.plain(value);
        for &vreg in &vregs {
            self.engine.keep(vreg);
        }
        (region_name(&self.plan.graph.value(value).name).to_owned(), vregs)
    }

    /// Class of chains that make a representation: keys come first, since scores wait for the rows that they are
    /// appended to; values last.
    fn urgency(&self, value: ValueId) -> u64 {
        let representations = self.demands.of(value);
        match () {
            () if representations.iter().any(|representation| matches!(representation, Representation::Keys(_))) => 0,
            () if representations.iter().any(|representation| matches!(representation, Representation::Values(_))) => 2,
            () => 1,
        }
    }

    /// Rank of a task: by block of the graph, then `class`, then how far into the operation it is.
    fn priority(&self, class: u64, index: usize, count: usize) -> u64 {
        self.blocks[self.node].0 << 40 | class << 32 | (index as u64 * 65_536 / count.max(1) as u64)
    }

    /// Adds a chain as a task of its own.
    fn chain_task(&mut self, what: &'static str, builder: ChainBuilder, index: usize, count: usize) {
        self.chain_with_priority(what, builder, self.priority(1, index, count));
    }

    /// Adds a chain as a task of its own with this priority.
    fn chain_with_priority(&mut self, what: &'static str, builder: ChainBuilder, priority: u64) {
        let ChainBuilder { chain, inputs, outputs, .. } = builder;
        if outputs.is_empty() {
            return;
        }
        self.engine.task(Task { node: self.node, what, priority, inputs, outputs, work: Work::Chain(chain) });
    }

    fn builder(&mut self) -> ChainBuilder {
        self.parity += 1;
        ChainBuilder::new(Chain::new(self.chip), self.parity)
    }

    /// Makes the representations of the graph's inputs that are in memory.
    fn inputs(&mut self) {
        let plan = self.plan;
        for (&value, places) in &plan.inputs.values {
            let vregs: Vec<VReg> = places.iter().map(|place| self.engine.fixed(place.clone())).collect();
            for (tile, &vreg) in vregs.iter().enumerate() {
                self.representations.insert((VectorId::first_row(value, tile), Representation::Plain), vec![vreg]);
            }
            for (tile, &vreg) in vregs.iter().enumerate() {
                let mut builder = self.builder();
                let stored = builder.input(vreg);
                self.emit(&mut builder, value, tile, Def::Op(Op::Max, vec![stored, stored]));
                self.chain_task("an input's representations", builder, tile, vregs.len());
            }
        }
    }
}
