//! What has to be placed, counted before anything is.

use lpu_model::{Graph, Op, ValueId, Weights};

use super::{masks, rotary_tables, value_side};
use crate::error::CompileError;
use crate::layout::Layouts;
use crate::rows::ROW_SLICES;
use crate::target::Precision;
use crate::vectors::{RESTING, index};

/// Vectors of a query head that may be live at once for each tile of tokens: its scores, its weights on both sides, and
/// its product with the values.
const HEAD_VECTORS_A_TILE: u64 = 4;
/// The same for all tiles together: the sum of its weights, that sum in every lane, and the query.
const HEAD_VECTORS: u64 = 3;
/// Vectors of a router's choice: its score, gate weight and addresses on both sides.
const CHOICE_VECTORS: u64 = 4;
/// Vectors of a router for all choices together (found by trying).
const ROUTER_VECTORS: u64 = 8;
/// Vectors of a QK norm for each head: the sum of its squares, and its factor.
const NORM_VECTORS_A_HEAD: u64 = 2;
/// Vectors of a QK norm for each vector of its value: the input, its squares, the factors in its lanes, and the result.
const NORM_VECTORS: u64 = 4;
/// Vectors that may be live at once for each vector of a value, in all its representations and those of the value that
/// is made of it (found by trying).
const VALUE_VECTORS: u64 = 6;

/// What has to be placed.
#[derive(Default)]
pub(super) struct Needs {
    pub(super) weight_rows: u64,
    pub(super) entries: [u32; 2],
    pub(super) constants: u64,
    pub(super) inputs: u64,
    /// Intermediate vectors that may be live at once.
    pub(super) live: u64,
    pub(super) experts: bool,
}

/// What the needs of a graph depend on besides its shape.
pub(super) struct Sizes {
    pub(super) lanes: usize,
    /// Tokens, a multiple of 16.
    pub(super) context: usize,
    pub(super) rows: usize,
    pub(super) precision: Precision,
}

/// Counts what a graph needs for a context: an upper bound of what the placer and the scheduler take.
pub(super) fn needs(
    graph: &Graph,
    Layouts { values: layouts, heads: shapes }: &Layouts,
    &Sizes { lanes, context, rows, precision }: &Sizes,
    weights: &Weights,
) -> Result<Needs, CompileError> {
    let mut needs = Needs::default();
    let tiles = |value: ValueId| layouts[&value].tiles.len() as u64;
    let tokens = context.div_ceil(lanes) as u64;
    for (number, node) in graph.nodes.iter().enumerate() {
        match node.op {
            Op::Attention { heads, head_dim, .. } => {
                let shape = &shapes[&number];
                needs.entries[0] += shape.key_groups() as u32;
                needs.entries[1] += shape.key_groups() as u32;
                for group in 0..shape.value_groups() {
                    needs.entries[index(value_side(number, group))] += 1;
                }
                needs.constants += (2 * lanes / head_dim + 1) as u64
                    + (0..shape.value_groups())
                        .map(|group| (shape.value_members(group).count() * shape.copies(group)) as u64)
                        .sum::<u64>();
                needs.live = needs.live.max(heads as u64 * (HEAD_VECTORS_A_TILE * tokens + HEAD_VECTORS));
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
                needs.live = needs.live.max(CHOICE_VECTORS * active as u64 + ROUTER_VECTORS);
                if tiles(node.inputs[0]) > 1 {
                    let what = format!("it chooses among more experts than a vector has lanes ({lanes})");
                    return Err(CompileError::Unsupported { node: node.name.clone(), what });
                }
            }
            // Terms of all pieces, and those of the others for the chip's own.
            Op::ReduceScatter => needs.live = needs.live.max(2 * tiles(node.inputs[0]) + VALUE_VECTORS),
            Op::LayerNorm { .. } => needs.constants += 2 * tiles(node.output),
            Op::HeadNorm { heads, .. } => {
                needs.constants += tiles(node.output) + 2 * heads as u64;
                needs.live = needs.live.max(NORM_VECTORS_A_HEAD * heads as u64 + NORM_VECTORS * tiles(node.output));
            }
            _ => needs.constants += tiles(node.output),
        }
        needs.live = needs.live.max(tiles(node.output) * VALUE_VECTORS);
    }
    // A tile of ones for even and for odd planes of each side.
    needs.weight_rows += if needs.entries[0] > 0 { 2 * 2 * ROW_SLICES as u64 } else { 0 };
    needs.live *= rows as u64;
    needs.live += rows as u64 * graph.outputs.iter().map(|&value| tiles(value)).sum::<u64>();
    needs.live += RESTING as u64;
    // Row addresses of both sides, and a cosine and a sine of each set of frequencies, of one at least.
    let addresses = 2 * ROW_SLICES as u64;
    let rotary = 2 * rotary_tables(graph).len().max(1) as u64;
    let values = graph.inputs.iter().map(|&value| tiles(value)).sum::<u64>();
    needs.inputs = rows as u64 * (values + addresses + rotary) + tokens * masks(graph, rows).len() as u64;
    Ok(needs)
}
