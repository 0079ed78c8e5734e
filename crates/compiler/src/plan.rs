//! The plan of a model: every tile of every matrix with its plane and its places, the constants, and the host's inputs.

use std::collections::BTreeMap;

use lpu_chip::Chip;
use lpu_isa::{Format, Hemisphere, WindowBits};
use lpu_model::{Checkpoint, Graph, Op, ValueId};
use smallvec::SmallVec;

use crate::error::CompileError;
use crate::host;
use crate::layout::{Heads, Layout, layouts};
use crate::planes::{Content, Part, PlaneSet};
use crate::quantize;
use crate::rows::{CacheShape, Rows, WeightSlices};
use crate::vectors::{Parked, VECTOR_SLICES, Vectors, index};
use crate::{Options, Precision};

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

/// Output vectors that share planes and activations: `(node, vector)` of one, or of the two planes of a pair.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub(crate) set: PlaneSet,
    pub(crate) input: ValueId,
    pub(crate) members: SmallVec<[(usize, usize); 2]>,
}

/// The constants and key-value rows of an attention.
#[derive(Clone, Debug)]
pub(crate) struct Attending {
    pub(crate) heads: Heads,
    /// The input that masks tokens.
    pub(crate) mask: String,
    /// By member of a key group: scale in its half-head lanes, 0 elsewhere.
    pub(crate) queries: Vec<usize>,
    /// By member of a value group: 1 in its lanes, 0 elsewhere.
    pub(crate) outputs: Vec<usize>,
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
    pub(crate) rotary: Vec<Parked>,
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
    pub(crate) vectors: Vectors,
    pub(crate) window: WindowBits,
    /// The context rounded up to whole rows of key-value slices.
    pub(crate) context: usize,
}

/// Name of the region that an input or output value of a graph lies in.
pub(crate) fn region_name(name: &str) -> &str {
    name.strip_prefix("head.").unwrap_or(name)
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
}

fn needs(
    graph: &Graph,
    layouts: &BTreeMap<ValueId, Layout>,
    lanes: usize,
    context: usize,
    precision: Precision,
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
                needs.constants += (lanes / head_dim + 2 * lanes / head_dim + 2) as u64;
                needs.alive = needs.alive.max(heads as u64 * (4 * tokens + 3));
            }
            Op::Linear { .. } => {
                let rows: u64 = layouts[&node.output].tiles.iter().map(|tile| tile.len().next_multiple_of(16) as u64).sum();
                needs.weight_rows += tiles(node.inputs[0]) * rows * if precision == Precision::F16 { 2 } else { 1 };
                needs.constants += 2 * tiles(node.output);
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
    needs.alive += graph.outputs.iter().map(|&value| tiles(value)).sum::<u64>() + 128;
    let mut windows: Vec<Option<usize>> = Vec::new();
    for node in &graph.nodes {
        if let Op::Attention { window, .. } = node.op
            && !windows.contains(&window)
        {
            windows.push(window);
        }
    }
    needs.inputs = graph.inputs.iter().map(|&value| tiles(value)).sum::<u64>() + 34 + tokens * windows.len() as u64;
    Ok(needs)
}

fn value_side(node: usize, group: usize) -> Hemisphere {
    Hemisphere::BOTH[(node + group) % 2]
}

