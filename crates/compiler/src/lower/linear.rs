//! Matrices: a job for each output vector (or for the part of it whose inputs share a scale), and a tile task for each
//! tile.

use std::ops::Range;

use lpu_isa::Format;
use lpu_model::ValueId;
use smallvec::SmallVec;

use super::demand::Form;
use super::maker::{Made, Maker};
use super::{Lowering, VectorId};
use crate::Precision;
use crate::chain::{Feed, Op};
use crate::engine::{Slot, Task, Work};
use crate::tile::{Finish, Job, Tile};
use crate::vectors::index;

/// Vectors of an input, and what a sum over them is multiplied by.
type ScaledRun = (Range<usize>, Option<Slot>);

impl Lowering<'_> {
    /// The value as the input of matrices.
    fn activation(&mut self, value: ValueId) {
        if self.activations.contains_key(&value) {
            return;
        }
        let form = if self.precision == Precision::W8A8 { Form::Plain } else { Form::Activation };
        let vectors = self.vectors(value, form);
        let activation = self.activation_of(vectors, None, 4);
        self.activations.insert(value, activation);
    }

    pub(super) fn linear(&mut self, number: usize, input: ValueId) {
        self.activation(input);
        let plan = self.plan;
        let output = plan.graph.nodes[number].output;
        let inputs = self.tile_count(input);
        let activation = self.activations[&input].clone();
        let mut groups: Vec<ScaledRun> =
            activation.groups.iter().map(|(tiles, scale)| (tiles.clone(), Some(*scale))).collect();
        if groups.is_empty() {
            groups.push((0..inputs, None));
        }
        let pending =
            activation.factor.filter(|_| !plan.graph.outputs.contains(&output) && self.demands.fused(output).is_none());
        for (vector, planned) in plan.linear(number).iter().enumerate() {
            let scale = planned.scale.map(|scale| self.engine.constant(scale));
            let bias = planned.bias.map(|bias| self.engine.constant(bias));
            let parts = self.parts(number, vector, &groups);
            let mut jobs = Vec::new();
            let (mut maker, mut made) = (self.maker(), Made::Held(Feed::Arrival(0)));
            let whole = parts.len() == 1;
            if !whole {
                let mut slots = Vec::new();
                for (tiles, factor) in &parts {
                    let mut maker = self.maker();
                    let made = self.scaled(&mut maker, *factor);
                    let slot = self.engine.slot();
                    maker.hold_and_park(made, slot, None);
                    slots.push(slot);
                    jobs.push((tiles.clone(), self.job(maker, tiles.len())));
                }
                let feeds: Vec<Feed> = slots.into_iter().map(|slot| maker.input(slot)).collect();
                made = Made::Op(Op::Add, super::vector::fold(&mut maker, Op::Add, &feeds));
            } else {
                let factor = parts[0].1;
                if self.precision == Precision::W8A8 {
                    made = self.scaled(&mut maker, factor);
                }
            }
            let late = if pending.is_some() { None } else { activation.factor };
            for factor in [scale, late].into_iter().flatten() {
                let (source, factor) = (maker.feed(made), maker.input(factor));
                made = Made::Op(Op::Mul, vec![source, factor]);
            }
            if pending.is_some() {
                self.deliver_pending(&mut maker, output, vector, made);
            } else {
                if let Some(bias) = bias {
                    let (source, bias) = (maker.feed(made), maker.input(bias));
                    made = Made::Op(Op::Add, vec![source, bias]);
                }
                self.deliver(&mut maker, output, vector, made);
            }
            if whole {
                jobs.push((parts[0].0.clone(), self.job(maker, parts[0].0.len())));
            } else {
                self.chain_task("a sum of parts", maker, vector, plan.linear(number).len());
            }
            self.jobs.insert(VectorId::first_row(output, vector), jobs);
            if let Some(factor) = pending {
                let pending = self.pending.entry(output).or_insert_with(|| super::Pending { factor, bias: Vec::new() });
                pending.bias.push(bias);
            }
        }
        if pending.is_some() {
            self.pending_forms(output);
        }
    }

    /// An arriving sum as a binary32 number, times the scale of its activations where they have one.
    fn scaled(&self, maker: &mut Maker, factor: Option<Slot>) -> Made {
        match factor {
            None => Made::Held(Feed::Arrival(0)),
            Some(factor) => {
                let real = maker.op(Op::Convert(Format::I32, Format::F32), &[Feed::Arrival(0)]);
                let factor = maker.input(factor);
                Made::Op(Op::Mul, vec![real, factor])
            }
        }
    }

    /// The tiles of an output vector in runs that one job sums: of one scale, on one set of planes.
    fn parts(&self, number: usize, vector: usize, groups: &[ScaledRun]) -> Vec<ScaledRun> {
        let units = self.plan.units.iter().filter(|unit| unit.members.contains(&(number, vector)));
        let runs = units.flat_map(|unit| {
            groups
                .iter()
                .map(|(tiles, scale)| (tiles.start.max(unit.tiles.start)..tiles.end.min(unit.tiles.end), *scale))
        });
        runs.filter(|(tiles, _)| !tiles.is_empty()).collect()
    }

    fn job(&mut self, maker: Maker, tiles: usize) -> usize {
        let Maker { chain, inputs, outputs, .. } = maker;
        for &input in &inputs {
            self.engine.hold(input);
        }
        self.engine.jobs.push(Job::new(Finish { chain, inputs, outputs }, tiles));
        self.engine.jobs.len() - 1
    }

    /// The tile tasks of all matrices.
    pub(super) fn tiles(&mut self, oracle: bool) {
        let plan = self.plan;
        for unit in &plan.units {
            for tile in unit.tiles.clone() {
                let mut parts = Vec::new();
                let mut jobs: SmallVec<[usize; 2]> = SmallVec::new();
                for &(number, vector) in &unit.members {
                    parts.extend(plan.linear(number)[vector].tiles[tile].iter().cloned());
                    let output = VectorId::first_row(plan.graph.nodes[number].output, vector);
                    let found = self.jobs[&output].iter().find(|(tiles, _)| tiles.contains(&tile));
                    jobs.push(found.expect("every tile has a job").1);
                }
                let (number, vector) = unit.members[0];
                self.node = number;
                let class = 3 + self.first_uses.get(&unit.input).map_or(0, |&first| self.blocks[first].1);
                let rank = self.rank(class, vector, plan.linear(number).len());
                let activation = self.activations[&unit.input].sides[index(unit.set.side)][tile];
                let mut inputs = vec![activation];
                let choice = match plan.graph.nodes[number].op {
                    lpu_model::Op::ExpertLinear { choice, .. } if !oracle => {
                        let route = plan.graph.nodes[number].inputs[1];
                        inputs.push(self.routes[&route].maps[choice][index(unit.set.side)]);
                        Some(plan.experts[&route].bits)
                    }
                    _ => None,
                };
                let work = Work::Tile(Tile { set: unit.set, parts, choice, jobs });
                self.engine.task(Task { node: number, what: "a tile", rank, inputs, outputs: Vec::new(), work });
            }
        }
    }
}
