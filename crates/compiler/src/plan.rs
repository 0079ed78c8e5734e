//! The plan of a model: every tile of every matrix with its plane and its places, the constants, and the host's inputs.

mod matrices;
mod needs;
mod ports;
mod units;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use lpu_chip::Chip;
use lpu_isa::{Format, Hemisphere, WindowBits};
use lpu_model::{Boundary, Checkpoint, Graph, Mask, Node, Op, Shard, Value, ValueId, WeightId, Weights};
use smallvec::SmallVec;

use crate::error::CompileError;
use crate::interface::{RotaryPart, address_name, mask_name, region_name, rotary_name};
use crate::layout::{Heads, Layout, Layouts};
use crate::planes::{Content, Part, PlaneSet};
use crate::quantize;
use crate::rows::{CacheShape, Demand, Experts, ROW_SLICES, Rows, WeightSlices};
use crate::target::{Precision, Target};
use crate::vectors::{Stored, Vectors, index};

/// The tiles that make one output vector.
#[derive(Clone, Debug)]
pub(crate) struct OutputVector {
    /// Rows of each tile, a multiple of 16.
    pub(crate) rows: usize,
    /// The parts of each tile, one tile an input vector.
    pub(crate) tiles: Vec<Vec<Part>>,
    /// Constant: scale of each output channel, where weights are int8.
    pub(crate) scale: Option<usize>,
    /// Constant: bias of each output.
    pub(crate) bias: Option<usize>,
}

/// Tiles of output vectors that share planes and activations: `(node, vector)` of one, or of the two planes of a pair.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub(crate) set: PlaneSet,
    pub(crate) input: ValueId,
    /// Vectors of the input whose tiles are here; the rest are in other units.
    pub(crate) tiles: Range<usize>,
    pub(crate) members: SmallVec<[(usize, usize); 2]>,
}

impl Unit {
    /// The planes of a member, each with the rows in memory that are loaded into it, of a tile of `rows` rows.
    fn held(&self, member: usize, rows: usize) -> SmallVec<[(u16, usize); 2]> {
        match self.set.content {
            Content::Bytes => [(self.set.plane + member as u16, rows)].into_iter().collect(),
            Content::Halves => self.set.planes().map(|plane| (plane, rows)).collect(),
            Content::Widened => self
                .set
                .planes()
                .zip([rows / 16 + 1, rows / 16])
                .map(|(plane, groups)| (plane, groups / 2 * 16))
                .collect(),
        }
    }
}

/// The constants and key-value rows of an attention.
#[derive(Clone, Debug)]
pub(crate) struct Attending {
    pub(crate) heads: Heads,
    /// By row: the input that masks tokens.
    pub(crate) masks: Vec<MaskInput>,
    /// By member of a key group: scale in its half-head lanes, 0 elsewhere.
    pub(crate) queries: Vec<usize>,
    /// By value group, copy of its values and key-value head: 1 in its lanes, 0 elsewhere.
    pub(crate) outputs: Vec<Vec<Vec<usize>>>,
    /// By key group: entries of first halves (east) and second halves (west).
    pub(crate) keys: Vec<[[Rows; 2]; 2]>,
    /// By value group.
    pub(crate) values: Vec<[Rows; 2]>,
    pub(crate) value_side: Vec<Hemisphere>,
}

/// The constants of a norm.
#[derive(Clone, Debug, Default)]
pub(crate) struct NormPlan {
    /// Of each weight vector.
    pub(crate) weights: Vec<usize>,
    /// Of each bias vector; empty where there are none.
    pub(crate) biases: Vec<usize>,
    /// Of a QK norm, see [`head_lanes`]; else empty.
    pub(crate) head_lanes: Vec<Vec<(usize, usize)>>,
}

/// What a node of the graph has in memory.
#[derive(Clone, Debug)]
pub(crate) enum NodePlan {
    /// Output vectors of a matrix.
    Linear(Vec<OutputVector>),
    Norm(NormPlan),
    Attention(Attending),
    /// Constants of a router: 0 in the lanes of experts and -inf elsewhere, and the negatives of lane numbers.
    Router([usize; 2]),
}

/// One row of a value: what one token gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ValueRow {
    pub(crate) value: ValueId,
    pub(crate) row: usize,
}

/// A mask that the host fills: tokens that are seen at most, and the row whose position is the last that is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MaskInput {
    pub(crate) window: Option<usize>,
    pub(crate) row: usize,
}

impl MaskInput {
    /// The input of row `row`, of so many, of an attention with this mask.
    fn of(mask: Mask, row: usize, rows: usize) -> Self {
        Self { window: mask.window(), row: mask.last_row(row, rows) }
    }
}

