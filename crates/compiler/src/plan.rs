//! The plan of a model: every tile of every matrix with its plane and its places, the constants, and the host's inputs.

use std::collections::BTreeMap;

use lpu_chip::Chip;
use lpu_isa::{Format, Hemisphere, PassFormat};
use lpu_model::{Checkpoint, Graph, Node, Op, ValueId};
use lpu_num::half::f32_to_f16;
use lpu_num::int::f32_to_i8;

use crate::error::CompileError;
use crate::layout::{Heads, Layout, layouts};
use crate::memory::{Memory, Rows};
use crate::planes::PlaneSet;
use crate::scheduler::Parked;
use crate::{Options, Precision};

/// One tile of a matrix.
#[derive(Clone, Debug)]
pub(crate) struct Tile {
    pub(crate) parts: Vec<Rows>,
}

/// The tiles that make one output vector.
#[derive(Clone, Debug)]
pub(crate) struct OutputVector {
    pub(crate) set: PlaneSet,
    /// Rows of each tile, a multiple of 16.
    pub(crate) rows: usize,
    /// One tile an input vector.
    pub(crate) tiles: Vec<Tile>,
    /// Constant: scale of each output channel (`w8a8`).
    pub(crate) scale: Option<usize>,
    /// Constant: bias of each output.
    pub(crate) bias: Option<usize>,
}

/// The constants of an attention, one a member of a group.
#[derive(Clone, Debug)]
pub(crate) struct Attending {
    pub(crate) heads: Heads,
    /// Scale in the half-head lanes of a member, 0 elsewhere.
    pub(crate) queries: Vec<usize>,
    /// 1 in the lanes of a member, 0 elsewhere.
    pub(crate) outputs: Vec<usize>,
    /// For each group: entries of first key halves (east), second key halves (west), values.
    pub(crate) entries: Vec<[[Rows; 2]; 3]>,
    pub(crate) value_side: Vec<Hemisphere>,
}

/// What the host fills before every run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inputs {
    pub(crate) values: BTreeMap<ValueId, Vec<Parked>>,
    pub(crate) rotary: Vec<Parked>,
    pub(crate) mask: Vec<Parked>,
    /// Row addresses of the key-value slices, by side.
    pub(crate) addresses: [Vec<Parked>; 2],
}

/// Everything that is known before time is.
pub(crate) struct Plan {
    pub(crate) graph: Graph,
    pub(crate) layouts: BTreeMap<ValueId, Layout>,
    pub(crate) linears: BTreeMap<usize, Vec<OutputVector>>,
    /// Constants of the weight vectors of each norm.
    pub(crate) norms: BTreeMap<usize, Vec<usize>>,
    pub(crate) attentions: BTreeMap<usize, Attending>,
    pub(crate) inputs: Inputs,
    pub(crate) memory: Memory,
    /// The context rounded up to whole rows of key-value slices.
    pub(crate) context: usize,
}

/// Name of the region that an input or output value of a graph lies in.
pub(crate) fn region_name(name: &str) -> &str {
    name.strip_prefix("head.").unwrap_or(name)
}

