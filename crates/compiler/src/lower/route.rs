//! Choosing experts on the chip: the greatest score is found, then the least lane that has it; that lane is left out
//! and the next greatest is found. What is chosen never decides when anything happens: it is a number in a vector.

use std::collections::{BTreeMap, BTreeSet};

use lpu_isa::{Format, Hemisphere};

use super::Lowering;
use super::builder::ChainBuilder;
use super::vector::fold;
use crate::chain::{Feed, Op};
use crate::task::VReg;
use crate::vectors::index;

/// Below the negative of every lane's number.
const NO_LANE: f32 = -1e9;

/// What a route makes for its choices, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Route {
    /// What is added to the address of the first expert's words, by words between experts, choice and side, in the
    /// outermost slices.
    pub(super) maps: BTreeMap<u32, Vec<[VReg; 2]>>,
    /// The gate weight of the chosen expert, in every lane.
    pub(super) gate_weights: Vec<VReg>,
}

impl Lowering<'_> {
    pub(super) fn route(&mut self, number: usize, row: usize, active: usize, normalise: bool) {
        let plan = self.plan;
        let (input, output) = (self.operand(number, 0, row), self.result(number, row));
        let of_route = plan.experts.iter().filter(|((route, _), _)| *route == output.value);
        let strides: BTreeSet<u32> = of_route.map(|(_, experts)| experts.stride).collect();
        let [pad, lanes] = plan.router(number).map(|constant| self.engine.constant(constant));
        let mut route = Route::default();

        let mut builder = self.builder();
        let scores = self.read(&mut builder, input, 0);
        let pad = builder.input(pad);
        let all = self.engine.vreg();
        builder.store(Op::Add, &[scores, pad], all, None);
        self.chain_task("scores of experts", builder, 0, active + 1);

        let mut left = all;
        let mut best = Vec::new();
        for choice in 0..active {
            let mut builder = self.builder();
            let (scores, lanes) = (builder.input(left), builder.input(lanes));
            let largest = Feed::Node(builder.chain.reduce(Op::Max, Op::Max, &[scores, scores]));
            let vreg = self.engine.vreg();
            let largest = builder.store(Op::Max, &[largest, largest], vreg, None);
            best.push(vreg);
            let has_it = builder.op(Op::Equal, &[scores, largest]);
            let candidates = builder.op(Op::Select, &[has_it, lanes, Feed::Immediate(NO_LANE)]);
            let chosen = Feed::Node(builder.chain.reduce(Op::Max, Op::Max, &[candidates, candidates]));
            for &stride in &strides {
                let word = builder.op(Op::Mul, &[chosen, Feed::Immediate(-(stride as f32))]);
                let maps = Hemisphere::BOTH.map(|side| self.engine.outermost(side));
                for side in Hemisphere::BOTH {
                    builder.store(Op::Convert(Format::F32, Format::I16), &[word], maps[index(side)], Some(side));
                }
                route.maps.entry(stride).or_default().push(maps);
            }
            if choice + 1 < active {
                let is_it = builder.op(Op::Equal, &[lanes, chosen]);
                left = self.engine.vreg();
                builder.store(Op::Select, &[is_it, Feed::Immediate(f32::NEG_INFINITY), scores], left, None);
            }
            self.chain_task("a choice of an expert", builder, choice, active + 1);
        }
        self.gate_weights(&mut route, all, &best, normalise);
        self.routes.insert(output, route);
    }

    /// The softmax of the best scores, among themselves or among all.
    fn gate_weights(&mut self, route: &mut Route, all: VReg, best: &[VReg], normalise: bool) {
        let count = best.len();
        let power = |builder: &mut ChainBuilder, score: Feed, largest: Feed| {
            let less = builder.op(Op::Sub, &[score, largest]);
            builder.op(Op::Exp, &[less])
        };
        let mut builder = self.builder();
        let largest = builder.input(best[0]);
        let total = if normalise {
            let mut powers = Vec::new();
            for &vreg in best {
                let score = builder.input(vreg);
                powers.push(power(&mut builder, score, largest));
            }
            let sums = fold(&mut builder, Op::Add, &powers);
            if let [one] = sums[..] { one } else { builder.op(Op::Add, &sums) }
        } else {
            let scores = builder.input(all);
            let power = power(&mut builder, scores, largest);
            Feed::Node(builder.chain.reduce(Op::Add, Op::Max, &[power, power]))
        };
        let inverse = self.engine.vreg();
        builder.store(Op::Reciprocal, &[total], inverse, None);
        self.chain_task("a sum of gate weights", builder, count, count + 1);
        for (choice, &vreg) in best.iter().enumerate() {
            let mut builder = self.builder();
            let (score, largest, inverse) = (builder.input(vreg), builder.input(best[0]), builder.input(inverse));
            let power = power(&mut builder, score, largest);
            let weight = self.engine.vreg();
            builder.store(Op::Mul, &[power, inverse], weight, None);
            route.gate_weights.push(weight);
            self.chain_task("a gate weight", builder, choice, count + 1);
        }
    }
}
