//! When the operations of a chain dispatch: a function of its graph and a [`Pace`].
//!
//! Method: each node in order of the graph at the first cycle in which its operands are there and in which it fetches
//! and stores alone.
//!
//! Not claimed: that a chain has a start at which its reservations hold; `attempt` finds out.

use std::collections::{BTreeMap, BTreeSet};

use lpu_isa::{DelayClass, Hemisphere};

use super::{Chain, Feed, Kind, Node, Sink};

/// How a chain takes its time.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    /// First cycle in which each input can be at the VXM; later inputs have none.
    pub(crate) offsets: Vec<u64>,
    /// Cycles between operations that take operands from memory, and between results that leave for one side.
    pub(crate) spacing: u64,
    /// Whether ALUs are taken in order of time rather than node by node: so all of them can be, but neighbours use
    /// other ones.
    pub(crate) in_time: bool,
}

impl Default for Pace {
    /// As fast as the graph allows.
    fn default() -> Self {
        Self { offsets: Vec::new(), spacing: 1, in_time: false }
    }
}

/// Cycles relative to the chain's start, by node.
#[derive(Clone, Debug, Default)]
pub(super) struct Timing {
    /// Dispatch.
    pub(super) times: Vec<u64>,
    /// Cycle in which the result is at the VXM: in the latch, or passing on a stream.
    pub(super) done: Vec<u64>,
    /// Last use of the latch.
    pub(super) last: Vec<u64>,
    /// Cycles in which an operand arrives from memory; one operation a cycle takes such operands.
    fetches: BTreeSet<u64>,
    /// Cycles in which a result leaves for the memory of a side, one a cycle and side.
    stores: BTreeSet<(u64, Hemisphere)>,
    /// Whether an operation comes too late for what passes on a stream, so that the chain has no start.
    pub(super) missed: bool,
}

impl Timing {
    /// The times of the nodes so far, none of which moves when nodes are added.
    pub(super) fn of(chain: &Chain, pace: &Pace) -> Self {
        let mut timing = Self::default();
        timing.extend(chain, pace);
        timing
    }

    /// Adds the times of the nodes that were added to the chain.
    pub(super) fn extend(&mut self, chain: &Chain, pace: &Pace) {
        for kind in &chain.nodes[self.times.len()..] {
            let (time, done) = match kind {
                Kind::Alu { .. } => self.alu(chain, pace, kind),
                Kind::Shift { of, across, .. } => {
                    let time = self.done[*of] + chain.machine.to_switch;
                    let delay = chain.machine.delays[if *across { 3 } else { 2 }];
                    (time, time + delay + chain.machine.to_switch)
                }
            };
            self.times.push(time);
            self.done.push(done);
            self.last.push(done);
        }
    }

    /// Dispatch and end of an ALU operation, with its accesses of memory and its uses of latches noted.
    fn alu(&mut self, chain: &Chain, pace: &Pace, kind: &Kind) -> (u64, u64) {
        let Kind::Alu { op, sources, after, sink } = kind else { unreachable!("only ALU operations are given") };
        let delay = chain.machine.delays[usize::from(op.class() == DelayClass::VxmSpecial)];
        let mut time = after.map_or(0, |(node, cycles)| self.times[node] + cycles);
        let mut fetches = false;
        for source in sources {
            time = time.max(match *source {
                Feed::Node(node) => self.done[node],
                Feed::Value(index) => {
                    fetches = true;
                    pace.offsets.get(index).copied().unwrap_or(0)
                }
                Feed::Immediate(_) | Feed::Arrival(_) => 0,
            });
        }
        let stores = if let Sink::Store(_, side) = *sink { Some(side) } else { None };
        let near = |time: u64| time.saturating_sub(pace.spacing - 1)..time + pace.spacing;
        let fetched = |time: u64| fetches && self.fetches.range(near(time)).next().is_some();
        let stored =
            |time: u64| stores.is_some_and(|side| near(time + delay).any(|done| self.stores.contains(&(done, side))));
        while fetched(time) || stored(time) {
            time += 1;
        }
        if fetches {
            self.fetches.insert(time);
        }
        self.stores.extend(stores.map(|side| (time + delay, side)));
        for source in sources {
            match *source {
                Feed::Node(node) => match chain.nodes[node] {
                    Kind::Alu { .. } => self.last[node] = self.last[node].max(time),
                    Kind::Shift { .. } => self.missed |= self.done[node] != time,
                },
                Feed::Arrival(_) => self.missed |= time != 0,
                Feed::Value(_) | Feed::Immediate(_) => {}
            }
        }
        (time, time + delay)
    }

    /// The most latches that hold something in one cycle.
    pub(super) fn pressure(&self, chain: &Chain) -> usize {
        let mut changes: BTreeMap<u64, isize> = BTreeMap::new();
        for ((kind, &done), &last) in chain.nodes.iter().zip(&self.done).zip(&self.last) {
            if let Kind::Alu { .. } = kind {
                *changes.entry(done).or_default() += 1;
                *changes.entry(last + 1).or_default() -= 1;
            }
        }
        let held = changes.into_values().scan(0isize, |held, change| {
            *held += change;
            Some(*held)
        });
        held.max().unwrap_or(0).unsigned_abs()
    }
}

/// A chain with the times of its operations.
#[derive(Clone, Debug)]
pub(crate) struct Timed<'a> {
    pub(super) chain: &'a Chain,
    pub(super) timing: Timing,
    /// The order in which operations take their ALUs.
    pub(super) order: Vec<Node>,
}

impl Chain {
    /// The chain with its times.
    pub(crate) fn timed(&self, pace: &Pace) -> Timed<'_> {
        let timing = Timing::of(self, pace);
        let mut order: Vec<Node> = (0..self.nodes.len()).collect();
        if pace.in_time {
            order.sort_by_key(|&node| timing.times[node]);
        }
        Timed { chain: self, timing, order }
    }
}

impl Timed<'_> {
    /// Cycles from the start to the first use of an input.
    pub(crate) fn first_use(&self, input: usize) -> u64 {
        let uses = self.chain.nodes.iter().zip(&self.timing.times).filter(|(kind, _)| match kind {
            Kind::Alu { sources, .. } => sources.contains(&Feed::Value(input)),
            Kind::Shift { .. } => false,
        });
        uses.map(|(_, &time)| time).min().unwrap_or(0)
    }
}
