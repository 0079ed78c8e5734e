//! What the weights of a checkpoint take on chips, from their shapes alone.

use std::collections::BTreeMap;

use lpu_model::{Checkpoint, Graph, Op, WeightId};

use crate::target::Precision;

/// Bytes of a float32 number.
const WHOLE: usize = 4;

/// Bytes that chips hold of a checkpoint's weights in a number format, without what fills up words and vectors:
/// matrices in one or two bytes an element, and with int8 a float32 scale a row, which experts share; everything else
/// in float32. Tables whose rows the host supplies are not counted, unless the head is the same tensor.
#[must_use]
pub fn weight_bytes(checkpoint: &Checkpoint, precision: Precision) -> u64 {
    let (graph, weights) = (checkpoint.graph(), checkpoint.weights());
    let matrices = matrices(&graph, precision);
    let of_host = [Some(checkpoint.embedding()), checkpoint.positions()];
    let bytes = |id: WeightId| {
        let shape = weights.shape(id);
        let elements: usize = shape.iter().product();
        match matrices.get(&id) {
            Some(Precision::F16) => 2 * elements,
            Some(Precision::W8A8 | Precision::W8A16) => elements + WHOLE * shape[shape.len() - 2],
            None if of_host.contains(&Some(id)) => 0,
            None => WHOLE * elements,
        }
    };
    weights.ids().map(|id| bytes(id) as u64).sum()
}

/// The format in which each matrix is stored.
fn matrices(graph: &Graph, precision: Precision) -> BTreeMap<WeightId, Precision> {
    let of_node = |(number, node): (usize, &lpu_model::Node)| match node.op {
        Op::Linear { weight, .. } | Op::ExpertLinear { weight, choice: 0 } => {
            Some((weight, stored(graph, precision, number)))
        }
        _ => None,
    };
    graph.nodes.iter().enumerate().filter_map(of_node).collect()
}

/// The format that the matrix of a node is stored in: with 16-bit activations, what decides between experts is not
/// rounded to int8.
pub(crate) fn stored(graph: &Graph, precision: Precision, number: usize) -> Precision {
    let output = graph.nodes[number].output;
    let routes = || graph.nodes.iter().any(|node| matches!(node.op, Op::Route { .. }) && node.inputs[0] == output);
    if precision == Precision::W8A16 && routes() { Precision::F16 } else { precision }
}

#[cfg(test)]
mod tests {
    use lpu_model::{Checkpoint, KnownShape};

    use super::weight_bytes;
    use crate::target::Precision;

    fn bytes(checkpoint: &Checkpoint) -> [u64; 3] {
        [Precision::W8A8, Precision::W8A16, Precision::F16].map(|precision| weight_bytes(checkpoint, precision))
    }

    #[test]
    fn weights_take_one_or_two_bytes_an_element_and_scales_and_norms_four() {
        let known = |name: &str| KnownShape::named(name).and_then(KnownShape::checkpoint).expect("it is known");
        // A layer of Llama: four square matrices, three of the feed-forward; the head; a norm before each.
        let matrices: u64 = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008) + 32000 * 4096;
        let rows: u64 = 32 * (4 * 4096 + 2 * 11008 + 4096) + 32000;
        let norms: u64 = 65 * 4096;
        let int8 = matrices + 4 * (rows + norms);
        assert_eq!(bytes(&known("llama-2-7b")), [int8, int8, 2 * matrices + 4 * norms]);
        // The head is the table, which the chip holds; learned positions are the host's.
        let [.., f16] = bytes(&known("gpt2"));
        let (matrices, vectors) = (12 * 12 * 768 * 768 + 50257 * 768, 12 * (9 + 4) * 768 + 2 * 768);
        assert_eq!(f16, 2 * matrices + 4 * vectors);
    }

    #[test]
    fn routers_stay_in_fp16_and_experts_share_scales() {
        let mixtral = KnownShape::named("mixtral-8x7b").and_then(KnownShape::checkpoint).expect("it is known");
        let [w8a8, w8a16, _] = bytes(&mixtral);
        let router = 8 * 4096;
        assert_eq!(w8a16, w8a8 + 32 * (2 * router - (router + 4 * 8)));
        let scales = 32 * (2 * 4096 + 2 * 1024 + 8 + 2 * 14336 + 4096) + 32000;
        let tables = 32000 * 4096;
        let norms = 65 * 4096;
        let parameters = mixtral.weights().parameters() as u64;
        assert_eq!(w8a8, parameters - tables - norms + 4 * (scales + norms));
    }
}
