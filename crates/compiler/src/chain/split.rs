//! Chains in two parts: a chain that collides with itself at every start is cut, and values that cross the cut are
//! stored and read again.
//!
//! Invariant: what passes on a stream is taken in the cycle in which it passes, so no cut separates a shift from what
//! it shifts or from its use.

use lpu_isa::Hemisphere;

use super::timing::{Pace, Timing};
use super::{Chain, Feed, Kind, Node, Sink};

/// Where the second part of a split chain takes an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carried {
    /// Input `index` of the whole chain.
    Input(usize),
    /// Output `index` of the first part.
    Output(usize),
}

/// A chain in two parts, each placed by itself.
#[derive(Clone, Debug)]
pub(crate) struct Split {
    /// Takes the inputs of the whole.
    pub(crate) first: Chain,
    pub(crate) second: Chain,
    /// Outputs of the first part that the second reads, in order of their nodes.
    carried: Vec<usize>,
    /// By part: for each of its outputs, which output of the whole it is; nothing for one that is only carried over.
    pub(crate) outputs: [Vec<Option<usize>>; 2],
    /// Inputs of the second part.
    pub(crate) inputs: Vec<Carried>,
}

impl Chain {
    /// Cuts the chain in two, near its middle: the first part also stores what the second takes from it, and the second
    /// reads that from memory. Nothing if there is no such cut: a value on its way through a switch unit has to be
    /// taken as it passes.
    pub(crate) fn split(&self) -> Option<Split> {
        let count = self.nodes.len();
        let mut cuts: Vec<usize> = (1..count).collect();
        cuts.sort_by_key(|cut| cut.abs_diff(count / 2));
        cuts.into_iter().find_map(|cut| self.split_at(cut))
    }

    fn split_at(&self, cut: usize) -> Option<Split> {
        let crossing = self.crossing(cut)?;
        let empty = || Self { nodes: Vec::new(), machine: self.machine };
        let mut split = Split {
            first: empty(),
            second: empty(),
            carried: Vec::new(),
            outputs: [Vec::new(), Vec::new()],
            inputs: Vec::new(),
        };
        for number in 0..cut {
            split.take_first(self, number, crossing.contains(&number))?;
        }
        for kind in &self.nodes[cut..] {
            split.take_second(kind.clone(), cut, &crossing);
        }
        let pace = Pace::default();
        let missed = [&split.first, &split.second].into_iter().any(|part| Timing::of(part, &pace).missed);
        (!missed).then_some(split)
    }

    /// Whether a source passes on a stream.
    fn passes(&self, source: &Feed) -> bool {
        matches!(*source, Feed::Node(node) if matches!(self.nodes[node], Kind::Shift { .. }))
    }

    /// The nodes before a cut that nodes after it take operands from, ascending; nothing where what crosses the cut
    /// cannot be stored.
    fn crossing(&self, cut: usize) -> Option<Vec<Node>> {
        let mut crossing: Vec<Node> = Vec::new();
        for kind in &self.nodes[cut..] {
            match kind {
                Kind::Shift { of, .. } if *of < cut => return None,
                Kind::Shift { .. } => {}
                Kind::Alu { sources, after, .. } => {
                    if after.is_some_and(|(node, _)| node < cut) {
                        return None;
                    }
                    let passing = sources.iter().any(|source| self.passes(source));
                    for source in sources {
                        match *source {
                            Feed::Node(node) if node < cut && passing => return None,
                            Feed::Node(node) if node < cut && !crossing.contains(&node) => crossing.push(node),
                            Feed::Arrival(_) => return None,
                            _ => {}
                        }
                    }
                }
            }
        }
        crossing.sort_unstable();
        Some(crossing)
    }

    /// Whether a node's result can be stored as a carried vector. What is taken as it passes cannot wait for a port of
    /// memory.
    fn can_be_carried(&self, node: Node) -> bool {
        match &self.nodes[node] {
            Kind::Alu { op, sources, sink: Sink::None, .. } => {
                op.result_bytes() == 4 && !sources.iter().any(|source| self.passes(source))
            }
            Kind::Alu { op, sink: Sink::Store(..), .. } => op.result_bytes() == 4,
            _ => false,
        }
    }
}

impl Split {
    /// Adds node `number` of the whole to the first part, stored if it is carried; nothing where it cannot be.
    fn take_first(&mut self, whole: &Chain, number: Node, is_carried: bool) -> Option<()> {
        if is_carried && !whole.can_be_carried(number) {
            return None;
        }
        let mut kind = whole.nodes[number].clone();
        if let Kind::Alu { sink, .. } = &mut kind {
            let next = self.outputs[0].len();
            match sink {
                Sink::Store(output, _) => {
                    self.outputs[0].push(Some(*output));
                    *output = next;
                }
                Sink::None if is_carried => {
                    self.outputs[0].push(None);
                    *sink = Sink::Store(next, Hemisphere::BOTH[next % 2]);
                }
                _ => {}
            }
            if is_carried {
                self.carried.push(next);
            }
        }
        self.first.push(kind);
        Some(())
    }

    /// Adds a node of the whole, after the cut, to the second part.
    fn take_second(&mut self, mut kind: Kind, cut: Node, crossing: &[Node]) {
        match &mut kind {
            Kind::Shift { of, .. } => *of -= cut,
            Kind::Alu { sources, sink, after, .. } => {
                if let Some((node, _)) = after {
                    *node -= cut;
                }
                if let Sink::Store(output, _) = sink {
                    self.outputs[1].push(Some(*output));
                    *output = self.outputs[1].len() - 1;
                }
                for source in sources {
                    let from = match *source {
                        Feed::Node(node) if node >= cut => {
                            *source = Feed::Node(node - cut);
                            continue;
                        }
                        Feed::Node(node) => {
                            let found = crossing.binary_search(&node).expect("it crosses the cut");
                            Carried::Output(self.carried[found])
                        }
                        Feed::Value(index) => Carried::Input(index),
                        _ => continue,
                    };
                    *source = Feed::Value(self.input(from));
                }
            }
        }
        self.second.push(kind);
    }

    /// The number of an input of the second part.
    fn input(&mut self, from: Carried) -> usize {
        self.inputs.iter().position(|&found| found == from).unwrap_or_else(|| {
            self.inputs.push(from);
            self.inputs.len() - 1
        })
    }
}
