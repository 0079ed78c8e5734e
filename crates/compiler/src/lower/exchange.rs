//! Exchanges between the chips of a group: every chip sends a vector to another and gets one in return, over the link
//! that both know by one number, so that one schedule serves them all.
//!
//! Sums over chips are added up in pairs of chips whose numbers differ in the lowest bit, these in pairs that differ in
//! the next, and so on. Addition commutes, so all chips get the same bits.

use lpu_isa::{Format, Hemisphere, Queue};

use super::Lowering;
use super::builder::{ChainBuilder, Def};
use super::demand::Representation;
use crate::chain::{Feed, Op};
use crate::plan::ValueRow;
use crate::target::Precision;
use crate::task::{Exchange, Out, Task, VReg, Work};
use crate::vectors::index;

impl Lowering<'_> {
    /// What the chip at place `place` of the group sends in return for a vector of `bytes` bytes an element, on each of
    /// the sides.
    fn exchange(
        &mut self,
        vector: VReg,
        (place, bytes): (usize, u8),
        sides: &[Hemisphere],
        (at, count): (usize, usize),
    ) -> Vec<VReg> {
        let peer = place - 1;
        let outputs: Vec<Out> = sides.iter().map(|&side| Out { vreg: self.engine.vreg(), bytes, side }).collect();
        let vregs = outputs.iter().map(|out| out.vreg).collect();
        let (priority, work) = (self.priority(0, at, count), Work::Exchange(Exchange { peer }));
        self.engine.task(Task { node: self.node, what: "an exchange", priority, inputs: vec![vector], outputs, work });
        vregs
    }

    /// What the chip at place `place` sends in return for a binary32 vector.
    fn term(&mut self, vector: VReg, place: usize, at: (usize, usize)) -> VReg {
        self.exchange(vector, (place, 4), &[self.side_of_place(place)], at)[0]
    }

    /// The sum over all chips of the group of what `feed` gives on each, in every lane that it has.
    pub(super) fn group_sum(&mut self, mut builder: ChainBuilder, feed: Feed) -> VReg {
        let own = self.engine.vreg();
        builder.store(Op::Max, &[feed, feed], own, None);
        self.chain_task("a term of a norm", builder, 0, 1);
        let places = self.target.group.chips();
        let mut terms = vec![own];
        for place in 1..places {
            terms.push(self.term(own, place, (place, places)));
        }
        let mut builder = self.builder();
        let feeds: Vec<Feed> = terms.iter().map(|&vreg| builder.input(vreg)).collect();
        let total = pairwise(&mut builder, feeds);
        let vreg = self.engine.vreg();
        builder.latch_and_store(total, vreg, None);
        self.chain_task("a sum over chips", builder, 0, 1);
        vreg
    }

    /// Each chip gets the terms of its own piece and adds them up.
    pub(super) fn reduce_scatter(&mut self, number: usize, row: usize) {
        let (input, output) = (self.operand(number, 0, row), self.result(number, row));
        let (terms, count) = (self.plain(input), self.tile_count(output.value));
        let places = self.target.group.chips();
        for tile in 0..count {
            let mut vregs = vec![terms[tile]];
            for place in 1..places {
                let at = (tile * places + place, count * places);
                vregs.push(self.term(terms[place * count + tile], place, at));
            }
            let mut builder = self.builder();
            let feeds: Vec<Feed> = vregs.iter().map(|&vreg| builder.input(vreg)).collect();
            let sum = pairwise(&mut builder, feeds);
            self.emit(&mut builder, output, tile, sum);
            self.chain_task("a sum over chips", builder, tile, count);
        }
    }

    /// Each chip gets the pieces of all others. Those of a norm whose factor is left for later are inputs of matrices as
    /// they arrive.
    pub(super) fn all_gather(&mut self, number: usize, row: usize) {
        let (input, output) = (self.operand(number, 0, row), self.result(number, row));
        let factor = self.factors.get(&input).copied();
        let norm = self.plan.graph.nodes.iter().position(|node| node.output == input.value);
        match (factor, norm) {
            (Some(factor), Some(norm)) if self.precision != Precision::W8A8 => {
                let own = self.vectors(self.operand(norm, 0, row), Representation::Normed(norm));
                self.gather_activations(output, &own, factor);
            }
            (Some(factor), Some(norm)) => {
                let sent = self.vectors(self.operand(norm, 0, row), Representation::SentNormed(norm));
                self.gather(output, &sent);
                let vectors = self.vectors(output, Representation::Plain);
                let activation = self.activation_of(vectors, Some(factor), 20);
                self.activations.insert(output, activation);
            }
            _ => {
                let sent = self.vectors(input, Representation::Sent);
                self.gather(output, &sent);
            }
        }
    }

    /// Gathers pieces, `own` with a virtual register a side and vector, as inputs of matrices.
    fn gather_activations(&mut self, output: ValueRow, own: &[Vec<VReg>], factor: VReg) {
        let places = self.target.group.chips();
        let mut sides = [Vec::new(), Vec::new()];
        for place in 0..places {
            for (tile, own) in own.iter().enumerate() {
                let at = (tile * places + place, own.len() * places);
                let vregs = match place {
                    0 => own.clone(),
                    // The copy in the link's hemisphere is there first.
                    _ => self.exchange(own[index(self.side_of_place(place))], (place, 2), &Hemisphere::BOTH, at),
                };
                for (side, vreg) in sides.iter_mut().zip(vregs) {
                    side.push(vreg);
                }
            }
        }
        let activation = super::Activation { sides, groups: Vec::new(), factor: Some(factor) };
        self.activations.insert(output, activation);
    }

    /// Gathers pieces in fp16, and makes what is asked for of each.
    fn gather(&mut self, output: ValueRow, own: &[Vec<VReg>]) {
        let places = self.target.group.chips();
        for (tile, vregs) in own.iter().enumerate() {
            for place in 0..places {
                let at = (tile * places + place, own.len() * places);
                let vreg = match place {
                    0 => vregs[0],
                    _ => self.exchange(vregs[0], (place, 2), &[self.side_of_place(place)], at)[0],
                };
                let mut builder = self.builder();
                let half = builder.input(vreg);
                let def = Def::Op(Op::Convert(Format::F16, Format::F32), vec![half]);
                self.emit(&mut builder, output, place * own.len() + tile, def);
                self.chain_task("a gathered piece", builder, at.0, at.1);
            }
        }
    }

    /// The hemisphere of the link to the chip at a place.
    fn side_of_place(&self, place: usize) -> Hemisphere {
        let link = self.target.group.peers[place - 1].link;
        if self.chip.position(Queue::C2c(link)) > 0 { Hemisphere::East } else { Hemisphere::West }
    }
}

/// The sum of as many terms as a power of two, by place: neighbours first.
fn pairwise(builder: &mut ChainBuilder, mut terms: Vec<Feed>) -> Def {
    while terms.len() > 2 {
        terms = terms.chunks(2).map(|pair| builder.op(Op::Add, pair)).collect();
    }
    Def::Op(Op::Add, terms)
}
