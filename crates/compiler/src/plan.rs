//! The plan of a model: every tile of every matrix with its plane and its places, the constants, and the host's inputs.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use lpu_chip::Chip;
use lpu_isa::{Format, Hemisphere, WindowBits};
use lpu_model::{Block, Checkpoint, Graph, Node, Op, ValueId, WeightId, Weights};
use smallvec::SmallVec;

use crate::error::CompileError;
use crate::interface::{RotaryPart, address_name, mask_name, region_name, rotary_name};
use crate::layout::{Heads, Layout, layouts};
use crate::planes::{Content, Part, PlaneSet};
use crate::quantize;
use crate::rows::{CacheShape, Experts, ROW_SLICES, Rows, WeightSlices};
use crate::target::{Precision, Target};
use crate::vectors::{Parked, Vectors, index};

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
    /// The input that masks tokens.
    pub(crate) mask: String,
    /// By member of a key group: scale in its half-head lanes, 0 elsewhere.
    pub(crate) queries: Vec<usize>,
    /// By value group and member: 1 in its lanes, 0 elsewhere.
    pub(crate) outputs: Vec<Vec<usize>>,
    /// By key group: entries of first halves (east) and second halves (west).
    pub(crate) keys: Vec<[[Rows; 2]; 2]>,
    /// By value group.
    pub(crate) values: Vec<[Rows; 2]>,
    pub(crate) value_side: Vec<Hemisphere>,
}

/// What the host fills before every run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inputs {
    pub(crate) values: BTreeMap<ValueId, Vec<Parked>>,
    /// Cosines and sines by set of rotary frequencies.
    pub(crate) rotary: BTreeMap<usize, [Parked; 2]>,
    /// By name.
    pub(crate) masks: BTreeMap<String, Vec<Parked>>,
    /// Row addresses of the key-value slices, by side.
    pub(crate) addresses: [Vec<Parked>; 2],
}

/// Everything that is known before time is.
pub(crate) struct Plan {
    pub(crate) graph: Graph,
    pub(crate) layouts: BTreeMap<ValueId, Layout>,
    pub(crate) linears: BTreeMap<usize, Vec<OutputVector>>,
    pub(crate) units: Vec<Unit>,
    /// Constants of the weight vectors of each norm.
    pub(crate) norms: BTreeMap<usize, Vec<usize>>,
    /// Constants of the bias vectors of each norm that has some.
    pub(crate) shifts: BTreeMap<usize, Vec<usize>>,
    /// For each norm of heads, see [`head_lanes`].
    pub(crate) head_lanes: BTreeMap<usize, Vec<Vec<(usize, usize)>>>,
    pub(crate) attentions: BTreeMap<usize, Attending>,
    pub(crate) inputs: Inputs,
    /// By side: tiles of ones, a word a slice, for sums over lanes.
    pub(crate) ones: [Vec<Part>; 2],
    /// Constants of each route: 0 in the lanes of experts and -inf elsewhere, and the negatives of lane numbers.
    pub(crate) routes: BTreeMap<usize, [usize; 2]>,
    /// By route: how its experts lie.
    pub(crate) experts: BTreeMap<ValueId, Experts>,
    pub(crate) vectors: Vectors,
    pub(crate) window: WindowBits,
    /// The context rounded up to whole rows of key-value slices.
    pub(crate) context: usize,
}

/// What has to be placed, counted before anything is.
#[derive(Default)]
struct Needs {
    weight_rows: u64,
    entries: [u32; 2],
    constants: u64,
    inputs: u64,
    /// Intermediate vectors that may be alive at once.
    alive: u64,
    experts: bool,
}

