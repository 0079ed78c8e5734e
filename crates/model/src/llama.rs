//! The decode graph of the Llama family.

use crate::Config;
use crate::graph::{Block, Builder, Cache, Op, ValueId, WeightId};

/// Adds the whole decode step: layers, last norm, logits.
pub(crate) fn build(config: &Config, builder: &mut Builder) {
    let table = builder.weight("model.embed_tokens.weight".to_owned(), &[config.vocab, config.hidden], "vocab_size, hidden_size");
    builder.embedding = Some(table);
    let mut stream = builder.input("embedding", config.hidden);
    for layer in 0..config.layers {
        stream = attention(config, builder, layer, stream);
        stream = feed_forward(config, builder, layer, stream);
    }
    let normed = norm(config, builder, Block::Head, "model.norm", stream);
    let head = if config.tie_embeddings {
        table
    } else {
        builder.weight("lm_head.weight".to_owned(), &[config.vocab, config.hidden], "vocab_size, hidden_size")
    };
    let op = Op::Linear { weight: head, bias: None };
    let logits = builder.node(Block::Head, "logits", op, &[normed], config.vocab);
    builder.graph.outputs.push(logits);
}

fn norm(config: &Config, builder: &mut Builder, block: Block, tensor: &str, input: ValueId) -> ValueId {
    let weight = builder.weight(format!("{tensor}.weight"), &[config.hidden], "hidden_size");
    let eps = config.norm_eps;
    let op = Op::RmsNorm { weight, eps };
    builder.node(block, "norm", op, &[input], config.hidden)
}

/// A projection of a layer: where its tensors are and what shape they have.
struct Projection<'a> {
    /// Module that holds the tensors, for example `model.layers.0.self_attn`.
    module: &'a str,
    /// Name of the projection, also that of the node.
    name: &'a str,
    /// Rows and columns.
    shape: [usize; 2],
    /// Config fields that give the rows and the columns.
    fields: &'static str,
    /// Config fields that give the rows.
    out_field: &'static str,
    bias: bool,
}

fn linear(builder: &mut Builder, block: Block, projection: Projection, input: ValueId) -> ValueId {
    let Projection { module, name, shape, fields, out_field, bias } = projection;
    let weight = builder.weight(format!("{module}.{name}_proj.weight"), &shape, fields);
    let mut vector = || -> WeightId { builder.weight(format!("{module}.{name}_proj.bias"), &shape[..1], out_field) };
    let bias = bias.then(&mut vector);
    let op = Op::Linear { weight, bias };
    builder.node(block, name, op, &[input], shape[0])
}

fn attention(config: &Config, builder: &mut Builder, layer: usize, stream: ValueId) -> ValueId {
    let block = Block::Attention(layer);
    let &Config { hidden, heads, kv_heads, head_dim, attention_bias: bias, .. } = config;
    let module = &format!("model.layers.{layer}.self_attn");
    let normed = norm(config, builder, block, &format!("model.layers.{layer}.input_layernorm"), stream);
    let query = Projection {
        module,
        name: "q",
        shape: [heads * head_dim, hidden],
        fields: "num_attention_heads * head_dim, hidden_size",
        out_field: "num_attention_heads * head_dim",
        bias,
    };
    let q = linear(builder, block, query, normed);
    let key_value = |name| Projection {
        module,
        name,
        shape: [kv_heads * head_dim, hidden],
        fields: "num_key_value_heads * head_dim, hidden_size",
        out_field: "num_key_value_heads * head_dim",
        bias,
    };
    let k = linear(builder, block, key_value("k"), normed);
    let v = linear(builder, block, key_value("v"), normed);

    let rotary = |heads| Op::Rotary { heads, head_dim };
    let q = builder.node(block, "q_rotary", rotary(heads), &[q], heads * head_dim);
    let k = builder.node(block, "k_rotary", rotary(kv_heads), &[k], kv_heads * head_dim);
    let cache = builder.cache(Cache { layer, kv_heads, head_dim });
    let attend = Op::Attention { cache, heads, kv_heads, head_dim, scale: (1.0 / (head_dim as f64).sqrt()) as f32 };
    let mixed = builder.node(block, "mix", attend, &[q, k, v], heads * head_dim);
    let output = Projection {
        module,
        name: "o",
        shape: [hidden, heads * head_dim],
        fields: "hidden_size, num_attention_heads * head_dim",
        out_field: "hidden_size",
        bias,
    };
    let out = linear(builder, block, output, mixed);
    builder.node(block, "sum", Op::Add, &[stream, out], hidden)
}

fn feed_forward(config: &Config, builder: &mut Builder, layer: usize, stream: ValueId) -> ValueId {
    let block = Block::FeedForward(layer);
    let &Config { hidden, intermediate, mlp_bias: bias, .. } = config;
    let module = &format!("model.layers.{layer}.mlp");
    let normed = norm(config, builder, block, &format!("model.layers.{layer}.post_attention_layernorm"), stream);
    let widening = |name| Projection {
        module,
        name,
        shape: [intermediate, hidden],
        fields: "intermediate_size, hidden_size",
        out_field: "intermediate_size",
        bias,
    };
    let gate = linear(builder, block, widening("gate"), normed);
    let up = linear(builder, block, widening("up"), normed);
    let gated = builder.node(block, "silu", Op::GatedSilu, &[gate, up], intermediate);
    let narrowing = Projection {
        module,
        name: "down",
        shape: [hidden, intermediate],
        fields: "hidden_size, intermediate_size",
        out_field: "hidden_size",
        bias,
    };
    let down = linear(builder, block, narrowing, gated);
    builder.node(block, "sum", Op::Add, &[stream, down], hidden)
}
