//! The architectures of GGUF files: the family that each one is, where its metadata and tensors differ from a folder's.

use serde_json::{Map, Value, json};

use super::GgufError;
use super::reader::Metadata;
use crate::Family;

/// A kind of GGUF file. Rows of one name are tried in order; the first whose condition holds is taken.
pub(super) struct Architecture {
    /// `general.architecture`, the prefix of its metadata keys.
    pub(super) name: &'static str,
    pub(super) family: Family,
    /// A metadata value (without the prefix) that is above 0 in files of this row.
    pub(super) when: Option<&'static str>,
    /// Whether outputs of queries and keys are in pairs.
    pub(super) paired: bool,
    /// Key of the norms' epsilon.
    pub(super) epsilon: &'static str,
    /// Key of the width of the feed-forward.
    pub(super) width: &'static str,
    /// Modules of a layer that have other names than in [`super::names`].
    pub(super) modules: &'static [(&'static str, &'static str)],
    /// Config fields of the family's own and their keys.
    pub(super) fields: &'static [(&'static str, &'static str, FieldKind)],
    /// Adds the config fields that files of this kind leave out, since they follow from others.
    pub(super) complete: fn(&mut Map<String, Value>),
}

/// How a metadata value becomes a config field.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum FieldKind {
    Number,
    Whole,
    Flag,
    /// Positions; 0 means none.
    Window,
    /// One truth value a layer: whether it has a window.
    Windowed,
    /// Whether the first layer has the tensor that is in place of the key.
    Has,
    /// Whether it lacks it.
    Lacks,
}

const RMS: &str = "attention.layer_norm_rms_epsilon";
const LAYER: &str = "attention.layer_norm_epsilon";
pub(super) const WINDOW: &str = "attention.sliding_window";
const EXPERTS: &str = "expert_count";
const ACTIVE: &str = "expert_used_count";
const SHARED: &str = "expert_shared_feed_forward_length";
const PATTERN: &str = "attention.sliding_window_pattern";
/// Config fields of Granite.
const MULTIPLIERS: [(&str, &str, FieldKind); 4] = [
    ("attention_multiplier", "attention.scale", FieldKind::Number),
    ("embedding_multiplier", "embedding_scale", FieldKind::Number),
    ("residual_multiplier", "residual_scale", FieldKind::Number),
    ("logits_scaling", "logit_scale", FieldKind::Number),
];

/// An architecture with the names and norms of Llama and nothing of its own.
const fn plain(name: &'static str, family: Family) -> Architecture {
    Architecture {
        name,
        family,
        when: None,
        paired: false,
        epsilon: RMS,
        width: "feed_forward_length",
        modules: &[],
        fields: &[],
        complete: |_| (),
    }
}

/// Names of the norms where a layer has one after each half.
const AFTER: &[(&str, &str)] = &[("post_attention_layernorm", "post_attention_norm")];