/// What the host fills before every run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inputs {
    pub(crate) values: BTreeMap<ValueRow, Vec<Stored>>,
    /// Cosines and sines by set of rotary frequencies and row.
    pub(crate) rotary: BTreeMap<(usize, usize), [Stored; 2]>,
    pub(crate) masks: BTreeMap<MaskInput, Vec<Stored>>,
    /// By row: row addresses of the key-value slices, by side; none without an attention.
    pub(crate) addresses: Vec<[Vec<Stored>; 2]>,
}

/// Everything that is known before time is.
pub(crate) struct Plan {
    pub(crate) graph: Graph,
    pub(crate) layouts: BTreeMap<ValueId, Layout>,
    /// By index of the graph's node; other nodes need nothing in memory.
    pub(crate) nodes: BTreeMap<usize, NodePlan>,
    pub(crate) units: Vec<Unit>,
    pub(crate) inputs: Inputs,
    /// By side: tiles of ones, a word a slice, for sums over lanes.
    pub(crate) ones: [Vec<Part>; 2],
    /// By gate weights of a router and matrix of its experts: how they are placed.
    pub(crate) experts: BTreeMap<(ValueId, WeightId), Experts>,
    pub(crate) vectors: Vectors,
    pub(crate) window: WindowBits,
    /// The context rounded up to whole rows of key-value slices.
    pub(crate) context: usize,
    /// Rows of every value: tokens of a run.
    pub(crate) rows: usize,
    /// The chip of the group whose shards of the weights are here.
    pub(crate) member: usize,
}

/// The masks of a graph's attentions, each once.
fn masks(graph: &Graph, rows: usize) -> Vec<MaskInput> {
    let mut masks = Vec::new();
    for node in &graph.nodes {
        let Op::Attention { mask, .. } = node.op else { continue };
        for input in (0..rows).map(|row| MaskInput::of(mask, row, rows)) {
            if !masks.contains(&input) {
                masks.push(input);
            }
        }
    }
    masks
}

/// Rows of the values of a graph: as many of each as of the others, and at least one.
fn rows(graph: &Graph) -> Result<usize, CompileError> {
    let expected = graph.values.first().map_or(1, |value| value.rows.max(1));
    match graph.values.iter().find(|value| value.rows != expected) {
        None => Ok(expected),
        Some(value) => Err(CompileError::Rows { value: value.name.clone(), rows: value.rows, expected }),
    }
}

/// ALUs without which not every sum over lanes has a legal start, and superlanes for which each ALU serves (both found
/// by trying).
const LEAST_ALUS: u32 = 8;
const SUPERLANES_AN_ALU: u32 = 5;
/// Superlanes up to which sums over lanes have a legal start (found by trying).
const MOST_SUPERLANES: u32 = 128;

/// Sets of rotary frequencies that a graph uses.
fn rotary_tables(graph: &Graph) -> BTreeSet<usize> {
    let table = |node: &Node| if let Op::Rotary { table, .. } = node.op { Some(table) } else { None };
    graph.nodes.iter().filter_map(table).collect()
}

fn value_side(node: usize, group: usize) -> Hemisphere {
    Hemisphere::BOTH[(node + group) % 2]
}

/// Refuses a chip on which sums over lanes have no schedule.
fn check_chip(chip: &Chip) -> Result<(), CompileError> {
    let values = chip.values();
    let name = || chip.name().to_owned();
    let alus = LEAST_ALUS.max(values.superlanes.div_ceil(SUPERLANES_AN_ALU));
    if values.alus < alus {
        let (chip, why) = (name(), "sums over lanes keep the sums of superlanes in their latches");
        return Err(CompileError::ChipTooSmall { chip, field: "alus", value: values.alus, needed: alus, why });
    }
    if values.superlanes > MOST_SUPERLANES {
        let (chip, why) = (name(), "sums over the lanes of more have no schedule");
        let (field, value, most) = ("superlanes", values.superlanes, MOST_SUPERLANES);
        return Err(CompileError::ChipTooLarge { chip, field, value, most, why });
    }
    Ok(())
}

/// Refuses more rows than planes have accumulators, where sums over several tiles need one a row.
fn check_accumulators(chip: &Chip, graph: &Graph, layouts: &Layouts, rows: usize) -> Result<(), CompileError> {
    let (value, needed) = (chip.values().accumulators, u32::try_from(rows).unwrap_or(u32::MAX));
    let summed = |node: &Node| {
        matches!(node.op, Op::Linear { .. } | Op::ExpertLinear { .. })
            && layouts.values[&node.inputs[0]].tiles.len() > 1
    };
    if needed <= value || !graph.nodes.iter().any(summed) {
        return Ok(());
    }
    let why = "each row of a run keeps a sum in an accumulator until the last tile has passed";
    Err(CompileError::ChipTooSmall { chip: chip.name().to_owned(), field: "accumulators", value, needed, why })
}