fn needs(
    graph: &Graph,
    layouts: &BTreeMap<ValueId, Layout>,
    lanes: usize,
    context: usize,
    precision: Precision,
    weights: &Weights,
) -> Result<Needs, CompileError> {
    let mut needs = Needs::default();
    let tiles = |value: ValueId| layouts[&value].tiles.len() as u64;
    let tokens = context.div_ceil(lanes) as u64;
    for (number, node) in graph.nodes.iter().enumerate() {
        match node.op {
            Op::Attention { heads, head_dim, .. } => {
                let shape = Heads::of(graph, node, lanes)?.expect("an attention has heads");
                needs.entries[0] += shape.key_groups() as u32;
                needs.entries[1] += shape.key_groups() as u32;
                for group in 0..shape.value_groups() {
                    needs.entries[index(value_side(number, group))] += 1;
                }
                needs.constants += (2 * lanes / head_dim + 1) as u64
                    + (0..shape.value_groups()).map(|group| shape.value_members(group).count() as u64).sum::<u64>();
                needs.alive = needs.alive.max(heads as u64 * (4 * tokens + 3));
            }
            Op::Linear { .. } => {
                let rows: u64 =
                    layouts[&node.output].tiles.iter().map(|tile| tile.len().next_multiple_of(16) as u64).sum();
                needs.weight_rows += tiles(node.inputs[0]) * rows * if precision == Precision::F16 { 2 } else { 1 };
                needs.constants += 2 * tiles(node.output);
            }
            Op::ExpertLinear { weight, choice } => {
                needs.experts = true;
                needs.constants += tiles(node.output);
                if choice == 0 {
                    // Every tile takes the words of the largest.
                    let rows = layouts[&node.output].tiles.iter().map(|tile| tile.len().next_multiple_of(16) as u64);
                    let rows = rows.max().unwrap_or(0) * tiles(node.output);
                    let bytes = if precision == Precision::F16 { 2 } else { 1 };
                    needs.weight_rows += tiles(node.inputs[0]) * rows * bytes * weights.shape(weight)[0] as u64;
                }
            }
            Op::Route { active, .. } => {
                needs.constants += 2;
                needs.alive = needs.alive.max(4 * active as u64 + 8);
                if tiles(node.inputs[0]) > 1 {
                    let what = format!("it chooses among more experts than a vector has lanes ({lanes})");
                    return Err(CompileError::Unsupported { node: node.name.clone(), what });
                }
            }
            Op::LayerNorm { .. } => needs.constants += 2 * tiles(node.output),
            Op::HeadNorm { heads, .. } => {
                needs.constants += tiles(node.output) + 2 * heads as u64;
                needs.alive = needs.alive.max(2 * heads as u64 + 4 * tiles(node.output));
            }
            _ => needs.constants += tiles(node.output),
        }
        needs.alive = needs.alive.max(tiles(node.output) * 6);
    }
    needs.weight_rows += if needs.entries[0] > 0 { 64 } else { 0 };
    needs.alive += graph.outputs.iter().map(|&value| tiles(value)).sum::<u64>() + 128;
    let others = 2 * rotary_tables(graph).len().saturating_sub(1) as u64;
    needs.inputs = graph.inputs.iter().map(|&value| tiles(value)).sum::<u64>()
        + 34
        + others
        + tokens * windows(graph).len() as u64;
    Ok(needs)
}

