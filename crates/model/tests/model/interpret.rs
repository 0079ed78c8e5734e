//! A direct evaluation of graphs in float64, node by node: what the operations say, with nothing shared with the
//! compiler. A graph that is cut over a group is evaluated on all its chips at once; pieces are gathered as they are,
//! since rounding them is the compiler's.

use std::collections::BTreeMap;

use lpu_model::{Activation, Boundary, Checkpoint, Graph, Op, Shard, Value, WeightId};

/// Elements of a value, by chip of the group. Those that are empty are not numbers, so that a result which depends on
/// one is none.
type Chips = Vec<Vec<f64>>;

/// Evaluates parts of a model, on the chips of a group at once; the caches are kept by layer.
pub(crate) struct Evaluation<'a> {
    checkpoint: &'a Checkpoint,
    /// Decides about rotary frequencies that depend on a length; at first beyond that of the first training in
    /// `longrope`.
    context: usize,
    chips: usize,
    /// By layer and chip: the keys and values of each position.
    keys: BTreeMap<(usize, usize), Vec<Vec<f64>>>,
    values: BTreeMap<(usize, usize), Vec<Vec<f64>>>,
}

impl<'a> Evaluation<'a> {
    pub(crate) fn new(checkpoint: &'a Checkpoint) -> Self {
        Self::of_group(checkpoint, 1)
    }

    /// On so many chips: graphs are those of [`Graph::tensor_parallel`].
    pub(crate) fn of_group(checkpoint: &'a Checkpoint, chips: usize) -> Self {
        Evaluation { checkpoint, context: 48, chips, keys: BTreeMap::new(), values: BTreeMap::new() }
    }

    fn tensor(&self, id: WeightId) -> Vec<f64> {
        let values = self.checkpoint.weights().vector_f32(id);
        values.into_iter().map(f64::from).collect()
    }

    /// Runs one graph; values of the host go in and out by name, whole, those of other chips by name and chip.
    fn run(&mut self, graph: &Graph, position: u32, (host, named): (&mut Whole, &mut BTreeMap<String, Chips>)) {
        let mut values: Vec<Chips> = vec![Vec::new(); graph.values.len()];
        for id in &graph.inputs {
            let value = graph.value(*id);
            let of_host = host.get(value.name.trim_end_matches(".piece"));
            values[id.index()] = match of_host.filter(|_| graph.entry == Boundary::Host) {
                Some(whole) => (0..self.chips).map(|chip| held(value, chip, whole)).collect(),
                None => named[&value.name].clone(),
            };
        }
        for node in &graph.nodes {
            let inputs: Vec<(&Value, &Chips)> =
                node.inputs.iter().map(|id| (graph.value(*id), &values[id.index()])).collect();
            let to = graph.value(node.output);
            let output = self.node(graph, (&node.op, to), &inputs, position);
            assert!(output.len() == self.chips && output.iter().all(|x| x.len() == to.width), "{}", node.name);
            whole(to, &output);
            values[node.output.index()] = output;
        }
        for id in &graph.outputs {
            let value = graph.value(*id);
            host.insert(value.name.clone(), whole(value, &values[id.index()]));
            named.insert(value.name.clone(), values[id.index()].clone());
        }
    }

    /// `weight x`, what the chips hold of the output from what they hold of x, with the rows of a matrix from the
    /// `first` of each chip on.
    fn product(&self, weight: WeightId, to: &Value, (value, x): (&Value, &Chips), first: &[usize]) -> Chips {
        let columns = self.checkpoint.weights().shape(weight)[self.checkpoint.weights().shape(weight).len() - 1];
        let mut row = vec![0.0f32; columns];
        let of_chip = |(chip, x): (usize, &Vec<f64>)| {
            let held = elements(value, chip);
            let mut sum = |element: Option<usize>| -> f64 {
                let Some(element) = element else { return f64::NAN };
                self.checkpoint.weights().row_f32(weight, first[chip] + element, &mut row);
                let terms = x.iter().zip(&held).filter_map(|(x, held)| held.map(|held| f64::from(row[held]) * x));
                terms.sum()
            };
            elements(to, chip).into_iter().map(&mut sum).collect()
        };
        x.iter().enumerate().map(of_chip).collect()
    }

