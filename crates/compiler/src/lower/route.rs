//! Choosing experts on the chip: the greatest score is found, then the least lane that has it; that lane is left out
//! and the next greatest is found. What is chosen never decides when anything happens: it is a number in a vector.

use lpu_isa::{Format, Hemisphere};

use super::Lowering;
use super::maker::Maker;
use super::vector::fold;
use crate::chain::{Feed, Op};
use crate::engine::Slot;
use crate::vectors::index;

/// Below the negative of every lane's number.
const NO_LANE: f32 = -1e9;

/// What a route makes for its choices, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Route {
    /// What is added to the address of the first expert's words, by side, in the outermost slices.
    pub(super) maps: Vec<[Slot; 2]>,
    /// The share of the chosen expert, in every lane.
    pub(super) shares: Vec<Slot>,
}

impl Lowering<'_> {
    pub(super) fn route(&mut self, number: usize, active: usize, normalise: bool) {
        let plan = self.plan;
        let node = &plan.graph.nodes[number];
        let experts = plan.experts.get(&node.output).copied();
        let [pad, lanes] = plan.router(number).map(|constant| self.engine.constant(constant));
        let mut route = Route::default();

        let mut maker = self.maker();
        let scores = self.read(&mut maker, node.inputs[0], 0);
        let pad = maker.input(pad);
        let all = self.engine.slot();
        maker.park(Op::Add, &[scores, pad], all, None);
        self.chain_task("scores of experts", maker, 0, active + 1);

        let mut left = all;
        let mut best = Vec::new();
        for choice in 0..active {
            let mut maker = self.maker();
            let (scores, lanes) = (maker.input(left), maker.input(lanes));
            let largest = Feed::Node(maker.chain.reduce(Op::Max, Op::Max, &[scores, scores]));
            let slot = self.engine.slot();
            let largest = maker.park(Op::Max, &[largest, largest], slot, None);
            best.push(slot);
            let has_it = maker.op(Op::Equal, &[scores, largest]);
            let candidates = maker.op(Op::Select, &[has_it, lanes, Feed::Immediate(NO_LANE)]);
            let chosen = Feed::Node(maker.chain.reduce(Op::Max, Op::Max, &[candidates, candidates]));
            if let Some(experts) = experts {
                let word = maker.op(Op::Mul, &[chosen, Feed::Immediate(-(experts.stride as f32))]);
                let maps = Hemisphere::BOTH.map(|side| self.engine.outermost(side));
                for side in Hemisphere::BOTH {
                    maker.park(Op::Convert(Format::F32, Format::I16), &[word], maps[index(side)], Some(side));
                }
                route.maps.push(maps);
            }
            if choice + 1 < active {
                let is_it = maker.op(Op::Equal, &[lanes, chosen]);
                left = self.engine.slot();
                maker.park(Op::Select, &[is_it, Feed::Immediate(f32::NEG_INFINITY), scores], left, None);
            }
            self.chain_task("a choice of an expert", maker, choice, active + 1);
        }
        self.shares(&mut route, all, &best, normalise);
        self.routes.insert(node.output, route);
    }

    /// The softmax of the best scores, among themselves or among all.
    fn shares(&mut self, route: &mut Route, all: Slot, best: &[Slot], normalise: bool) {
        let count = best.len();
        let power = |maker: &mut Maker, score: Feed, largest: Feed| {
            let less = maker.op(Op::Sub, &[score, largest]);
            maker.op(Op::Exp, &[less])
        };
        let mut maker = self.maker();
        let largest = maker.input(best[0]);
        let total = if normalise {
            let mut powers = Vec::new();
            for &slot in best {
                let score = maker.input(slot);
                powers.push(power(&mut maker, score, largest));
            }
            let sums = fold(&mut maker, Op::Add, &powers);
            if let [one] = sums[..] { one } else { maker.op(Op::Add, &sums) }
        } else {
            let scores = maker.input(all);
            let power = power(&mut maker, scores, largest);
            Feed::Node(maker.chain.reduce(Op::Add, Op::Max, &[power, power]))
        };
        let inverse = self.engine.slot();
        maker.park(Op::Reciprocal, &[total], inverse, None);
        self.chain_task("a sum of shares", maker, count, count + 1);
        for (choice, &slot) in best.iter().enumerate() {
            let mut maker = self.maker();
            let (score, largest, inverse) = (maker.input(slot), maker.input(best[0]), maker.input(inverse));
            let power = power(&mut maker, score, largest);
            let share = self.engine.slot();
            maker.park(Op::Mul, &[power, inverse], share, None);
            route.shares.push(share);
            self.chain_task("a share", maker, choice, count + 1);
        }
    }
}
