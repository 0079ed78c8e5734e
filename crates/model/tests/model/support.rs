//! A tiny checkpoint, made in memory or in a folder, that a test can change before it is read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use lpu_model::{Checkpoint, Dtype, ModelError};
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

/// A tensor to be stored: type, shape, bytes.
pub(crate) type Tensor = (safetensors::Dtype, Vec<usize>, Vec<u8>);

/// A checkpoint before it is written.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) config: Value,
    pub(crate) tensors: BTreeMap<String, Tensor>,
}

/// The model that `reference.py` runs: biases everywhere, grouped heads, untied, `llama3` rotary.
pub(crate) fn tiny(dtype: Dtype) -> Parts {
    let config = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 11,
        "hidden_size": 12,
        "intermediate_size": 10,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 6,
        "hidden_act": "silu",
        "attention_bias": true,
        "mlp_bias": true,
        "tie_word_embeddings": false,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 64,
        "bos_token_id": 1,
        "eos_token_id": [9, 2],
        "dtype": "float32",
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 100.0,
            "factor": 4.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
    });
    let mut shapes: Vec<(String, Vec<usize>)> = vec![
        ("lm_head.weight".into(), vec![11, 12]),
        ("model.embed_tokens.weight".into(), vec![11, 12]),
        ("model.norm.weight".into(), vec![12]),
    ];
    for layer in 0..2 {
        let mut add = |name: &str, shape: &[usize]| {
            shapes.push((format!("model.layers.{layer}.{name}"), shape.to_vec()));
        };
        add("input_layernorm.weight", &[12]);
        add("post_attention_layernorm.weight", &[12]);
        for (name, rows, columns) in [
            ("self_attn.q_proj", 24, 12),
            ("self_attn.k_proj", 12, 12),
            ("self_attn.v_proj", 12, 12),
            ("self_attn.o_proj", 12, 24),
            ("mlp.gate_proj", 10, 12),
            ("mlp.up_proj", 10, 12),
            ("mlp.down_proj", 12, 10),
        ] {
            add(&format!("{name}.weight"), &[rows, columns]);
            add(&format!("{name}.bias"), &[rows]);
        }
    }
    shapes.sort();
    let tensors = shapes.into_iter().enumerate().map(|(number, (name, shape))| {
        let shift = if name.contains("norm") { 1.0 } else { 0.0 };
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|i| shift + element(number as u64, i as u64)).collect();
        (name, stored(dtype, shape, &values))
    });
    Parts { config, tensors: tensors.collect() }
}

/// Element `i` of a tensor, as in `reference.py`.
pub(crate) fn element(tensor: u64, i: u64) -> f32 {
    let number = (i * 31 + tensor * 17 + (i * i) % 101) % 64;
    (number as f32 - 32.0) / 128.0
}

/// A tensor of values that the type represents exactly.
pub(crate) fn stored(dtype: Dtype, shape: Vec<usize>, values: &[f32]) -> Tensor {
    match dtype {
        Dtype::F32 => {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes());
            (safetensors::Dtype::F32, shape, bytes.collect())
        }
        Dtype::BF16 => {
            let bytes = values.iter().flat_map(|value| {
                assert_eq!(value.to_bits() & 0xffff, 0, "{value} in bf16");
                ((value.to_bits() >> 16) as u16).to_le_bytes()
            });
            (safetensors::Dtype::BF16, shape, bytes.collect())
        }
        Dtype::F16 => {
            let bytes = values.iter().flat_map(|value| f16(*value).to_le_bytes());
            (safetensors::Dtype::F16, shape, bytes.collect())
        }
        other => panic!("{other} is not written here"),
    }
}

/// Bits of a normal binary16 that is exactly `value`, or of zero.
fn f16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value == 0.0 {
        return (bits >> 16) as u16;
    }
    let exponent = (bits >> 23 & 0xff) as i32 - 112;
    assert!((1..31).contains(&exponent) && bits & 0x1fff == 0, "{value} in f16");
    (bits >> 16 & 0x8000) as u16 | (exponent as u16) << 10 | (bits >> 13 & 0x3ff) as u16
}

impl Parts {
    /// Sets a field of the config.
    pub(crate) fn set(mut self, field: &str, value: Value) -> Parts {
        self.config[field] = value;
        self
    }

    /// Removes a field of the config.
    pub(crate) fn unset(mut self, field: &str) -> Parts {
        self.config.as_object_mut().unwrap().remove(field);
        self
    }

    /// Removes a tensor.
    pub(crate) fn without(mut self, tensor: &str) -> Parts {
        assert!(self.tensors.remove(tensor).is_some(), "{tensor}");
        self
    }

    pub(crate) fn config_json(&self) -> Vec<u8> {
        self.config.to_string().into_bytes()
    }

    /// The tensors whose names `keep` takes, as a tensor file.
    pub(crate) fn file_of(&self, keep: impl Fn(&str) -> bool) -> Vec<u8> {
        let views = self.tensors.iter().filter(|(name, _)| keep(name)).map(|(name, (dtype, shape, bytes))| {
            let view = TensorView::new(*dtype, shape.clone(), bytes).unwrap();
            (name.clone(), view)
        });
        safetensors::serialize(views, None).unwrap()
    }

    /// All tensors as one file.
    pub(crate) fn file(&self) -> Vec<u8> {
        self.file_of(|_| true)
    }

    /// Reads the parts from memory.
    pub(crate) fn open(&self) -> Result<Checkpoint, ModelError> {
        let file = ("tiny.safetensors".to_owned(), Cow::Owned(self.file()));
        Checkpoint::from_parts(&self.config_json(), vec![file], None)
    }

    /// Writes `config.json` and `model.safetensors`.
    pub(crate) fn write(&self, folder: &Path) {
        fs::write(folder.join("config.json"), self.config_json()).unwrap();
        fs::write(folder.join("model.safetensors"), self.file()).unwrap();
    }
}

/// A folder that is removed at the end of a test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("lpu-model-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file of the folder.
    pub(crate) fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> &Folder {
        fs::write(self.0.join(name), bytes).unwrap();
        self
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The error of a read that must fail.
pub(crate) fn refused<T>(result: Result<T, ModelError>) -> ModelError {
    match result {
        Ok(_) => panic!("accepted"),
        Err(error) => error,
    }
}
