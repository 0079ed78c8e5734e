//! Places and bytes for the tiles of matrices.

use std::collections::BTreeMap;

use lpu_model::{Block, Checkpoint, Node, Op, WeightId, Weights};

use super::{NodePlan, OutputVector, Plan};
use crate::error::CompileError;
use crate::planes::{Content, Part};
use crate::quantize;
use crate::rows::{Experts, WeightSlices};
use crate::target::Precision;

impl Plan {
    /// Decides how far apart the experts of each router are: as far as the largest tile of theirs needs.
    pub(super) fn experts(&mut self, weights: &Weights, precision: Precision) {
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
    pub(super) fn matrices(&mut self, checkpoint: &Checkpoint, slices: &mut WeightSlices) -> Result<(), CompileError> {
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
                // Later choices are where the first is.
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
        let mut linears: BTreeMap<usize, Vec<OutputVector>> = BTreeMap::new();
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
            linears.entry(number).or_default().push(output);
        }
        for (number, node) in self.graph.nodes.iter().enumerate() {
            if let Op::ExpertLinear { weight, choice } = node.op
                && choice > 0
            {
                let is_first =
                    |node: &Node| matches!(node.op, Op::ExpertLinear { weight: found, choice: 0 } if found == weight);
                let first = self.graph.nodes.iter().position(is_first).expect("a later choice follows the first");
                let vectors = linears[&first].clone();
                linears.insert(number, vectors);
            }
        }
        self.nodes.extend(linears.into_iter().map(|(number, vectors)| (number, NodePlan::Linear(vectors))));
        Ok(())
    }

    /// Checks the tables whose rows the host supplies, unless one of the matrices is the same tensor.
    pub(super) fn tables(&self, checkpoint: &Checkpoint) -> Result<(), CompileError> {
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
