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
    /// Blocks of 32: an fp16 scale, then 32 signed bytes. Element `i` is `scale * byte_i`.
    Q8_0,
    /// Blocks of 32: an fp16 scale, then 16 bytes of two numbers from 0 to 15, elements 0 to 15 in the low halves and 16 to 31 in the
    /// high ones. An element is `scale * (number - 8)`.
    Q4_0,
    /// Blocks of 256: the low four bits of each number, the high two, 16 signed scales of 16 elements each, an fp16 scale. An element
    /// is `scale * scale_j * (number - 32)`.
    #[allow(non_camel_case_types, reason = "the name that these files are known by")]
    Q6_K,
}

impl Dtype {
    /// Elements of a block, which a row holds whole ones of, and its bytes.
    pub fn block(self) -> (usize, usize) {
        match self {
            Dtype::F32 => (1, 4),
            Dtype::F16 | Dtype::BF16 => (1, 2),
            Dtype::Q8_0 => (32, 34),
            Dtype::Q4_0 => (32, 18),
            Dtype::Q6_K => (256, 210),
        }
    }

    /// Bytes of `elements` elements, a whole number of blocks.
    pub(crate) fn size(self, elements: usize) -> usize {
        let (block, bytes) = self.block();
        elements / block * bytes
    }

    /// The name that `config.json` uses (`float32`, `float16`, `bfloat16`), or GGUF (`q8_0`, `q4_0`, `q6_k`).
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "float32",
            Dtype::F16 => "float16",
            Dtype::BF16 => "bfloat16",
            Dtype::Q8_0 => "q8_0",
            Dtype::Q4_0 => "q4_0",
            Dtype::Q6_K => "q6_k",
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

    /// Converts little-endian elements to float32; exact for all but the quantised types, whose elements are one product or two.
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
            Dtype::Q8_0 => {
                for (values, raw) in out.chunks_exact_mut(32).zip(bytes.chunks_exact(34)) {
                    let scale = f16_to_f32(u16::from_le_bytes([raw[0], raw[1]]));
                    for (value, byte) in values.iter_mut().zip(&raw[2..]) {
                        *value = scale * f32::from(*byte as i8);
                    }
                }
            }
            Dtype::Q4_0 => {
                for (values, raw) in out.chunks_exact_mut(32).zip(bytes.chunks_exact(18)) {
                    let scale = f16_to_f32(u16::from_le_bytes([raw[0], raw[1]]));
                    let (low, high) = values.split_at_mut(16);
                    for ((low, high), byte) in low.iter_mut().zip(high).zip(&raw[2..]) {
                        *low = scale * f32::from((byte & 15) as i8 - 8);
                        *high = scale * f32::from((byte >> 4) as i8 - 8);
                    }
                }
            }
            Dtype::Q6_K => {
                for (values, raw) in out.chunks_exact_mut(256).zip(bytes.chunks_exact(210)) {
                    q6_k(raw, values);
                }
            }
        }
    }

    /// Element `index` of the elements in `bytes`.
    pub(crate) fn element(self, bytes: &[u8], index: usize) -> f32 {
        let (block, size) = self.block();
        let start = index / block * size;
        let mut values = [0.0; 256];
        self.read(&bytes[start..start + size], &mut values[..block]);
        values[index % block]
    }
}

/// One block of [`Dtype::Q6_K`]: two halves of 128 elements; in a half the low bits of elements 0 to 63 are the low halves of 64 bytes,
/// those of 64 to 127 the high halves, and byte `l` of 32 holds the high bits of the elements `l`, `l + 32`, `l + 64`, `l + 96`.
fn q6_k(raw: &[u8], values: &mut [f32]) {
    let (low, rest) = raw.split_at(128);
    let (high, rest) = rest.split_at(64);
    let (scales, scale) = rest.split_at(16);
    let scale = f16_to_f32(u16::from_le_bytes([scale[0], scale[1]]));
    for (index, value) in values.iter_mut().enumerate() {
        let (half, place) = (index / 128, index % 128);
        let four = low[64 * half + place % 64] >> (4 * (place / 64)) & 15;
        let two = high[32 * half + place % 32] >> (2 * (place / 32)) & 3;
        let number = (four | two << 4) as i8 - 32;
        *value = scale * f32::from(scales[index / 16] as i8) * f32::from(number);
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
