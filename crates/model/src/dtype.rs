//! The element types of stored tensors that this crate reads, and their conversion to float32.

mod blocks;

use std::fmt;

use lpu_num::half::{bf16_to_f32, f16_to_f32};

/// Element type of a stored tensor.
///
/// The quantised types are those of GGUF files, under the names that these files are known by. A block of one holds its
/// elements as small numbers with scales; the expansion of each type is one function of the module `blocks`.
#[allow(non_camel_case_types, reason = "the names that these files are known by")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dtype {
    /// IEEE binary32, 4 bytes.
    F32,
    /// IEEE binary16, 2 bytes.
    F16,
    /// The upper half of a binary32, 2 bytes.
    BF16,
    /// Blocks of 32: numbers of four bits less 8, one scale.
    Q4_0,
    /// Blocks of 32: numbers of four bits, one scale, one minimum.
    Q4_1,
    /// Blocks of 32: numbers of five bits less 16, one scale.
    Q5_0,
    /// Blocks of 32: numbers of five bits, one scale, one minimum.
    Q5_1,
    /// Blocks of 32: signed bytes, one scale.
    Q8_0,
    /// Blocks of 256: numbers of two bits, a scale and a minimum of four bits for each 16.
    Q2_K,
    /// Blocks of 256: numbers of three bits less 4, a scale of six bits for each 16.
    Q3_K,
    /// Blocks of 256: numbers of four bits, a scale and a minimum of six bits for each 32.
    Q4_K,
    /// Blocks of 256: numbers of five bits, a scale and a minimum of six bits for each 32.
    Q5_K,
    /// Blocks of 256: numbers of six bits less 32, a scale of eight bits for each 16.
    Q6_K,
    /// Blocks of 256: signed bytes, one float32 scale.
    Q8_K,
    /// Blocks of 32: places in a table of 16 values, one scale.
    IQ4_NL,
    /// Blocks of 256: places in a table of 16 values, a scale of six bits for each 32.
    IQ4_XS,
    /// Blocks of 32: floats of four bits, one power of two.
    MXFP4,
}

/// A quantised type: what a block holds, and how it becomes float32.
struct Blocks {
    dtype: Dtype,
    name: &'static str,
    /// Elements of a block.
    elements: usize,
    /// Bytes of a block.
    bytes: usize,
    /// Expands one block of that many bytes into that many elements.
    expand: fn(&[u8], &mut [f32]),
}

/// Most elements of a block.
const LARGEST: usize = 256;

#[rustfmt::skip]
const BLOCKS: [Blocks; 14] = [
    Blocks { dtype: Dtype::Q4_0, name: "Q4_0", elements: 32, bytes: 18, expand: blocks::q4_0 },
    Blocks { dtype: Dtype::Q4_1, name: "Q4_1", elements: 32, bytes: 20, expand: blocks::q4_1 },
    Blocks { dtype: Dtype::Q5_0, name: "Q5_0", elements: 32, bytes: 22, expand: blocks::q5_0 },
    Blocks { dtype: Dtype::Q5_1, name: "Q5_1", elements: 32, bytes: 24, expand: blocks::q5_1 },
    Blocks { dtype: Dtype::Q8_0, name: "Q8_0", elements: 32, bytes: 34, expand: blocks::q8_0 },
    Blocks { dtype: Dtype::Q2_K, name: "Q2_K", elements: 256, bytes: 84, expand: blocks::q2_k },
    Blocks { dtype: Dtype::Q3_K, name: "Q3_K", elements: 256, bytes: 110, expand: blocks::q3_k },
    Blocks { dtype: Dtype::Q4_K, name: "Q4_K", elements: 256, bytes: 144, expand: blocks::q4_k },
    Blocks { dtype: Dtype::Q5_K, name: "Q5_K", elements: 256, bytes: 176, expand: blocks::q5_k },
    Blocks { dtype: Dtype::Q6_K, name: "Q6_K", elements: 256, bytes: 210, expand: blocks::q6_k },
    Blocks { dtype: Dtype::Q8_K, name: "Q8_K", elements: 256, bytes: 292, expand: blocks::q8_k },
    Blocks { dtype: Dtype::IQ4_NL, name: "IQ4_NL", elements: 32, bytes: 18, expand: blocks::iq4_nl },
    Blocks { dtype: Dtype::IQ4_XS, name: "IQ4_XS", elements: 256, bytes: 136, expand: blocks::iq4_xs },
    Blocks { dtype: Dtype::MXFP4, name: "MXFP4", elements: 32, bytes: 17, expand: blocks::mxfp4 },
];

impl Dtype {
    /// What is known of a quantised type; `None` for the floats.
    fn blocks(self) -> Option<&'static Blocks> {
        BLOCKS.iter().find(|blocks| blocks.dtype == self)
    }

    /// Elements of a block, which a row holds whole ones of, and its bytes.
    pub fn block(self) -> (usize, usize) {
        match self.blocks() {
            Some(blocks) => (blocks.elements, blocks.bytes),
            None if self == Dtype::F32 => (1, 4),
            None => (1, 2),
        }
    }

    /// Bytes of `elements` elements, a whole number of blocks.
    pub(crate) fn size(self, elements: usize) -> usize {
        let (block, bytes) = self.block();
        elements / block * bytes
    }

    /// The name that `config.json` uses (`float32`, `float16`, `bfloat16`), or that GGUF files use (`Q8_0`, `Q4_K`,
    /// `IQ4_XS`).
    pub fn name(self) -> &'static str {
        match (self, self.blocks()) {
            (_, Some(blocks)) => blocks.name,
            (Dtype::F16, None) => "float16",
            (Dtype::BF16, None) => "bfloat16",
            (_, None) => "float32",
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

    /// Converts little-endian elements to float32: exact for the floats; for a quantised type products and sums in
    /// float32, each rounded. A scale that is not finite gives elements that are not.
    ///
    /// `bytes` holds exactly `out.len()` elements. It need not be aligned.
    pub(crate) fn read(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(bytes.len(), self.size(out.len()));
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
            _ => {
                let blocks = self.blocks().expect("a type that is no float has blocks");
                for (values, raw) in out.chunks_exact_mut(blocks.elements).zip(bytes.chunks_exact(blocks.bytes)) {
                    (blocks.expand)(raw, values);
                }
            }
        }
    }

    /// Element `index` of the elements in `bytes`.
    pub(crate) fn element(self, bytes: &[u8], index: usize) -> f32 {
        let (block, size) = self.block();
        let start = index / block * size;
        let mut values = [0.0; LARGEST];
        self.read(&bytes[start..start + size], &mut values[..block]);
        values[index % block]
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests;