/// Decides where everything lies.
pub(crate) fn plan(checkpoint: &Checkpoint, graph: Graph, chip: &Chip, options: &Options) -> Result<Plan, CompileError> {
    let lanes = chip.lanes();
    let context = options.context.div_ceil(16) * 16;
    let layouts = layouts(&graph, lanes)?;
    let mut entries = [0u32; 2];
    let mut weight_rows = 0u64;
    for (number, node) in graph.nodes.iter().enumerate() {
        match node.op {
            Op::Attention { heads, kv_heads, head_dim, .. } => {
                for group in 0..Heads::new(heads, kv_heads, head_dim, lanes)?.groups() {
                    entries[0] += 1;
                    entries[1] += 1;
                    entries[(number + group) % 2] += 1;
                }
            }
            Op::Linear { .. } => {
                let inputs = layouts[&node.inputs[0]].tiles.len() as u64;
                let rows: u64 = layouts[&node.output].tiles.iter().map(|tile| tile.len().next_multiple_of(16) as u64).sum();
                weight_rows += inputs * rows * if options.precision == Precision::F16 { 2 } else { 1 };
            }
            _ => {}
        }
    }
    let real = checkpoint.weights().present();
    let memory = Memory::new(chip, entries, context, weight_rows, options.precision.name(), real)?;
    let mut plan = Plan {
        layouts,
        linears: BTreeMap::new(),
        norms: BTreeMap::new(),
        attentions: BTreeMap::new(),
        inputs: Inputs::default(),
        memory,
        context,
        graph: Graph::default(),
    };
    for &value in &graph.inputs {
        let vectors = plan.layouts[&value].tiles.len();
        let places = plan.memory.input(region_name(&graph.value(value).name), (Hemisphere::East, 0, 0), Format::F32, vectors, lanes);
        plan.inputs.values.insert(value, places);
    }
    if graph.nodes.iter().any(|node| matches!(node.op, Op::Rotary { .. } | Op::Attention { .. })) {
        let memory = &mut plan.memory;
        plan.inputs.rotary = memory.input("rotary.cos", (Hemisphere::East, 0, 0), Format::F32, 1, lanes);
        plan.inputs.rotary.extend(memory.input("rotary.sin", (Hemisphere::East, 1, 0), Format::F32, 1, lanes));
        plan.inputs.mask = memory.input("mask", (Hemisphere::East, 1, 0), Format::F32, context.div_ceil(lanes), lanes);
        plan.inputs.addresses = [
            memory.input("kv_address.e", (Hemisphere::East, 0, 2), Format::I16, 16, 1),
            memory.input("kv_address.w", (Hemisphere::West, 0, 2), Format::I16, 16, 1),
        ];
    }
    for (number, node) in graph.nodes.iter().enumerate() {
        match node.op {
            Op::Linear { .. } => {
                let vectors = linear(checkpoint, chip, options.precision, node, &mut plan)?;
                plan.linears.insert(number, vectors);
            }
            Op::RmsNorm { weight, .. } => {
                let weights = checkpoint.weights().vector_f32(weight);
                let vectors = gather(&plan.layouts[&node.output], &weights);
                let constants = vectors.iter().map(|vector| plan.memory.constant(vector)).collect();
                plan.norms.insert(number, constants);
            }
            Op::Attention { heads, kv_heads, head_dim, scale, .. } => {
                let heads = Heads::new(heads, kv_heads, head_dim, lanes)?;
                let members = heads.members(0).len();
                let span = |member: usize, width: usize, value: f32| {
                    let mut vector = vec![0.0; members * width];
                    vector[member * width..(member + 1) * width].fill(value);
                    vector
                };
                let memory = &mut plan.memory;
                let queries = (0..members).map(|member| memory.constant(&span(member, head_dim / 2, scale))).collect();
                let outputs = (0..members).map(|member| memory.constant(&span(member, head_dim, 1.0))).collect();
                let value_side: Vec<Hemisphere> = (0..heads.groups()).map(|group| Hemisphere::BOTH[(number + group) % 2]).collect();
                let entries = value_side
                    .iter()
                    .map(|&side| {
                        let mut entry = |side| memory.cache_entry(side);
                        [entry(Hemisphere::East), entry(Hemisphere::West), entry(side)]
                    })
                    .collect();
                plan.attentions.insert(number, Attending { heads, queries, outputs, entries, value_side });
            }
            _ => {}
        }
    }
    plan.memory.finish()?;
    plan.graph = graph;
    Ok(plan)
}

impl Plan {
    /// The placement for people: one line a matrix vector, cache entry or region.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let places = |parts: &[Rows]| {
            let part = |rows: &Rows| rows.iter().map(|(slice, word)| format!("{slice}:{word}")).collect::<Vec<_>>().join(" ");
            parts.iter().map(part).collect::<Vec<_>>().join(" | ")
        };
        for (number, vectors) in &self.linears {
            let name = &self.graph.nodes[*number].name;
            for (index, vector) in vectors.iter().enumerate() {
                let set = vector.set;
                for (input, tile) in vector.tiles.iter().enumerate() {
                    let (side, plane, rows) = (set.side.letter(), set.plane, vector.rows);
                    lines.push(format!("{name} out {index} in {input}: plane {side}{plane}, {rows} rows at {}", places(&tile.parts)));
                }
            }
        }
        for (number, attending) in &self.attentions {
            let name = &self.graph.nodes[*number].name;
            for (group, entries) in attending.entries.iter().enumerate() {
                for (what, entry) in ["first key halves", "second key halves", "values"].iter().zip(entries) {
                    lines.push(format!("{name} group {group} {what}: {} tokens at {}", self.context, places(entry)));
                }
            }
        }
        lines
    }
}