/// Decides where everything is; the weight slices hold the bytes.
///
/// # Errors
/// [`CompileError`] when a figure of the chip does not serve, something does not fit, or a weight is not finite.
pub(crate) fn plan(
    target: &Target,
    checkpoint: &Checkpoint,
    graph: Graph,
    (context, member): (usize, usize),
) -> Result<(Plan, WeightSlices), CompileError> {
    let &Target { ref chip, precision, .. } = target;
    let (values, weights) = (chip.values(), checkpoint.weights());
    check_chip(chip)?;
    if context == 0 {
        return Err(CompileError::EmptyContext);
    }
    if target.sequences == 0 {
        return Err(CompileError::NoSequences);
    }
    let (lanes, rows) = (chip.lanes(), rows(&graph)?);
    let context = context.div_ceil(16).saturating_mul(16);
    let layouts = Layouts::of(&graph, lanes)?;
    check_accumulators(chip, &graph, &layouts, rows)?;
    let needs = needs::needs(&graph, &layouts, &needs::Sizes { lanes, context, rows, precision }, weights)?;
    let area = ((needs.constants / 4 + needs.inputs + needs.live) / u64::from(values.banks) + 32)
        .min(u64::from(values.words_per_bank)) as u32;
    let cache = CacheShape { entries: needs.entries, context, sequences: target.sequences };
    let demand = Demand { rows: needs.weight_rows, vector_area: area, experts: needs.experts };
    let mut slices = WeightSlices::new(chip, cache, &demand, precision.name(), weights.present())?;
    let whole = if slices.takes_vector_slices() { area } else { values.words_per_bank };
    let mut plan = Plan {
        layouts: layouts.values,
        nodes: BTreeMap::new(),
        units: Vec::new(),
        inputs: Inputs::default(),
        ones: [Vec::new(), Vec::new()],
        experts: BTreeMap::new(),
        vectors: Vectors::new(chip, whole),
        window: WindowBits(slices.window_bits()),
        context,
        rows,
        member,
        graph,
    };
    plan.inputs(lanes, precision);
    if needs.entries[0] > 0 {
        plan.ones(lanes, &mut slices)?;
    }
    plan.units(chip, precision);
    plan.experts(weights, precision);
    plan.matrices(checkpoint, &mut slices)?;
    plan.tables(checkpoint)?;
    plan.constants(weights, layouts.heads, lanes, &mut slices)?;
    plan.vectors.finish()?;
    Ok((plan, slices))
}

/// By head: the vectors that hold some of it, each with a constant that is 1 in its lanes and 0 elsewhere.
fn head_lanes(layout: &Layout, heads: usize, head_dim: usize, vectors: &mut Vectors) -> Vec<Vec<(usize, usize)>> {
    let of_head = |head: usize| {
        let lanes = |tile: &Vec<Option<u32>>| -> Vec<f32> {
            let inside = |element: &Option<u32>| element.is_some_and(|element| element as usize / head_dim == head);
            tile.iter().map(|element| f32::from(u8::from(inside(element)))).collect()
        };
        let tiles = layout.tiles.iter().map(lanes).enumerate();
        tiles.filter(|(_, lanes)| lanes.contains(&1.0)).collect::<Vec<_>>()
    };
    let of_heads = (0..heads).map(of_head);
    of_heads.map(|tiles| tiles.into_iter().map(|(tile, lanes)| (tile, vectors.constant(&lanes))).collect()).collect()
}

fn attending(number: usize, heads: Heads, scale: f32, vectors: &mut Vectors, slices: &mut WeightSlices) -> Attending {
    let mut span = |lanes: Range<usize>, value: f32| {
        let mut vector = vec![0.0; lanes.end];
        vector[lanes].fill(value);
        vectors.constant(&vector)
    };
    let half = heads.half();
    let queries =
        (0..heads.key_members(0).len()).map(|member| span(member * half..(member + 1) * half, scale)).collect();
    let mut of_copy = |group: usize, copy: usize| {
        let first = copy * heads.copy_lanes(group);
        let spans = heads.value_members(group).map(|(_, lanes)| first + lanes.start..first + lanes.end);
        spans.map(|lanes| span(lanes, 1.0)).collect::<Vec<usize>>()
    };
    let outputs = (0..heads.value_groups())
        .map(|group| (0..heads.copies(group)).map(|copy| of_copy(group, copy)).collect())
        .collect();
    let keys = (0..heads.key_groups()).map(|_| Hemisphere::BOTH.map(|side| slices.cache_entry(side))).collect();
    let value_side: Vec<Hemisphere> = (0..heads.value_groups()).map(|group| value_side(number, group)).collect();
    let values = value_side.iter().map(|&side| slices.cache_entry(side)).collect();
    Attending { heads, masks: Vec::new(), queries, outputs, keys, values, value_side }
}

