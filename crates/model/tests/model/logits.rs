//! The graph means what the `transformers` package computes: a direct evaluation of its nodes in
//! float64 gives the same logits, whole and cut, whatever type the weights are stored in.

use crate::interpret::Evaluation;
use crate::support::tiny;
use lpu_model::{Checkpoint, Dtype, Graph};

/// Tokens of `reference.py`.
const TOKENS: [u32; 5] = [3, 7, 1, 10, 0];

/// Printed by `reference.py`: logits after the first and after the last token.
#[rustfmt::skip]
const EXPECTED: [[f64; 11]; 2] = [
    [0.229283, -0.298240, 0.324223, -1.145307, -1.037078, -0.061861, -0.283975, 1.235551, 0.238134, 0.301466,
        -0.317066],
    [0.543250, 0.073331, -0.189798, -0.433393, -0.133484, 0.776628, -0.106631, 0.784434, -0.492758, 0.524514,
        -0.256186],
];

/// Logits after the first and after the last token, from the parts run in order.
fn logits(checkpoint: &Checkpoint, parts: &[Graph]) -> [Vec<f64>; 2] {
    let rows = Evaluation::new(checkpoint).logits(parts, &TOKENS);
    [rows[0].clone(), rows[TOKENS.len() - 1].clone()]
}

#[test]
fn logits_are_those_of_the_reference() {
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        let checkpoint = tiny(dtype).open().unwrap();
        let found = logits(&checkpoint, &[checkpoint.graph()]);
        for (found, expected) in found.iter().zip(EXPECTED) {
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 2e-6, "{found} {expected} {dtype}");
            }
        }
    }
}

#[test]
fn a_cut_graph_computes_the_whole() {
    let checkpoint = tiny(Dtype::F32).open().unwrap();
    let graph = checkpoint.graph();
    let whole = logits(&checkpoint, std::slice::from_ref(&graph));
    let count = graph.blocks().len();
    let singles: Vec<Graph> = (0..count).map(|i| graph.cut(i..i + 1)).collect();
    assert_eq!(logits(&checkpoint, &singles), whole);
    for at in 0..=count {
        let halves = [graph.cut(0..at), graph.cut(at..count)];
        assert_eq!(logits(&checkpoint, &halves), whole, "cut at {at}");
    }
}
