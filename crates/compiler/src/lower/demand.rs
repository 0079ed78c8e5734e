//! Which representations of each value its consumers ask for, and which operations are done where their last operand is
//! made.

use std::collections::{BTreeMap, BTreeSet};

use lpu_model::{Graph, Node, NodeId, Op, ValueId};

use crate::target::Precision;

/// A representation of a value. Representations with a node are made for that node alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Representation {
    /// fp32.
    Plain,
    /// As the input of matrices, in both hemispheres (fp16; int8 is made from the plain representation).
    Activation,
    /// Times the weights of a norm, as the input of matrices, whose results take the norm's factor.
    Normed(usize),
    /// fp16, to be sent to the other chips of the group or to the next stage.
    Sent,
    /// The same times the weights of a norm, where its gathered pieces are to be rounded to int8.
    SentNormed(usize),
    /// Squared, for a norm.
    Squares(usize),
    /// Activated, for a gated product.
    Gate(usize),
    /// As queries of an attention: scaled, one vector a member, zero in the lanes of the others, fp16.
    Queries(usize),
    /// As key rows of an attention, fp16.
    Keys(usize),
    /// As value rows of an attention, fp16.
    Values(usize),
}

/// The demands of a graph.
pub(super) struct Demands {
    representations: BTreeMap<ValueId, BTreeSet<Representation>>,
    /// By value: the operation that is finished where the value is made.
    fused: BTreeMap<ValueId, usize>,
    fused_nodes: BTreeSet<usize>,
    /// Norms whose factor is left to the matrices that follow.
    deferred: BTreeSet<usize>,
}

/// Whether an operation makes each of its vectors at the end of a chain that can take one more operand.
fn ends_in_a_chain(op: &Op) -> bool {
    let matrices = matches!(op, Op::Linear { .. } | Op::ExpertLinear { .. });
    let norms = matches!(op, Op::RmsNorm { .. } | Op::LayerNorm { .. });
    matrices
        || norms
        || matches!(op, Op::Add | Op::ExpertScale { .. } | Op::Scale { .. } | Op::SoftCap { .. } | Op::Activate { .. })
        || matches!(op, Op::ReduceScatter)
}

/// The producer and the consumers of every value of a graph.
struct Uses<'a> {
    graph: &'a Graph,
    producers: Vec<Option<NodeId>>,
    /// Each consumer once, ascending.
    consumers: BTreeMap<ValueId, Vec<usize>>,
}

impl<'a> Uses<'a> {
    fn of(graph: &'a Graph) -> Self {
        let mut consumers: BTreeMap<ValueId, Vec<usize>> = BTreeMap::new();
        for (number, node) in graph.nodes.iter().enumerate() {
            for &input in &node.inputs {
                let consumers = consumers.entry(input).or_default();
                if consumers.last() != Some(&number) {
                    consumers.push(number);
                }
            }
        }
        Self { graph, producers: graph.producers(), consumers }
    }

    fn producer(&self, value: ValueId) -> Option<usize> {
        self.producers[value.index()].map(NodeId::index)
    }

    /// The producer of a value, or of what it was gathered of.
    fn source(&self, value: ValueId) -> Option<usize> {
        let producer = self.producer(value)?;
        let Node { op, inputs, .. } = &self.graph.nodes[producer];
        if *op == Op::AllGather { self.producer(inputs[0]) } else { Some(producer) }
    }

    fn consumers(&self, value: ValueId) -> &[usize] {
        self.consumers.get(&value).map_or(&[], |consumers| consumers)
    }

    fn is_output(&self, value: ValueId) -> bool {
        self.graph.outputs.contains(&value)
    }

    /// Whether one node alone reads a value, and the host does not.
    fn is_sole(&self, value: ValueId) -> bool {
        self.consumers(value).len() == 1 && !self.is_output(value)
    }

    /// Whether the only use of a value can be made where the value is made.
    fn is_fusable(&self, value: ValueId) -> bool {
        let ends = |number: usize| ends_in_a_chain(&self.graph.nodes[number].op);
        self.is_sole(value) && self.producer(value).is_some_and(ends)
    }
}

impl Demands {
    /// The demands of a graph.
    pub(super) fn new(graph: &Graph, precision: Precision) -> Self {
        // Results of matrices after a norm wait for its factor, so that nothing is fused into their epilogue.
        let late = precision != Precision::W8A8;
        let mut demands = Self {
            representations: BTreeMap::new(),
            fused: BTreeMap::new(),
            fused_nodes: BTreeSet::new(),
            deferred: BTreeSet::new(),
        };
        let uses = Uses::of(graph);
        for (number, node) in graph.nodes.iter().enumerate() {
            demands.of_node(&uses, number, node, late);
        }
        for &value in &graph.outputs {
            let is_rounded = precision.crosses_rounded(graph, value);
            demands.ask(value, if is_rounded { Representation::Sent } else { Representation::Plain });
        }
        demands
    }