impl Plan {
    /// The elements of the whole value in the lanes of the member's vectors.
    pub(crate) fn whole(&self, value: ValueId) -> Vec<Vec<Option<u32>>> {
        whole(self.graph.value(value), &self.layouts[&value], self.member)
    }

    /// The output vectors of a matrix.
    pub(crate) fn linear(&self, node: usize) -> &[OutputVector] {
        match &self.nodes[&node] {
            NodePlan::Linear(vectors) => vectors,
            _ => unreachable!("the node is a matrix"),
        }
    }

    /// The constants of a norm.
    pub(crate) fn norm(&self, node: usize) -> &NormPlan {
        match &self.nodes[&node] {
            NodePlan::Norm(norm) => norm,
            _ => unreachable!("the node is a norm"),
        }
    }

    /// The constants and key-value rows of an attention.
    pub(crate) fn attention(&self, node: usize) -> &Attending {
        match &self.nodes[&node] {
            NodePlan::Attention(attending) => attending,
            _ => unreachable!("the node is an attention"),
        }
    }

    /// The constants of a router.
    pub(crate) fn router(&self, node: usize) -> [usize; 2] {
        match self.nodes[&node] {
            NodePlan::Router(constants) => constants,
            _ => unreachable!("the node is a router"),
        }
    }

    /// Place of an output vector in the order in which those of a matrix are made. Terms of the first vector of all
    /// pieces come first, so that its sum is on its way while those of the next are made; of each vector the chip's own
    /// terms come last, while those of other chips are sent.
    pub(crate) fn order(&self, number: usize, vector: usize) -> usize {
        let output = self.graph.nodes[number].output;
        match self.graph.value(output).shard {
            Shard::Partial { chips, .. } => {
                let a_piece = self.layouts[&output].tiles.len() / chips;
                vector % a_piece * chips + (chips - 1 - vector / a_piece)
            }
            _ => vector,
        }
    }

    /// All rows of a value.
    pub(crate) fn rows_of(&self, value: ValueId) -> impl Iterator<Item = ValueRow> + use<> {
        (0..self.rows).map(move |row| ValueRow { value, row })
    }

    /// The masks of the graph's attentions, each once.
    pub(crate) fn masks(&self) -> Vec<MaskInput> {
        masks(&self.graph, self.rows)
    }

    /// Lanes of half a head whose halves are rotated against each other; 0 where nothing is rotated.
    pub(crate) fn half_head(&self) -> usize {
        let half =
            |node: &Node| if let Op::Rotary { head_dim, .. } = node.op { Some(head_dim.div_ceil(2)) } else { None };
        self.graph.nodes.iter().find_map(half).unwrap_or(0)
    }

    fn inputs(&mut self, lanes: usize, precision: Precision) {
        // Inputs that are read together are in different slices.
        let quads =
            [(Hemisphere::East, 0, 0), (Hemisphere::West, 0, 0), (Hemisphere::East, 1, 0), (Hemisphere::West, 1, 0)];
        let values: Vec<ValueRow> = self.graph.inputs.iter().flat_map(|&value| self.rows_of(value)).collect();
        for (value, quad) in values.into_iter().zip(quads.into_iter().cycle()) {
            let vectors = self.layouts[&value.value].tiles.len();
            let name = region_name(&self.graph.value(value.value).name, value.row);
            let places = match self.graph.entry {
                Boundary::Host => self.vectors.input(&name, quad, Format::F32, vectors, lanes),
                Boundary::Chips => {
                    let is_rounded = precision.crosses_rounded(&self.graph, value.value);
                    self.vectors.fixed(quad, if is_rounded { Format::F16 } else { Format::F32 }, vectors)
                }
            };
            self.inputs.values.insert(value, places);
        }
        let masks = self.masks();
        let (vectors, inputs) = (&mut self.vectors, &mut self.inputs);
        for table in rotary_tables(&self.graph) {
            for row in 0..self.rows {
                let mut one = |part, quad| {
                    let name = rotary_name(table, part, row);
                    vectors.input(&name, (Hemisphere::East, quad, 0), Format::F32, 1, lanes).swap_remove(0)
                };
                inputs.rotary.insert((table, row), [one(RotaryPart::Cos, 0), one(RotaryPart::Sin, 1)]);
            }
        }
        for (kind, mask) in masks.iter().enumerate() {
            let count = self.context.div_ceil(lanes);
            let name = mask_name(mask.window, mask.row);
            let places = vectors.masks(&name, (kind, masks.len()), count, lanes);
            inputs.masks.insert(*mask, places);
        }
        if !inputs.masks.is_empty() {
            let addresses = |row| {
                Hemisphere::BOTH
                    .map(|side| vectors.input(&address_name(side, row), (side, 0, 2), Format::I16, ROW_SLICES, 1))
            };
            inputs.addresses = (0..self.rows).map(addresses).collect();
        }
    }

