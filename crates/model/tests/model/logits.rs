//! The graph means what the `transformers` package computes: a direct evaluation of its nodes in
//! float64 gives the same logits, whole and cut, whatever type the weights are stored in.

use std::collections::BTreeMap;

use crate::support::tiny;
use lpu_model::{Checkpoint, Dtype, Graph, Op, WeightId};

/// Tokens of `reference.py`.
const TOKENS: [u32; 5] = [3, 7, 1, 10, 0];

/// Printed by `reference.py`: logits after the first and after the last token.
#[rustfmt::skip]
const EXPECTED: [[f64; 11]; 2] = [
    [0.229283, -0.298240, 0.324223, -1.145307, -1.037078, -0.061861, -0.283975, 1.235551, 0.238134, 0.301466, -0.317066],
    [0.543250, 0.073331, -0.189798, -0.433393, -0.133484, 0.776628, -0.106631, 0.784434, -0.492758, 0.524514, -0.256186],
];

/// Evaluates parts of a model; the caches are kept by layer.
struct Evaluation<'a> {
    checkpoint: &'a Checkpoint,
    keys: BTreeMap<usize, Vec<Vec<f64>>>,
    values: BTreeMap<usize, Vec<Vec<f64>>>,
}

impl<'a> Evaluation<'a> {
    fn new(checkpoint: &'a Checkpoint) -> Self {
        Evaluation { checkpoint, keys: BTreeMap::new(), values: BTreeMap::new() }
    }

    fn tensor(&self, id: WeightId) -> Vec<f64> {
        let values = self.checkpoint.weights().vector_f32(id);
        values.into_iter().map(f64::from).collect()
    }

    /// Runs one graph; values go in and out by name.
    fn run(&mut self, graph: &Graph, position: u32, named: &mut BTreeMap<String, Vec<f64>>) {
        let mut values: Vec<Vec<f64>> = vec![Vec::new(); graph.values.len()];
        for id in &graph.inputs {
            values[id.index()] = named[&graph.value(*id).name].clone();
        }
        for node in &graph.nodes {
            let inputs: Vec<&[f64]> = node.inputs.iter().map(|id| values[id.index()].as_slice()).collect();
            let output = self.node(graph, &node.op, &inputs, position);
            assert_eq!(output.len(), graph.value(node.output).width, "{}", node.name);
            values[node.output.index()] = output;
        }
        for id in &graph.outputs {
            named.insert(graph.value(*id).name.clone(), values[id.index()].clone());
        }
    }

    fn node(&mut self, graph: &Graph, op: &Op, inputs: &[&[f64]], position: u32) -> Vec<f64> {
        let x = inputs[0];
        match *op {
            Op::RmsNorm { weight, eps } => {
                let mean = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
                let scale = 1.0 / (mean + f64::from(eps)).sqrt();
                let weight = self.tensor(weight);
                x.iter().zip(weight).map(|(x, w)| x * scale * w).collect()
            }
            Op::Linear { weight, bias } => {
                let rows = self.checkpoint.weights().shape(weight)[0];
                let bias = bias.map_or(vec![0.0; rows], |bias| self.tensor(bias));
                let mut row = vec![0.0f32; x.len()];
                let mut sum = |number: usize| -> f64 {
                    self.checkpoint.weights().row_f32(weight, number, &mut row);
                    row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum()
                };
                (0..rows).map(|number| sum(number) + bias[number]).collect()
            }
            Op::Rotary { heads, head_dim } => {
                let (cos, sin) = self.checkpoint.config.rotary_row(position);
                let half = head_dim / 2;
                let mut out = x.to_vec();
                for head in 0..heads {
                    for i in 0..half {
                        let (cos, sin) = (f64::from(cos[i]), f64::from(sin[i]));
                        let (low, high) = (head * head_dim + i, head * head_dim + i + half);
                        out[low] = x[low] * cos - x[high] * sin;
                        out[high] = x[high] * cos + x[low] * sin;
                    }
                }
                out
            }
            Op::Attention { cache, heads, kv_heads, head_dim, scale } => {
                let layer = graph.cache(cache).layer;
                let keys = self.keys.entry(layer).or_default();
                keys.push(inputs[1].to_vec());
                let values = self.values.entry(layer).or_default();
                values.push(inputs[2].to_vec());
                let mut out = vec![0.0; heads * head_dim];
                for head in 0..heads {
                    let shared = head / (heads / kv_heads) * head_dim;
                    let score = |key: &Vec<f64>| -> f64 {
                        let pairs = (0..head_dim).map(|i| x[head * head_dim + i] * key[shared + i]);
                        (pairs.sum::<f64>() * f64::from(scale)).exp()
                    };
                    let scores: Vec<f64> = keys.iter().map(score).collect();
                    let total: f64 = scores.iter().sum();
                    for (score, value) in scores.iter().zip(values.iter()) {
                        for i in 0..head_dim {
                            out[head * head_dim + i] += score / total * value[shared + i];
                        }
                    }
                }
                out
            }
            Op::Add => x.iter().zip(inputs[1]).map(|(a, b)| a + b).collect(),
            Op::GatedSilu => {
                let silu = |gate: f64| gate / (1.0 + (-gate).exp());
                let pairs = x.iter().zip(inputs[1]);
                pairs.map(|(gate, up)| silu(*gate) * up).collect()
            }
            ref other => panic!("{other:?} is not evaluated here"),
        }
    }
}

/// Logits after the first and after the last token, from the parts run in order.
fn logits(checkpoint: &Checkpoint, parts: &[Graph]) -> [Vec<f64>; 2] {
    let mut evaluation = Evaluation::new(checkpoint);
    let mut rows = Vec::new();
    for (position, token) in TOKENS.into_iter().enumerate() {
        let mut row = vec![0.0f32; checkpoint.config.hidden];
        checkpoint.embedding_row(token, &mut row).unwrap();
        let row: Vec<f64> = row.into_iter().map(f64::from).collect();
        let mut named = BTreeMap::from([("embedding".to_owned(), row)]);
        for part in parts {
            evaluation.run(part, position as u32, &mut named);
        }
        rows.push(named["head.logits"].clone());
    }
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