fn gather(layout: &Layout, elements: &[f32]) -> Vec<Vec<f32>> {
    let lane = |element: &Option<u32>| element.map_or(0.0, |element| elements[element as usize]);
    layout.tiles.iter().map(|tile| tile.iter().map(lane).collect()).collect()
}

/// Places the tiles of a matrix and fills them.
fn linear(
    checkpoint: &Checkpoint,
    chip: &Chip,
    precision: Precision,
    node: &Node,
    plan: &mut Plan,
) -> Result<Vec<OutputVector>, CompileError> {
    let Op::Linear { weight, bias } = node.op else { unreachable!("only matrices have tiles") };
    let Plan { layouts, memory, .. } = plan;
    let (rows_of, columns_of) = (&layouts[&node.output], &layouts[&node.inputs[0]]);
    let weights = checkpoint.weights();
    let biases = bias.map(|bias| gather(rows_of, &weights.vector_f32(bias)));
    let planes = chip.values().planes_per_side as u16;
    let sets: Vec<PlaneSet> = match precision {
        Precision::F16 => (0..planes / 2)
            .flat_map(|pair| Hemisphere::BOTH.map(|side| PlaneSet { side, plane: 2 * pair, format: PassFormat::F16 }))
            .collect(),
        Precision::W8A8 => {
            (0..planes).flat_map(|plane| Hemisphere::BOTH.map(|side| PlaneSet { side, plane, format: PassFormat::I8 })).collect()
        }
    };
    let mut given = vec![0usize; sets.len()];
    let mut row = vec![0.0; weights.shape(weight)[1]];
    let mut vectors = Vec::new();
    for (index, outputs) in rows_of.tiles.iter().enumerate() {
        let rows = outputs.len().next_multiple_of(16);
        let choice = (0..sets.len()).min_by_key(|&set| (given[set], memory.filled(sets[set].side, sets[set].plane), set));
        let choice = choice.expect("a chip has planes");
        given[choice] += rows;
        let set = sets[choice];
        let parts = if set.format == PassFormat::F16 { 2 } else { 1 };
        let mut tiles = Vec::new();
        for _ in &columns_of.tiles {
            let parts = (0..parts).map(|part| memory.tile(set.side, set.plane + part, rows, chip, precision.name()));
            tiles.push(Tile { parts: parts.collect::<Result<_, _>>()? });
        }
        let mut scales = vec![0.0f32; outputs.len()];
        for (lane, output) in outputs.iter().enumerate() {
            let Some(output) = *output else { continue };
            if !weights.present() {
                continue;
            }
            weights.row_f32(weight, output as usize, &mut row);
            let largest = row.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
            scales[lane] = largest / 127.0;
            let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
            for (tile, columns) in tiles.iter().zip(&columns_of.tiles) {
                let values = columns.iter().map(|column| column.map_or(0.0, |column| row[column as usize]));
                match precision {
                    Precision::F16 => {
                        let halves: Vec<[u8; 2]> = values.map(|value| f32_to_f16(value).to_le_bytes()).collect();
                        for (byte, part) in tile.parts.iter().enumerate() {
                            for (cell, half) in memory.row(part, lane).iter_mut().zip(&halves) {
                                *cell = half[byte];
                            }
                        }
                    }
                    Precision::W8A8 => {
                        for (cell, value) in memory.row(&tile.parts[0], lane).iter_mut().zip(values) {
                            *cell = f32_to_i8(value * inverse) as u8;
                        }
                    }
                }
            }
        }
        let scale = (precision == Precision::W8A8).then(|| memory.constant(&scales));
        let bias = biases.as_ref().map(|biases| memory.constant(&biases[index]));
        vectors.push(OutputVector { set, rows, tiles, scale, bias });
    }
    Ok(vectors)
}
