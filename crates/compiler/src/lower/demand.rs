//! Which representations of each value its consumers ask for, and which operations are done where their last operand is
//! made.

use std::collections::{BTreeMap, BTreeSet};

use lpu_model::{Graph, NodeId, Op, ValueId};

/// A representation of a value. Representations with a node are made for that node alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Representation {
    /// fp32.
    Plain,
    /// As the input of matrices, in both hemispheres (fp16; int8 is made from the plain representation).
    Activation,
    /// Times the weights of a norm, as the input of matrices, whose results take the norm's factor.
    Normed(usize),
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
}

impl Demands {
    /// The demands of a graph; `late` says that results of matrices after a norm wait for its factor, so that nothing
    /// is fused into their finish.
    pub(super) fn new(graph: &Graph, late: bool) -> Self {
        let mut demands = Self {
            representations: BTreeMap::new(),
            fused: BTreeMap::new(),
            fused_nodes: BTreeSet::new(),
            deferred: BTreeSet::new(),
        };
        let producers = graph.producers();
        let mut uses: BTreeMap<ValueId, Vec<usize>> = BTreeMap::new();
        for (number, node) in graph.nodes.iter().enumerate() {
            for &input in &node.inputs {
                let uses = uses.entry(input).or_default();
                if uses.last() != Some(&number) {
                    uses.push(number);
                }
            }
        }
        let producer = |value: ValueId| producers[value.index()].map(NodeId::index);
        let consumers = |value: ValueId| uses.get(&value).map_or(&[][..], |uses| &uses[..]);
        let sole = |value: ValueId| consumers(value).len() == 1 && !graph.outputs.contains(&value);
        for (number, node) in graph.nodes.iter().enumerate() {
            let mut ask = |value: ValueId, representation: Representation| {
                demands.representations.entry(value).or_default().insert(representation);
            };
            let fusable = |value: ValueId| {
                sole(value) && producer(value).is_some_and(|made| ends_in_a_chain(&graph.nodes[made].op))
            };
            match node.op {
                Op::RmsNorm { .. } => {
                    let matrices =
                        |&reader: &usize| matches!(graph.nodes[reader].op, Op::Linear { .. } | Op::ExpertLinear { .. });
                    ask(node.inputs[0], Representation::Squares(number));
                    if !graph.outputs.contains(&node.output) && consumers(node.output).iter().all(matrices) {
                        ask(node.inputs[0], Representation::Normed(number));
                        demands.deferred.insert(number);
                    } else {
                        ask(node.inputs[0], Representation::Plain);
                    }
                }
                Op::LayerNorm { .. } | Op::HeadNorm { .. } => {
                    ask(node.inputs[0], Representation::Squares(number));
                    ask(node.inputs[0], Representation::Plain);
                }
                Op::ExpertScale { .. } | Op::Scale { .. } | Op::SoftCap { .. } | Op::Activate { .. } => {
                    let x = node.inputs[0];
                    if sole(x) {
                        demands.fused.insert(x, number);
                        demands.fused_nodes.insert(number);
                    } else {
                        ask(x, Representation::Plain);
                    }
                }
                Op::Linear { .. } | Op::ExpertLinear { .. } => {
                    if producer(node.inputs[0]).is_none_or(|made| !demands.deferred.contains(&made)) {
                        ask(node.inputs[0], Representation::Activation);
                    }
                }
                Op::Add => {
                    let [a, b] = [node.inputs[0], node.inputs[1]];
                    let last = if producer(a) > producer(b) { a } else { b };
                    let other = if last == a { b } else { a };
                    ask(other, Representation::Plain);
                    if a != b && fusable(last) {
                        demands.fused.insert(last, number);
                        demands.fused_nodes.insert(number);
                    } else {
                        ask(last, Representation::Plain);
                    }
                }
                Op::Gated { .. } => {
                    let [gate, up] = [node.inputs[0], node.inputs[1]];
                    let waits = |value: ValueId| {
                        let input = producer(value).map(|made| graph.nodes[made].inputs[0]);
                        late && input.and_then(producer).is_some_and(|made| demands.deferred.contains(&made))
                    };
                    if gate != up && fusable(up) && !waits(up) {
                        ask(gate, Representation::Gate(number));
                        demands.fused.insert(up, number);
                        demands.fused_nodes.insert(number);
                    } else {
                        ask(gate, Representation::Plain);
                        ask(up, Representation::Plain);
                    }
                }
                Op::Attention { .. } => {
                    ask(node.inputs[0], Representation::Queries(number));
                    ask(node.inputs[1], Representation::Keys(number));
                    ask(node.inputs[2], Representation::Values(number));
                }
                _ => node.inputs.iter().for_each(|&input| ask(input, Representation::Plain)),
            }
        }
        for &value in &graph.outputs {
            demands.representations.entry(value).or_default().insert(Representation::Plain);
        }
        demands
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
