//! Matrices: a job for each output vector (or for the part of it whose inputs share a scale), and a tile task for each tile.

use std::ops::Range;

use lpu_isa::Format;
use lpu_model::ValueId;
use smallvec::SmallVec;

use super::Lowering;
use super::demand::Form;
use super::maker::{Made, Maker};
use crate::Precision;
use crate::chain::{Feed, Op};
use crate::engine::{Slot, Task, Work};
use crate::tile::{Finish, Job, Tile};
use crate::vectors::index;

impl Lowering<'_> {
    /// The value as the input of matrices.
    fn activation(&mut self, value: ValueId) {
        if self.activations.contains_key(&value) {
            return;
        }
        let form = if self.precision == Precision::W8A8 { Form::Plain } else { Form::Activation };
        let vectors = self.forms[&(value, form)].clone();
        let activation = self.activation_of(vectors, None, 4);
        self.activations.insert(value, activation);
    }

    pub(super) fn linear(&mut self, number: usize, input: ValueId) {
        self.activation(input);
        let plan = self.plan;
        let output = plan.graph.nodes[number].output;
        let inputs = self.tile_count(input);
        let activation = self.activations[&input].clone();
        let mut groups: Vec<(Range<usize>, Option<Slot>)> =
            activation.groups.iter().map(|(tiles, scale)| (tiles.clone(), Some(*scale))).collect();
        if groups.is_empty() {
            groups.push((0..inputs, None));
        }
        for (vector, planned) in plan.linears[&number].iter().enumerate() {
            let scale = planned.scale.map(|scale| self.engine.constant(scale));
            let bias = planned.bias.map(|bias| self.engine.constant(bias));
            let mut jobs = Vec::new();
            let rest = |lowering: &mut Self, mut maker: Maker, sum: Made, scales: &[Option<Slot>]| {
                let mut made = sum;
                for slot in scales.iter().copied().flatten() {
                    let source = match made {
                        Made::Held(feed) => feed,
                        made => maker.hold(made),
                    };
                    let scale = maker.input(slot);
                    made = Made::Op(Op::Mul, vec![source, scale]);
                }
                if let Some(bias) = bias {
                    let source = match made {
                        Made::Held(feed) => feed,
                        made => maker.hold(made),
                    };
                    let bias = maker.input(bias);
                    made = Made::Op(Op::Add, vec![source, bias]);
                }
                lowering.deliver(&mut maker, output, vector, made);
                maker
            };
            if let [(tiles, factor)] = &groups[..] {
                let mut maker = self.maker();
                let sum = match self.precision {
                    Precision::W8A8 => Made::Op(Op::Convert(Format::I32, Format::F32), vec![Feed::Arrival(0)]),
                    _ => Made::Held(Feed::Arrival(0)),
                };
                maker = rest(self, maker, sum, &[scale, *factor, activation.factor]);
                jobs.push((tiles.clone(), self.job(maker, tiles.len())));
            } else {
                let mut partial = Vec::new();
                for (tiles, factor) in &groups {
                    let mut maker = self.maker();
                    let real = maker.op(Op::Convert(Format::I32, Format::F32), &[Feed::Arrival(0)]);
                    let factor = maker.input(factor.expect("groups have scales"));
                    let slot = self.engine.slot();
                    maker.park(Op::Mul, &[real, factor], slot, None);
                    partial.push(slot);
                    jobs.push((tiles.clone(), self.job(maker, tiles.len())));
                }
                let mut maker = self.maker();
                let feeds: Vec<Feed> = partial.into_iter().map(|slot| maker.input(slot)).collect();
                let sums = super::vector::fold(&mut maker, Op::Add, &feeds);
                maker = rest(self, maker, Made::Op(Op::Add, sums), &[scale]);
                self.chain_task("a sum of parts", maker, vector, plan.linears[&number].len());
            }
            self.jobs.insert((number, vector), jobs);
        }
    }

    fn job(&mut self, maker: Maker, tiles: usize) -> usize {
        let Maker { chain, inputs, outputs } = maker;
        for &input in &inputs {
            self.engine.hold(input);
        }
        self.engine.jobs.push(Job::new(Finish { chain, inputs, outputs }, tiles));
        self.engine.jobs.len() - 1
    }

    /// The tile tasks of all matrices.
    pub(super) fn tiles(&mut self) {
        let plan = self.plan;
        for unit in &plan.units {
            let count = self.tile_count(unit.input);
            for tile in 0..count {
                let mut parts = Vec::new();
                let mut jobs: SmallVec<[usize; 2]> = SmallVec::new();
                for &(number, vector) in &unit.members {
                    parts.extend(plan.linears[&number][vector].tiles[tile].iter().cloned());
                    let found = self.jobs[&(number, vector)].iter().find(|(tiles, _)| tiles.contains(&tile));
                    jobs.push(found.expect("every tile has a job").1);
                }
                let (number, vector) = unit.members[0];
                self.node = number;
                let rank = self.rank(1, vector, plan.linears[&number].len());
                let activation = self.activations[&unit.input].sides[index(unit.set.side)][tile];
                let work = Work::Tile(Tile { set: unit.set, parts, jobs });
                self.engine.task(Task { node: number, what: "a tile", rank, inputs: vec![activation], outputs: Vec::new(), work });
            }
        }
    }
}
