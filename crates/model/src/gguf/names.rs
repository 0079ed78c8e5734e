//! Names of tensors: those of GGUF files in those of a folder.

use crate::header::Order;

/// Modules of the whole model.
const WHOLE: &[(&str, &str)] = &[("token_embd", "model.embed_tokens"), ("output_norm", "model.norm"), ("output", "lm_head")];

/// Modules of a layer.
const LAYER: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// The folder's name of a tensor (its own, if a folder has none like it), and the order of its outputs. With `paired`, the size of a
/// head, outputs of queries and keys stand in pairs.
pub(super) fn folder_name(name: &str, paired: Option<usize>) -> (String, Order) {
    let other = || (name.to_owned(), Order::Plain);
    let find = |list: &[(&str, &'static str)], module: &str| list.iter().find(|(from, _)| *from == module).map(|(_, to)| *to);
    let Some((path, kind)) = name.rsplit_once('.') else { return other() };
    if let Some(module) = find(WHOLE, path) {
        return (format!("{module}.{kind}"), Order::Plain);
    }
    let Some((number, module)) = path.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) else { return other() };
    let Some(to) = find(LAYER, module) else { return other() };
    let order = match paired {
        Some(head_dim) if module == "attn_q" || module == "attn_k" => Order::Paired(head_dim),
        _ => Order::Plain,
    };
    (format!("model.layers.{number}.{to}.{kind}"), order)
}
