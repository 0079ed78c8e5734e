//! From the description of a decoder to its graph.

use crate::Config;
use crate::decoder::{Attention, Decoder, ExpertFeedForward, FeedForward, HeadNorm, Layer, Norm, Projection};
use crate::graph::{Activation, Block, Cache, GraphBuilder, Mask, Op, ValueId};

impl Decoder {
    /// Adds the whole decode step to an empty builder.
    pub(crate) fn build(&self, config: &Config, builder: &mut GraphBuilder) {
        let table = builder.weight(&self.embedding);
        builder.embedding = Some(table);
        let mut stream = builder.input("embedding", config.hidden);
        if self.embedding_scale != 1.0 {
            stream = scaled(builder, Block::Embed, "scaled", self.embedding_scale, stream);
        }
        if let Some(positions) = &self.positions {
            builder.positions = Some(builder.weight(positions));
            let row = builder.input("position", config.hidden);
            stream = builder.node(Block::Embed, "sum", Op::Add, &[stream, row], config.hidden);
        }
        for (number, layer) in self.layers.iter().enumerate() {
            stream = layer.build(config, builder, number, stream);
        }
        let normed = self.norm.build(builder, Block::Head, "norm", stream);
        let weight = self.head.as_ref().map_or(table, |head| builder.weight(head));
        let bias = self.head_bias.as_ref().map(|bias| builder.weight(bias));
        let mut steps = vec![("logits", Op::Linear { weight, bias })];
        if self.logits_scale != 1.0 {
            steps.push(("scaled", Op::Scale { factor: self.logits_scale }));
        }
        if let Some(cap) = self.logits_cap {
            steps.push(("capped", Op::SoftCap { cap }));
        }
        // The last step is the logits, whatever it does.
        let last = steps.len() - 1;
        let mut logits = normed;
        for (number, (name, op)) in steps.into_iter().enumerate() {
            let name = match (number == last, number) {
                (true, _) => "logits",
                (false, 0) => "product",
                _ => name,
            };
            logits = builder.node(Block::Head, name, op, &[logits], config.vocab);
        }
        builder.graph.outputs.push(logits);
    }
}

impl Layer {
    fn build(&self, config: &Config, builder: &mut GraphBuilder, layer: usize, input: ValueId) -> ValueId {
        let block = Block::Attention(layer);
        let normed = optional(&self.attention_norm, builder, block, "norm", input);
        let attended = self.attention.build(config, builder, layer, normed);
        let sum = self.residual(builder, block, &self.after_attention, input, attended);

        let block = Block::FeedForward(layer);
        let normed = match (&self.feed_forward_norm, self.parallel) {
            (None, true) => normed,
            (norm, parallel) => optional(norm, builder, block, "norm", if parallel { input } else { sum }),
        };
        let fed = self.feed_forward.build(builder, block, "", normed);
        self.residual(builder, block, &self.after_feed_forward, sum, fed)
    }

    fn residual(
        &self,
        builder: &mut GraphBuilder,
        block: Block,
        after: &Option<Norm>,
        stream: ValueId,
        added: ValueId,
    ) -> ValueId {
        let mut added = optional(after, builder, block, "after_norm", added);
        if self.residual_scale != 1.0 {
            added = scaled(builder, block, "scaled", self.residual_scale, added);
        }
        let width = builder.width(stream);
        builder.node(block, "sum", Op::Add, &[stream, added], width)
    }
}

fn optional(norm: &Option<Norm>, builder: &mut GraphBuilder, block: Block, name: &str, input: ValueId) -> ValueId {
    norm.as_ref().map_or(input, |norm| norm.build(builder, block, name, input))
}

fn scaled(builder: &mut GraphBuilder, block: Block, name: &str, factor: f32, input: ValueId) -> ValueId {
    let width = builder.width(input);
    builder.node(block, name, Op::Scale { factor }, &[input], width)
}

impl Norm {
    fn build(&self, builder: &mut GraphBuilder, block: Block, name: &str, input: ValueId) -> ValueId {
        let op = match self {
            Norm::Rms { weight, eps } => Op::RmsNorm { weight: builder.weight(weight), eps: *eps },
            Norm::Layer { weight, bias, eps } => {
                let weight = builder.weight(weight);
                let bias = bias.as_ref().map(|bias| builder.weight(bias));
                Op::LayerNorm { weight, bias, eps: *eps }
            }
        };
        let width = builder.width(input);
        builder.node(block, name, op, &[input], width)
    }
}

impl Projection {
    fn build(&self, builder: &mut GraphBuilder, block: Block, name: &str, input: ValueId) -> ValueId {
        let width = self.weight.shape[0];
        let weight = builder.weight(&self.weight);
        let bias = self.bias.as_ref().map(|bias| builder.weight(bias));
        builder.node(block, name, Op::Linear { weight, bias }, &[input], width)
    }
}

