//! Planes for output vectors.

use std::collections::BTreeMap;
use std::ops::Range;

use lpu_chip::Chip;
use lpu_isa::Hemisphere;
use lpu_model::{Node, Op, ValueId, WeightId};

use super::{Plan, Unit};
use crate::planes::{Content, PlaneSet};
use crate::target::Precision;
use crate::weight_bytes::stored;

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
    fn unit(&mut self, mut set: PlaneSet, input: ValueId, tiles: Range<usize>, group: &[Interleaved]) -> Unit {
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
        Unit { set, input, tiles, members: group.iter().map(|member| (member.node, member.vector)).collect() }
    }
}

/// An output vector in the order in which those of one input are given planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Interleaved {
    /// How far into its matrix, in millionths.
    at: usize,
    node: usize,
    vector: usize,
    rows: usize,
}

impl Plan {
    /// Gives output vectors their planes. Output vectors that are left when all planes have as many as one another are
    /// split by tiles over all planes, where there are enough tiles to pay for adding up the parts. Matrices with one
    /// input are taken together, their vectors interleaved, so that gate and up finish side by side and sides are
    /// evenly loaded.
    pub(super) fn units(&mut self, chip: &Chip, precision: Precision) {
        let mut by_input: BTreeMap<(usize, ValueId, bool), Vec<Interleaved>> = BTreeMap::new();
        let mut first: BTreeMap<ValueId, usize> = BTreeMap::new();
        for (number, node) in self.graph.nodes.iter().enumerate() {
            // The matrices of one choice represent those of all.
            if let Op::Linear { .. } | Op::ExpertLinear { choice: 0, .. } = node.op {
                let chosen = matches!(node.op, Op::ExpertLinear { .. });
                let input = node.inputs[0];
                let first = *first.entry(input).or_insert(number);
                let tiles = &self.layouts[&node.output].tiles;
                let vectors = tiles.iter().enumerate();
                let vectors = vectors.map(|(vector, tile)| Interleaved {
                    at: (2 * self.order(number, vector) + 1) * 500_000 / tiles.len(),
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
            let mut whole: Vec<Vec<Interleaved>> = Vec::new();
            let mut waiting: BTreeMap<usize, Interleaved> = BTreeMap::new();
            for vector in vectors {
                match waiting.remove(&vector.rows) {
                    Some(mate) => whole.push(vec![mate, vector]),
                    None if width == 1 => whole.push(vec![vector]),
                    None => drop(waiting.insert(vector.rows, vector)),
                }
            }
            whole.extend(waiting.into_values().collect::<Vec<_>>().chunks(width).map(<[Interleaved]>::to_vec));
            whole.sort_unstable();
            for group in &whole {
                let (side, plane) = load.least(&places);
                let set = set_of(stored(&self.graph, precision, group[0].node), side, plane, group.len());
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
                        false => set_of(stored(&self.graph, precision, group[0].node), side, plane, group.len()),
                    };
                    self.units.push(load.unit(set, input, first..(first + size).min(columns), group));
                }
            }
        }
        let choices: Vec<Unit> = self.units.iter().flat_map(|unit| self.other_choices(unit)).collect();
        self.units.extend(choices);
    }

    /// The units of the other choices of experts, which share words and planes with those of the first.
    fn other_choices(&self, unit: &Unit) -> Vec<Unit> {
        let Op::ExpertLinear { weight: first, choice: 0 } = self.graph.nodes[unit.members[0].0].op else {
            return Vec::new();
        };
        let of = |weight: WeightId| {
            let nodes = self.graph.nodes.iter().enumerate();
            nodes.filter(move |(_, node)| match node.op {
                Op::ExpertLinear { weight: found, choice } => found == weight && choice > 0,
                _ => false,
            })
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
}