const ALL: &[Architecture] = &[
    Architecture {
        when: Some(EXPERTS),
        paired: true,
        fields: &[
            ("num_local_experts", EXPERTS, FieldKind::Whole),
            ("num_experts_per_tok", ACTIVE, FieldKind::Whole),
            ("sliding_window", WINDOW, FieldKind::Window),
        ],
        ..plain("llama", Family::Mixtral)
    },
    Architecture {
        when: Some(WINDOW),
        paired: true,
        fields: &[("sliding_window", WINDOW, FieldKind::Window)],
        ..plain("llama", Family::Mistral)
    },
    Architecture { paired: true, ..plain("llama", Family::Llama) },
    plain("qwen2", Family::Qwen2),
    plain("qwen3", Family::Qwen3),
    Architecture {
        width: "expert_feed_forward_length",
        fields: &[("num_experts", EXPERTS, FieldKind::Whole), ("num_experts_per_tok", ACTIVE, FieldKind::Whole)],
        complete: |config| drop(config.insert("norm_topk_prob".to_owned(), json!(true))),
        ..plain("qwen3moe", Family::Qwen3Moe)
    },
    Architecture {
        modules: AFTER,
        fields: &[
            ("sliding_window", WINDOW, FieldKind::Window),
            ("attn_logit_softcapping", "attn_logit_softcapping", FieldKind::Number),
            ("final_logit_softcapping", "final_logit_softcapping", FieldKind::Number),
        ],
        complete: |config| score_scale(config, 46),
        ..plain("gemma2", Family::Gemma2)
    },
    Architecture { fields: &[("sliding_window", WINDOW, FieldKind::Window)], ..plain("phi3", Family::Phi3) },
    Architecture { epsilon: LAYER, ..plain("gpt2", Family::Gpt2) },
    Architecture {
        epsilon: LAYER,
        fields: &[("use_parallel_residual", "use_parallel_residual", FieldKind::Flag)],
        ..plain("gptneox", Family::GptNeoX)
    },
    Architecture {
        when: Some(WINDOW),
        modules: AFTER,
        fields: &[("sliding_window", WINDOW, FieldKind::Window), ("layer_types", PATTERN, FieldKind::Windowed)],
        ..plain("olmo2", Family::Olmo3)
    },
    Architecture { modules: AFTER, ..plain("olmo2", Family::Olmo2) },
    Architecture { paired: true, fields: &MULTIPLIERS, ..plain("granite", Family::Granite) },
    Architecture {
        paired: true,
        fields: &[
            MULTIPLIERS[0],
            MULTIPLIERS[1],
            MULTIPLIERS[2],
            MULTIPLIERS[3],
            ("num_local_experts", EXPERTS, FieldKind::Whole),
            ("num_experts_per_tok", ACTIVE, FieldKind::Whole),
        ],
        ..plain("granitemoe", Family::GraniteMoe)
    },
    plain("gemma", Family::Gemma),
    Architecture {
        modules: AFTER,
        fields: &[
            ("sliding_window", WINDOW, FieldKind::Window),
            ("layer_types", PATTERN, FieldKind::Windowed),
            ("rope_local_base_freq", "rope.freq_base_swa", FieldKind::Number),
            ("final_logit_softcapping", "final_logit_softcapping", FieldKind::Number),
        ],
        complete: |config| score_scale(config, 62),
        ..plain("gemma3", Family::Gemma3)
    },
    Architecture { paired: true, ..plain("smollm3", Family::SmolLm3) },
    Architecture {
        width: "expert_feed_forward_length",
        fields: &[
            ("num_experts", EXPERTS, FieldKind::Whole),
            ("num_experts_per_tok", ACTIVE, FieldKind::Whole),
            ("shared_expert_intermediate_size", SHARED, FieldKind::Whole),
        ],
        ..plain("qwen2moe", Family::Qwen2Moe)
    },
    Architecture {
        epsilon: LAYER,
        fields: &[
            ("use_qkv_bias", "attn_q.bias", FieldKind::Has),
            ("use_parallel_residual", "ffn_norm.weight", FieldKind::Lacks),
        ],
        ..plain("stablelm", Family::StableLm)
    },
    Architecture { epsilon: LAYER, ..plain("phi2", Family::Phi) },
    Architecture {
        epsilon: LAYER,
        fields: &[("logit_scale", "logit_scale", FieldKind::Number)],
        ..plain("command-r", Family::Cohere)
    },
];

/// The scale of scores of Gemma, which files leave out: by the size of a head, in the largest model (known by its
/// layers) by the width over all heads.
fn score_scale(config: &mut Map<String, Value>, largest: u64) {
    let size = |name: &str| config.get(name).and_then(Value::as_u64);
    let scalar = match (size("num_hidden_layers"), size("hidden_size"), size("num_attention_heads")) {
        (Some(layers), Some(hidden), Some(heads)) if layers == largest && heads > 0 => Some(hidden / heads),
        _ => size("head_dim"),
    };
    config.insert("query_pre_attn_scalar".to_owned(), json!(scalar));
}

impl Architecture {
    /// The architecture that metadata ask for.
    pub(super) fn of(metadata: &Metadata) -> Result<&'static Architecture, GgufError> {
        const KEY: &str = "general.architecture";
        let found = metadata.text(KEY)?.ok_or_else(|| GgufError::MissingValue { key: KEY.to_owned() })?;
        for row in ALL.iter().filter(|row| row.name == found) {
            let holds = match row.when {
                Some(key) => metadata.whole(&row.key(key))?.is_some_and(|value| value > 0),
                None => true,
            };
            if holds {
                return Ok(row);
            }
        }
        let mut known: Vec<&str> = ALL.iter().map(|row| row.name).collect();
        known.dedup();
        Err(GgufError::Architecture { found: found.to_owned(), known: known.join(", ") })
    }

    /// A metadata key with the architecture's prefix.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }

    /// Whether a key is read as a field of the family's own.
    pub(super) fn reads(&self, key: &str) -> bool {
        self.fields.iter().any(|(_, own, _)| *own == key)
    }
}
