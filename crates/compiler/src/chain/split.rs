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
        let passes =
            |source: &Feed| matches!(*source, Feed::Node(node) if matches!(self.nodes[node], Kind::Shift { .. }));
        let mut carried: Vec<Node> = Vec::new();
        for kind in &self.nodes[cut..] {
            match kind {
                Kind::Shift { of, .. } if *of < cut => return None,
                Kind::Shift { .. } => {}
                Kind::Alu { sources, after, .. } => {
                    if after.is_some_and(|(node, _)| node < cut) {
                        return None;
                    }
                    let passing = sources.iter().any(passes);
                    for source in sources {
                        match *source {
                            Feed::Node(node) if node < cut && passing => return None,
                            Feed::Node(node) if node < cut && !carried.contains(&node) => carried.push(node),
                            Feed::Arrival(_) => return None,
                            _ => {}
                        }
                    }
                }
            }
        }
        carried.sort_unstable();
        let empty = || Self { nodes: Vec::new(), machine: self.machine };
        let mut split = Split {
            first: empty(),
            second: empty(),
            carried: Vec::new(),
            outputs: [Vec::new(), Vec::new()],
            inputs: Vec::new(),
        };
        // What is taken as it passes cannot wait for a port of memory.
        let stored = |node: Node| match &self.nodes[node] {
            Kind::Alu { op, sources, sink: Sink::None, .. } => op.result_bytes() == 4 && !sources.iter().any(passes),
            Kind::Alu { op, sink: Sink::Store(..), .. } => op.result_bytes() == 4,
            _ => false,
        };
        for (number, kind) in self.nodes[..cut].iter().enumerate() {
            let mut kind = kind.clone();
            let is_carried = carried.contains(&number);
            if is_carried && !stored(number) {
                return None;
            }
            if let Kind::Alu { sink, .. } = &mut kind {
                match sink {
                    Sink::Store(output, _) => {
                        split.outputs[0].push(Some(*output));
                        *output = split.outputs[0].len() - 1;
                    }
                    Sink::None if is_carried => {
                        split.outputs[0].push(None);
                        let output = split.outputs[0].len() - 1;
                        *sink = Sink::Store(output, Hemisphere::BOTH[output % 2]);
                    }
                    _ => {}
                }
                if let (true, Sink::Store(output, _)) = (is_carried, *sink) {
                    split.carried.push(output);
                }
            }
            split.first.push(kind);
        }
        for kind in &self.nodes[cut..] {
            let mut kind = kind.clone();
            match &mut kind {
                Kind::Shift { of, .. } => *of -= cut,
                Kind::Alu { sources, sink, after, .. } => {
                    if let Some((node, _)) = after {
                        *node -= cut;
                    }
                    if let Sink::Store(output, _) = sink {
                        split.outputs[1].push(Some(*output));
                        *output = split.outputs[1].len() - 1;
                    }
                    for source in sources {
                        let from = match *source {
                            Feed::Node(node) if node >= cut => {
                                *source = Feed::Node(node - cut);
                                continue;
                            }
                            Feed::Node(node) => Carried::Output(
                                split.carried[carried.iter().position(|&found| found == node).expect("it is carried")],
                            ),
                            Feed::Value(index) => Carried::Input(index),
                            _ => continue,
                        };
                        let index = split.inputs.iter().position(|&found| found == from).unwrap_or_else(|| {
                            split.inputs.push(from);
                            split.inputs.len() - 1
                        });
                        *source = Feed::Value(index);
                    }
                }
            }
            split.second.push(kind);
        }
        let pace = Pace::default();
        let missed = [&split.first, &split.second].into_iter().any(|part| Timing::of(part, &pace).missed);
        (!missed).then_some(split)
    }
}
