//! Lowering: turns the graph's operations into tasks. A value is made in the forms that its consumers ask for, as part
//! of the chain that computes it, so that little is parked that nobody reads.

mod activate;
mod attention;
mod demand;
mod linear;
mod maker;
mod route;
mod vector;

use std::collections::BTreeMap;
use std::ops::Range;

use lpu_chip::Chip;
use lpu_isa::{Format, Region, RegionKind};
use lpu_model::{Op as GraphOp, ValueId};

use crate::chain::{Chain, Feed, Op};
use crate::engine::{Engine, Issues, Slot, Task, Work};
use crate::error::CompileError;
use crate::interface::region_name;
use crate::plan::Plan;
use crate::record::Record;
use crate::stages::Placed;
use crate::target::{Precision, Target};
use demand::{Demands, Form};
use maker::{Made, Maker};
use route::Route;

/// A value as the input of matrices.
#[derive(Clone, Debug, Default)]
struct Activation {
    /// By side and vector.
    sides: [Vec<Slot>; 2],
    /// Groups of vectors that share a scale, and what a result of theirs is multiplied by (`w8a8`).
    groups: Vec<(Range<usize>, Slot)>,
    /// What every result is multiplied by, where the norm's factor was left for later.
    factor: Option<Slot>,
}

/// What is still to be done to a value where it is read: a factor for all of it, and then a bias by vector.
#[derive(Clone, Debug)]
struct Pending {
    factor: Slot,
    bias: Vec<Option<Slot>>,
}

/// The vectors of an input whose products one job sums.
type PartialSum = (Range<usize>, usize);

/// The state of lowering one program.
pub(crate) struct Lowering<'a> {
    chip: &'a Chip,
    plan: &'a Plan,
    engine: Engine<'a>,
    precision: Precision,
    demands: Demands,
    /// Slots of each form of each value, by vector; a query form has a slot a member.
    forms: BTreeMap<(ValueId, Form), Vec<Vec<Slot>>>,
    /// Values whose fp32 vectors still lack a factor and a bias.
    pending: BTreeMap<ValueId, Pending>,
    activations: BTreeMap<ValueId, Activation>,
    /// Jobs of each output vector.
    jobs: BTreeMap<(usize, usize), Vec<PartialSum>>,
    /// Cosines and sines by set of rotary frequencies.
    rotary: BTreeMap<usize, [Slot; 2]>,
    /// By value of shares.
    routes: BTreeMap<ValueId, Route>,
    /// By name.
    masks: BTreeMap<String, Vec<Slot>>,
    /// Tokens that the program attends to.
    tokens: usize,
    /// Makers so far.
    turn: usize,
    /// Node being lowered.
    node: usize,
    /// Number of each node's block.
    blocks: Vec<u64>,
}

/// What lowering makes.
pub(crate) struct Lowered {
    pub(crate) issues: Issues,
    /// Inputs, outputs and constants.
    pub(crate) regions: Vec<Region>,
    pub(crate) records: Vec<Record>,
}