impl HeadNorm {
    fn build(
        &self,
        builder: &mut GraphBuilder,
        block: Block,
        name: &str,
        input: ValueId,
        (heads, head_dim): (usize, usize),
    ) -> ValueId {
        let op = match self {
            HeadNorm::Each { weight, eps } => {
                Op::HeadNorm { weight: builder.weight(weight), heads, head_dim, eps: *eps }
            }
            HeadNorm::Whole { weight, eps } => Op::RmsNorm { weight: builder.weight(weight), eps: *eps },
        };
        builder.node(block, name, op, &[input], heads * head_dim)
    }
}

impl Attention {
    fn build(&self, config: &Config, builder: &mut GraphBuilder, layer: usize, input: ValueId) -> ValueId {
        let block = Block::Attention(layer);
        let &Config { heads, kv_heads, head_dim, .. } = config;
        let mut q = self.q.build(builder, block, "q", input);
        let mut k = self.k.build(builder, block, "k", input);
        let v = self.v.build(builder, block, "v", input);
        if let Some([queries, keys]) = &self.head_norms {
            q = queries.build(builder, block, "q_norm", q, (heads, head_dim));
            k = keys.build(builder, block, "k_norm", k, (kv_heads, head_dim));
        }
        if self.rotary_dim > 0 {
            let rotary = |heads| Op::Rotary { heads, head_dim, rotary_dim: self.rotary_dim, table: self.rotary_table };
            q = builder.node(block, "q_rotary", rotary(heads), &[q], heads * head_dim);
            k = builder.node(block, "k_rotary", rotary(kv_heads), &[k], kv_heads * head_dim);
        }
        let cache = builder.cache(Cache { layer, kv_heads, head_dim });
        let &Attention { scale, window, softcap, .. } = self;
        let mask = Mask::windowed(window);
        let attend = Op::Attention { cache, heads, kv_heads, head_dim, scale, mask, softcap };
        let mixed = builder.node(block, "mix", attend, &[q, k, v], heads * head_dim);
        self.o.build(builder, block, "o", mixed)
    }
}

impl FeedForward {
    /// `of` is put before the names of the nodes.
    fn build(&self, builder: &mut GraphBuilder, block: Block, of: &str, input: ValueId) -> ValueId {
        match self {
            FeedForward::Gated { gate, up, down, activation } => {
                let gate = gate.build(builder, block, &format!("{of}gate"), input);
                let up = up.build(builder, block, &format!("{of}up"), input);
                let width = builder.width(gate);
                let gated = builder.node(
                    block,
                    &format!("{of}gated"),
                    Op::Gated { activation: *activation },
                    &[gate, up],
                    width,
                );
                down.build(builder, block, &format!("{of}down"), gated)
            }
            FeedForward::Plain { up, down, activation } => {
                let up = up.build(builder, block, "up", input);
                let width = builder.width(up);
                let active = builder.node(block, "active", Op::Activate { activation: *activation }, &[up], width);
                down.build(builder, block, "down", active)
            }
            FeedForward::Experts(experts) => experts.build(builder, block, input),
        }
    }
}

impl ExpertFeedForward {
    fn build(&self, builder: &mut GraphBuilder, block: Block, input: ValueId) -> ValueId {
        let &ExpertFeedForward { activation, active, normalise, .. } = self;
        let (experts, width) = (self.router.shape[0], builder.width(input));
        let weight = builder.weight(&self.router);
        let scores = builder.node(block, "scores", Op::Linear { weight, bias: None }, &[input], experts);
        let op = Op::Route { active, normalise };
        let route = builder.node(block, "route", op, &[scores], experts);
        let [gate, up, down] =
            [&self.gate, &self.up, &self.down].map(|tensor| (builder.weight(tensor), tensor.shape[1]));
        let mut sum = None;
        for choice in 0..active {
            let matrix = |builder: &mut GraphBuilder, name: &str, (weight, width), input| {
                builder.node(
                    block,
                    &format!("{name}.{choice}"),
                    Op::ExpertLinear { weight, choice },
                    &[input, route],
                    width,
                )
            };
            let (gated, upped) = (matrix(builder, "gate", gate, input), matrix(builder, "up", up, input));
            let op = Op::Gated { activation };
            let gated = builder.node(block, &format!("gated.{choice}"), op, &[gated, upped], gate.1);
            let down = matrix(builder, "down", down, gated);
            let shared =
                builder.node(block, &format!("shared.{choice}"), Op::ExpertScale { choice }, &[down, route], width);
            sum = Some(match sum {
                None => shared,
                Some(sum) => builder.node(block, &format!("sum.{choice}"), Op::Add, &[sum, shared], width),
            });
        }
        let sum = sum.expect("a token takes at least one expert");
        let Some(shared) = &self.shared else { return sum };
        let weight = builder.weight(&shared.share);
        let share = builder.node(block, "always.share", Op::Linear { weight, bias: None }, &[input], width);
        let expert = shared.expert.build(builder, block, "always.", input);
        let op = Op::Gated { activation: Activation::Sigmoid };
        let taken = builder.node(block, "always.taken", op, &[share, expert], width);
        builder.node(block, "sum.always", Op::Add, &[sum, taken], width)
    }
}
