//! Matrices: an accumulation group for each output vector (or for the part of it whose inputs share a scale), and a
//! tile task for each tile.

use std::ops::Range;

use lpu_isa::Format;

use super::builder::{ChainBuilder, Def};
use super::demand::Representation;
use super::{Lowering, PartialSum, VectorId};
use crate::chain::{Feed, Op};
use crate::plan::{Unit, ValueRow};
use crate::target::Precision;
use crate::task::{Accumulation, Epilogue, Tile};
use crate::task::{Task, VReg, Work};
use crate::vectors::index;

/// Vectors of an input, and what a sum over them is multiplied by.
type ScaledRun = (Range<usize>, Option<VReg>);

/// A matrix times a row.
struct Product {
    number: usize,
    output: ValueRow,
    /// What every sum is multiplied by, where the norm's factor was left for later.
    factor: Option<VReg>,
    /// Whether that is left to the consumers of the output.
    is_pending: bool,
}

impl Lowering<'_> {
    /// The row as the input of matrices.
    fn activation(&mut self, row: ValueRow) {
        if self.activations.contains_key(&row) {
            return;
        }
        let representation =
            if self.precision == Precision::W8A8 { Representation::Plain } else { Representation::Activation };
        let vectors = self.vectors(row, representation);
        let activation = self.activation_of(vectors, None, 4);
        self.activations.insert(row, activation);
    }

    pub(super) fn linear(&mut self, number: usize, row: usize) {
        let plan = self.plan;
        let (input, output) = (self.operand(number, 0, row), self.result(number, row));
        self.activation(input);
        let inputs = self.tile_count(input.value);
        let activation = self.activations[&input].clone();
        let mut groups: Vec<ScaledRun> =
            activation.groups.iter().map(|(tiles, scale)| (tiles.clone(), Some(*scale))).collect();
        if groups.is_empty() {
            groups.push((0..inputs, None));
        }
        let fused = self.demands.fused(output.value).is_some();
        let is_pending = activation.factor.is_some() && !fused && !plan.graph.outputs.contains(&output.value);
        let product = Product { number, output, factor: activation.factor, is_pending };
        for vector in 0..plan.linear(number).len() {
            self.output_vector(&product, vector, &groups);
        }
        if is_pending {
            self.pending_representations(output);
        }
    }

    /// One output vector: an accumulation group whose epilogue makes it, or the parts and the chain that adds them up.
    fn output_vector(&mut self, product: &Product, vector: usize, groups: &[ScaledRun]) {
        let &Product { number, output, factor, is_pending } = product;
        let planned = &self.plan.linear(number)[vector];
        let scale = planned.scale.map(|scale| self.engine.constant(scale));
        let bias = planned.bias.map(|bias| self.engine.constant(bias));
        let parts = self.parts(number, vector, groups);
        let mut builder = self.builder();
        let (mut def, mut accumulations) = match &parts[..] {
            [(_, factor)] => (self.scaled(&mut builder, *factor), Vec::new()),
            parts => self.sum_of_parts(&mut builder, parts),
        };
        for factor in [scale, factor.filter(|_| !is_pending)].into_iter().flatten() {
            let (source, factor) = (builder.feed(def), builder.input(factor));
            def = Def::Op(Op::Mul, vec![source, factor]);
        }
        if is_pending {
            self.emit_pending(&mut builder, output, vector, def);
        } else {
            if let Some(bias) = bias {
                let (source, bias) = (builder.feed(def), builder.input(bias));
                def = Def::Op(Op::Add, vec![source, bias]);
            }
            self.emit(&mut builder, output, vector, def);
        }
        match &parts[..] {
            [(tiles, _)] => accumulations.push((tiles.clone(), self.accumulation(builder, tiles.len()))),
            _ => self.chain_task("a sum of parts", builder, vector, self.plan.linear(number).len()),
        }
        self.accumulations.insert(VectorId { row: output, tile: vector }, accumulations);
        if let Some(factor) = factor.filter(|_| is_pending) {
            let pending = self.pending.entry(output).or_insert_with(|| super::Pending { factor, bias: Vec::new() });
            pending.bias.push(bias);
        }
    }

    /// The sum of several parts, each an accumulation group whose result is stored.
    fn sum_of_parts(&mut self, builder: &mut ChainBuilder, parts: &[ScaledRun]) -> (Def, Vec<PartialSum>) {
        let mut vregs = Vec::new();
        let mut accumulations = Vec::new();
        for (tiles, factor) in parts {
            let mut builder = self.builder();
            let def = self.scaled(&mut builder, *factor);
            let vreg = self.engine.vreg();
            builder.latch_and_store(def, vreg, None);
            vregs.push(vreg);
            accumulations.push((tiles.clone(), self.accumulation(builder, tiles.len())));
        }
        let feeds: Vec<Feed> = vregs.into_iter().map(|vreg| builder.input(vreg)).collect();
        (Def::Op(Op::Add, super::vector::fold(builder, Op::Add, &feeds)), accumulations)
    }

    /// An arriving sum as a binary32 number, times the scale of its activations where they have one.
    fn scaled(&self, builder: &mut ChainBuilder, factor: Option<VReg>) -> Def {
        match factor {
            None => Def::Held(Feed::Arrival(0)),
            Some(factor) => {
                let real = builder.op(Op::Convert(Format::I32, Format::F32), &[Feed::Arrival(0)]);
                let factor = builder.input(factor);
                Def::Op(Op::Mul, vec![real, factor])
            }
        }
    }

    /// The tiles of an output vector in runs that one accumulation group sums: of one scale, on one set of planes.
    fn parts(&self, number: usize, vector: usize, groups: &[ScaledRun]) -> Vec<ScaledRun> {
        let units = self.plan.units.iter().filter(|unit| unit.members.contains(&(number, vector)));
        let runs = units.flat_map(|unit| {
            groups
                .iter()
                .map(|(tiles, scale)| (tiles.start.max(unit.tiles.start)..tiles.end.min(unit.tiles.end), *scale))
        });
        runs.filter(|(tiles, _)| !tiles.is_empty()).collect()
    }

    fn accumulation(&mut self, builder: ChainBuilder, tiles: usize) -> usize {
        let ChainBuilder { chain, inputs, outputs, .. } = builder;
        for &input in &inputs {
            self.engine.add_use(input);
        }
        self.engine.accumulations.push(Accumulation::new(Epilogue { chain, inputs, outputs }, tiles));
        self.engine.accumulations.len() - 1
    }

    /// The tile tasks of all matrices: one a tile, which all rows pass, or one a row where each row chooses its expert.
    pub(super) fn tiles(&mut self, oracle: bool) {
        let plan = self.plan;
        let rows: Vec<usize> = (0..plan.rows).collect();
        for unit in &plan.units {
            let (number, _) = unit.members[0];
            let choice = match plan.graph.nodes[number].op {
                lpu_model::Op::ExpertLinear { choice, .. } => Some(choice),
                _ => None,
            };
            for tile in unit.tiles.clone() {
                for rows in rows.chunks(if choice.is_some() { 1 } else { plan.rows }) {
                    self.tile(unit, tile, rows, choice.filter(|_| !oracle));
                }
            }
        }
    }

    /// The task of a tile that these rows pass, with the choice of an expert that it is made for.
    fn tile(&mut self, unit: &Unit, tile: usize, rows: &[usize], choice: Option<usize>) {
        let plan = self.plan;
        let side = index(unit.set.side);
        let (number, vector) = unit.members[0];
        self.node = number;
        let of_member = |&(number, vector): &(usize, usize)| plan.linear(number)[vector].tiles[tile].iter().cloned();
        let parts = unit.members.iter().flat_map(of_member).collect();
        let accumulation = |row: usize, &(number, tile_of): &(usize, usize)| {
            let output = VectorId { row: self.result(number, row), tile: tile_of };
            let found = self.accumulations[&output].iter().find(|(tiles, _)| tiles.contains(&tile));
            found.expect("every tile has an accumulation group").1
        };
        let pass = |&row: &usize| unit.members.iter().map(|member| accumulation(row, member)).collect();
        let passes = rows.iter().map(pass).collect();
        let activation = |&row: &usize| self.activations[&ValueRow { value: unit.input, row }].sides[side][tile];
        let mut inputs: Vec<VReg> = rows.iter().map(activation).collect();
        let choice = choice.map(|choice| {
            let route = self.operand(number, 1, rows[0]);
            let lpu_model::Op::ExpertLinear { weight, .. } = plan.graph.nodes[number].op else {
                unreachable!("only experts are chosen")
            };
            let experts = plan.experts[&(route.value, weight)];
            inputs.push(self.routes[&route].maps[&experts.stride][choice][side]);
            experts.bits
        });
        let class = 3 + self.first_uses.get(&unit.input).map_or(0, |&first| self.blocks[first].1);
        let priority = self.priority(class, plan.order(number, vector), plan.linear(number).len());
        let work = Work::Tile(Tile { set: unit.set, parts, choice, passes });
        self.engine.task(Task { node: number, what: "a tile", priority, inputs, outputs: Vec::new(), work });
    }
}
