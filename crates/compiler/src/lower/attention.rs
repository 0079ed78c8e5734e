//! Attention over a context: appends this token's key and value rows, scores all rows, takes the softmax and mixes the values.

use lpu_isa::{Format, Hemisphere};

use super::Lowering;
use super::demand::Form;
use super::maker::{Made, Maker};
use super::vector::fold;
use crate::attend::{Append, Mix, Scores};
use crate::chain::{Chain, Feed, Op};
use crate::engine::{Out, Slot, Task, Work};
use crate::planes::{Content, Part, PlaneSet};
use crate::rows::Rows;
use crate::vectors::index;

/// A head's softmax: unnormalised weights by token tile, and one over their sum.
struct Softmax {
    weights: Vec<Slot>,
    inverse: Slot,
}

impl Lowering<'_> {
    pub(super) fn attention(&mut self, number: usize) {
        let plan = self.plan;
        let node = &plan.graph.nodes[number];
        let attending = &plan.attentions[&number];
        let lpu_model::Op::Attention { softcap, .. } = node.op else { unreachable!("only attentions are lowered here") };
        let heads = &attending.heads;
        let queries = self.forms[&(node.inputs[0], Form::Queries(number))].clone();
        let keys = self.forms[&(node.inputs[1], Form::Keys(number))].clone();
        let values = self.forms[&(node.inputs[2], Form::Values(number))].clone();
        let tiles = self.tokens.div_ceil(self.chip.lanes());

        // Scores by rank, key-value head and tile.
        let mut scores = vec![vec![Vec::new(); heads.kv_heads]; heads.ranks];
        for group in 0..heads.key_groups() {
            let moments = Hemisphere::BOTH.map(|side| {
                let half = index(side);
                self.append(keys[2 * group + half][0], side, &attending.keys[group][half])
            });
            for tile in 0..tiles {
                let parts = [0, 1].map(|half| self.token_tile(&attending.keys[group][half], tile));
                let mut chain = Chain::new(self.chip);
                let mut sum = chain.op(Op::Add, &[Feed::Arrival(0), Feed::Arrival(1)]);
                if let Some(cap) = softcap {
                    let share = chain.op(Op::Mul, &[Feed::Node(sum), Feed::Immediate(1.0 / cap)]);
                    let bent = chain.op(Op::Tanh, &[Feed::Node(share)]);
                    sum = chain.op(Op::Mul, &[Feed::Node(bent), Feed::Immediate(cap)]);
                }
                let side = Hemisphere::BOTH[(group + tile) % 2];
                chain.park(Op::Add, &[Feed::Node(sum), Feed::Value(0)], 0, side);
                let mut inputs = vec![moments[0], moments[1], self.masks[&attending.mask][tile]];
                let mut outputs = Vec::new();
                let first = 2 * group * heads.ranks;
                for (rank, halves) in queries[first..first + 2 * heads.ranks].chunks(2).enumerate() {
                    for (place, member) in heads.key_members(group).enumerate() {
                        inputs.extend([halves[0][place], halves[1][place]]);
                        let slot = self.engine.slot();
                        outputs.push(Out { slot, bytes: 4, side });
                        scores[rank][member].push(slot);
                    }
                }
                let rank = self.rank(0, group, heads.key_groups());
                let work = Work::Scores(Scores { parts, finish: chain });
                self.engine.task(Task { node: number, what: "scores", rank, inputs, outputs, work });
            }
        }
        for (group, row) in values.iter().enumerate() {
            let side = attending.value_side[group];
            let moment = self.append(row[0], side, &attending.values[group]);
            let members: Vec<usize> = heads.value_members(group).collect();
            let mut softmaxes = Vec::new();
            for scores in &scores {
                for &member in &members {
                    softmaxes.push(self.softmax(&scores[member], side, group, heads.value_groups()));
                }
            }
            let set = PlaneSet::pair(side, Content::Halves);
            let mut mixed: Vec<Vec<Slot>> = vec![Vec::new(); softmaxes.len()];
            for tile in 0..tiles {
                let mut inputs = vec![moment];
                inputs.extend(softmaxes.iter().map(|softmax| softmax.weights[tile]));
                let outputs: Vec<Out> = softmaxes.iter().map(|_| Out { slot: self.engine.slot(), bytes: 4, side }).collect();
                for (mixed, out) in mixed.iter_mut().zip(&outputs) {
                    mixed.push(out.slot);
                }
                let work = Work::Mix(Mix { set, parts: self.token_tile(&attending.values[group], tile) });
                let rank = self.rank(0, group, heads.value_groups());
                self.engine.task(Task { node: number, what: "a mix", rank, inputs, outputs, work });
            }
            for rank in 0..heads.ranks {
                let mut maker = self.maker();
                let mut sum: Option<Made> = None;
                for place in 0..members.len() {
                    let head = rank * members.len() + place;
                    let feeds: Vec<Feed> = mixed[head].iter().map(|&slot| maker.input(slot)).collect();
                    let parts = fold(&mut maker, Op::Add, &feeds);
                    let value = match parts[..] {
                        [one] => one,
                        _ => maker.op(Op::Add, &parts),
                    };
                    let inverse = maker.input(softmaxes[head].inverse);
                    let lanes = self.engine.constant(attending.outputs[place]);
                    let lanes = maker.input(lanes);
                    let share = maker.op(Op::Mul, &[value, inverse]);
                    let operands = vec![share, lanes];
                    sum = Some(match sum {
                        None => Made::Op(Op::Mul, operands),
                        Some(sum) => {
                            let sum = maker.hold(sum);
                            let part = maker.op(Op::Mul, &operands);
                            Made::Op(Op::Add, vec![sum, part])
                        }
                    });
                }
                let vector = group * heads.ranks + rank;
                self.deliver(&mut maker, node.output, vector, sum.expect("a group has members"));
                self.chain_task("a join of heads", maker, group, heads.value_groups());
            }
        }
    }

    /// The moment from which on a row that is to be appended may be read.
    fn append(&mut self, row: Slot, side: Hemisphere, entry: &[Rows; 2]) -> Slot {
        let slot = self.engine.slot();
        let addresses = self.plan.inputs.addresses[index(side)].clone();
        let work = Work::Append(Append { entry: *entry, addresses, window: self.plan.window });
        let rank = self.rank(0, 0, 1);
        let outputs = vec![Out { slot, bytes: 0, side }];
        self.engine.task(Task { node: self.node, what: "a key-value row", rank, inputs: vec![row], outputs, work });
        slot
    }

    fn token_tile(&self, entry: &[Rows; 2], tile: usize) -> Vec<Part> {
        let lanes = self.chip.lanes();
        let first = tile * lanes;
        let rows = (self.tokens - first).min(lanes);
        let part = |part: &Rows| Part { places: part.map(|(slice, word)| (slice, word + (first / 16) as u32)), rows };
        entry.iter().map(part).collect()
    }

    /// e^(score - largest) of all tokens in fp16 on `side`, and one over the sum of them.
    fn softmax(&mut self, scores: &[Slot], side: Hemisphere, index: usize, count: usize) -> Softmax {
        let mut maker = self.maker();
        let feeds: Vec<Feed> = scores.iter().map(|&slot| maker.input(slot)).collect();
        let largest = fold(&mut maker, Op::Max, &feeds);
        let largest = match largest[..] {
            [one] => maker.chain.reduce(Op::Max, Op::Max, &[one, one]),
            _ => maker.chain.reduce(Op::Max, Op::Max, &largest),
        };
        let mut weights = Vec::new();
        let mut powers = Vec::new();
        for &feed in &feeds {
            let less = maker.op(Op::Sub, &[feed, Feed::Node(largest)]);
            let power = maker.op(Op::Exp, &[less]);
            let slot = self.engine.slot();
            maker.park(Op::Convert(Format::F32, Format::F16), &[power], slot, Some(side));
            weights.push(slot);
            powers.push(power);
        }
        let inverse = self.engine.slot();
        self.inverse_sum(&mut maker, &powers, inverse);
        self.chain_task("a softmax", maker, index, count);
        Softmax { weights, inverse }
    }

    fn inverse_sum(&mut self, maker: &mut Maker, powers: &[Feed], slot: Slot) {
        let sums = fold(maker, Op::Add, powers);
        let sum = match sums[..] {
            [one] => maker.chain.reduce(Op::Add, Op::Max, &[one, Feed::Immediate(0.0)]),
            _ => maker.chain.reduce(Op::Add, Op::Add, &sums),
        };
        maker.park(Op::Reciprocal, &[Feed::Node(sum)], slot, None);
    }
}
