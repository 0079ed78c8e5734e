//! Operations on vectors, and the forms in which values are made.

use lpu_isa::{Format, Hemisphere};
use lpu_model::ValueId;

use super::Lowering;
use super::demand::Form;
use super::maker::{Made, Maker};
use crate::Precision;
use crate::chain::{Feed, Op};
use crate::engine::Slot;
use crate::vectors::index;

/// The last two of up to four running results over `feeds`, for the caller to combine; one alone comes back twice where `op` of
/// a number and itself is that number.
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
        let tiles = self.forms.entry((value, form)).or_default();
        debug_assert_eq!(tiles.len(), tile, "vectors are made in order");
        tiles.push(slots);
    }

    /// Makes vector `tile` of a value in every form that is asked for, or finishes the operation that waits for it.
    pub(super) fn deliver(&mut self, maker: &mut Maker, value: ValueId, tile: usize, made: Made) {
        let plan = self.plan;
        if let Some(number) = self.demands.fused(value) {
            let node = &plan.graph.nodes[number];
            let y = match made {
                Made::Held(feed) => feed,
                made => maker.hold(made),
            };
            let made = match node.op {
                lpu_model::Op::Add => {
                    let other = if node.inputs[0] == value { node.inputs[1] } else { node.inputs[0] };
                    let other = maker.input(self.plain(other)[tile]);
                    Made::Op(Op::Add, vec![y, other])
                }
                _ => {
                    let gate = self.forms[&(node.inputs[0], Form::Gate(number))][tile][0];
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

    fn form(&mut self, maker: &mut Maker, form: Form, tile: usize, y: Feed) -> Vec<Slot> {
        let plan = self.plan;
        match form {
            Form::Plain => unreachable!("made with the value itself"),
            Form::Activation => self.both_sides(maker, y),
            Form::Normed(norm) => {
                let weights = self.engine.constant(plan.norms[&norm][tile]);
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
            Form::Gate(_) => {
                let slot = self.engine.slot();
                let made = silu(maker, y);
                maker.hold_and_park(made, slot, None);
                vec![slot]
            }
            Form::Queries(attention) => {
                let side = Hemisphere::BOTH[tile % 2];
                let attending = &plan.attentions[&attention];
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
            Form::Values(attention) => vec![self.narrow(maker, y, plan.attentions[&attention].value_side[tile])],
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
        let squares: Vec<Slot> = self.forms[&(input, Form::Squares(number))].iter().map(|slots| slots[0]).collect();
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
            let weighted = self.forms[&(input, Form::Normed(number))].clone();
            let activation = self.activation_of(weighted, Some(factor), 20);
            self.activations.insert(output, activation);
            return;
        }
        let slots = self.plain(input);
        let count = slots.len();
        for (tile, (slot, &weights)) in slots.into_iter().zip(&self.plan.norms[&number]).enumerate() {
            let weights = self.engine.constant(weights);
            let mut maker = self.maker();
            let (y, weights, factor) = (maker.input(slot), maker.input(weights), maker.input(factor));
            let weighted = maker.op(Op::Mul, &[y, weights]);
            self.deliver(&mut maker, output, tile, Made::Op(Op::Mul, vec![weighted, factor]));
            self.chain_task("a norm", maker, tile, count);
        }
    }

    pub(super) fn rotary(&mut self, number: usize) {
        let node = &self.plan.graph.nodes[number];
        let slots = self.plain(node.inputs[0]);
        let count = slots.len();
        for (pair, halves) in slots.chunks(2).enumerate() {
            let mut maker = self.maker();
            let [a, b] = [maker.input(halves[0]), maker.input(halves[1])];
            let [cos, sin] = [maker.input(self.rotary[0]), maker.input(self.rotary[1])];
            let (ac, bs) = (maker.op(Op::Mul, &[a, cos]), maker.op(Op::Mul, &[b, sin]));
            let (bc, as_) = (maker.op(Op::Mul, &[b, cos]), maker.op(Op::Mul, &[a, sin]));
            self.deliver(&mut maker, node.output, 2 * pair, Made::Op(Op::Sub, vec![ac, bs]));
            self.deliver(&mut maker, node.output, 2 * pair + 1, Made::Op(Op::Add, vec![bc, as_]));
            self.chain_task("a rotation", maker, 2 * pair, count);
        }
    }

    pub(super) fn add(&mut self, number: usize) {
        let node = &self.plan.graph.nodes[number];
        let (a, b) = (self.plain(node.inputs[0]), self.plain(node.inputs[1]));
        let count = a.len();
        for (tile, (a, b)) in a.into_iter().zip(b).enumerate() {
            let mut maker = self.maker();
            let sources = vec![maker.input(a), maker.input(b)];
            self.deliver(&mut maker, node.output, tile, Made::Op(Op::Add, sources));
            self.chain_task("a sum", maker, tile, count);
        }
    }

    pub(super) fn gated(&mut self, number: usize) {
        let node = &self.plan.graph.nodes[number];
        let (gate, up) = (self.plain(node.inputs[0]), self.plain(node.inputs[1]));
        let count = gate.len();
        for (tile, (gate, up)) in gate.into_iter().zip(up).enumerate() {
            let mut maker = self.maker();
            let (gate, up) = (maker.input(gate), maker.input(up));
            let made = silu(&mut maker, gate);
            let gate = maker.hold(made);
            self.deliver(&mut maker, node.output, tile, Made::Op(Op::Mul, vec![gate, up]));
            self.chain_task("a gated product", maker, tile, count);
        }
    }

    /// A value as the input of matrices, from one slot a vector (`w8a8`) or one a side and vector.
    pub(super) fn activation_of(&mut self, vectors: Vec<Vec<Slot>>, factor: Option<Slot>, one_scale_up_to: usize) -> super::Activation {
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

/// x / (1 + e^-x).
fn silu(maker: &mut Maker, x: Feed) -> Made {
    let negated = maker.op(Op::Negate, &[x]);
    let power = maker.op(Op::Exp, &[negated]);
    let sum = maker.op(Op::Add, &[power, Feed::Immediate(1.0)]);
    let share = maker.op(Op::Reciprocal, &[sum]);
    Made::Op(Op::Mul, vec![share, x])
}
