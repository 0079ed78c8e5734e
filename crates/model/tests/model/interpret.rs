//! A direct evaluation of graphs in float64, node by node: what the operations say, with nothing shared with the
//! compiler.

use std::collections::BTreeMap;

use lpu_model::{Activation, Checkpoint, Graph, Op, WeightId};

/// Evaluates parts of a model; the caches are kept by layer.
pub(crate) struct Evaluation<'a> {
    checkpoint: &'a Checkpoint,
    /// Decides about rotary frequencies that depend on a length; at first beyond that of the first training in
    /// `longrope`.
    context: usize,
    keys: BTreeMap<usize, Vec<Vec<f64>>>,
    values: BTreeMap<usize, Vec<Vec<f64>>>,
}

impl<'a> Evaluation<'a> {
    pub(crate) fn new(checkpoint: &'a Checkpoint) -> Self {
        Evaluation { checkpoint, context: 48, keys: BTreeMap::new(), values: BTreeMap::new() }
    }

    fn tensor(&self, id: WeightId) -> Vec<f64> {
        let values = self.checkpoint.weights().vector_f32(id);
        values.into_iter().map(f64::from).collect()
    }

    /// Runs one graph; values go in and out by name.
    pub(crate) fn run(&mut self, graph: &Graph, position: u32, named: &mut BTreeMap<String, Vec<f64>>) {
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

    /// `weight x + bias`, with the rows of a matrix from `first` on.
    fn product(&self, weight: WeightId, first: usize, rows: usize, x: &[f64]) -> Vec<f64> {
        let mut row = vec![0.0f32; x.len()];
        let mut sum = |number: usize| -> f64 {
            self.checkpoint.weights().row_f32(weight, first + number, &mut row);
            row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum()
        };
        (0..rows).map(&mut sum).collect()
    }

    fn node(&mut self, graph: &Graph, op: &Op, inputs: &[&[f64]], position: u32) -> Vec<f64> {
        let x = inputs[0];
        match *op {
            Op::RmsNorm { weight, eps } => normed(x, &self.tensor(weight), eps),
            Op::LayerNorm { weight, bias, eps } => {
                let mean = x.iter().sum::<f64>() / x.len() as f64;
                let centred: Vec<f64> = x.iter().map(|x| x - mean).collect();
                let bias = bias.map_or(vec![0.0; x.len()], |bias| self.tensor(bias));
                normed(&centred, &self.tensor(weight), eps).iter().zip(bias).map(|(x, b)| x + b).collect()
            }
            Op::HeadNorm { weight, heads, head_dim, eps } => {
                assert_eq!(x.len(), heads * head_dim);
                let weight = self.tensor(weight);
                x.chunks(head_dim).flat_map(|head| normed(head, &weight, eps)).collect()
            }
            Op::Linear { weight, bias } => {
                let rows = self.checkpoint.weights().shape(weight)[0];
                let bias = bias.map_or(vec![0.0; rows], |bias| self.tensor(bias));
                self.product(weight, 0, rows, x).iter().zip(bias).map(|(y, b)| y + b).collect()
            }
            Op::Rotary { heads, head_dim, rotary_dim, table } => {
                let (cos, sin) = self.checkpoint.config.rotary_row(table, position, self.context);
                let half = rotary_dim / 2;
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
            Op::Attention { cache, heads, kv_heads, head_dim, scale, mask, softcap } => {
                let layer = graph.cache(cache).layer;
                let keys = self.keys.entry(layer).or_default();
                keys.push(inputs[1].to_vec());
                let values = self.values.entry(layer).or_default();
                values.push(inputs[2].to_vec());
                let first = mask.window().map_or(0, |window| keys.len().saturating_sub(window));
                let mut out = vec![0.0; heads * head_dim];
                for head in 0..heads {
                    let shared = head / (heads / kv_heads) * head_dim;
                    let score = |key: &Vec<f64>| -> f64 {
                        let pairs = (0..head_dim).map(|i| x[head * head_dim + i] * key[shared + i]);
                        let score = pairs.sum::<f64>() * f64::from(scale);
                        softcap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh()).exp()
                    };
                    let scores: Vec<f64> = keys[first..].iter().map(score).collect();
                    let total: f64 = scores.iter().sum();
                    for (score, value) in scores.iter().zip(&values[first..]) {
                        for i in 0..head_dim {
                            out[head * head_dim + i] += score / total * value[shared + i];
                        }
                    }
                }
                out
            }
            Op::Add => x.iter().zip(inputs[1]).map(|(a, b)| a + b).collect(),
            Op::Scale { factor } => x.iter().map(|x| x * f64::from(factor)).collect(),
            Op::SoftCap { cap } => x.iter().map(|x| f64::from(cap) * (x / f64::from(cap)).tanh()).collect(),
            Op::Activate { activation } => x.iter().map(|x| active(activation, *x)).collect(),
            Op::Gated { activation } => {
                x.iter().zip(inputs[1]).map(|(gate, up)| active(activation, *gate) * up).collect()
            }
            Op::Route { active, normalise } => {
                let mut order: Vec<usize> = (0..x.len()).collect();
                order.sort_by(|&a, &b| x[b].total_cmp(&x[a]).then(a.cmp(&b)));
                let chosen = &order[..active];
                let among: Vec<usize> = if normalise { chosen.to_vec() } else { order.clone() };
                let total: f64 = among.iter().map(|&e| (x[e] - x[order[0]]).exp()).sum();
                let mut shares = vec![0.0; x.len()];
                chosen.iter().for_each(|&e| shares[e] = (x[e] - x[order[0]]).exp() / total);
                shares
            }
            Op::ExpertLinear { weight, choice } => {
                let rows = self.checkpoint.weights().shape(weight)[1];
                self.product(weight, chosen(inputs[1], choice) * rows, rows, x)
            }
            Op::ExpertScale { choice } => x.iter().map(|x| x * inputs[1][chosen(inputs[1], choice)]).collect(),
            ref other => panic!("{other:?} is not evaluated here"),
        }
    }

    /// Feeds tokens to the parts of a model, run in order; the logits of each.
    pub(crate) fn logits(&mut self, parts: &[Graph], tokens: &[u32]) -> Vec<Vec<f64>> {
        let row = |tokens: Vec<f32>| tokens.into_iter().map(f64::from).collect::<Vec<f64>>();
        let mut rows = Vec::new();
        for (position, token) in tokens.iter().enumerate() {
            let mut embedding = vec![0.0f32; self.checkpoint.config.hidden];
            self.checkpoint.embedding_row(*token, &mut embedding).unwrap();
            let mut named = BTreeMap::from([("embedding".to_owned(), row(embedding.clone()))]);
            if self.checkpoint.position_row(position as u32, &mut embedding).unwrap() {
                named.insert("position".to_owned(), row(embedding));
            }
            for part in parts {
                self.run(part, position as u32, &mut named);
            }
            rows.push(named["head.logits"].clone());
        }
        rows
    }
}

/// The expert of a choice.
fn chosen(shares: &[f64], choice: usize) -> usize {
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by(|&a, &b| shares[b].total_cmp(&shares[a]).then(a.cmp(&b)));
    order[choice]
}

fn normed(x: &[f64], weight: &[f64], eps: f32) -> Vec<f64> {
    let mean = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
    let scale = 1.0 / (mean + f64::from(eps)).sqrt();
    x.iter().zip(weight).map(|(x, w)| x * scale * w).collect()
}

fn active(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Gelu => x * (1.0 + erf(x / 2f64.sqrt())) / 2.0,
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            x * (1.0 + inner.tanh()) / 2.0
        }
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        other => panic!("{other} is not evaluated here"),
    }
}

/// The error function, by a series of positive terms.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut n) = (x, x, 1.0);
    while term.abs() > 1e-17 * sum.abs() {
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
        n += 1.0;
    }
    2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() * sum
}