    /// Constants and key-value rows of all nodes but matrices.
    fn constants(
        &mut self,
        weights: &Weights,
        mut heads: BTreeMap<usize, Heads>,
        lanes: usize,
        slices: &mut WeightSlices,
    ) -> Result<(), CompileError> {
        for number in 0..self.graph.nodes.len() {
            let node = &self.graph.nodes[number];
            let layout = &self.layouts[&node.output];
            let whole = whole(self.graph.value(node.output), layout, self.member);
            let vectors = &mut self.vectors;
            let mut tensor = |elements: &[f32]| {
                gather(&whole, elements).iter().map(|vector| vectors.weight(vector)).collect::<Vec<usize>>()
            };
            let planned = match node.op {
                Op::RmsNorm { weight, .. } => {
                    let weights = tensor(&quantize::vector(weights, weight)?);
                    NodePlan::Norm(NormPlan { weights, ..NormPlan::default() })
                }
                Op::LayerNorm { weight, bias, .. } => {
                    let mut of = |id| Ok::<_, CompileError>(tensor(&quantize::vector(weights, id)?));
                    let weights = of(weight)?;
                    let biases = bias.map(of).transpose()?.unwrap_or_default();
                    NodePlan::Norm(NormPlan { weights, biases, ..NormPlan::default() })
                }
                Op::HeadNorm { weight, heads, head_dim, .. } => {
                    let of_head = quantize::vector(weights, weight)?;
                    let repeated: Vec<f32> = (0..heads * head_dim).map(|element| of_head[element % head_dim]).collect();
                    let of_heads = gather(&layout.tiles, &repeated);
                    let weights = of_heads.iter().map(|vector| vectors.weight(vector)).collect();
                    let head_lanes = head_lanes(layout, heads, head_dim, vectors);
                    NodePlan::Norm(NormPlan { weights, head_lanes, ..NormPlan::default() })
                }
                Op::Route { .. } => {
                    let experts = self.graph.value(node.output).width;
                    let pad: Vec<f32> =
                        (0..lanes).map(|lane| if lane < experts { 0.0 } else { f32::NEG_INFINITY }).collect();
                    let numbers: Vec<f32> = (0..lanes).map(|lane| -(lane as f32)).collect();
                    NodePlan::Router([vectors.constant(&pad), vectors.constant(&numbers)])
                }
                Op::Attention { scale, mask, .. } => {
                    let heads = heads.remove(&number).expect("every attention has heads");
                    let masks = (0..self.rows).map(|row| MaskInput::of(mask, row, self.rows)).collect();
                    NodePlan::Attention(Attending { masks, ..attending(number, heads, scale, vectors, slices) })
                }
                _ => continue,
            };
            self.nodes.insert(number, planned);
        }
        Ok(())
    }

    fn ones(&mut self, lanes: usize, slices: &mut WeightSlices) -> Result<(), CompileError> {
        for side in Hemisphere::BOTH {
            for plane in [0, 1] {
                let places = slices.tile(side, plane, 16, lanes, true)?;
                slices.fill(&places, 1);
                self.ones[index(side)].push(Part { places, rows: lanes, step: 0 });
            }
        }
        Ok(())
    }
}

fn gather(tiles: &[Vec<Option<u32>>], elements: &[f32]) -> Vec<Vec<f32>> {
    let lane = |element: &Option<u32>| element.map_or(0.0, |element| elements[element as usize]);
    tiles.iter().map(|tile| tile.iter().map(lane).collect()).collect()
}

/// The elements of the whole value in the lanes of a layout of a chip's shard.
fn whole(value: &Value, layout: &Layout, member: usize) -> Vec<Vec<Option<u32>>> {
    let of_lane = |element: &Option<u32>| {
        element.and_then(|element| value.shard.element(member, element as usize)).map(|element| element as u32)
    };
    layout.tiles.iter().map(|tile| tile.iter().map(of_lane).collect()).collect()
}
