//! A graph as text, one node a line, for people.

use std::fmt::Write;

use super::{Graph, Mask, Op, ValueId, WeightId};
use crate::Weights;

impl Graph {
    /// The graph as text: inputs, caches, then each block with one node a line (its output with
    /// its shape, the operation, its inputs and its tensors with theirs), then outputs. `weights`
    /// are those of the checkpoint that the graph comes from. Every line ends with a newline.
    pub fn to_text(&self, weights: &Weights) -> String {
        let mut out = String::new();
        self.write_text(weights, &mut out).expect("writing to a string does not fail");
        out
    }

    fn write_text(&self, weights: &Weights, out: &mut String) -> std::fmt::Result {
        for id in &self.inputs {
            writeln!(out, "input {}{}", self.shaped(*id), self.reader(*id))?;
        }
        for (number, cache) in self.caches.iter().enumerate() {
            writeln!(
                out,
                "cache {number} of layers.{} [{} x {}] keys and values a position",
                cache.layer, cache.kv_heads, cache.head_dim
            )?;
        }
        let longest = |id: &ValueId| self.shaped(*id).len();
        let column = self.nodes.iter().map(|node| longest(&node.output)).max();
        let column = column.unwrap_or(0);
        let mut last = None;
        for node in &self.nodes {
            if last != Some(node.block) {
                writeln!(out, "block {}", node.block)?;
                last = Some(node.block);
            }
            let inputs: Vec<&str> = node.inputs.iter().map(|id| self.value(*id).name.as_str()).collect();
            writeln!(
                out,
                "  {:column$} = {}",
                self.shaped(node.output),
                operation(&node.op, &inputs.join(", "), weights)
            )?;
        }
        for id in &self.outputs {
            writeln!(out, "output {}{}", self.shaped(*id), self.reader(*id))?;
        }
        Ok(())
    }

    fn reader(&self, id: ValueId) -> &'static str {
        if self.for_matrices.contains(&id) { " for matrices" } else { "" }
    }

    fn shaped(&self, id: ValueId) -> String {
        let value = self.value(id);
        format!("{} [{} x {}{}]", value.name, value.rows, value.width, value.shard)
    }
}

/// `name(inputs) key=value ...`
fn operation(op: &Op, inputs: &str, weights: &Weights) -> String {
    let tensor = |id: WeightId| {
        let shape: Vec<String> = weights.shape(id).iter().map(usize::to_string).collect();
        format!("{} [{}]", weights.name(id), shape.join(" x "))
    };
    match *op {
        Op::RmsNorm { weight, eps } => {
            format!("rms_norm({inputs}) weight={} eps={eps:e}", tensor(weight))
        }
        Op::Linear { weight, bias } => {
            let bias = bias.map_or(String::new(), |bias| format!(" bias={}", tensor(bias)));
            format!("linear({inputs}) weight={}{bias}", tensor(weight))
        }
        Op::LayerNorm { weight, bias, eps } => {
            let bias = bias.map_or(String::new(), |bias| format!(" bias={}", tensor(bias)));
            format!("layer_norm({inputs}) weight={}{bias} eps={eps:e}", tensor(weight))
        }
        Op::HeadNorm { weight, heads, head_dim, eps } => {
            format!("head_norm({inputs}) weight={} heads={heads} head_dim={head_dim} eps={eps:e}", tensor(weight))
        }
        Op::Rotary { heads, head_dim, rotary_dim, table } => {
            let part = if rotary_dim == head_dim { String::new() } else { format!(" rotary_dim={rotary_dim}") };
            let table = if table == 0 { String::new() } else { format!(" table={table}") };
            format!("rotary({inputs}) heads={heads} head_dim={head_dim}{part}{table}")
        }
        Op::Attention { cache, heads, kv_heads, head_dim, scale, mask, softcap } => {
            let mask = match mask {
                Mask::Causal => String::new(),
                Mask::Window { tokens } => format!(" window={tokens}"),
                Mask::Full => " mask=full".to_owned(),
            };
            let softcap = softcap.map_or(String::new(), |cap| format!(" softcap={cap}"));
            let cache = cache.index();
            format!(
                "attention({inputs}) cache={cache} heads={heads} kv_heads={kv_heads} head_dim={head_dim} \
                scale={scale}{mask}{softcap}"
            )
        }
        Op::Add => format!("add({inputs})"),
        Op::Scale { factor } => format!("scale({inputs}) factor={factor}"),
        Op::SoftCap { cap } => format!("soft_cap({inputs}) cap={cap}"),
        Op::Activate { activation } => format!("{activation}({inputs})"),
        Op::Gated { activation } => format!("gated_{activation}({inputs})"),
        Op::Route { active, normalise } => format!("route({inputs}) active={active} normalise={normalise}"),
        Op::ExpertLinear { weight, choice } => {
            format!("expert_linear({inputs}) choice={choice} weight={}", tensor(weight))
        }
        Op::ExpertScale { choice } => format!("expert_scale({inputs}) choice={choice}"),
        Op::ReduceScatter => format!("reduce_scatter({inputs})"),
        Op::AllGather => format!("all_gather({inputs})"),
    }
}
