//! Lowering: turns the graph's operations into tasks. A value is made in the representations that its consumers ask
//! for, as part of the chain that computes it, so that little is stored without a use.

mod activate;
mod attention;
mod builder;
mod demand;
mod exchange;
mod linear;
mod route;
mod vector;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use lpu_chip::Chip;
use lpu_isa::{Format, Region, RegionKind};
use lpu_model::{Boundary, Node, Op as GraphOp, ValueId};

use crate::chain::{Chain, Feed, Op};
use crate::engine::{Engine, Issues};
use crate::error::CompileError;
use crate::interface::region_name;
use crate::plan::{MaskInput, Plan, ValueRow};
use crate::record::Record;
use crate::tables::Tables;
use crate::target::{Precision, Target};
use crate::task::{Task, VReg, Work};
use crate::vectors::Stored;
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
    row: ValueRow,
    tile: usize,
}

/// The vectors of an input whose products one accumulation group sums.
type PartialSum = (Range<usize>, usize);

/// The state of lowering one program.
pub(crate) struct Lowering<'a> {
    chip: &'a Chip,
    target: &'a Target,
    plan: &'a Plan,
    engine: Engine<'a>,
    precision: Precision,
    demands: Demands,
    /// Virtual registers of each representation of each vector; a query representation has a virtual register a member.
    representations: BTreeMap<(VectorId, Representation), Vec<VReg>>,
    /// Values whose fp32 vectors still lack a factor and a bias.
    pending: BTreeMap<ValueRow, Pending>,
    activations: BTreeMap<ValueRow, Activation>,
    /// Factors of norms whose pieces are gathered.
    factors: BTreeMap<ValueRow, VReg>,
    /// Accumulation groups of each output vector.
    accumulations: BTreeMap<VectorId, Vec<PartialSum>>,
    /// Cosines and sines by set of rotary frequencies and row.
    rotary: BTreeMap<(usize, usize), [VReg; 2]>,
    /// By value of gate weights.
    routes: BTreeMap<ValueRow, Route>,
    masks: BTreeMap<MaskInput, Vec<VReg>>,
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
    /// By output that goes to other chips, and row: its vectors.
    pub(crate) sent: Vec<Vec<Stored>>,
    /// What the schedule takes, where there is such an output.
    pub(crate) taken: Option<Arc<Tables>>,
    pub(crate) records: Vec<Record>,
}

/// Schedules a plan for a context of `tokens`, at most sixteen more than the placed one. With `oracle`, as if
/// the choice of experts were known now: the first ones' weights are read like any others. Nothing runs such a
/// schedule; it says what choosing on the chip costs.
pub(crate) fn lower(plan: &Plan, target: &Target, tokens: usize, oracle: bool) -> Result<Lowered, CompileError> {
    let mut lowering = Lowering::new(plan, target, tokens);
    lowering.inputs();
    for (number, node) in plan.graph.nodes.iter().enumerate() {
        lowering.node = number;
        if !lowering.demands.is_fused(number) {
            lowering.lower_node(number, node)?;
        }
    }
    lowering.tiles(oracle);
    let outputs: Vec<ValueRow> = plan.graph.outputs.iter().flat_map(|&value| plan.rows_of(value)).collect();
    let outputs: Vec<(String, Vec<VReg>)> = outputs.into_iter().map(|value| lowering.output(value)).collect();
    let mut engine = lowering.engine;
    engine.run()?;
    let mut sent = Vec::new();
    for (name, vregs) in outputs {
        let places: Vec<_> = vregs.into_iter().map(|vreg| engine.storage(vreg)).collect();
        match plan.graph.exit {
            Boundary::Host => {
                engine.vectors.region(&name, RegionKind::Output, Format::F32, target.chip.lanes(), &places)
            }
            Boundary::Chips => sent.push(places),
        }
    }
    let taken = (!sent.is_empty()).then(|| Arc::new(engine.scheduler.tables().clone()));
    let (issues, vectors, records) = engine.finish();
    Ok(Lowered { issues, regions: vectors.regions(), sent, taken, records })
}

impl<'a> Lowering<'a> {
    /// Nothing lowered yet; the host's inputs are in memory.
    fn new(plan: &'a Plan, target: &'a Target, tokens: usize) -> Self {
        let &Target { ref chip, precision, .. } = target;
        let mut engine = Engine::new(target, plan.vectors.clone());
        let inputs = &plan.inputs;
        let mut fixed = |places: &[Stored]| places.iter().map(|place| engine.fixed(place.clone())).collect::<Vec<_>>();
        let pairs = inputs.rotary.iter().map(|(&key, pair)| (key, fixed(pair)));
        let rotary = pairs.map(|(key, pair)| (key, [pair[0], pair[1]])).collect();
        let seen = |places: &'a [Stored]| &places[..places.len().min(tokens.div_ceil(chip.lanes()))];
        let masks = inputs.masks.iter().map(|(&mask, places)| (mask, fixed(seen(places)))).collect();
        let blocks = plan.graph.nodes.chunk_by(|a, b| a.block == b.block).zip(0u64..);
        let blocks = blocks.flat_map(|(nodes, block)| (0u64..).zip(nodes).map(move |(at, _)| (block, at))).collect();
        let mut first_uses = BTreeMap::new();
        for (number, node) in plan.graph.nodes.iter().enumerate() {
            for &input in &node.inputs {
                first_uses.entry(input).or_insert(number);
            }
        }
        Self {
            chip,
            target,
            plan,
            precision,
            demands: Demands::new(&plan.graph, precision),
            representations: BTreeMap::new(),
            pending: BTreeMap::new(),
            activations: BTreeMap::new(),
            factors: BTreeMap::new(),
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
        }
    }
}

