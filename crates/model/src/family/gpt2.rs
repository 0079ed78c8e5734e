//! GPT-2: layer norms, learned positions, a plain GELU feed-forward, matrices stored `[in, out]`.

use super::{Family, FieldNames, Rotary, Row, activation, inverse_root, llama, refuse};
use crate::decoder::{Attention, Decoder, FeedForward, FusedRows, Layer, Norm, Projection, Tensor};
use crate::fields::Fields;
use crate::graph::Activation;
use crate::{Config, ModelError};

const NAMES: FieldNames = FieldNames {
    hidden: "n_embd",
    layers: "n_layer",
    heads: "n_head",
    kv_heads: None,
    intermediate: "n_inner",
    positions: "n_positions",
    norm_eps: "layer_norm_epsilon",
    ..llama::NAMES
};

pub(super) const ROW: Row = Row {
    family: Family::Gpt2,
    architectures: &["GPT2LMHeadModel", "GPT2Model"],
    model_type: "gpt2",
    prefix: "transformer.",
    names: NAMES,
    norm_eps: 1e-5,
    tied: true,
    max_positions: 1024,
    widening: Some(4),
    rotary: Rotary::Absent,
    bos: Some(50_256),
    eos: Some(50_256),
    describe,
    ..llama::ROW
};

fn describe(fields: &Fields, config: &Config) -> Result<Decoder, ModelError> {
    refuse(fields, &["add_cross_attention"], "attention to another sequence")?;
    let &Config { vocab, hidden, intermediate, head_dim, max_positions, .. } = config;
    let activation = activation(fields, "activation_function", Activation::GeluTanh)?;
    let scaled = fields.flag_or("scale_attn_weights", true)?;
    let by_layer = fields.flag("scale_attn_by_inverse_layer_idx")?;
    let conv = |module: &str, shape, part, rows| {
        Projection::new(module, shape, ["n_embd, n_inner", "n_embd, n_inner"], true).viewed(part, true, rows)
    };
    let layers = Layer::all(config, |number| {
        let at = |name: &str| format!("transformer.h.{number}.{name}");
        let third = |place: usize, part| {
            conv(&at("attn.c_attn"), [hidden, hidden], part, Some(FusedRows::slice(place * hidden, hidden, 3 * hidden)))
        };
        let scale = if scaled { inverse_root(head_dim as f64) } else { 1.0 };
        Layer {
            attention_norm: Some(Norm::layer(config, &at("ln_1"))),
            attention: Attention {
                q: third(0, "q"),
                k: third(1, "k"),
                v: third(2, "v"),
                o: conv(&at("attn.c_proj"), [hidden, hidden], "", None),
                head_norms: None,
                rotary_dim: 0,
                rotary_table: 0,
                scale: if by_layer { scale / (number + 1) as f32 } else { scale },
                window: None,
                softcap: None,
            },
            after_attention: None,
            feed_forward_norm: Some(Norm::layer(config, &at("ln_2"))),
            feed_forward: FeedForward::Plain {
                up: conv(&at("mlp.c_fc"), [intermediate, hidden], "", None),
                down: conv(&at("mlp.c_proj"), [hidden, intermediate], "", None),
                activation,
            },
            after_feed_forward: None,
            parallel: false,
            residual_scale: 1.0,
        }
    });
    let table = |name: &str, rows, fields| Tensor::matrix(name, [rows, hidden], fields);
    Ok(Decoder {
        embedding: table("transformer.wte.weight", vocab, "vocab_size, n_embd"),
        positions: Some(table("transformer.wpe.weight", max_positions, "n_positions, n_embd")),
        norm: Norm::layer(config, "transformer.ln_f"),
        head: (!config.tie_embeddings).then(|| table("lm_head.weight", vocab, "vocab_size, n_embd")),
        ..Decoder::standard(config, layers)
    })
}