    /// `x / sqrt(mean(x^2) + eps)` over the whole value, with a weight an element.
    fn norm(&self, (value, x): (&Value, &Chips), weight: &[f64], eps: f32) -> Chips {
        let whole = whole(value, x);
        let scale = scale(&whole, eps);
        let of_chip = |(chip, x): (usize, &Vec<f64>)| {
            let weights = held(value, chip, weight);
            x.iter().zip(weights).map(|(x, w)| x * scale * w).collect()
        };
        x.iter().enumerate().map(of_chip).collect()
    }

    fn node(&mut self, graph: &Graph, (op, to): (&Op, &Value), inputs: &[(&Value, &Chips)], position: u32) -> Chips {
        let (value, x) = inputs[0];
        let each = |function: &dyn Fn(f64) -> f64| -> Chips {
            x.iter().map(|x| x.iter().map(|&x| function(x)).collect()).collect()
        };
        let pairs = |function: &dyn Fn(f64, f64) -> f64| -> Chips {
            let of_chip = |(a, b): (&Vec<f64>, &Vec<f64>)| {
                assert_eq!(a.len(), b.len());
                a.iter().zip(b).map(|(&a, &b)| function(a, b)).collect()
            };
            x.iter().zip(inputs[1].1).map(of_chip).collect()
        };
        let alone = |function: &dyn Fn(&[f64]) -> Vec<f64>| -> Chips { x.iter().map(|x| function(x)).collect() };
        match *op {
            Op::RmsNorm { weight, eps } => self.norm(inputs[0], &self.tensor(weight), eps),
            Op::LayerNorm { weight, bias, eps } => {
                let whole = whole(value, x);
                let mean = whole.iter().sum::<f64>() / whole.len() as f64;
                let centred = each(&|x| x - mean);
                let mut y = self.norm((value, &centred), &self.tensor(weight), eps);
                if let Some(bias) = bias {
                    let bias = self.tensor(bias);
                    for (chip, y) in y.iter_mut().enumerate() {
                        y.iter_mut().zip(held(value, chip, &bias)).for_each(|(y, bias)| *y += bias);
                    }
                }
                y
            }
            Op::HeadNorm { weight, heads, head_dim, eps } => {
                assert_eq!(value.width, heads * head_dim);
                let weight = self.tensor(weight);
                alone(&|x| x.chunks(head_dim).flat_map(|head| normed(head, &weight, eps)).collect())
            }
            Op::Linear { weight, bias } => {
                let mut y = self.product(weight, to, inputs[0], &vec![0; self.chips]);
                if let Some(bias) = bias {
                    let bias = self.tensor(bias);
                    let adding = if let Shard::Partial { .. } = to.shard { 1 } else { self.chips };
                    for (chip, y) in y[..adding].iter_mut().enumerate() {
                        y.iter_mut().zip(held(to, chip, &bias)).for_each(|(y, bias)| *y += bias);
                    }
                }
                y
            }
            Op::Rotary { heads, head_dim, rotary_dim, table } => {
                let (cos, sin) = self.checkpoint.config.rotary_row(table, position, self.context);
                alone(&|x| rotated(x, (heads, head_dim, rotary_dim), (&cos, &sin)))
            }
            Op::Attention { cache, .. } => {
                let layer = graph.cache(cache).layer;
                let of_chip = |chip: usize| {
                    let keys = self.keys.entry((layer, chip)).or_default();
                    keys.push(inputs[1].1[chip].clone());
                    let values = self.values.entry((layer, chip)).or_default();
                    values.push(inputs[2].1[chip].clone());
                    attended(op, &x[chip], keys, values)
                };
                (0..self.chips).map(of_chip).collect()
            }
            Op::Add => pairs(&|a, b| a + b),
            Op::Scale { factor } => each(&|x| x * f64::from(factor)),
            Op::SoftCap { cap } => each(&|x| f64::from(cap) * (x / f64::from(cap)).tanh()),
            Op::Activate { activation } => each(&|x| active(activation, x)),
            Op::Gated { activation } => pairs(&|gate, up| active(activation, gate) * up),
            Op::Route { active, normalise } => alone(&|x| routed(x, active, normalise)),
            Op::ExpertLinear { weight, choice } => {
                let rows = self.checkpoint.weights().shape(weight)[1];
                let first: Vec<usize> = inputs[1].1.iter().map(|shares| chosen(shares, choice) * rows).collect();
                self.product(weight, to, inputs[0], &first)
            }
            Op::ExpertScale { choice } => {
                let shares = inputs[1].1.iter().map(|shares| shares[chosen(shares, choice)]);
                x.iter().zip(shares).map(|(x, share)| x.iter().map(|x| x * share).collect()).collect()
            }
            Op::ReduceScatter => {
                let sum = whole(value, x);
                (0..self.chips).map(|chip| held(to, chip, &sum)).collect()
            }
            Op::AllGather => {
                let piece = value.width;
                let of_chip = |chip: usize| (0..self.chips * piece).map(move |at| x[chip ^ (at / piece)][at % piece]);
                (0..self.chips).map(|chip| of_chip(chip).collect()).collect()
            }
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
            let mut host = BTreeMap::from([("embedding".to_owned(), row(embedding.clone()))]);
            if self.checkpoint.position_row(position as u32, &mut embedding).unwrap() {
                host.insert("position".to_owned(), row(embedding));
            }
            let mut named = BTreeMap::new();
            for part in parts {
                self.run(part, position as u32, (&mut host, &mut named));
            }
            rows.push(host["head.logits"].clone());
        }
        rows
    }
}

