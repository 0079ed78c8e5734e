//! Operations on vectors, and the representations in which values are made.

use lpu_isa::{Format, Hemisphere};
use lpu_model::{Graph, Op as GraphOp, ValueId};

use super::activate::{activated, gate_activation, unary};
use super::builder::{ChainBuilder, Def};
use super::demand::Representation;
use super::{Lowering, VectorId};
use crate::chain::{Feed, Op};
use crate::plan::ValueRow;
use crate::target::Precision;
use crate::task::VReg;
use crate::vectors::index;

/// Combines `feeds` in up to four running results, so that none waits for the one before it, and these down to at most
/// two, for the caller to combine.
pub(super) fn fold(builder: &mut ChainBuilder, op: Op, feeds: &[Feed]) -> Vec<Feed> {
    let mut running: Vec<Feed> = feeds.iter().take(4).copied().collect();
    for (number, &feed) in feeds.iter().enumerate().skip(4) {
        let sum = builder.op(op, &[running[number % 4], feed]);
        running[number % 4] = sum;
    }
    while running.len() > 2 {
        let (a, b) = (running.remove(0), running.remove(0));
        running.push(builder.op(op, &[a, b]));
    }
    running
}

/// Whether a value is gathered from the chips of the group before anything reads it.
fn is_gathered(graph: &Graph, value: ValueId) -> bool {
    graph.nodes.iter().any(|node| node.op == GraphOp::AllGather && node.inputs[0] == value)
}