/// Schedules a placed graph for a context of `tokens`, at most sixteen more than the placed one. With `oracle`, as if the choice of experts
/// were known now: the first ones' weights are read like any others. Nobody runs such a schedule; it says what choosing
/// on the chip costs.
pub(crate) fn lower(placed: &Placed, tokens: usize, oracle: bool) -> Result<Lowered, CompileError> {
    let (plan, Target { chip, precision }) = (&placed.plan, &placed.target);
    let precision = *precision;
    let mut engine = Engine::new(chip, plan.vectors.clone());
    let rotary = plan
        .inputs
        .rotary
        .iter()
        .map(|(&table, places)| (table, places.clone().map(|place| engine.fixed(place))))
        .collect();
    let mut masks: BTreeMap<String, Vec<Slot>> = BTreeMap::new();
    for (name, places) in &plan.inputs.masks {
        let places = places[..places.len().min(tokens.div_ceil(chip.lanes()))].iter();
        masks.insert(name.clone(), places.map(|place| engine.fixed(place.clone())).collect());
    }
    let blocks = plan.graph.nodes.chunk_by(|a, b| a.block == b.block).zip(0u64..);
    let blocks = blocks.flat_map(|(nodes, number)| nodes.iter().map(move |_| number)).collect();
    let mut lowering = Lowering {
        chip,
        plan,
        precision,
        demands: Demands::new(&plan.graph, precision != Precision::W8A8),
        forms: BTreeMap::new(),
        pending: BTreeMap::new(),
        activations: BTreeMap::new(),
        jobs: BTreeMap::new(),
        routes: BTreeMap::new(),
        rotary,
        masks,
        tokens,
        turn: 0,
        node: 0,
        blocks,
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
    let outputs: Vec<(String, Vec<Slot>)> = plan.graph.outputs.iter().map(|&value| lowering.output(value)).collect();
    let mut engine = lowering.engine;
    engine.run()?;
    for (name, slots) in outputs {
        let places: Vec<_> = slots.into_iter().map(|slot| engine.place(slot)).collect();
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
    fn read(&mut self, maker: &mut Maker, value: ValueId, tile: usize) -> Feed {
        let mut feed = maker.input(self.plain(value)[tile]);
        if let Some(Pending { factor, bias }) = self.pending.get(&value) {
            let factor = maker.input(*factor);
            feed = maker.op(Op::Mul, &[feed, factor]);
            if let Some(bias) = bias[tile] {
                let bias = maker.input(bias);
                feed = maker.op(Op::Add, &[feed, bias]);
            }
        }
        feed
    }

    /// The fp32 vectors of a value.
    fn plain(&self, value: ValueId) -> Vec<Slot> {
        let found = self.forms.get(&(value, Form::Plain));
        found.expect("the form was asked for").iter().map(|slots| slots[0]).collect()
    }

    /// The region name and the slots of an output of the graph.
    fn output(&mut self, value: ValueId) -> (String, Vec<Slot>) {
        let slots = self.plain(value);
        for &slot in &slots {
            self.engine.keep(slot);
        }
        (region_name(&self.plan.graph.value(value).name).to_owned(), slots)
    }

    /// Class of chains that make a form: keys come first, since scores wait for the rows that they are appended to;
    /// values last.
    fn urgency(&self, value: ValueId) -> u64 {
        let forms = self.demands.of(value);
        match () {
            () if forms.iter().any(|form| matches!(form, Form::Keys(_))) => 0,
            () if forms.iter().any(|form| matches!(form, Form::Values(_))) => 2,
            () => 1,
        }
    }

    /// Nodes of the same block before a node.
    fn within_block(&self, node: usize) -> u64 {
        self.blocks[..node].iter().rev().take_while(|&&block| block == self.blocks[node]).count() as u64
    }

    /// Rank of a task: by block of the graph, then `class`, then how far into the operation it is.
    fn rank(&self, class: u64, index: usize, count: usize) -> u64 {
        self.blocks[self.node] << 40 | class << 32 | (index as u64 * 65_536 / count.max(1) as u64)
    }

    /// Adds a chain as a task of its own.
    fn chain_task(&mut self, what: &'static str, maker: Maker, index: usize, count: usize) {
        self.ranked_chain(what, maker, self.rank(1, index, count));
    }

    /// Adds a chain as a task of its own with this rank.
    fn ranked_chain(&mut self, what: &'static str, maker: Maker, rank: u64) {
        let Maker { chain, inputs, outputs, .. } = maker;
        if outputs.is_empty() {
            return;
        }
        self.engine.task(Task { node: self.node, what, rank, inputs, outputs, work: Work::Chain(chain) });
    }

    fn maker(&mut self) -> Maker {
        self.turn += 1;
        Maker::new(Chain::new(self.chip), self.turn)
    }

    /// Makes the forms of the graph's inputs that stand in memory.
    fn inputs(&mut self) {
        let plan = self.plan;
        for (&value, places) in &plan.inputs.values {
            let slots: Vec<Slot> = places.iter().map(|place| self.engine.fixed(place.clone())).collect();
            self.forms.insert((value, Form::Plain), slots.iter().map(|&slot| vec![slot]).collect());
            for (tile, &slot) in slots.iter().enumerate() {
                let mut maker = self.maker();
                let stored = maker.input(slot);
                self.deliver(&mut maker, value, tile, Made::Op(Op::Max, vec![stored, stored]));
                self.chain_task("an input's forms", maker, tile, slots.len());
            }
        }
    }
}
