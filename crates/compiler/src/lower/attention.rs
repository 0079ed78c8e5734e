//! Attention over a context: appends this token's key and value rows, scores all rows, takes the softmax and weighs the
//! values.

use std::collections::BTreeMap;

use lpu_isa::{Format, Hemisphere, Orientation};

use super::Lowering;
use super::builder::Def;
use super::demand::Representation;
use super::vector::fold;
use crate::chain::{Chain, Feed, Op};
use crate::layout::Heads;
use crate::plan::{Attending, ValueRow};
use crate::planes::{Content, Part, PlaneSet};
use crate::rows::Rows;
use crate::task::{Append, PvProduct, QkProduct};
use crate::task::{Out, Task, VReg, Work};
use crate::vectors::index;

/// A query head of a row: one of those that share a key-value head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct QueryHead {
    row: usize,
    /// The key-value head.
    kv: usize,
    /// Number among the query heads of the key-value head.
    member: usize,
}

/// A head's softmax: unnormalised weights by side and token tile, and their sum over tiles.
#[derive(Clone, Debug)]
struct Softmax {
    weights: [Vec<VReg>; 2],
    sum: VReg,
}

/// Something of each query head.
type ByHead<T> = BTreeMap<QueryHead, T>;

impl Lowering<'_> {
    /// All rows at once: keys and values of all of them are appended before any tile of tokens is loaded.
    pub(super) fn attention(&mut self, number: usize) {
        let plan = self.plan;
        let attending = plan.attention(number);
        let lpu_model::Op::Attention { softcap, .. } = plan.graph.nodes[number].op else {
            unreachable!("only attentions are lowered here")
        };
        let scores = self.scores(number, attending, softcap);
        let softmaxes = self.softmaxes(attending, &scores);
        let values = self.of_rows(number, 2, Representation::Values(number));
        let mut totals: ByHead<VReg> = BTreeMap::new();
        for (group, entry) in attending.values.iter().enumerate() {
            let side = attending.value_side[group];
            let rows = values.iter().map(|vectors| vectors[group][0]).collect();
            let ordering = self.append(2, rows, side, entry);
            self.group_totals(attending, group, &softmaxes, &mut totals);
            let products = self.pv_products(number, attending, group, ordering, &softmaxes);
            for row in 0..plan.rows {
                self.joins(self.result(number, row), attending, group, &products, &totals);
            }
        }
    }

    /// The virtual registers of a representation of an operand, by row and vector.
    fn of_rows(&self, number: usize, input: usize, representation: Representation) -> Vec<Vec<Vec<VReg>>> {
        (0..self.plan.rows).map(|row| self.vectors(self.operand(number, input, row), representation)).collect()
    }

    /// Appends the key rows and makes the scores of all query heads, by tile of tokens.
    fn scores(&mut self, number: usize, attending: &Attending, softcap: Option<f32>) -> ByHead<Vec<VReg>> {
        let heads = &attending.heads;
        let queries = self.of_rows(number, 0, Representation::Queries(number));
        let keys = self.of_rows(number, 1, Representation::Keys(number));
        let mut scores: ByHead<Vec<VReg>> = BTreeMap::new();
        for group in 0..heads.key_groups() {
            let orderings = Hemisphere::BOTH.map(|side| {
                let half = index(side);
                let rows = keys.iter().map(|vectors| vectors[2 * group + half][0]).collect();
                self.append(0, rows, side, &attending.keys[group][half])
            });
            for tile in 0..self.token_tiles() {
                let parts = [0, 1].map(|half| self.token_tile(&attending.keys[group][half], tile));
                let side = Hemisphere::BOTH[(group + tile) % 2];
                let epilogue = self.masked_scores(softcap, side);
                let masks = attending.masks.iter().map(|mask| self.masks[mask][tile]);
                let mut inputs: Vec<VReg> = orderings.into_iter().chain(masks).collect();
                let mut outputs = Vec::new();
                let first = 2 * group * heads.queries_a_kv;
                for (row, queries) in queries.iter().enumerate() {
                    let of_group = &queries[first..first + 2 * heads.queries_a_kv];
                    for (member, halves) in of_group.chunks(2).enumerate() {
                        for (at, kv) in heads.key_members(group).enumerate() {
                            inputs.extend([halves[0][at], halves[1][at]]);
                            let vreg = self.engine.vreg();
                            outputs.push(Out { vreg, bytes: 4, side });
                            scores.entry(QueryHead { row, kv, member }).or_default().push(vreg);
                        }
                    }
                }
                let priority = self.priority(0, group, heads.key_groups());
                let work = Work::Qk(QkProduct { parts, rows: self.plan.rows, epilogue });
                self.engine.task(Task { node: number, what: "a QK product", priority, inputs, outputs, work });
            }
        }
        scores
    }

    /// What becomes of two halves of a score: their sum, capped and masked, stored on a side.
    fn masked_scores(&self, softcap: Option<f32>, side: Hemisphere) -> Chain {
        let mut chain = Chain::new(self.chip);
        let mut sum = chain.op(Op::Add, &[Feed::Arrival(0), Feed::Arrival(1)]);
        if let Some(cap) = softcap {
            let share = chain.op(Op::Mul, &[Feed::Node(sum), Feed::Immediate(1.0 / cap)]);
            let bent = chain.op(Op::Tanh, &[Feed::Node(share)]);
            sum = chain.op(Op::Mul, &[Feed::Node(bent), Feed::Immediate(cap)]);
        }
        chain.store(Op::Add, &[Feed::Node(sum), Feed::Value(0)], 0, side);
        chain
    }

    /// The softmaxes of all query heads, each on the sides of the groups of values that it weighs.
    fn softmaxes(&mut self, attending: &Attending, scores: &ByHead<Vec<VReg>>) -> ByHead<Softmax> {
        let heads = &attending.heads;
        let softmax = |(&head, scores): (&QueryHead, &Vec<VReg>)| {
            let weighed = |&group: &usize| heads.value_members(group).any(|(kv, _)| kv == head.kv);
            let groups = (0..heads.value_groups()).filter(weighed);
            let sides: Vec<Hemisphere> = groups.map(|group| attending.value_side[group]).collect();
            (head, self.softmax(scores, &sides, head.kv, heads.kv_heads))
        };
        scores.iter().map(softmax).collect()
    }

    /// The sums of the weights of a group's query heads that no earlier group has.
    fn group_totals(
        &mut self,
        attending: &Attending,
        group: usize,
        softmaxes: &ByHead<Softmax>,
        totals: &mut ByHead<VReg>,
    ) {
        let query_heads = query_heads(&attending.heads, group, self.plan.rows);
        let fresh: Vec<QueryHead> = query_heads.into_iter().filter(|head| !totals.contains_key(head)).collect();
        let sums: Vec<VReg> = fresh.iter().map(|head| softmaxes[head].sum).collect();
        let summed = self.totals(sums, opposite(attending.value_side[group]), group, attending.values.len());
        totals.extend(fresh.into_iter().zip(summed));
    }

    /// Products of weights and a group's values for its query heads, by tile of tokens.
    fn pv_products(
        &mut self,
        number: usize,
        attending: &Attending,
        group: usize,
        ordering: VReg,
        softmaxes: &ByHead<Softmax>,
    ) -> ByHead<Vec<VReg>> {
        let side = attending.value_side[group];
        let query_heads = query_heads(&attending.heads, group, self.plan.rows);
        let set = PlaneSet::pair(side, Content::Halves);
        let mut products: ByHead<Vec<VReg>> = BTreeMap::new();
        for tile in 0..self.token_tiles() {
            let weights = query_heads.iter().map(|head| softmaxes[head].weights[index(side)][tile]);
            let inputs = weights.chain([ordering]).collect();
            let outputs = self.outs(query_heads.len(), side);
            for (&head, out) in query_heads.iter().zip(&outputs) {
                products.entry(head).or_default().push(out.vreg);
            }
            let parts = self.token_tile(&attending.values[group], tile);
            let work = Work::Pv(PvProduct { set, parts, orientation: Orientation::In });
            let priority = self.priority(0, group, attending.values.len());
            self.engine.task(Task { node: number, what: "a PV product", priority, inputs, outputs, work });
        }
        products
    }

    /// The output vectors of a row and group: the products of its heads over their sums of weights, each in its lanes.
    fn joins(
        &mut self,
        output: ValueRow,
        attending: &Attending,
        group: usize,
        products: &ByHead<Vec<VReg>>,
        totals: &ByHead<VReg>,
    ) {
        let heads = &attending.heads;
        let members: Vec<usize> = (0..heads.queries_a_kv).collect();
        for (number, members) in members.chunks(heads.copies(group)).enumerate() {
            let mut builder = self.builder();
            let mut sum: Option<Def> = None;
            let kv_heads = || heads.value_members(group).map(|(kv, _)| kv).enumerate();
            for (copy, member, at, kv) in members
                .iter()
                .enumerate()
                .flat_map(|(copy, &member)| kv_heads().map(move |(at, kv)| (copy, member, at, kv)))
            {
                let head = QueryHead { row: output.row, kv, member };
                let feeds: Vec<Feed> = products[&head].iter().map(|&vreg| builder.input(vreg)).collect();
                let parts = fold(&mut builder, Op::Add, &feeds);
                let value = match parts[..] {
                    [one] => one,
                    _ => builder.op(Op::Add, &parts),
                };
                let total = builder.input(totals[&head]);
                let inverse = builder.op(Op::Reciprocal, &[total]);
                let lanes = self.engine.constant(attending.outputs[group][copy][at]);
                let lanes = builder.input(lanes);
                let share = builder.op(Op::Mul, &[value, inverse]);
                let operands = vec![share, lanes];
                sum = Some(match sum {
                    None => Def::Op(Op::Mul, operands),
                    Some(sum) => {
                        let sum = builder.latch(sum);
                        let part = builder.op(Op::Mul, &operands);
                        Def::Op(Op::Add, vec![sum, part])
                    }
                });
            }
            self.emit(&mut builder, output, heads.first_output(group) + number, sum.expect("a group has members"));
            self.chain_task("a join of heads", builder, group, attending.values.len());
        }
    }

    /// Tiles of tokens that the program attends to.
    fn token_tiles(&self) -> usize {
        self.tokens.div_ceil(self.chip.lanes())
    }

    /// The ordering token of rows that are to be appended, one a token of the run: they may be read from then on.
    fn append(&mut self, class: u64, inputs: Vec<VReg>, side: Hemisphere, entry: &[Rows; 2]) -> VReg {
        let vreg = self.engine.vreg();
        let addresses = self.plan.inputs.addresses.iter().map(|sides| sides[index(side)].clone()).collect();
        let work = Work::Append(Append { entry: *entry, addresses, window: self.plan.window, patience: 24 * class });
        let priority = self.priority(class, 0, 1);
        let outputs = vec![Out { vreg, bytes: 0, side }];
        self.engine.task(Task { node: self.node, what: "a key-value row", priority, inputs, outputs, work });
        vreg
    }

    fn token_tile(&self, entry: &[Rows; 2], tile: usize) -> Vec<Part> {
        let lanes = self.chip.lanes();
        let first = tile * lanes;
        let rows = (self.tokens - first).min(lanes);
        let part =
            |part: &Rows| Part { places: part.map(|(slice, word)| (slice, word + (first / 16) as u32)), rows, step: 1 };
        entry.iter().map(part).collect()
    }

    fn outs(&mut self, count: usize, side: Hemisphere) -> Vec<Out> {
        (0..count).map(|_| Out { vreg: self.engine.vreg(), bytes: 4, side }).collect()
    }

    /// Totals over lanes of vectors on `side`, each in every lane: passes through a tile of ones.
    fn totals(&mut self, inputs: Vec<VReg>, side: Hemisphere, group: usize, groups: usize) -> Vec<VReg> {
        if inputs.is_empty() {
            return Vec::new();
        }
        let parts = self.plan.ones[index(side)].clone();
        let outputs = self.outs(inputs.len(), side);
        let totals = outputs.iter().map(|out| out.vreg).collect();
        let work =
            Work::Pv(PvProduct { set: PlaneSet::pair(side, Content::Widened), parts, orientation: Orientation::Out });
        let priority = self.priority(0, group, groups);
        self.engine.task(Task { node: self.node, what: "sums of weights", priority, inputs, outputs, work });
        totals
    }

    /// e^(score - largest) of all tokens in fp16 on `sides`, and their sum over tiles on the side opposite to that of
    /// the first group of values that the head belongs to.
    fn softmax(&mut self, scores: &[VReg], sides: &[Hemisphere], index_of: usize, count: usize) -> Softmax {
        let mut builder = self.builder();
        let feeds: Vec<Feed> = scores.iter().map(|&vreg| builder.input(vreg)).collect();
        let largest = fold(&mut builder, Op::Max, &feeds);
        let largest = match largest[..] {
            [one] => builder.chain.reduce(Op::Max, Op::Max, &[one, one]),
            _ => builder.chain.reduce(Op::Max, Op::Max, &largest),
        };
        let mut weights = [Vec::new(), Vec::new()];
        let mut powers = Vec::new();
        for &feed in &feeds {
            let less = builder.op(Op::Sub, &[feed, Feed::Node(largest)]);
            let power = builder.op(Op::Exp, &[less]);
            for side in Hemisphere::BOTH {
                if sides.contains(&side) {
                    let vreg = self.engine.vreg();
                    builder.store(NARROW, &[power], vreg, Some(side));
                    weights[index(side)].push(vreg);
                }
            }
            powers.push(power);
        }
        let sums = fold(&mut builder, Op::Add, &powers);
        let sum = match sums[..] {
            [one] => one,
            _ => builder.op(Op::Add, &sums),
        };
        let vreg = self.engine.vreg();
        builder.store(NARROW, &[sum], vreg, Some(opposite(sides[0])));
        self.chain_task("a softmax", builder, index_of, count);
        Softmax { weights, sum: vreg }
    }
}

/// The query heads whose key-value heads have elements in a group of values: by row, member and key-value head.
fn query_heads(heads: &Heads, group: usize, rows: usize) -> Vec<QueryHead> {
    let of_row = |row| {
        let of_member = move |member| heads.value_members(group).map(move |(kv, _)| QueryHead { row, kv, member });
        (0..heads.queries_a_kv).flat_map(of_member)
    };
    (0..rows).flat_map(of_row).collect()
}

const NARROW: Op = Op::Convert(Format::F32, Format::F16);

fn opposite(side: Hemisphere) -> Hemisphere {
    match side {
        Hemisphere::East => Hemisphere::West,
        Hemisphere::West => Hemisphere::East,
    }
}
