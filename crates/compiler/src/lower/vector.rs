//! Operations on vectors, and the forms in which values are made.

use lpu_isa::{Format, Hemisphere};
use lpu_model::{Op as GraphOp, ValueId};

use super::activate::{activated, gate_activation, unary};
use super::demand::Form;
use super::maker::{Made, Maker};
use super::{Lowering, VectorId};
use crate::Precision;
use crate::chain::{Feed, Op};
use crate::engine::Slot;
use crate::vectors::index;

/// Combines `feeds` in up to four running results, so that none waits for the one before it, and these down to at most
/// two, for the caller to combine.
pub(super) fn fold(maker: &mut Maker, op: Op, feeds: &[Feed]) -> Vec<Feed> {
    let mut running: Vec<Feed> = feeds.iter().take(4).copied().collect();
    for (number, &feed) in feeds.iter().enumerate().skip(4) {
        let sum = maker.op(op, &[running[number % 4], feed]);
        running[number % 4] = sum;
    }
    while running.len() > 2 {
        let (a, b) = (running.remove(0), running.remove(0));
        running.push(maker.op(op, &[a, b]));
    }
    running
}

impl Lowering<'_> {
    fn made_form(&mut self, value: ValueId, form: Form, tile: usize, slots: Vec<Slot>) {
        let before = self.forms.insert((VectorId::first_row(value, tile), form), slots);
        debug_assert!(before.is_none(), "a vector is made once");
    }

    /// Makes vector `tile` of a value in every form that is asked for, or finishes the operation that waits for it.
    pub(super) fn deliver(&mut self, maker: &mut Maker, value: ValueId, tile: usize, made: Made) {
        let plan = self.plan;
        if let Some(number) = self.demands.fused(value) {
            let node = &plan.graph.nodes[number];
            let y = maker.feed(made);
            let made = match node.op {
                GraphOp::ExpertScale { choice } => {
                    let share = maker.input(self.routes[&node.inputs[1]].shares[choice]);
                    Made::Op(Op::Mul, vec![y, share])
                }
                GraphOp::Scale { .. } | GraphOp::SoftCap { .. } | GraphOp::Activate { .. } => unary(maker, &node.op, y),
                GraphOp::Add => {
                    let other = if node.inputs[0] == value { node.inputs[1] } else { node.inputs[0] };
                    let other = self.read(maker, other, tile);
                    Made::Op(Op::Add, vec![y, other])
                }
                _ => {
                    let gate = self.forms[&(VectorId::first_row(node.inputs[0], tile), Form::Gate(number))][0];
                    let gate = maker.input(gate);
                    Made::Op(Op::Mul, vec![y, gate])
                }
            };
            return self.deliver(maker, node.output, tile, made);
        }
        let mut forms = self.demands.of(value);
        if self.precision == Precision::W8A8 && forms.remove(&Form::Activation) {
            forms.insert(Form::Plain);
        }
        let is_input = plan.inputs.values.contains_key(&value);
        let y = if forms.remove(&Form::Plain) && !is_input {
            let slot = self.engine.slot();
            self.made_form(value, Form::Plain, tile, vec![slot]);
            maker.hold_and_park(made, slot, None)
        } else {
            maker.hold(made)
        };
        for form in forms {
            let slots = self.form(maker, form, tile, y);
            self.made_form(value, form, tile, slots);
        }
    }

    /// Makes the fp32 vector of a value that is read with a factor, and then its other forms where the factor is there.
    pub(super) fn deliver_pending(&mut self, maker: &mut Maker, value: ValueId, tile: usize, made: Made) {
        let slot = self.engine.slot();
        self.made_form(value, Form::Plain, tile, vec![slot]);
        maker.hold_and_park(made, slot, None);
    }

    /// Makes the other forms of a value that is read with a factor.
    pub(super) fn pending_forms(&mut self, value: ValueId) {
        let mut forms = self.demands.of(value);
        forms.remove(&Form::Plain);
        if forms.is_empty() {
            return;
        }
        let count = self.tile_count(value);
        for tile in 0..count {
            let mut maker = self.maker();
            let y = self.read(&mut maker, value, tile);
            for &form in &forms {
                let slots = self.form(&mut maker, form, tile, y);
                self.made_form(value, form, tile, slots);
            }
            let rank = self.rank(self.urgency(value), tile, count);
            self.ranked_chain("a factor", maker, rank);
        }
    }

    fn form(&mut self, maker: &mut Maker, form: Form, tile: usize, y: Feed) -> Vec<Slot> {
        let plan = self.plan;
        match form {
            Form::Plain => unreachable!("made with the value itself"),
            Form::Activation => self.both_sides(maker, y),
            Form::Normed(norm) => {
                let weights = self.engine.constant(plan.norm(norm).weights[tile]);
                let weights = maker.input(weights);
                if self.precision == Precision::W8A8 {
                    let slot = self.engine.slot();
                    maker.park(Op::Mul, &[y, weights], slot, None);
                    return vec![slot];
                }
                let weighted = maker.op(Op::Mul, &[y, weights]);
                self.both_sides(maker, weighted)
            }
            Form::Squares(_) => {
                let slot = self.engine.slot();
                maker.park(Op::Mul, &[y, y], slot, None);
                vec![slot]
            }
            Form::Gate(number) => {
                let slot = self.engine.slot();
                let made = activated(maker, gate_activation(&plan.graph.nodes[number].op), y);
                maker.hold_and_park(made, slot, None);
                vec![slot]
            }
            Form::Queries(attention) => {
                let side = Hemisphere::BOTH[tile % 2];
                let attending = plan.attention(attention);
                let group = tile / 2 / attending.heads.ranks;
                let members = attending.heads.key_members(group).len();
                let mut slots = Vec::new();
                for &lanes in &attending.queries[..members] {
                    let lanes = self.engine.constant(lanes);
                    let lanes = maker.input(lanes);
                    let scaled = maker.op(Op::Mul, &[y, lanes]);
                    slots.push(self.narrow(maker, scaled, side));
                }
                slots
            }
            Form::Keys(_) => vec![self.narrow(maker, y, Hemisphere::BOTH[tile % 2])],
            Form::Values(attention) => vec![self.narrow(maker, y, plan.attention(attention).value_side[tile])],
        }
    }

    fn narrow(&mut self, maker: &mut Maker, y: Feed, side: Hemisphere) -> Slot {
        let slot = self.engine.slot();
        maker.park(Op::Convert(Format::F32, Format::F16), &[y], slot, Some(side));
        slot
    }

    fn both_sides(&mut self, maker: &mut Maker, y: Feed) -> Vec<Slot> {
        Hemisphere::BOTH.map(|side| self.narrow(maker, y, side)).to_vec()
    }

    /// The factor 1/rms of a norm, in every lane.
    fn norm_factor(&mut self, number: usize, input: ValueId, eps: f32) -> Slot {
        let squares: Vec<Slot> = self.vectors(input, Form::Squares(number)).iter().map(|slots| slots[0]).collect();
        let width = self.plan.graph.value(input).width;
        let mut maker = self.maker();
        let feeds: Vec<Feed> = squares.iter().map(|&slot| maker.input(slot)).collect();
        let sums = fold(&mut maker, Op::Add, &feeds);
        let sum = match sums[..] {
            [one] => maker.chain.reduce(Op::Add, Op::Max, &[one, one]),
            _ => maker.chain.reduce(Op::Add, Op::Add, &sums),
        };
        let mean = maker.op(Op::Mul, &[Feed::Node(sum), Feed::Immediate((1.0 / width as f64) as f32)]);
        let shifted = maker.op(Op::Add, &[mean, Feed::Immediate(eps)]);
        let slot = self.engine.slot();
        maker.park(Op::Rsqrt, &[shifted], slot, None);
        self.chain_task("a norm's factor", maker, 0, 1);
        slot
    }

    pub(super) fn rms_norm(&mut self, number: usize, input: ValueId, eps: f32) {
        let factor = self.norm_factor(number, input, eps);
        let output = self.plan.graph.nodes[number].output;
        if self.demands.is_deferred(number) {
            let weighted = self.vectors(input, Form::Normed(number));
            let activation = self.activation_of(weighted, Some(factor), 20);
            self.activations.insert(output, activation);
            return;
        }
        let count = self.tile_count(input);
        for tile in 0..count {
            let weights = self.engine.constant(self.plan.norm(number).weights[tile]);
            let mut maker = self.maker();
            let y = self.read(&mut maker, input, tile);
            let (weights, factor) = (maker.input(weights), maker.input(factor));
            let weighted = maker.op(Op::Mul, &[y, weights]);
            self.deliver(&mut maker, output, tile, Made::Op(Op::Mul, vec![weighted, factor]));
            self.chain_task("a norm", maker, tile, count);
        }
    }

    /// The sum over all lanes of what a maker feeds, times a factor, in every lane.
    fn total(&mut self, what: &'static str, mut maker: Maker, feeds: Vec<Feed>, factor: f32) -> Slot {
        let sums = fold(&mut maker, Op::Add, &feeds);
        let sum = match sums[..] {
            [one] => maker.chain.reduce(Op::Add, Op::Max, &[one, one]),
            _ => maker.chain.reduce(Op::Add, Op::Add, &sums),
        };
        let slot = self.engine.slot();
        maker.park(Op::Mul, &[Feed::Node(sum), Feed::Immediate(factor)], slot, None);
        self.chain_task(what, maker, 0, 1);
        slot
    }

    pub(super) fn layer_norm(&mut self, number: usize, input: ValueId, eps: f32) {
        let plan = self.plan;
        let output = plan.graph.nodes[number].output;
        let count = self.tile_count(input);
        let share = (1.0 / plan.graph.value(input).width as f64) as f32;
        let mut maker = self.maker();
        let mut feeds: Vec<Feed> = (0..count).map(|tile| self.read(&mut maker, input, tile)).collect();
        if plan.inputs.values.contains_key(&input) {
            // The vectors of an input of the graph stand in the same slices, so they come one after the other.
            feeds = feeds.into_iter().map(|feed| maker.op(Op::Max, &[feed, feed])).collect();
        }
        let mean = self.total("a norm's mean", maker, feeds, share);
        let squares = self.vectors(input, Form::Squares(number));
        let mut maker = self.maker();
        let feeds = squares.iter().map(|slots| maker.input(slots[0])).collect();
        let square = self.total("a norm's mean square", maker, feeds, share);
        let mut maker = self.maker();
        let (mean_fed, square) = (maker.input(mean), maker.input(square));
        let squared = maker.op(Op::Mul, &[mean_fed, mean_fed]);
        let variance = maker.op(Op::Sub, &[square, squared]);
        // Rounding must not take it below zero.
        let variance = maker.op(Op::Max, &[variance, Feed::Immediate(0.0)]);
        let shifted = maker.op(Op::Add, &[variance, Feed::Immediate(eps)]);
        let factor = self.engine.slot();
        maker.park(Op::Rsqrt, &[shifted], factor, None);
        self.chain_task("a norm's factor", maker, 0, 1);
        for tile in 0..count {
            let mut maker = self.maker();
            let x = self.read(&mut maker, input, tile);
            let (mean, factor) = (maker.input(mean), maker.input(factor));
            let centred = maker.op(Op::Sub, &[x, mean]);
            let scaled = maker.op(Op::Mul, &[centred, factor]);
            let weights = self.engine.constant(plan.norm(number).weights[tile]);
            let weights = maker.input(weights);
            let mut made = Made::Op(Op::Mul, vec![scaled, weights]);
            if let Some(&bias) = plan.norm(number).biases.get(tile) {
                let weighted = maker.hold(made);
                let bias = self.engine.constant(bias);
                let bias = maker.input(bias);
                made = Made::Op(Op::Add, vec![weighted, bias]);
            }
            self.deliver(&mut maker, output, tile, made);
            self.chain_task("a norm", maker, tile, count);
        }
    }

    /// Each head's factor is made in the head's own lanes; the factors of a vector's heads add up to one vector.
    pub(super) fn head_norm(&mut self, number: usize, input: ValueId, head_dim: usize, eps: f32) {
        let plan = self.plan;
        let output = plan.graph.nodes[number].output;
        let squares: Vec<Slot> = self.vectors(input, Form::Squares(number)).iter().map(|slots| slots[0]).collect();
        let heads = &plan.norm(number).head_lanes;
        let mut factors: Vec<Vec<Slot>> = vec![Vec::new(); squares.len()];
        for (index, tiles) in heads.iter().enumerate() {
            let mut maker = self.maker();
            let mut inside = Vec::new();
            let mut lanes = Vec::new();
            for &(tile, constant) in tiles {
                let square = maker.input(squares[tile]);
                let constant = self.engine.constant(constant);
                lanes.push(maker.input(constant));
                inside.push(maker.op(Op::Mul, &[square, lanes[lanes.len() - 1]]));
            }
            let sums = fold(&mut maker, Op::Add, &inside);
            let sum = match sums[..] {
                [one] => maker.chain.reduce(Op::Add, Op::Max, &[one, one]),
                _ => maker.chain.reduce(Op::Add, Op::Add, &sums),
            };
            let mean = maker.op(Op::Mul, &[Feed::Node(sum), Feed::Immediate((1.0 / head_dim as f64) as f32)]);
            let shifted = maker.op(Op::Add, &[mean, Feed::Immediate(eps)]);
            let factor = maker.op(Op::Rsqrt, &[shifted]);
            for (&(tile, _), lanes) in tiles.iter().zip(lanes) {
                let slot = self.engine.slot();
                maker.park(Op::Mul, &[factor, lanes], slot, None);
                factors[tile].push(slot);
            }
            self.chain_task("a head's factor", maker, index, heads.len());
        }
        let count = self.tile_count(input);
        for (tile, factors) in factors.into_iter().enumerate() {
            let mut maker = self.maker();
            let parts: Vec<Feed> = factors.into_iter().map(|slot| maker.input(slot)).collect();
            let parts = fold(&mut maker, Op::Add, &parts);
            let factor = match parts[..] {
                [one] => one,
                _ => maker.op(Op::Add, &parts),
            };
            let weights = self.engine.constant(plan.norm(number).weights[tile]);
            let x = self.read(&mut maker, input, tile);
            let weights = maker.input(weights);
            let weighted = maker.op(Op::Mul, &[x, weights]);
            self.deliver(&mut maker, output, tile, Made::Op(Op::Mul, vec![weighted, factor]));
            self.chain_task("a norm of heads", maker, tile, count);
        }
    }

    /// An operation on one vector at a time that could not be done where its operand was made.
    pub(super) fn element_wise(&mut self, number: usize) {
        let node = &self.plan.graph.nodes[number];
        let count = self.tile_count(node.inputs[0]);
        for tile in 0..count {
            let mut maker = self.maker();
            let x = self.read(&mut maker, node.inputs[0], tile);
            let made = match node.op {
                GraphOp::ExpertScale { choice } => {
                    let share = maker.input(self.routes[&node.inputs[1]].shares[choice]);
                    Made::Op(Op::Mul, vec![x, share])
                }
                _ => unary(&mut maker, &node.op, x),
            };
            self.deliver(&mut maker, node.output, tile, made);
            self.chain_task("an elementwise operation", maker, tile, count);
        }
    }

    pub(super) fn rotary(&mut self, number: usize, table: usize) {
        let turn = self.rotary[&table];
        let node = &self.plan.graph.nodes[number];
        let count = self.tile_count(node.inputs[0]);
        for pair in 0..count / 2 {
            let mut maker = self.maker();
            let [a, b] = [2 * pair, 2 * pair + 1].map(|tile| self.read(&mut maker, node.inputs[0], tile));
            let [cos, sin] = turn.map(|slot| maker.input(slot));
            let (ac, bs) = (maker.op(Op::Mul, &[a, cos]), maker.op(Op::Mul, &[b, sin]));
            let (bc, as_) = (maker.op(Op::Mul, &[b, cos]), maker.op(Op::Mul, &[a, sin]));
            self.deliver(&mut maker, node.output, 2 * pair, Made::Op(Op::Sub, vec![ac, bs]));
            self.deliver(&mut maker, node.output, 2 * pair + 1, Made::Op(Op::Add, vec![bc, as_]));
            let rank = self.rank(self.urgency(node.output), 2 * pair, count);
            self.ranked_chain("a rotation", maker, rank);
        }
    }

    pub(super) fn add(&mut self, number: usize) {
        let node = &self.plan.graph.nodes[number];
        let count = self.tile_count(node.output);
        for tile in 0..count {
            let mut maker = self.maker();
            let sources =
                vec![self.read(&mut maker, node.inputs[0], tile), self.read(&mut maker, node.inputs[1], tile)];
            self.deliver(&mut maker, node.output, tile, Made::Op(Op::Add, sources));
            self.chain_task("a sum", maker, tile, count);
        }
    }

    pub(super) fn gated(&mut self, number: usize) {
        let node = &self.plan.graph.nodes[number];
        let count = self.tile_count(node.output);
        for tile in 0..count {
            let mut maker = self.maker();
            let [gate, up] = [0, 1].map(|input| self.read(&mut maker, node.inputs[input], tile));
            let made = activated(&mut maker, gate_activation(&node.op), gate);
            let gate = maker.hold(made);
            self.deliver(&mut maker, node.output, tile, Made::Op(Op::Mul, vec![gate, up]));
            self.chain_task("a gated product", maker, tile, count);
        }
    }

    /// A value as the input of matrices, from one slot a vector (`w8a8`) or one a side and vector.
    pub(super) fn activation_of(
        &mut self,
        vectors: Vec<Vec<Slot>>,
        factor: Option<Slot>,
        one_scale_up_to: usize,
    ) -> super::Activation {
        let mut activation = super::Activation::default();
        if self.precision != Precision::W8A8 {
            for slots in vectors {
                for (side, slot) in activation.sides.iter_mut().zip(slots) {
                    side.push(slot);
                }
            }
            activation.factor = factor;
            return activation;
        }
        let count = vectors.len();
        let most = if count <= one_scale_up_to { count } else { count.div_ceil(4).max(4) };
        let groups = count.div_ceil(most.max(1)).max(1);
        let size = count.div_ceil(groups);
        let slots: Vec<Slot> = vectors.into_iter().map(|slots| slots[0]).collect();
        for (group, slots) in slots.chunks(size).enumerate() {
            let mut maker = self.maker();
            let feeds: Vec<Feed> = slots.iter().map(|&slot| maker.input(slot)).collect();
            let largest = match feeds[..] {
                [one] => maker.chain.reduce(Op::Max, Op::Abs, &[one]),
                _ => {
                    let sizes: Vec<Feed> = feeds.iter().map(|&feed| maker.op(Op::Abs, &[feed])).collect();
                    let sizes = fold(&mut maker, Op::Max, &sizes);
                    maker.chain.reduce(Op::Max, Op::Max, &sizes)
                }
            };
            let largest = maker.op(Op::Max, &[Feed::Node(largest), Feed::Immediate(f32::MIN_POSITIVE * 1e8)]);
            let slot = self.engine.slot();
            maker.park(Op::Mul, &[largest, Feed::Immediate((1.0 / 127.0f64) as f32)], slot, None);
            let inverse = maker.op(Op::Reciprocal, &[largest]);
            let inverse = maker.op(Op::Mul, &[inverse, Feed::Immediate(127.0)]);
            for &feed in &feeds {
                let scaled = maker.op(Op::Mul, &[inverse, feed]);
                for side in Hemisphere::BOTH {
                    let slot = self.engine.slot();
                    maker.park(Op::Convert(Format::F32, Format::I8), &[scaled], slot, Some(side));
                    activation.sides[index(side)].push(slot);
                }
            }
            self.chain_task("an activation", maker, group, groups);
            let scale = match factor {
                None => slot,
                Some(factor) => {
                    let mut maker = self.maker();
                    let sources = [maker.input(slot), maker.input(factor)];
                    let slot = self.engine.slot();
                    maker.park(Op::Mul, &sources, slot, None);
                    self.chain_task("an activation scale", maker, group, groups);
                    slot
                }
            };
            activation.groups.push((group * size..group * size + slots.len(), scale));
        }
        activation
    }
}
