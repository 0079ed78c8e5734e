//! Names of tensors: a folder's in those of GGUF files, and the layout that a converter gives them.

use super::architecture::Architecture;
use crate::decoder::{FusedRows, Tensor};

/// Modules of the whole model.
const WHOLE: &[(&str, &str)] = &[
    ("model.embed_tokens", "token_embd"),
    ("transformer.wte", "token_embd"),
    ("gpt_neox.embed_in", "token_embd"),
    ("transformer.wpe", "position_embd"),
    ("model.norm", "output_norm"),
    ("transformer.ln_f", "output_norm"),
    ("gpt_neox.final_layer_norm", "output_norm"),
    ("model.final_layernorm", "output_norm"),
    ("lm_head", "output"),
];

/// What the names of a layer's modules begin with, before its number.
const LAYERS: &[&str] = &["model.layers.", "transformer.h.", "gpt_neox.layers."];

/// The share of an expert that every token takes, a matrix of one row that files may have as a vector.
const SHARE: &str = "ffn_gate_inp_shexp";

/// What stands for the part of a fused tensor that files have as one of its own.
const PART: &str = "{part}";

/// Modules of a layer. Matrices of experts are in one tensor each.
const LAYER: &[(&str, &str)] = &[
    ("input_layernorm", "attn_norm"),
    ("ln_1", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.qkv_proj", "attn_qkv"),
    ("attn.c_attn", "attn_qkv"),
    ("attention.query_key_value", "attn_qkv"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("self_attn.o_proj", "attn_output"),
    ("attn.c_proj", "attn_output"),
    ("attention.dense", "attn_output"),
    ("self_attn.dense", "attn_output"),
    ("post_attention_layernorm", "ffn_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("ln_2", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.gate_up_proj", "ffn_up"),
    ("mlp.c_fc", "ffn_up"),
    ("mlp.fc1", "ffn_up"),
    ("mlp.dense_h_to_4h", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("mlp.c_proj", "ffn_down"),
    ("mlp.fc2", "ffn_down"),
    ("mlp.dense_4h_to_h", "ffn_down"),
    ("block_sparse_moe.gate", "ffn_gate_inp"),
    ("mlp.gate", "ffn_gate_inp"),
    ("block_sparse_moe.experts.*.w1", "ffn_gate_exps"),
    ("block_sparse_moe.experts.*.w3", "ffn_up_exps"),
    ("block_sparse_moe.experts.*.w2", "ffn_down_exps"),
    ("block_sparse_moe.router.layer", "ffn_gate_inp"),
    ("block_sparse_moe.input_linear", "ffn_{part}_exps"),
    ("block_sparse_moe.output_linear", "ffn_down_exps"),
    ("mlp.shared_expert.gate_proj", "ffn_gate_shexp"),
    ("mlp.shared_expert.up_proj", "ffn_up_shexp"),
    ("mlp.shared_expert.down_proj", "ffn_down_shexp"),
    ("mlp.shared_expert_gate", SHARE),
    ("mlp.experts.*.gate_proj", "ffn_gate_exps"),
    ("mlp.experts.*.up_proj", "ffn_up_exps"),
    ("mlp.experts.*.down_proj", "ffn_down_exps"),
];

/// Tensors that are read as metadata, or hold what follows from metadata; by the ends of their names.
const BESIDE: &[&str] = &[
    "rope_freqs.weight",
    "rope_factors_long.weight",
    "rope_factors_short.weight",
    "attn_rot_embd.weight",
    "rotary_emb.inv_freq",
];

impl Architecture {
    /// The name in a file of a tensor of a folder; `None` if files have none like it.
    fn name_of(&self, folder: &str) -> Option<String> {
        let find = |list: &[(&'static str, &'static str)], module: &str| {
            list.iter().find(|(from, _)| *from == module).map(|(_, to)| *to)
        };
        let (path, kind) = folder.rsplit_once('.')?;
        if let Some(module) = find(WHOLE, path) {
            return Some(format!("{module}.{kind}"));
        }
        let (number, module) = LAYERS.iter().find_map(|start| path.strip_prefix(start))?.split_once('.')?;
        let module = find(self.modules, module).or_else(|| find(LAYER, module))?;
        Some(format!("blk.{number}.{module}.{kind}"))
    }

    /// Makes a tensor of the graph what it is in a file: under the file's name, matrices `[out, in]`, parts of a fused
    /// one after another, norms with the whole of their weights.
    pub(super) fn own(&self, tensor: &mut Tensor) {
        let view = &mut tensor.view;
        view.transposed = false;
        view.shift = 0.0;
        tensor.alias = None;
        if let Some(name) = self.name_of(&tensor.name) {
            tensor.name = name;
        }
        if tensor.name.contains(PART) {
            tensor.name = tensor.name.replace(PART, &view.part);
            view.part.clear();
            view.rows = None;
        }
        // Parts that alternate by heads in a folder follow one another in a file; others do so in both.
        if let Some(rows) = view.rows
            && rows.stride > rows.block
        {
            let count = tensor.shape[0];
            view.rows = Some(FusedRows::slice(rows.start / rows.block * count, count, rows.total));
        }
    }

    /// Whether a tensor may be in a file without a place in the graph.
    pub(super) fn beside(name: &str) -> bool {
        BESIDE.iter().any(|end| name.ends_with(end))
    }
}

/// Whether a tensor is a matrix of one row that files may have as a vector.
pub(super) fn one_row(name: &str) -> bool {
    name.rsplit('.').nth(1) == Some(SHARE)
}

/// Whether outputs of a queries or keys tensor can be in pairs.
pub(super) fn pairable(name: &str) -> bool {
    let module = name.strip_prefix("blk.").and_then(|rest| rest.split('.').nth(1));
    matches!(module, Some("attn_q" | "attn_k"))
}
