//! The `config.json` that says what a GGUF file's metadata say.

use serde_json::{Map, Value, json};

use super::Fault;
use super::reader::{Contents, Metadata};

/// Architectures taken, and the one of a folder.
const ARCHITECTURES: &[(&str, &str)] = &[("llama", "LlamaForCausalLM"), ("qwen2", "Qwen2ForCausalLM")];

/// The metadata as a config.
pub(super) fn json(contents: &Contents, bytes: &[u8]) -> Result<Value, Fault> {
    let metadata = &contents.metadata;
    let found = metadata.text("general.architecture")?.ok_or("the metadata value `general.architecture` is missing")?;
    let known = ARCHITECTURES.iter().find(|(name, _)| *name == found);
    let &(family, architecture) = known.ok_or_else(|| {
        let names: Vec<&str> = ARCHITECTURES.iter().map(|(name, _)| *name).collect();
        format!("the architecture \"{found}\" is not read from such a file; those that are: {}", names.join(", "))
    })?;
    let key = |name: &str| format!("{family}.{name}");
    let size = |name: &str| metadata.whole(&key(name));
    if size("expert_count")?.is_some_and(|experts| experts > 0) {
        return Err("its experts are not read from such a file; use the folder of the model".to_owned());
    }
    let has = |tensor: &str| contents.tensors.contains_key(tensor);

    let mut config = Map::new();
    let mut set = |name: &str, value: Value| {
        if !value.is_null() {
            config.insert(name.to_owned(), value);
        }
    };
    set("architectures", json!([architecture]));
    set("hidden_size", json!(size("embedding_length")?));
    set("num_hidden_layers", json!(size("block_count")?));
    set("intermediate_size", json!(size("feed_forward_length")?));
    set("num_attention_heads", json!(size("attention.head_count")?));
    set("num_key_value_heads", json!(size("attention.head_count_kv")?));
    set("max_position_embeddings", json!(size("context_length")?));
    set("rms_norm_eps", json!(metadata.number(&key("attention.layer_norm_rms_epsilon"))?));
    set("vocab_size", json!(contents.tensors.get("token_embd.weight").and_then(|table| table.shape.get(1).copied())));
    set("tie_word_embeddings", json!(!has("output.weight")));
    if family == "llama" {
        set("attention_bias", json!(has("blk.0.attn_q.bias")));
        set("mlp_bias", json!(has("blk.0.ffn_gate.bias")));
    }

    let head_dim = size("attention.key_length")?;
    let dimension = size("rope.dimension_count")?;
    if let (Some(head_dim), Some(dimension)) = (head_dim, dimension)
        && head_dim != dimension
    {
        return Err(format!("{dimension} elements of a head of {head_dim} are rotated; only whole heads are read from such a file"));
    }
    if let (Some(keys), Some(values)) = (head_dim, size("attention.value_length")?)
        && keys != values
    {
        return Err(format!("keys have {keys} elements a head and values {values}; only equal ones are supported"));
    }
    set("head_dim", json!(head_dim.or(dimension)));
    set("rope_parameters", rope(contents, bytes, &key)?);

    let id = |name: &str| metadata.whole(&format!("tokenizer.ggml.{name}_token_id"));
    let stops: Vec<u64> = [id("eos")?, id("eot")?].into_iter().flatten().collect();
    config.insert("bos_token_id".to_owned(), json!(id("bos")?));
    config.insert("eos_token_id".to_owned(), json!(stops));
    Ok(Value::Object(config))
}

/// The rotary parameters; factors of single frequencies stand in a tensor.
fn rope(contents: &Contents, bytes: &[u8], key: &dyn Fn(&str) -> String) -> Result<Value, Fault> {
    let metadata: &Metadata = &contents.metadata;
    let theta = metadata.number(&key("rope.freq_base"))?.unwrap_or(10_000.0);
    if let Some(tensor) = contents.tensors.get("rope_freqs.weight") {
        let (Some(dtype), [count]) = (tensor.dtype, &tensor.shape[..]) else {
            return Err(format!(
                "the tensor `rope_freqs.weight` is {} of shape {:?}, not a vector of numbers",
                tensor.type_name, tensor.shape
            ));
        };
        let factors: Vec<f32> = (0..*count).map(|index| dtype.element(&bytes[tensor.start..], index)).collect();
        return Ok(json!({ "rope_type": "factors", "rope_theta": theta, "factors": factors }));
    }
    Ok(match metadata.text(&key("rope.scaling.type"))? {
        None | Some("none") => json!({ "rope_type": "default", "rope_theta": theta }),
        Some(kind) => json!({ "rope_type": kind, "rope_theta": theta, "factor": metadata.number(&key("rope.scaling.factor"))? }),
    })
}