/// Whole values by name.
type Whole = BTreeMap<String, Vec<f64>>;

/// The elements of the whole value that a chip holds, in its order; nothing where one is empty.
fn elements(value: &Value, chip: usize) -> Vec<Option<usize>> {
    (0..value.width).map(|local| value.shard.element(chip, local)).collect()
}

/// What a chip holds of a whole value.
fn held(value: &Value, chip: usize, whole: &[f64]) -> Vec<f64> {
    elements(value, chip).into_iter().map(|element| element.map_or(f64::NAN, |element| whole[element])).collect()
}

/// The whole value of what the chips hold: the sum of terms, else what every chip that has an element agrees on.
fn whole(value: &Value, chips: &Chips) -> Vec<f64> {
    let mut whole = vec![f64::NAN; value.shard.whole(value.width)];
    for (chip, x) in chips.iter().enumerate() {
        for (element, &x) in elements(value, chip).into_iter().zip(x) {
            let Some(element) = element else { continue };
            let known = &mut whole[element];
            assert!(x.is_finite(), "{}: element {element} of chip {chip} is {x}", value.name);
            match value.shard {
                _ if known.is_nan() => *known = x,
                Shard::Partial { .. } => *known += x,
                _ => assert!((*known - x).abs() <= 1e-9 * (1.0 + x.abs()), "{}: element {element}", value.name),
            }
        }
    }
    assert!(whole.iter().all(|x| x.is_finite()), "{}: no chip has all of it", value.name);
    whole
}

fn rotated(x: &[f64], (heads, head_dim, rotary_dim): (usize, usize, usize), (cos, sin): (&[f32], &[f32])) -> Vec<f64> {
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

fn attended(op: &Op, x: &[f64], keys: &[Vec<f64>], values: &[Vec<f64>]) -> Vec<f64> {
    let Op::Attention { heads, kv_heads, head_dim, scale, mask, softcap, .. } = *op else {
        panic!("{op:?} is no attention")
    };
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

/// The gate weights of scores.
fn routed(x: &[f64], active: usize, normalise: bool) -> Vec<f64> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|&a, &b| x[b].total_cmp(&x[a]).then(a.cmp(&b)));
    let chosen = &order[..active];
    let among: Vec<usize> = if normalise { chosen.to_vec() } else { order.clone() };
    let total: f64 = among.iter().map(|&e| (x[e] - x[order[0]]).exp()).sum();
    let mut shares = vec![0.0; x.len()];
    chosen.iter().for_each(|&e| shares[e] = (x[e] - x[order[0]]).exp() / total);
    shares
}

/// The expert of a choice.
fn chosen(shares: &[f64], choice: usize) -> usize {
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by(|&a, &b| shares[b].total_cmp(&shares[a]).then(a.cmp(&b)));
    order[choice]
}

fn scale(x: &[f64], eps: f32) -> f64 {
    let mean = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
    1.0 / (mean + f64::from(eps)).sqrt()
}

fn normed(x: &[f64], weight: &[f64], eps: f32) -> Vec<f64> {
    let scale = scale(x, eps);
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