/// The windows of a graph's attentions, each once.
fn windows(graph: &Graph) -> Vec<Option<usize>> {
    let mut windows = Vec::new();
    for node in &graph.nodes {
        if let Op::Attention { window, .. } = node.op
            && !windows.contains(&window)
        {
            windows.push(window);
        }
    }
    windows
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

/// Decides where everything lies; the weight slices hold the bytes.
pub(crate) fn plan(
    target: &Target,
    checkpoint: &Checkpoint,
    graph: Graph,
    context: usize,
) -> Result<(Plan, WeightSlices), CompileError> {
    let &Target { ref chip, precision } = target;
    let values = chip.values();
    let alus = LEAST_ALUS.max(values.superlanes.div_ceil(SUPERLANES_AN_ALU));
    if values.alus < alus {
        let (chip, why) = (chip.name().to_owned(), "sums over lanes keep the sums of superlanes in their latches");
        return Err(CompileError::ChipTooSmall { chip, field: "alus", value: values.alus, needed: alus, why });
    }
    if values.superlanes > MOST_SUPERLANES {
        let (chip, why) = (chip.name().to_owned(), "sums over the lanes of more have no schedule");
        return Err(CompileError::ChipTooLarge {
            chip,
            field: "superlanes",
            value: values.superlanes,
            most: MOST_SUPERLANES,
            why,
        });
    }
    if context == 0 {
        return Err(CompileError::EmptyContext);
    }
    let lanes = chip.lanes();
    let context = context.div_ceil(16).saturating_mul(16);
    let layouts = layouts(&graph, lanes)?;
    let needs = needs(&graph, &layouts, lanes, context, precision, checkpoint.weights())?;
    let area = ((needs.constants / 4 + needs.inputs + needs.alive) / u64::from(values.banks) + 32)
        .min(u64::from(values.words_per_bank));
    let real = checkpoint.weights().present();
    let cache = CacheShape { entries: needs.entries, context };
    let mut slices =
        WeightSlices::new(chip, cache, needs.weight_rows, area as u32, precision.name(), real, needs.experts)?;
    let whole = if slices.takes_vector_slices() { area as u32 } else { values.words_per_bank };
    let mut plan = Plan {
        layouts,
        linears: BTreeMap::new(),
        units: Vec::new(),
        norms: BTreeMap::new(),
        shifts: BTreeMap::new(),
        head_lanes: BTreeMap::new(),
        attentions: BTreeMap::new(),
        inputs: Inputs::default(),
        ones: [Vec::new(), Vec::new()],
        routes: BTreeMap::new(),
        experts: BTreeMap::new(),
        vectors: Vectors::new(chip, whole),
        window: WindowBits(slices.window_bits()),
        context,
        graph,
    };
    plan.inputs(lanes);
    if needs.entries[0] > 0 {
        plan.ones(lanes, &mut slices)?;
    }
    plan.units(chip, precision);
    plan.experts(checkpoint.weights(), precision);
    plan.matrices(checkpoint, &mut slices)?;
    plan.tables(checkpoint)?;
    for (number, node) in plan.graph.nodes.iter().enumerate() {
        match node.op {
            Op::RmsNorm { weight, .. } => {
                let weights = quantize::vector(checkpoint.weights(), weight)?;
                let vectors = gather(&plan.layouts[&node.output], &weights);
                let constants = vectors.iter().map(|vector| plan.vectors.weight(vector)).collect();
                plan.norms.insert(number, constants);
            }
            Op::LayerNorm { weight, bias, .. } => {
                let mut constants = |tensor| {
                    let vectors = gather(&plan.layouts[&node.output], &quantize::vector(checkpoint.weights(), tensor)?);
                    Ok::<_, CompileError>(
                        vectors.iter().map(|vector| plan.vectors.weight(vector)).collect::<Vec<usize>>(),
                    )
                };
                plan.norms.insert(number, constants(weight)?);
                if let Some(bias) = bias {
                    plan.shifts.insert(number, constants(bias)?);
                }
            }
            Op::HeadNorm { weight, heads, head_dim, .. } => {
                let weights = quantize::vector(checkpoint.weights(), weight)?;
                let layout = &plan.layouts[&node.output];
                let repeated: Vec<f32> = (0..heads * head_dim).map(|element| weights[element % head_dim]).collect();
                let constants = gather(layout, &repeated).iter().map(|vector| plan.vectors.weight(vector)).collect();
                plan.norms.insert(number, constants);
                plan.head_lanes.insert(number, head_lanes(layout, heads, head_dim, &mut plan.vectors));
            }
            Op::Route { .. } => {
                let experts = plan.graph.value(node.output).width;
                let pad: Vec<f32> =
                    (0..lanes).map(|lane| if lane < experts { 0.0 } else { f32::NEG_INFINITY }).collect();
                let numbers: Vec<f32> = (0..lanes).map(|lane| -(lane as f32)).collect();
                plan.routes.insert(number, [plan.vectors.constant(&pad), plan.vectors.constant(&numbers)]);
            }
            Op::Attention { scale, window, .. } => {
                let heads = Heads::of(&plan.graph, node, lanes)?.expect("an attention has heads");
                let mask = mask_name(window);
                let attending = attending(number, heads, scale, &mut plan.vectors, &mut slices);
                plan.attentions.insert(number, Attending { mask, ..attending });
            }
            _ => {}
        }
    }
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
    let outputs = (0..heads.value_groups())
        .map(|group| heads.value_members(group).map(|(_, lanes)| span(lanes, 1.0)).collect())
        .collect();
    let keys = (0..heads.key_groups()).map(|_| Hemisphere::BOTH.map(|side| slices.cache_entry(side))).collect();
    let value_side: Vec<Hemisphere> = (0..heads.value_groups()).map(|group| value_side(number, group)).collect();
    let values = value_side.iter().map(|&side| slices.cache_entry(side)).collect();
    Attending { heads, mask: String::new(), queries, outputs, keys, values, value_side }
}

impl Plan {
    /// The windows of the graph's attentions, each once.
    pub(crate) fn windows(&self) -> Vec<Option<usize>> {
        windows(&self.graph)
    }

    /// Lanes of half a head whose halves are rotated against each other; 0 where nothing is rotated.
    pub(crate) fn half_head(&self) -> usize {
        let half =
            |node: &Node| if let Op::Rotary { head_dim, .. } = node.op { Some(head_dim.div_ceil(2)) } else { None };
        self.graph.nodes.iter().find_map(half).unwrap_or(0)
    }

    fn inputs(&mut self, lanes: usize) {
        // Inputs that are read together stand in different slices.
        let quads =
            [(Hemisphere::East, 0, 0), (Hemisphere::West, 0, 0), (Hemisphere::East, 1, 0), (Hemisphere::West, 1, 0)];
        for (&value, quad) in self.graph.inputs.iter().zip(quads.into_iter().cycle()) {
            let vectors = self.layouts[&value].tiles.len();
            let name = region_name(&self.graph.value(value).name);
            let places = self.vectors.input(name, quad, Format::F32, vectors, lanes);
            self.inputs.values.insert(value, places);
        }
        let (vectors, inputs) = (&mut self.vectors, &mut self.inputs);
        for table in rotary_tables(&self.graph) {
            let mut one = |part, quad| {
                let name = rotary_name(table, part);
                vectors.input(&name, (Hemisphere::East, quad, 0), Format::F32, 1, lanes).swap_remove(0)
            };
            inputs.rotary.insert(table, [one(RotaryPart::Cos, 0), one(RotaryPart::Sin, 1)]);
        }
        let windows = windows(&self.graph);
        for (kind, window) in windows.iter().enumerate() {
            let count = self.context.div_ceil(lanes);
            let name = mask_name(*window);
            let masks = vectors.masks(&name, (kind, windows.len()), count, lanes);
            inputs.masks.insert(name, masks);
        }
        if !inputs.masks.is_empty() {
            inputs.addresses = Hemisphere::BOTH
                .map(|side| vectors.input(&address_name(side), (side, 0, 2), Format::I16, ROW_SLICES, 1));
        }
    }

    fn ones(&mut self, lanes: usize, slices: &mut WeightSlices) -> Result<(), CompileError> {
        for side in Hemisphere::BOTH {
            for share in [0, 1] {
                let places = slices.tile(side, share, 16, lanes, true)?;
                slices.fill(&places, 1);
                self.ones[index(side)].push(Part { places, rows: lanes, step: 0 });
            }
        }
        Ok(())
    }

    /// Gives output vectors their planes. Output vectors that are left when all planes have as many as one another are
    /// split by tiles over all planes, where there are enough tiles to pay for adding up the parts. Matrices with one
    /// input are taken together, their vectors by turns, so that gate and up finish side by side and sides are evenly
    /// loaded.
    fn units(&mut self, chip: &Chip, precision: Precision) {
        let mut by_input: BTreeMap<(usize, ValueId, bool), Vec<Turn>> = BTreeMap::new();
        let mut first: BTreeMap<ValueId, usize> = BTreeMap::new();
        for (number, node) in self.graph.nodes.iter().enumerate() {
            // The matrices of one choice stand for those of all.
            if let Op::Linear { .. } | Op::ExpertLinear { choice: 0, .. } = node.op {
                let chosen = matches!(node.op, Op::ExpertLinear { .. });
                let input = node.inputs[0];
                let first = *first.entry(input).or_insert(number);
                let tiles = &self.layouts[&node.output].tiles;
                let vectors = tiles.iter().enumerate();
                let vectors = vectors.map(|(vector, tile)| Turn {
                    at: (2 * vector + 1) * 500_000 / tiles.len(),
                    node: number,
                    vector,
                    rows: tile.len(),
                });
                by_input.entry((first, input, chosen)).or_default().extend(vectors);
            }
        }
        let pairs = chip.values().planes_per_side as u16 / 2;
        let places: Vec<(Hemisphere, u16)> =
            (0..pairs).flat_map(|pair| Hemisphere::BOTH.map(|side| (side, 2 * pair))).collect();
        let width = if precision == Precision::W8A8 { 2 } else { 1 };
        let mut load = Loads::default();
        for ((_, input, _), mut vectors) in by_input {
            vectors.sort_unstable();
            let columns = self.layouts[&input].tiles.len();
            let rest = if columns < SPLIT { 0 } else { vectors.len() % (width * places.len()) };
            let split = vectors.split_off(vectors.len() - rest);
            // Two vectors that share a pair of planes take the time of the one with more rows.
            let mut whole: Vec<Vec<Turn>> = Vec::new();
            let mut waiting: BTreeMap<usize, Turn> = BTreeMap::new();
            for turn in vectors {
                match waiting.remove(&turn.rows) {
                    Some(mate) => whole.push(vec![mate, turn]),
                    None if width == 1 => whole.push(vec![turn]),
                    None => drop(waiting.insert(turn.rows, turn)),
                }
            }
            whole.extend(waiting.into_values().collect::<Vec<_>>().chunks(width).map(<[Turn]>::to_vec));
            whole.sort_unstable();
            for group in &whole {
                let (side, plane) = load.least(&places);
                let set = set_of(self.stored(precision, group[0].node), side, plane, group.len());
                self.units.push(load.unit(set, input, 0..columns, group));
            }
            for group in split.chunks(width) {
                let planes: Vec<(Hemisphere, u16)> = match group.len() < width {
                    true => places.iter().flat_map(|&(side, plane)| [(side, plane), (side, plane + 1)]).collect(),
                    false => places.clone(),
                };
                let size = columns.div_ceil(planes.len());
                for (&(side, plane), first) in planes.iter().zip((0..columns).step_by(size)) {
                    let set = match group.len() < width {
                        true => PlaneSet { side, plane, count: 1, content: Content::Bytes },
                        false => set_of(self.stored(precision, group[0].node), side, plane, group.len()),
                    };
                    self.units.push(load.unit(set, input, first..(first + size).min(columns), group));
                }
            }
        }
        let choices: Vec<Unit> = self.units.iter().flat_map(|unit| self.other_choices(unit)).collect();
        self.units.extend(choices);
    }

    /// The format that a matrix is stored in: with 16-bit activations, what decides between experts is not rounded to
    /// int8.
    fn stored(&self, precision: Precision, number: usize) -> Precision {
        let output = self.graph.nodes[number].output;
        let routes =
            || self.graph.nodes.iter().any(|node| matches!(node.op, Op::Route { .. }) && node.inputs[0] == output);
        if precision == Precision::W8A16 && routes() { Precision::F16 } else { precision }
    }

    /// The units of the other choices of experts, which share words and planes with those of the first.
    fn other_choices(&self, unit: &Unit) -> Vec<Unit> {
        let Op::ExpertLinear { weight: first, choice: 0 } = self.graph.nodes[unit.members[0].0].op else {
            return Vec::new();
        };
        let of = |weight: WeightId| {
            let nodes = self.graph.nodes.iter().enumerate();
            nodes.filter(move |(_, node)| matches!(node.op, Op::ExpertLinear { weight: found, choice } if found == weight && choice > 0))
        };
        let unit_of = |(place, (_, node)): (usize, (usize, &Node))| {
            let members = unit.members.iter().map(|&(number, vector)| {
                let Op::ExpertLinear { weight, .. } = self.graph.nodes[number].op else {
                    unreachable!("experts share units with experts")
                };
                (of(weight).nth(place).expect("every matrix has all choices").0, vector)
            });
            Unit { set: unit.set, input: node.inputs[0], tiles: unit.tiles.clone(), members: members.collect() }
        };
        of(first).enumerate().map(unit_of).collect()
    }

    /// Decides how far apart the experts of each route lie: as far as the largest tile of theirs needs.
    fn experts(&mut self, weights: &Weights, precision: Precision) {
        for node in &self.graph.nodes {
            let Op::ExpertLinear { weight, .. } = node.op else { continue };
            let rows =
                self.layouts[&node.output].tiles.iter().map(|tile| tile.len().next_multiple_of(16)).max().unwrap_or(16);
            let words = if precision == Precision::W8A16 { rows.div_ceil(32) } else { rows / 16 } as u32;
            let found = self.experts.get(&node.inputs[1]).map_or(0, |experts| experts.stride);
            self.experts.insert(node.inputs[1], Experts::new(weights.shape(weight)[0], words.max(found)));
        }
    }

    /// Places the tiles of all matrices and fills them.
    fn matrices(&mut self, checkpoint: &Checkpoint, slices: &mut WeightSlices) -> Result<(), CompileError> {
        let mut found: BTreeMap<(usize, usize), OutputVector> = BTreeMap::new();
        for unit in &self.units {
            for (place, &(number, vector)) in unit.members.iter().enumerate() {
                let node = &self.graph.nodes[number];
                if let Op::ExpertLinear { .. } = node.op {
                    continue;
                }
                let rows = self.layouts[&node.output].tiles[vector].len().next_multiple_of(16);
                for (plane, held) in unit.held(place, rows) {
                    unit.tiles.clone().for_each(|_| slices.announce(unit.set.side, plane, held));
                }
            }
        }
        for unit in &self.units {
            for (place, &(number, vector)) in unit.members.iter().enumerate() {
                let node = &self.graph.nodes[number];
                let rows = self.layouts[&node.output].tiles[vector].len().next_multiple_of(16);
                let busy = matches!(node.block, Block::Attention(_));
                let planes = unit.held(place, rows);
                // Later choices lie where the first does.
                let experts = match node.op {
                    Op::ExpertLinear { choice: 0, .. } => Some(self.experts[&node.inputs[1]]),
                    Op::ExpertLinear { .. } => continue,
                    _ => None,
                };
                let columns = self.layouts[&unit.input].tiles.len();
                let empty = || OutputVector { rows, tiles: vec![Vec::new(); columns], scale: None, bias: None };
                let output = found.entry((number, vector)).or_insert_with(empty);
                for tile in unit.tiles.clone() {
                    let part = |&(plane, held): &(u16, usize)| {
                        let places = match experts {
                            Some(experts) => slices.expert_tile(unit.set.side, plane, held, experts),
                            None => slices.tile(
                                unit.set.side,
                                plane,
                                held,
                                self.layouts[&unit.input].tiles[tile].len(),
                                busy,
                            ),
                        };
                        places.map(|places| Part { places, rows, step: 1 })
                    };
                    let parts = planes.iter().map(part).collect::<Result<Vec<_>, _>>()?;
                    // A gather gives whole words, of one plane.
                    if let (Content::Halves, None, [low, high]) = (unit.set.content, experts, &parts[..]) {
                        slices.pair(&low.places, &high.places);
                    }
                    output.tiles[tile] = parts;
                }
            }
        }
        let contents: BTreeMap<(usize, usize), Content> =
            self.units.iter().flat_map(|unit| unit.members.iter().map(|&member| (member, unit.set.content))).collect();
        let weights = checkpoint.weights();
        for ((number, vector), mut output) in found {
            let node = &self.graph.nodes[number];
            let (weight, bias, experts) = match node.op {
                Op::Linear { weight, bias } => (weight, bias, None),
                Op::ExpertLinear { weight, .. } => (weight, None, Some(self.experts[&node.inputs[1]])),
                _ => unreachable!("only matrices have tiles"),
            };
            let outputs = &self.layouts[&node.output].tiles[vector];
            let columns = &self.layouts[&node.inputs[0]].tiles;
            let content = contents[&(number, vector)];
            let scales = quantize::fill(weights, weight, outputs, columns, content, &output.tiles, experts, slices)?;
            output.scale = (content != Content::Halves).then(|| self.vectors.weight(&scales));
            if let Some(bias) = bias {
                let biases = quantize::vector(weights, bias)?;
                let lane = |element: &Option<u32>| element.map_or(0.0, |element| biases[element as usize]);
                output.bias = Some(self.vectors.weight(&outputs.iter().map(lane).collect::<Vec<_>>()));
            }
            self.linears.entry(number).or_default().push(output);
        }
        for (number, node) in self.graph.nodes.iter().enumerate() {
            if let Op::ExpertLinear { weight, choice } = node.op
                && choice > 0
            {
                let is_first =
                    |node: &Node| matches!(node.op, Op::ExpertLinear { weight: found, choice: 0 } if found == weight);
                let first = self.graph.nodes.iter().position(is_first).expect("a later choice follows the first");
                let vectors = self.linears[&first].clone();
                self.linears.insert(number, vectors);
            }
        }
        Ok(())
    }

    /// Checks the tables whose rows the host supplies, unless one of the matrices is the same tensor.
    fn tables(&self, checkpoint: &Checkpoint) -> Result<(), CompileError> {
        let weights = checkpoint.weights();
        let supplied = |name: &str| self.graph.inputs.iter().any(|&value| self.graph.value(value).name == name);
        let is_matrix = |table: WeightId| {
            self.graph.nodes.iter().any(|node| matches!(node.op, Op::Linear { weight, .. } if weight == table))
        };
        let embedding = supplied("embedding").then(|| checkpoint.embedding());
        let positions = checkpoint.positions().filter(|_| supplied("position"));
        let mut tables = embedding.into_iter().chain(positions).filter(|&table| weights.present() && !is_matrix(table));
        tables.try_for_each(|table| quantize::table(weights, table))
    }
}

/// Tiles from which on an output vector may be split over planes: below, adding up the parts costs more than it saves.
const SPLIT: usize = 6;

/// The planes at `plane` for one or two output vectors.
fn set_of(precision: Precision, side: Hemisphere, plane: u16, vectors: usize) -> PlaneSet {
    let (count, content) = match precision {
        Precision::F16 => (2, Content::Halves),
        Precision::W8A16 => (2, Content::Widened),
        Precision::W8A8 => (vectors as u16, Content::Bytes),
    };
    PlaneSet { side, plane, count, content }
}

/// Rows given to each plane so far.
#[derive(Default)]
struct Loads(BTreeMap<(Hemisphere, u16), u64>);

impl Loads {
    fn of(&self, side: Hemisphere, plane: u16) -> u64 {
        self.0.get(&(side, plane)).copied().unwrap_or(0)
    }

    /// The least loaded of these pairs of planes.
    fn least(&self, places: &[(Hemisphere, u16)]) -> (Hemisphere, u16) {
        let load =
            |&&(side, plane): &&(Hemisphere, u16)| (self.of(side, plane).max(self.of(side, plane + 1)), plane, side);
        *places.iter().min_by_key(load).expect("a chip has planes")
    }

    /// A unit of these vectors, an odd int8 one on the less loaded plane of the pair.
    fn unit(&mut self, mut set: PlaneSet, input: ValueId, tiles: Range<usize>, group: &[Turn]) -> Unit {
        let odd = set.plane ^ 1;
        if set.content == Content::Bytes
            && set.count == 1
            && tiles.start == 0
            && self.of(set.side, odd) < self.of(set.side, set.plane)
        {
            set.plane = odd;
        }
        for plane in set.planes() {
            let rows = match set.content {
                Content::Bytes => group[usize::from(plane - set.plane)].rows,
                Content::Halves | Content::Widened => group[0].rows,
            };
            *self.0.entry((set.side, plane)).or_default() += (tiles.len() * rows) as u64;
        }
        Unit { set, input, tiles, members: group.iter().map(|turn| (turn.node, turn.vector)).collect() }
    }
}

/// An output vector in the order in which those of one input are given planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    /// How far into its matrix, in millionths.
    at: usize,
    node: usize,
    vector: usize,
    rows: usize,
}

fn gather(layout: &Layout, elements: &[f32]) -> Vec<Vec<f32>> {
    let lane = |element: &Option<u32>| element.map_or(0.0, |element| elements[element as usize]);
    layout.tiles.iter().map(|tile| tile.iter().map(lane).collect()).collect()
}