impl Lowering<'_> {
    fn add_representation(&mut self, row: ValueRow, representation: Representation, tile: usize, vregs: Vec<VReg>) {
        let before = self.representations.insert((VectorId { row, tile }, representation), vregs);
        debug_assert!(before.is_none(), "a vector is made once");
    }

    /// Makes vector `tile` of a row in every representation that is asked for, or finishes the operation that waits
    /// for it.
    pub(super) fn emit(&mut self, builder: &mut ChainBuilder, value_row: ValueRow, tile: usize, def: Def) {
        let plan = self.plan;
        let ValueRow { value, row } = value_row;
        if let Some(number) = self.demands.fused(value) {
            let node = &plan.graph.nodes[number];
            let y = builder.feed(def);
            let def = match node.op {
                GraphOp::ExpertScale { choice } => {
                    let weight = builder.input(self.routes[&self.operand(number, 1, row)].gate_weights[choice]);
                    Def::Op(Op::Mul, vec![y, weight])
                }
                GraphOp::Scale { .. } | GraphOp::SoftCap { .. } | GraphOp::Activate { .. } => {
                    unary(builder, &node.op, y)
                }
                GraphOp::Add => {
                    let other = if node.inputs[0] == value { node.inputs[1] } else { node.inputs[0] };
                    let other = self.read(builder, ValueRow { value: other, row }, tile);
                    Def::Op(Op::Add, vec![y, other])
                }
                _ => {
                    let gate = VectorId { row: self.operand(number, 0, row), tile };
                    let gate = builder.input(self.representations[&(gate, Representation::Gate(number))][0]);
                    Def::Op(Op::Mul, vec![y, gate])
                }
            };
            return self.emit(builder, self.result(number, row), tile, def);
        }
        let mut representations = self.demands.of(value);
        if self.precision == Precision::W8A8 && representations.remove(&Representation::Activation) {
            representations.insert(Representation::Plain);
        }
        representations.retain(|&made| !self.representations.contains_key(&(VectorId { row: value_row, tile }, made)));
        let y = if representations.remove(&Representation::Plain) {
            let vreg = self.engine.vreg();
            self.add_representation(value_row, Representation::Plain, tile, vec![vreg]);
            builder.latch_and_store(def, vreg, None)
        } else {
            builder.latch(def)
        };
        for representation in representations {
            let vregs = self.representation(builder, representation, tile, y);
            self.add_representation(value_row, representation, tile, vregs);
        }
    }

    /// Makes the fp32 vector of a row that is read with a factor, and then its other representations where the factor
    /// is there.
    pub(super) fn emit_pending(&mut self, builder: &mut ChainBuilder, row: ValueRow, tile: usize, def: Def) {
        let vreg = self.engine.vreg();
        self.add_representation(row, Representation::Plain, tile, vec![vreg]);
        builder.latch_and_store(def, vreg, None);
    }

    /// Makes the other representations of a row that is read with a factor.
    pub(super) fn pending_representations(&mut self, row: ValueRow) {
        let value = row.value;
        let mut representations = self.demands.of(value);
        representations.remove(&Representation::Plain);
        if representations.is_empty() {
            return;
        }
        let count = self.tile_count(value);
        for tile in 0..count {
            let mut builder = self.builder();
            let y = self.read(&mut builder, row, tile);
            for &representation in &representations {
                let vregs = self.representation(&mut builder, representation, tile, y);
                self.add_representation(row, representation, tile, vregs);
            }
            let priority = self.priority(self.urgency(value), tile, count);
            self.chain_with_priority("a factor", builder, priority);
        }
    }

    fn representation(
        &mut self,
        builder: &mut ChainBuilder,
        representation: Representation,
        tile: usize,
        y: Feed,
    ) -> Vec<VReg> {
        let plan = self.plan;
        match representation {
            Representation::Plain => unreachable!("made with the value itself"),
            Representation::Activation => self.both_sides(builder, y),
            Representation::SentNormed(norm) => {
                let weights = self.engine.constant(plan.norm(norm).weights[tile]);
                let weights = builder.input(weights);
                let weighted = builder.op(Op::Mul, &[y, weights]);
                vec![self.narrow(builder, weighted, Hemisphere::BOTH[tile % 2])]
            }
            Representation::Sent => vec![self.narrow(builder, y, Hemisphere::BOTH[tile % 2])],
            Representation::Normed(norm) => {
                let weights = self.engine.constant(plan.norm(norm).weights[tile]);
                let weights = builder.input(weights);
                if self.precision == Precision::W8A8 {
                    let vreg = self.engine.vreg();
                    builder.store(Op::Mul, &[y, weights], vreg, None);
                    return vec![vreg];
                }
                let weighted = builder.op(Op::Mul, &[y, weights]);
                self.both_sides(builder, weighted)
            }
            Representation::Squares(_) => {
                let vreg = self.engine.vreg();
                builder.store(Op::Mul, &[y, y], vreg, None);
                vec![vreg]
            }
            Representation::Gate(number) => {
                let vreg = self.engine.vreg();
                let def = activated(builder, gate_activation(&plan.graph.nodes[number].op), y);
                builder.latch_and_store(def, vreg, None);
                vec![vreg]
            }
            Representation::Queries(attention) => {
                let side = Hemisphere::BOTH[tile % 2];
                let attending = plan.attention(attention);
                let group = tile / 2 / attending.heads.queries_a_kv;
                let members = attending.heads.key_members(group).len();
                let mut vregs = Vec::new();
                for &lanes in &attending.queries[..members] {
                    let lanes = self.engine.constant(lanes);
                    let lanes = builder.input(lanes);
                    let scaled = builder.op(Op::Mul, &[y, lanes]);
                    vregs.push(self.narrow(builder, scaled, side));
                }
                vregs
            }
            Representation::Keys(_) => vec![self.narrow(builder, y, Hemisphere::BOTH[tile % 2])],
            Representation::Values(attention) => {
                vec![self.narrow(builder, y, plan.attention(attention).value_side[tile])]
            }
        }
    }

    fn narrow(&mut self, builder: &mut ChainBuilder, y: Feed, side: Hemisphere) -> VReg {
        let vreg = self.engine.vreg();
        builder.store(Op::Convert(Format::F32, Format::F16), &[y], vreg, Some(side));
        vreg
    }

    fn both_sides(&mut self, builder: &mut ChainBuilder, y: Feed) -> Vec<VReg> {
        Hemisphere::BOTH.map(|side| self.narrow(builder, y, side)).to_vec()
    }

    /// The factor 1/rms of a norm, in every lane.
    fn norm_factor(&mut self, number: usize, input: ValueRow, eps: f32) -> VReg {
        let squares: Vec<VReg> =
            self.vectors(input, Representation::Squares(number)).iter().map(|vregs| vregs[0]).collect();
        let value = self.plan.graph.value(input.value);
        let width = value.shard.summed().unwrap_or_else(|| value.shard.whole(value.width));
        let mut builder = self.builder();
        let feeds: Vec<Feed> = squares.iter().map(|&vreg| builder.input(vreg)).collect();
        let sums = fold(&mut builder, Op::Add, &feeds);
        let sum = match sums[..] {
            [one] => builder.chain.reduce(Op::Add, Op::Max, &[one, one]),
            _ => builder.chain.reduce(Op::Add, Op::Add, &sums),
        };
        let mut sum = Feed::Node(sum);
        if value.shard.summed().is_some() {
            let total = self.group_sum(builder, sum);
            builder = self.builder();
            sum = builder.input(total);
        }
        let mean = builder.op(Op::Mul, &[sum, Feed::Immediate((1.0 / width as f64) as f32)]);
        let shifted = builder.op(Op::Add, &[mean, Feed::Immediate(eps)]);
        let vreg = self.engine.vreg();
        builder.store(Op::Rsqrt, &[shifted], vreg, None);
        self.chain_task("a norm's factor", builder, 0, 1);
        vreg
    }

    pub(super) fn rms_norm(&mut self, number: usize, row: usize, eps: f32) {
        let (input, output) = (self.operand(number, 0, row), self.result(number, row));
        let factor = self.norm_factor(number, input, eps);
        if self.demands.is_deferred(number) {
            if is_gathered(&self.plan.graph, output.value) {
                self.factors.insert(output, factor);
                return;
            }
            let weighted = self.vectors(input, Representation::Normed(number));
            let activation = self.activation_of(weighted, Some(factor), 20);
            self.activations.insert(output, activation);
            return;
        }
        let count = self.tile_count(input.value);
        for tile in 0..count {
            let weights = self.engine.constant(self.plan.norm(number).weights[tile]);
            let mut builder = self.builder();
            let y = self.read(&mut builder, input, tile);
            let (weights, factor) = (builder.input(weights), builder.input(factor));
            let weighted = builder.op(Op::Mul, &[y, weights]);
            self.emit(&mut builder, output, tile, Def::Op(Op::Mul, vec![weighted, factor]));
            self.chain_task("a norm", builder, tile, count);
        }
    }

    /// The sum over all lanes of what a builder feeds, times a factor, in every lane.
    fn total(&mut self, what: &'static str, mut builder: ChainBuilder, feeds: Vec<Feed>, factor: f32) -> VReg {
        let sums = fold(&mut builder, Op::Add, &feeds);
        let sum = match sums[..] {
            [one] => builder.chain.reduce(Op::Add, Op::Max, &[one, one]),
            _ => builder.chain.reduce(Op::Add, Op::Add, &sums),
        };
        let vreg = self.engine.vreg();
        builder.store(Op::Mul, &[Feed::Node(sum), Feed::Immediate(factor)], vreg, None);
        self.chain_task(what, builder, 0, 1);
        vreg
    }

    pub(super) fn layer_norm(&mut self, number: usize, row: usize, eps: f32) {
        let plan = self.plan;
        let (input, output) = (self.operand(number, 0, row), self.result(number, row));
        let count = self.tile_count(input.value);
        let value = plan.graph.value(input.value);
        let share = (1.0 / value.shard.whole(value.width) as f64) as f32;
        let mut builder = self.builder();
        let mut feeds: Vec<Feed> = (0..count).map(|tile| self.read(&mut builder, input, tile)).collect();
        if plan.inputs.values.contains_key(&input) {
            // The vectors of an input of the graph are in the same slices, so they come one after the other.
            feeds = feeds.into_iter().map(|feed| builder.op(Op::Max, &[feed, feed])).collect();
        }
        let mean = self.total("a norm's mean", builder, feeds, share);
        let squares = self.vectors(input, Representation::Squares(number));
        let mut builder = self.builder();
        let feeds = squares.iter().map(|vregs| builder.input(vregs[0])).collect();
        let square = self.total("a norm's mean square", builder, feeds, share);
        let mut builder = self.builder();
        let (mean_fed, square) = (builder.input(mean), builder.input(square));
        let squared = builder.op(Op::Mul, &[mean_fed, mean_fed]);
        let variance = builder.op(Op::Sub, &[square, squared]);
        // Rounding must not take it below zero.
        let variance = builder.op(Op::Max, &[variance, Feed::Immediate(0.0)]);
        let shifted = builder.op(Op::Add, &[variance, Feed::Immediate(eps)]);
        let factor = self.engine.vreg();
        builder.store(Op::Rsqrt, &[shifted], factor, None);
        self.chain_task("a norm's factor", builder, 0, 1);
        for tile in 0..count {
            let mut builder = self.builder();
            let x = self.read(&mut builder, input, tile);
            let (mean, factor) = (builder.input(mean), builder.input(factor));
            let centred = builder.op(Op::Sub, &[x, mean]);
            let scaled = builder.op(Op::Mul, &[centred, factor]);
            let weights = self.engine.constant(plan.norm(number).weights[tile]);
            let weights = builder.input(weights);
            let mut def = Def::Op(Op::Mul, vec![scaled, weights]);
            if let Some(&bias) = plan.norm(number).biases.get(tile) {
                let weighted = builder.latch(def);
                let bias = self.engine.constant(bias);
                let bias = builder.input(bias);
                def = Def::Op(Op::Add, vec![weighted, bias]);
            }
            self.emit(&mut builder, output, tile, def);
            self.chain_task("a norm", builder, tile, count);
        }
    }

    /// Each head's factor is made in the head's own lanes; the factors of a vector's heads add up to one vector.
    pub(super) fn head_norm(&mut self, number: usize, row: usize, head_dim: usize, eps: f32) {
        let plan = self.plan;
        let (input, output) = (self.operand(number, 0, row), self.result(number, row));
        let squares: Vec<VReg> =
            self.vectors(input, Representation::Squares(number)).iter().map(|vregs| vregs[0]).collect();
        let heads = &plan.norm(number).head_lanes;
        let mut factors: Vec<Vec<VReg>> = vec![Vec::new(); squares.len()];
        for (index, tiles) in heads.iter().enumerate() {
            let mut builder = self.builder();
            let mut inside = Vec::new();
            let mut lanes = Vec::new();
            for &(tile, constant) in tiles {
                let square = builder.input(squares[tile]);
                let constant = self.engine.constant(constant);
                lanes.push(builder.input(constant));
                inside.push(builder.op(Op::Mul, &[square, lanes[lanes.len() - 1]]));
            }
            let sums = fold(&mut builder, Op::Add, &inside);
            let sum = match sums[..] {
                [one] => builder.chain.reduce(Op::Add, Op::Max, &[one, one]),
                _ => builder.chain.reduce(Op::Add, Op::Add, &sums),
            };
            let mean = builder.op(Op::Mul, &[Feed::Node(sum), Feed::Immediate((1.0 / head_dim as f64) as f32)]);
            let shifted = builder.op(Op::Add, &[mean, Feed::Immediate(eps)]);
            let factor = builder.op(Op::Rsqrt, &[shifted]);
            for (&(tile, _), lanes) in tiles.iter().zip(lanes) {
                let vreg = self.engine.vreg();
                builder.store(Op::Mul, &[factor, lanes], vreg, None);
                factors[tile].push(vreg);
            }
            self.chain_task("a head's factor", builder, index, heads.len());
        }
        let count = self.tile_count(input.value);
        for (tile, factors) in factors.into_iter().enumerate() {
            let mut builder = self.builder();
            let parts: Vec<Feed> = factors.into_iter().map(|vreg| builder.input(vreg)).collect();
            let parts = fold(&mut builder, Op::Add, &parts);
            let factor = match parts[..] {
                [one] => one,
                _ => builder.op(Op::Add, &parts),
            };
            let weights = self.engine.constant(plan.norm(number).weights[tile]);
            let x = self.read(&mut builder, input, tile);
            let weights = builder.input(weights);
            let weighted = builder.op(Op::Mul, &[x, weights]);
            self.emit(&mut builder, output, tile, Def::Op(Op::Mul, vec![weighted, factor]));
            self.chain_task("a QK norm", builder, tile, count);
        }
    }

    /// An operation on one vector at a time that could not be done where its operand was made.
    pub(super) fn element_wise(&mut self, number: usize, row: usize) {
        let node = &self.plan.graph.nodes[number];
        let (input, output) = (self.operand(number, 0, row), self.result(number, row));
        let count = self.tile_count(input.value);
        for tile in 0..count {
            let mut builder = self.builder();
            let x = self.read(&mut builder, input, tile);
            let def = match node.op {
                GraphOp::ExpertScale { choice } => {
                    let weight = builder.input(self.routes[&self.operand(number, 1, row)].gate_weights[choice]);
                    Def::Op(Op::Mul, vec![x, weight])
                }
                _ => unary(&mut builder, &node.op, x),
            };
            self.emit(&mut builder, output, tile, def);
            self.chain_task("an elementwise operation", builder, tile, count);
        }
    }

    pub(super) fn rotary(&mut self, number: usize, row: usize, table: usize) {
        let rotation = self.rotary[&(table, row)];
        let (input, output) = (self.operand(number, 0, row), self.result(number, row));
        let count = self.tile_count(input.value);
        for pair in 0..count / 2 {
            let mut builder = self.builder();
            let [a, b] = [2 * pair, 2 * pair + 1].map(|tile| self.read(&mut builder, input, tile));
            let [cos, sin] = rotation.map(|vreg| builder.input(vreg));
            let (ac, bs) = (builder.op(Op::Mul, &[a, cos]), builder.op(Op::Mul, &[b, sin]));
            let (bc, as_) = (builder.op(Op::Mul, &[b, cos]), builder.op(Op::Mul, &[a, sin]));
            self.emit(&mut builder, output, 2 * pair, Def::Op(Op::Sub, vec![ac, bs]));
            self.emit(&mut builder, output, 2 * pair + 1, Def::Op(Op::Add, vec![bc, as_]));
            let priority = self.priority(self.urgency(output.value), 2 * pair, count);
            self.chain_with_priority("a rotation", builder, priority);
        }
    }

    pub(super) fn add(&mut self, number: usize, row: usize) {
        let operands = [0, 1].map(|input| self.operand(number, input, row));
        let output = self.result(number, row);
        let count = self.tile_count(output.value);
        for tile in 0..count {
            let mut builder = self.builder();
            let sources = operands.map(|operand| self.read(&mut builder, operand, tile));
            self.emit(&mut builder, output, tile, Def::Op(Op::Add, sources.to_vec()));
            self.chain_task("a sum", builder, tile, count);
        }
    }

    pub(super) fn gated(&mut self, number: usize, row: usize) {
        let operands = [0, 1].map(|input| self.operand(number, input, row));
        let output = self.result(number, row);
        let count = self.tile_count(output.value);
        for tile in 0..count {
            let mut builder = self.builder();
            let [gate, up] = operands.map(|operand| self.read(&mut builder, operand, tile));
            let def = activated(&mut builder, gate_activation(&self.plan.graph.nodes[number].op), gate);
            let gate = builder.latch(def);
            self.emit(&mut builder, output, tile, Def::Op(Op::Mul, vec![gate, up]));
            self.chain_task("a gated product", builder, tile, count);
        }
    }

    /// A row as the input of matrices, from one virtual register a vector (`w8a8`) or one a side and vector.
    pub(super) fn activation_of(
        &mut self,
        vectors: Vec<Vec<VReg>>,
        factor: Option<VReg>,
        one_scale_up_to: usize,
    ) -> super::Activation {
        let mut activation = super::Activation::default();
        if self.precision != Precision::W8A8 {
            for vregs in vectors {
                for (side, vreg) in activation.sides.iter_mut().zip(vregs) {
                    side.push(vreg);
                }
            }
            activation.factor = factor;
            return activation;
        }
        let count = vectors.len();
        let most = if count <= one_scale_up_to { count } else { count.div_ceil(4).max(4) };
        let groups = count.div_ceil(most.max(1)).max(1);
        let size = count.div_ceil(groups);
        let vregs: Vec<VReg> = vectors.into_iter().map(|vregs| vregs[0]).collect();
        for (group, vregs) in vregs.chunks(size).enumerate() {
            let mut builder = self.builder();
            let feeds: Vec<Feed> = vregs.iter().map(|&vreg| builder.input(vreg)).collect();
            let largest = match feeds[..] {
                [one] => builder.chain.reduce(Op::Max, Op::Abs, &[one]),
                _ => {
                    let sizes: Vec<Feed> = feeds.iter().map(|&feed| builder.op(Op::Abs, &[feed])).collect();
                    let sizes = fold(&mut builder, Op::Max, &sizes);
                    builder.chain.reduce(Op::Max, Op::Max, &sizes)
                }
            };
            let largest = builder.op(Op::Max, &[Feed::Node(largest), Feed::Immediate(f32::MIN_POSITIVE * 1e8)]);
            let vreg = self.engine.vreg();
            builder.store(Op::Mul, &[largest, Feed::Immediate((1.0 / 127.0f64) as f32)], vreg, None);
            let inverse = builder.op(Op::Reciprocal, &[largest]);
            let inverse = builder.op(Op::Mul, &[inverse, Feed::Immediate(127.0)]);
            for &feed in &feeds {
                let scaled = builder.op(Op::Mul, &[inverse, feed]);
                for side in Hemisphere::BOTH {
                    let vreg = self.engine.vreg();
                    builder.store(Op::Convert(Format::F32, Format::I8), &[scaled], vreg, Some(side));
                    activation.sides[index(side)].push(vreg);
                }
            }
            self.chain_task("an activation", builder, group, groups);
            let scale = match factor {
                None => vreg,
                Some(factor) => {
                    let mut builder = self.builder();
                    let sources = [builder.input(vreg), builder.input(factor)];
                    let vreg = self.engine.vreg();
                    builder.store(Op::Mul, &sources, vreg, None);
                    self.chain_task("an activation scale", builder, group, groups);
                    vreg
                }
            };
            activation.groups.push((group * size..group * size + vregs.len(), scale));
        }
        activation
    }
}