impl Lowering<'_> {
    /// Lowers an operation for all rows; an attention takes its rows together.
    fn lower_node(&mut self, number: usize, node: &Node) -> Result<(), CompileError> {
        if let GraphOp::Attention { .. } = node.op {
            self.attention(number);
            return Ok(());
        }
        for row in 0..self.plan.rows {
            match node.op {
                GraphOp::RmsNorm { eps, .. } => self.rms_norm(number, row, eps),
                GraphOp::Linear { .. } | GraphOp::ExpertLinear { .. } => self.linear(number, row),
                GraphOp::Rotary { table, .. } => self.rotary(number, row, table),
                GraphOp::Add => self.add(number, row),
                GraphOp::Gated { .. } => self.gated(number, row),
                GraphOp::LayerNorm { eps, .. } => self.layer_norm(number, row, eps),
                GraphOp::HeadNorm { head_dim, eps, .. } => self.head_norm(number, row, head_dim, eps),
                GraphOp::Route { active, normalise } => self.route(number, row, active, normalise),
                GraphOp::ExpertScale { .. }
                | GraphOp::Scale { .. }
                | GraphOp::SoftCap { .. }
                | GraphOp::Activate { .. } => self.element_wise(number, row),
                GraphOp::ReduceScatter => self.reduce_scatter(number, row),
                GraphOp::AllGather => self.all_gather(number, row),
                _ => {
                    let what = "this operation is not lowered".into();
                    return Err(CompileError::Unsupported { node: node.name.clone(), what });
                }
            }
        }
        Ok(())
    }

    /// Row `row` of an input of a node.
    fn operand(&self, number: usize, input: usize, row: usize) -> ValueRow {
        ValueRow { value: self.plan.graph.nodes[number].inputs[input], row }
    }

    /// Row `row` of the output of a node.
    fn result(&self, number: usize, row: usize) -> ValueRow {
        ValueRow { value: self.plan.graph.nodes[number].output, row }
    }

    fn tile_count(&self, value: ValueId) -> usize {
        self.plan.layouts[&value].tiles.len()
    }

    /// Vector `tile` of a row.
    fn read(&mut self, builder: &mut ChainBuilder, row: ValueRow, tile: usize) -> Feed {
        let mut feed = builder.input(self.representations[&(VectorId { row, tile }, Representation::Plain)][0]);
        if let Some(Pending { factor, bias }) = self.pending.get(&row) {
            let factor = builder.input(*factor);
            feed = builder.op(Op::Mul, &[feed, factor]);
            if let Some(bias) = bias[tile] {
                let bias = builder.input(bias);
                feed = builder.op(Op::Add, &[feed, bias]);
            }
        }
        feed
    }

    /// The fp32 vectors of a row.
    fn plain(&self, row: ValueRow) -> Vec<VReg> {
        self.vectors(row, Representation::Plain).into_iter().map(|vregs| vregs[0]).collect()
    }

    /// The virtual registers of a representation of a row, by vector.
    fn vectors(&self, row: ValueRow, representation: Representation) -> Vec<Vec<VReg>> {
        let of_tile = |tile| self.representations[&(VectorId { row, tile }, representation)].clone();
        (0..self.tile_count(row.value)).map(of_tile).collect()
    }

    /// The region name and the virtual registers of a row of an output of the graph.
    fn output(&mut self, row: ValueRow) -> (String, Vec<VReg>) {
        let vregs = match self.precision.crosses_rounded(&self.plan.graph, row.value) {
            true => self.vectors(row, Representation::Sent).into_iter().map(|vregs| vregs[0]).collect(),
            false => self.plain(row),
        };
        for &vreg in &vregs {
            self.engine.keep(vreg);
        }
        (region_name(&self.plan.graph.value(row.value).name, row.row), vregs)
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
        for (&row, places) in &plan.inputs.values {
            let vregs: Vec<VReg> = places.iter().map(|place| self.engine.fixed(place.clone())).collect();
            let is_rounded = self.precision.crosses_rounded(&plan.graph, row.value);
            let stored = if is_rounded { Representation::Sent } else { Representation::Plain };
            for (tile, &vreg) in vregs.iter().enumerate() {
                self.representations.insert((VectorId { row, tile }, stored), vec![vreg]);
            }
            for (tile, &vreg) in vregs.iter().enumerate() {
                let mut builder = self.builder();
                let stored = builder.input(vreg);
                let def = match is_rounded {
                    true => Def::Op(Op::Convert(Format::F16, Format::F32), vec![stored]),
                    false => Def::Op(Op::Max, vec![stored, stored]),
                };
                self.emit(&mut builder, row, tile, def);
                self.chain_task("an input's representations", builder, tile, vregs.len());
            }
        }
    }
}
