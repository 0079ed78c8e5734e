//! The element types of stored tensors that this crate reads, and their conversion to float32.

use std::fmt;

use lpu_num::half::{bf16_to_f32, f16_to_f32};

/// Element type of a stored tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dtype {
    /// IEEE binary32, 4 bytes.
    F32,
    /// IEEE binary16, 2 bytes.
    F16,
    /// The upper half of a binary32, 2 bytes.
    BF16,
}

impl Dtype {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::BF16 => 2,
        }
    }

    /// The name that `config.json` uses (`float32`, `float16`, `bfloat16`).
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "float32",
            Dtype::F16 => "float16",
            Dtype::BF16 => "bfloat16",
        }
    }

    /// The type of that name; `None` for a type that this crate does not read.
    pub(crate) fn from_name(name: &str) -> Option<Dtype> {
        let name = name.strip_prefix("torch.").unwrap_or(name);
        [Dtype::F32, Dtype::F16, Dtype::BF16].into_iter().find(|dtype| dtype.name() == name)
    }

    /// The type of a safetensors entry; `None` for a type that this crate does not read.
    pub(crate) fn from_safetensors(dtype: safetensors::Dtype) -> Option<Dtype> {
        match dtype {
            safetensors::Dtype::F32 => Some(Dtype::F32),
            safetensors::Dtype::F16 => Some(Dtype::F16),
            safetensors::Dtype::BF16 => Some(Dtype::BF16),
            _ => None,
        }
    }

    /// Converts little-endian elements to float32; every conversion is exact.
    ///
    /// `bytes` holds exactly `out.len()` elements. It need not be aligned.
    pub(crate) fn read(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(bytes.len(), out.len() * self.bytes());
        match self {
            Dtype::F32 => {
                for (value, raw) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                    *value = f32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]);
                }
            }
            Dtype::F16 => {
                for (value, raw) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                    *value = f16_to_f32(u16::from_le_bytes([raw[0], raw[1]]));
                }
            }
            Dtype::BF16 => {
                for (value, raw) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                    *value = bf16_to_f32(u16::from_le_bytes([raw[0], raw[1]]));
                }
            }
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
