//! Places and bytes for the tiles of matrices.

use std::collections::BTreeMap;

use lpu_model::{Block, Checkpoint, Node, Op, Shard, ValueId, WeightId, Weights};

use super::{NodePlan, OutputVector, Plan, Unit};
use crate::error::CompileError;
use crate::planes::{Content, Part};
use crate::quantize::{self, Matrix};
use crate::rows::{Experts, WeightSlices};
use crate::target::Precision;

/// A node and an output vector of it.
type Member = (usize, usize);

impl Plan {
    /// Decides how far apart the experts of each matrix are: as far as its largest tile needs; those of a router that
    /// are about as far apart as the farthest are as far, so that they share its addresses.
    pub(super) fn experts(&mut self, weights: &Weights, precision: Precision) {
        let mut needed: BTreeMap<(ValueId, WeightId), u32> = BTreeMap::new();
        for node in &self.graph.nodes {
            let Op::ExpertLinear { weight, .. } = node.op else { continue };
            let rows =
                self.layouts[&node.output].tiles.iter().map(|tile| tile.len().next_multiple_of(16)).max().unwrap_or(16);
            let words = if precision == Precision::W8A16 { rows.div_ceil(32) } else { rows / 16 } as u32;
            let found = needed.entry((node.inputs[1], weight)).or_default();
            *found = words.max(*found);
        }
        for (&(route, weight), &words) in &needed {
            let of_route = needed.iter().filter(|((of, _), _)| *of == route);
            let farthest = of_route.map(|(_, &words)| words).max().unwrap_or(words);
            let stride = if 8 * words > 7 * farthest { farthest } else { words };
            self.experts.insert((route, weight), Experts::new(weights.shape(weight)[0], stride));
        }
    }

    /// Places the tiles of all matrices and fills them.
    pub(super) fn matrices(&mut self, checkpoint: &Checkpoint, slices: &mut WeightSlices) -> Result<(), CompileError> {
        self.announce(slices);
        let placed = self.place_tiles(slices)?;
        let contents: BTreeMap<Member, Content> =
            self.units.iter().flat_map(|unit| unit.members.iter().map(|&member| (member, unit.set.content))).collect();
        let mut linears: BTreeMap<usize, Vec<OutputVector>> = BTreeMap::new();
        for (member, output) in placed {
            let filled = self.fill(checkpoint.weights(), member, contents[&member], output, slices)?;
            linears.entry(member.0).or_default().push(filled);
        }
        for (number, node) in self.graph.nodes.iter().enumerate() {
            if let Op::ExpertLinear { weight, choice: 1.. } = node.op {
                let is_first =
                    |node: &Node| matches!(node.op, Op::ExpertLinear { weight: found, choice: 0 } if found == weight);
                let first = self.graph.nodes.iter().position(is_first).expect("a later choice follows the first");
                linears.insert(number, linears[&first].clone());
            }
        }
        self.nodes.extend(linears.into_iter().map(|(number, vectors)| (number, NodePlan::Linear(vectors))));
        Ok(())
    }

    /// Rows of a tile of an output vector, a multiple of 16.
    fn rows_of_tile(&self, (number, vector): Member) -> usize {
        self.layouts[&self.graph.nodes[number].output].tiles[vector].len().next_multiple_of(16)
    }

    /// Tells the slices of all tiles to come but those of experts.
    fn announce(&self, slices: &mut WeightSlices) {
        for unit in &self.units {
            for (place, &member) in unit.members.iter().enumerate() {
                if let Op::ExpertLinear { .. } = self.graph.nodes[member.0].op {
                    continue;
                }
                for (plane, held) in unit.held(place, self.rows_of_tile(member)) {
                    unit.tiles.clone().for_each(|_| slices.announce(unit.set.side, plane, held));
                }
            }
        }
    }

    /// Places for the tiles of every output vector, with neither scale nor bias.
    fn place_tiles(&self, slices: &mut WeightSlices) -> Result<BTreeMap<Member, OutputVector>, CompileError> {
        let mut found: BTreeMap<Member, OutputVector> = BTreeMap::new();
        for unit in &self.units {
            for (place, &member) in unit.members.iter().enumerate() {
                let node = &self.graph.nodes[member.0];
                // Later choices are where the first is.
                let experts = match node.op {
                    Op::ExpertLinear { weight, choice: 0 } => Some(self.experts[&(node.inputs[1], weight)]),
                    Op::ExpertLinear { .. } => continue,
                    _ => None,
                };
                let rows = self.rows_of_tile(member);
                let columns = self.layouts[&unit.input].tiles.len();
                let empty = || OutputVector { rows, tiles: vec![Vec::new(); columns], scale: None, bias: None };
                let output = found.entry(member).or_insert_with(empty);
                for tile in unit.tiles.clone() {
                    output.tiles[tile] = self.place_tile(unit, place, tile, experts, slices)?;
                }
            }
        }
        Ok(found)
    }

    /// Places for one tile of member `place` of a unit.
    fn place_tile(
        &self,
        unit: &Unit,
        place: usize,
        tile: usize,
        experts: Option<Experts>,
        slices: &mut WeightSlices,
    ) -> Result<Vec<Part>, CompileError> {
        let member = unit.members[place];
        let rows = self.rows_of_tile(member);
        let busy = matches!(self.graph.nodes[member.0].block, Block::Attention(_));
        let lanes = self.layouts[&unit.input].tiles[tile].len();
        let part = |(plane, held): (u16, usize)| {
            let places = match experts {
                Some(experts) => slices.expert_tile(unit.set.side, plane, held, experts),
                None => slices.tile(unit.set.side, plane, held, lanes, busy),
            };
            places.map(|places| Part { places, rows, step: 1 })
        };
        let parts = unit.held(place, rows).into_iter().map(part).collect::<Result<Vec<_>, _>>()?;
        // A gather gives whole words, of one plane.
        if let (Content::Halves, None, [low, high]) = (unit.set.content, experts, &parts[..]) {
            slices.interleave(&low.places, &high.places);
        }
        Ok(parts)
    }

    /// Fills the tiles of an output vector, and makes constants of its scales and bias.
    fn fill(
        &mut self,
        weights: &Weights,
        (number, vector): Member,
        content: Content,
        mut output: OutputVector,
        slices: &mut WeightSlices,
    ) -> Result<OutputVector, CompileError> {
        let node = &self.graph.nodes[number];
        let (weight, bias, experts) = match node.op {
            Op::Linear { weight, bias } => (weight, bias, None),
            Op::ExpertLinear { weight, .. } => (weight, None, Some(self.experts[&(node.inputs[1], weight)])),
            _ => unreachable!("only matrices have tiles"),
        };
        let outputs = &self.whole(node.output)[vector];
        let columns = &self.whole(node.inputs[0]);
        let matrix = Matrix { weight, outputs, columns, content, experts };
        let scales = quantize::fill(weights, &matrix, &output.tiles, slices)?;
        output.scale = (content != Content::Halves).then(|| self.vectors.weight(&scales));
        if let Some(bias) = bias {
            let biases = quantize::vector(weights, bias)?;
            // Of the terms of a sum over chips the first chip's have the bias.
            let adds = self.member == 0 || !matches!(self.graph.value(node.output).shard, Shard::Partial { .. });
            let lane = |element: &Option<u32>| element.filter(|_| adds).map_or(0.0, |element| biases[element as usize]);
            output.bias = Some(self.vectors.weight(&outputs.iter().map(lane).collect::<Vec<_>>()));
        }
        Ok(output)
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