/// Decides where everything lies; the weight slices hold the bytes.
pub(crate) fn plan(checkpoint: &Checkpoint, graph: Graph, chip: &Chip, options: &Options) -> Result<(Plan, WeightSlices), CompileError> {
    let values = chip.values();
    for (what, found, needed) in [
        ("MEM slices a hemisphere", values.slices_per_side, u32::from(VECTOR_SLICES) + 32),
        ("streams a direction", values.streams, 32),
        ("ALUs", values.alus, 16),
        ("planes a hemisphere", values.planes_per_side, 2),
    ] {
        if found < needed {
            return Err(CompileError::ChipTooSmall { chip: chip.name().to_owned(), what, found, needed });
        }
    }
    if options.context == 0 {
        return Err(CompileError::EmptyContext);
    }
    let lanes = chip.lanes();
    let context = options.context.div_ceil(16) * 16;
    let layouts = layouts(&graph, lanes)?;
    let needs = needs(&graph, &layouts, lanes, context, options.precision)?;
    let area = ((needs.constants / 4 + needs.inputs + needs.alive) / u64::from(values.banks) + 32).min(u64::from(values.words_per_bank));
    let real = checkpoint.weights().present();
    let cache = CacheShape { entries: needs.entries, context };
    let mut slices = WeightSlices::new(chip, cache, needs.weight_rows, area as u32, options.precision.name(), real)?;
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
        vectors: Vectors::new(chip, whole),
        window: WindowBits(slices.window_bits()),
        context,
        graph,
    };
    plan.inputs(lanes);
    plan.units(chip, options.precision);
    plan.matrices(checkpoint, options.precision, &mut slices)?;
    for (number, node) in plan.graph.nodes.iter().enumerate() {
        match node.op {
            Op::RmsNorm { weight, .. } => {
                let weights = checkpoint.weights().vector_f32(weight);
                let vectors = gather(&plan.layouts[&node.output], &weights);
                let constants = vectors.iter().map(|vector| plan.vectors.constant(vector)).collect();
                plan.norms.insert(number, constants);
            }
            Op::LayerNorm { weight, bias, .. } => {
                let mut constants = |tensor| {
                    let vectors = gather(&plan.layouts[&node.output], &checkpoint.weights().vector_f32(tensor));
                    vectors.iter().map(|vector| plan.vectors.constant(vector)).collect::<Vec<usize>>()
                };
                plan.norms.insert(number, constants(weight));
                if let Some(bias) = bias {
                    plan.shifts.insert(number, constants(bias));
                }
            }
            Op::HeadNorm { weight, heads, head_dim, .. } => {
                let weights = checkpoint.weights().vector_f32(weight);
                let layout = &plan.layouts[&node.output];
                let repeated: Vec<f32> = (0..heads * head_dim).map(|element| weights[element % head_dim]).collect();
                let constants = gather(layout, &repeated).iter().map(|vector| plan.vectors.constant(vector)).collect();
                plan.norms.insert(number, constants);
                plan.head_lanes.insert(number, head_lanes(layout, heads, head_dim, &mut plan.vectors));
            }
            Op::Attention { scale, window, .. } => {
                let heads = Heads::of(&plan.graph, node, lanes)?.expect("an attention has heads");
                let mask = host::mask_name(window, context);
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
    let mut spans = |members: usize, width: usize, value: f32| -> Vec<usize> {
        let span = |member: usize| {
            let mut vector = vec![0.0; members * width];
            vector[member * width..(member + 1) * width].fill(value);
            vectors.constant(&vector)
        };
        (0..members).map(span).collect()
    };
    let queries = spans(heads.key_members(0).len(), heads.half(), scale);
    let outputs = spans(heads.value_members(0).len(), heads.head_dim, 1.0);
    let keys = (0..heads.key_groups()).map(|_| Hemisphere::BOTH.map(|side| slices.cache_entry(side))).collect();
    let value_side: Vec<Hemisphere> = (0..heads.value_groups()).map(|group| value_side(number, group)).collect();
    let values = value_side.iter().map(|&side| slices.cache_entry(side)).collect();
    Attending { heads, mask: String::new(), queries, outputs, keys, values, value_side }
}

impl Plan {
    fn inputs(&mut self, lanes: usize) {
        // Inputs that are read together stand in different slices.
        let quads = [(Hemisphere::East, 0, 0), (Hemisphere::West, 0, 0), (Hemisphere::East, 1, 0), (Hemisphere::West, 1, 0)];
        for (&value, quad) in self.graph.inputs.iter().zip(quads.into_iter().cycle()) {
            let vectors = self.layouts[&value].tiles.len();
            let name = region_name(&self.graph.value(value).name);
            let places = self.vectors.input(name, quad, Format::F32, vectors, lanes);
            self.inputs.values.insert(value, places);
        }
        let (vectors, inputs) = (&mut self.vectors, &mut self.inputs);
        if self.graph.nodes.iter().any(|node| matches!(node.op, Op::Rotary { .. })) {
            inputs.rotary = vectors.input("rotary.cos", (Hemisphere::East, 0, 0), Format::F32, 1, lanes);
            inputs.rotary.extend(vectors.input("rotary.sin", (Hemisphere::East, 1, 0), Format::F32, 1, lanes));
        }
        for node in &self.graph.nodes {
            let Op::Attention { window, .. } = node.op else { continue };
            let count = self.context.div_ceil(lanes);
            let mask = inputs.masks.entry(host::mask_name(window, self.context));
            mask.or_insert_with_key(|name| vectors.input(name, (Hemisphere::East, 1, 0), Format::F32, count, lanes));
        }
        if !inputs.masks.is_empty() {
            inputs.addresses = [
                vectors.input("kv_address.e", (Hemisphere::East, 0, 2), Format::I16, 16, 1),
                vectors.input("kv_address.w", (Hemisphere::West, 0, 2), Format::I16, 16, 1),
            ];
        }
    }

    /// Gives output vectors their planes. Matrices with one input are taken together, their vectors by turns, so that gate and up
    /// finish side by side and sides are evenly loaded.
    fn units(&mut self, chip: &Chip, precision: Precision) {
        /// How far into the matrix, node, vector, rows.
        type Turn = (usize, usize, usize, usize);
        let mut by_input: BTreeMap<(usize, ValueId), Vec<Turn>> = BTreeMap::new();
        let mut first: BTreeMap<ValueId, usize> = BTreeMap::new();
        for (number, node) in self.graph.nodes.iter().enumerate() {
            if let Op::Linear { .. } = node.op {
                let input = node.inputs[0];
                let first = *first.entry(input).or_insert(number);
                let tiles = &self.layouts[&node.output].tiles;
                let vectors = tiles.iter().enumerate();
                let vectors = vectors.map(|(vector, tile)| ((2 * vector + 1) * 1_000_000 / tiles.len(), number, vector, tile.len()));
                by_input.entry((first, input)).or_default().extend(vectors);
            }
        }
        let pairs = chip.values().planes_per_side as u16 / 2;
        let mut given: BTreeMap<(Hemisphere, u16), u64> = BTreeMap::new();
        let mut filled: BTreeMap<(Hemisphere, u16), u64> =
            Hemisphere::BOTH.into_iter().flat_map(|side| [0, 1].map(|share| ((side, share), 0))).collect();
        let choose = |given: &BTreeMap<(Hemisphere, u16), u64>| {
            let all = (0..pairs).flat_map(|pair| Hemisphere::BOTH.map(|side| (side, pair)));
            all.min_by_key(|place| (given.get(place).copied().unwrap_or(0), place.1, place.0)).expect("a chip has planes")
        };
        for ((_, input), mut vectors) in by_input {
            vectors.sort_unstable();
            let width = if precision == Precision::W8A8 { 2 } else { 1 };
            for group in vectors.chunks(width) {
                let (side, pair) = choose(&given);
                let tiles = self.layouts[&input].tiles.len() as u64;
                *given.entry((side, pair)).or_default() += tiles * group.iter().map(|&(.., rows)| rows as u64).max().unwrap_or(0);
                let set = match precision {
                    Precision::F16 => PlaneSet { side, plane: 2 * pair, count: 2, content: Content::Halves },
                    Precision::W8A16 => PlaneSet { side, plane: 2 * pair, count: 2, content: Content::Widened },
                    Precision::W8A8 if group.len() == 2 => PlaneSet { side, plane: 2 * pair, count: 2, content: Content::Bytes },
                    Precision::W8A8 => {
                        let emptier = u16::from(filled[&(side, 1)] < filled[&(side, 0)]);
                        PlaneSet { side, plane: 2 * pair + emptier, count: 1, content: Content::Bytes }
                    }
                };
                for (place, &(.., rows)) in group.iter().enumerate() {
                    let share = (set.plane + place as u16) % 2;
                    *filled.get_mut(&(side, share)).expect("there are two shares a side") += tiles * rows as u64;
                }
                let members = group.iter().map(|&(_, node, vector, _)| (node, vector)).collect();
                self.units.push(Unit { set, input, members });
            }
        }
    }

    /// Places the tiles of all matrices and fills them.
    fn matrices(&mut self, checkpoint: &Checkpoint, precision: Precision, slices: &mut WeightSlices) -> Result<(), CompileError> {
        let mut found: BTreeMap<(usize, usize), OutputVector> = BTreeMap::new();
        for unit in &self.units {
            let columns = self.layouts[&unit.input].tiles.len();
            for (place, &(number, vector)) in unit.members.iter().enumerate() {
                let node = &self.graph.nodes[number];
                let rows = self.layouts[&node.output].tiles[vector].len().next_multiple_of(16);
                let planes: Vec<u16> = match unit.set.content {
                    Content::Bytes => vec![unit.set.plane + place as u16],
                    Content::Halves | Content::Widened => unit.set.planes().collect(),
                };
                let mut tiles = Vec::new();
                for _ in 0..columns {
                    let part = |(number, &plane): (usize, &u16)| {
                        let held = match unit.set.content {
                            Content::Widened => (rows / 16 + 1 - number) / 2 * 16,
                            Content::Bytes | Content::Halves => rows,
                        };
                        slices.tile(unit.set.side, plane, held).map(|places| Part { places, rows })
                    };
                    tiles.push(planes.iter().enumerate().map(part).collect::<Result<Vec<_>, _>>()?);
                }
                found.insert((number, vector), OutputVector { rows, tiles, scale: None, bias: None });
            }
        }
        let contents: BTreeMap<(usize, usize), Content> =
            self.units.iter().flat_map(|unit| unit.members.iter().map(|&member| (member, unit.set.content))).collect();
        let weights = checkpoint.weights();
        for ((number, vector), mut output) in found {
            let node = &self.graph.nodes[number];
            let Op::Linear { weight, bias } = node.op else { unreachable!("only matrices have tiles") };
            let outputs = &self.layouts[&node.output].tiles[vector];
            let columns = &self.layouts[&node.inputs[0]].tiles;
            let content = contents[&(number, vector)];
            let scales = quantize::fill(weights, weight, outputs, columns, content, &output.tiles, slices);
            output.scale = (precision != Precision::F16).then(|| self.vectors.constant(&scales));
            output.bias = bias.map(|bias| {
                let biases = weights.vector_f32(bias);
                let lane = |element: &Option<u32>| element.map_or(0.0, |element| biases[element as usize]);
                self.vectors.constant(&outputs.iter().map(lane).collect::<Vec<_>>())
            });
            self.linears.entry(number).or_default().push(output);
        }
        Ok(())
    }

    /// The placement for people: one line a matrix vector, cache entry or region.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let place = |rows: &Rows| rows.iter().map(|(slice, word)| format!("{slice}:{word}")).collect::<Vec<_>>().join(" ");
        for unit in &self.units {
            for &(number, vector) in &unit.members {
                let name = &self.graph.nodes[number].name;
                let output = &self.linears[&number][vector];
                for (input, tile) in output.tiles.iter().enumerate() {
                    let (side, plane, rows) = (unit.set.side.letter(), unit.set.plane, output.rows);
                    let parts = tile.iter().map(|part| place(&part.places)).collect::<Vec<_>>().join(" | ");
                    lines.push(format!("{name} out {vector} in {input}: plane {side}{plane}, {rows} rows at {parts}"));
                }
            }
        }
        for (number, attending) in &self.attentions {
            let name = &self.graph.nodes[*number].name;
            let mut entry = |what: String, entry: &[Rows; 2]| {
                lines.push(format!("{name} {what}: {} tokens at {} | {}", self.context, place(&entry[0]), place(&entry[1])));
            };
            for (group, halves) in attending.keys.iter().enumerate() {
                entry(format!("group {group} first key halves"), &halves[0]);
                entry(format!("group {group} second key halves"), &halves[1]);
            }
            for (group, values) in attending.values.iter().enumerate() {
                entry(format!("group {group} values"), values);
            }
        }
        lines
    }
}

fn gather(layout: &Layout, elements: &[f32]) -> Vec<Vec<f32>> {
    let lane = |element: &Option<u32>| element.map_or(0.0, |element| elements[element as usize]);
    layout.tiles.iter().map(|tile| tile.iter().map(lane).collect()).collect()
}
