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
use crate::task::{Exchange, Out, Task, VReg, Work};

impl Lowering<'_> {
    /// What the chip at place `place` of the group sends in return for a vector of `bytes` bytes an element.
    fn exchange(&mut self, vector: VReg, bytes: u8, place: usize, (at, count): (usize, usize)) -> VReg {
        let peer = place - 1;
        let side = self.side_of(self.target.group.peers[peer].link);
        let vreg = self.engine.vreg();
        let outputs = vec![Out { vreg, bytes, side }];
        let (priority, work) = (self.priority(0, at, count), Work::Exchange(Exchange { peer }));
        self.engine.task(Task { node: self.node, what: "an exchange", priority, inputs: vec![vector], outputs, work });
        vreg
    }

    /// The hemisphere that a link is in.
    fn side_of(&self, link: u16) -> Hemisphere {
        let position = self.chip.position(Queue::C2c(link));
        if position > 0 { Hemisphere::East } else { Hemisphere::West }
    }

    /// The sum over all chips of the group of what `feed` gives on each, in every lane that it has.
    pub(super) fn group_sum(&mut self, mut builder: ChainBuilder, feed: Feed) -> VReg {
        let own = self.engine.vreg();
        builder.store(Op::Max, &[feed, feed], own, None);
        self.chain_task("a term of a norm", builder, 0, 1);
        let places = self.target.group.chips();
        let mut terms = vec![own];
        for place in 1..places {
            terms.push(self.exchange(own, 4, place, (place, places)));
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
                vregs.push(self.exchange(terms[place * count + tile], 4, place, at));
            }
            let mut builder = self.builder();
            let feeds: Vec<Feed> = vregs.iter().map(|&vreg| builder.input(vreg)).collect();
            let sum = pairwise(&mut builder, feeds);
            self.emit(&mut builder, output, tile, sum);
            self.chain_task("a sum over chips", builder, tile, count);
        }
    }

    /// Each chip gets the pieces of all others.
    pub(super) fn all_gather(&mut self, number: usize, row: usize) {
        let (input, output) = (self.operand(number, 0, row), self.result(number, row));
        let pieces: Vec<VReg> = self.vectors(input, Representation::Sent).iter().map(|vregs| vregs[0]).collect();
        let places = self.target.group.chips();
        for (tile, &piece) in pieces.iter().enumerate() {
            for place in 0..places {
                let at = (tile * places + place, pieces.len() * places);
                let vreg = if place == 0 { piece } else { self.exchange(piece, 2, place, at) };
                let mut builder = self.builder();
                let half = builder.input(vreg);
                let def = Def::Op(Op::Convert(Format::F16, Format::F32), vec![half]);
                self.emit(&mut builder, output, place * pieces.len() + tile, def);
                self.chain_task("a gathered piece", builder, at.0, at.1);
            }
        }
    }
}

/// The sum of as many terms as a power of two, by place: neighbours first.
fn pairwise(builder: &mut ChainBuilder, mut terms: Vec<Feed>) -> Def {
    while terms.len() > 2 {
        terms = terms.chunks(2).map(|pair| builder.op(Op::Add, pair)).collect();
    }
    Def::Op(Op::Add, terms)
}