    fn ask(&mut self, value: ValueId, representation: Representation) {
        self.representations.entry(value).or_default().insert(representation);
    }

    fn fuse(&mut self, value: ValueId, number: usize) {
        self.fused.insert(value, number);
        self.fused_nodes.insert(number);
    }

    /// What a node asks of its operands.
    fn of_node(&mut self, uses: &Uses<'_>, number: usize, node: &Node, late: bool) {
        let is_matrix =
            |&number: &usize| matches!(uses.graph.nodes[number].op, Op::Linear { .. } | Op::ExpertLinear { .. });
        match node.op {
            Op::RmsNorm { .. } => {
                self.ask(node.inputs[0], Representation::Squares(number));
                let feeds_matrices =
                    |value: ValueId| !uses.is_output(value) && uses.consumers(value).iter().all(is_matrix);
                let gathered = |&gather: &usize| {
                    let Node { op, output, .. } = &uses.graph.nodes[gather];
                    *op == Op::AllGather && feeds_matrices(*output)
                };
                if feeds_matrices(node.output) {
                    self.ask(node.inputs[0], Representation::Normed(number));
                    self.deferred.insert(number);
                } else if uses.is_sole(node.output) && uses.consumers(node.output).iter().all(gathered) {
                    let sent = if late { Representation::Normed(number) } else { Representation::SentNormed(number) };
                    self.ask(node.inputs[0], sent);
                    self.deferred.insert(number);
                } else {
                    self.ask(node.inputs[0], Representation::Plain);
                }
            }
            Op::LayerNorm { .. } | Op::HeadNorm { .. } => {
                self.ask(node.inputs[0], Representation::Squares(number));
                self.ask(node.inputs[0], Representation::Plain);
            }
            Op::ExpertScale { .. } | Op::Scale { .. } | Op::SoftCap { .. } | Op::Activate { .. } => {
                let x = node.inputs[0];
                if uses.is_sole(x) { self.fuse(x, number) } else { self.ask(x, Representation::Plain) }
            }
            Op::Linear { .. } | Op::ExpertLinear { .. } => {
                // What is gathered of a norm is a matrix's input as it arrives, but for its rounding to int8.
                let input = node.inputs[0];
                let norm = if late { uses.source(input) } else { uses.producer(input) };
                if norm.is_none_or(|norm| !self.is_deferred(norm)) {
                    self.ask(node.inputs[0], Representation::Activation);
                }
            }
            Op::Add => {
                let [a, b] = [node.inputs[0], node.inputs[1]];
                let last = if uses.producer(a) > uses.producer(b) { a } else { b };
                let other = if last == a { b } else { a };
                self.ask(other, Representation::Plain);
                if a != b && uses.is_fusable(last) {
                    self.fuse(last, number)
                } else {
                    self.ask(last, Representation::Plain)
                }
            }
            Op::Gated { .. } => {
                let [gate, up] = [node.inputs[0], node.inputs[1]];
                let input = uses.producer(up).map(|producer| uses.graph.nodes[producer].inputs[0]);
                let norm = input.and_then(|input| uses.source(input));
                let waits = late && norm.is_some_and(|norm| self.is_deferred(norm));
                if gate != up && uses.is_fusable(up) && !waits {
                    self.ask(gate, Representation::Gate(number));
                    self.fuse(up, number);
                } else {
                    self.ask(gate, Representation::Plain);
                    self.ask(up, Representation::Plain);
                }
            }
            Op::Attention { .. } => {
                self.ask(node.inputs[0], Representation::Queries(number));
                self.ask(node.inputs[1], Representation::Keys(number));
                self.ask(node.inputs[2], Representation::Values(number));
            }
            Op::AllGather => {
                if uses.producer(node.inputs[0]).is_none_or(|producer| !self.is_deferred(producer)) {
                    self.ask(node.inputs[0], Representation::Sent);
                }
            }
            _ => node.inputs.iter().for_each(|&input| self.ask(input, Representation::Plain)),
        }
    }

    /// The representations asked of a value.
    pub(super) fn of(&self, value: ValueId) -> BTreeSet<Representation> {
        self.representations.get(&value).cloned().unwrap_or_default()
    }

    /// The operation that is finished where the value is made.
    pub(super) fn fused(&self, value: ValueId) -> Option<usize> {
        self.fused.get(&value).copied()
    }

    /// Whether the operation is finished where one of its operands is made.
    pub(super) fn is_fused(&self, node: usize) -> bool {
        self.fused_nodes.contains(&node)
    }

    /// Whether the norm's factor is left to the matrices that follow.
    pub(super) fn is_deferred(&self, norm: usize) -> bool {
        self.deferred.contains(&norm)
    }
}
