//! GPT-NeoX and Pythia: layer norms, one matrix whose outputs are query, key and value of one head after another, part
//! of each head rotated, attention and feed-forward side by side.

use super::{Family, FieldNames, Rotary, Row, activation, inverse_root, llama};
use crate::decoder::{
    Attention, Decoder, FeedForward, FusedRows, Layer, NARROW, Norm, OUTPUT, Projection, QUERY, Tensor, WIDEN,
};
use crate::fields::Fields;
use crate::graph::Activation;
use crate::{Config, ModelError};

const NAMES: FieldNames = FieldNames {
    kv_heads: None,
    norm_eps: "layer_norm_eps",
    theta: "rotary_emb_base",
    rotary_share: "rotary_pct",
    ..llama::NAMES
};

pub(super) const ROW: Row = Row {
    family: Family::GptNeoX,
    architectures: &["GPTNeoXForCausalLM", "GPTNeoXModel"],
    model_type: "gpt_neox",
    prefix: "gpt_neox.",
    names: NAMES,
    norm_eps: 1e-5,
    rotary: Rotary::Share(0.25),
    bos: Some(0),
    describe,
    ..llama::ROW
};

fn describe(fields: &Fields, config: &Config) -> Result<Decoder, ModelError> {
    let &Config { vocab, hidden, heads, head_dim, intermediate, rotary_dim, .. } = config;
    let activation = activation(fields, "hidden_act", Activation::Gelu)?;
    let parallel = fields.flag_or("use_parallel_residual", true)?;
    let bias = fields.flag_or("attention_bias", true)?;
    let layers = Layer::all(config, |number| {
        let at = |name: &str| format!("gpt_neox.layers.{number}.{name}");
        let third = |place: usize, part| {
            let rows = FusedRows { total: 3 * hidden, start: place * head_dim, block: head_dim, stride: 3 * head_dim };
            Projection::new(&at("attention.query_key_value"), [heads * head_dim, hidden], QUERY, bias).viewed(
                part,
                false,
                Some(rows),
            )
        };
        Layer {
            attention_norm: Some(Norm::layer(config, &at("input_layernorm"))),
            attention: Attention {
                q: third(0, "q"),
                k: third(1, "k"),
                v: third(2, "v"),
                o: Projection::new(&at("attention.dense"), [hidden, hidden], OUTPUT, bias),
                head_norms: None,
                rotary_dim,
                rotary_table: 0,
                scale: inverse_root(head_dim as f64),
                window: None,
                softcap: None,
            },
            after_attention: None,
            feed_forward_norm: Some(Norm::layer(config, &at("post_attention_layernorm"))),
            feed_forward: FeedForward::Plain {
                up: Projection::new(&at("mlp.dense_h_to_4h"), [intermediate, hidden], WIDEN, true),
                down: Projection::new(&at("mlp.dense_4h_to_h"), [hidden, intermediate], NARROW, true),
                activation,
            },
            after_feed_forward: None,
            parallel,
            residual_scale: 1.0,
        }
    });
    let table = |name: &str| Tensor::matrix(name, [vocab, hidden], "vocab_size, hidden_size");
    let head = Tensor { alias: Some("embed_out.weight".to_owned()), ..table("lm_head.weight") };
    Ok(Decoder {
        embedding: table("gpt_neox.embed_in.weight"),
        norm: Norm::layer(config, "gpt_neox.final_layer_norm"),
        head: (!config.tie_embeddings).then_some(head),
        ..Decoder::standard(config, layers)
    })
}
