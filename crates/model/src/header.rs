//! The header of a safetensors file, read with suspicion.
//!
//! A file is eight bytes of header length, a JSON header, then the bytes of all tensors without
//! gap or overlap. What this module hands out has been checked: every span is inside the file
//! and has the length that shape and type need. It allocates in proportion to the header's
//! bytes, which are part of the file.

use std::collections::BTreeMap;
use std::fmt;

use safetensors::tensor::TensorInfo;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use crate::json::is_pointer;
use crate::{Dtype, ModelError};

/// Length of the length field.
const PREFIX: usize = 8;

/// A tensor in a file.
#[derive(Clone, Debug)]
pub(crate) struct StoredTensor {
    /// `None` for a type that is not read.
    pub(crate) dtype: Option<Dtype>,
    /// The type's name in the file.
    pub(crate) type_name: String,
    pub(crate) shape: Vec<usize>,
    /// First byte of the elements, counted from the start of the file.
    pub(crate) start: usize,
    pub(crate) order: RowOrder,
}

/// How a file orders the outputs of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowOrder {
    /// As the graph numbers them.
    Plain,
    /// In each head of this many outputs, output `i` of the first half and then `i` of the second, for one i after
    /// another: the way of GGUF files for queries and keys of Llama.
    Paired(usize),
}

impl RowOrder {
    /// The stored output of output `output`.
    pub(crate) fn stored(self, output: usize) -> usize {
        match self {
            RowOrder::Plain => output,
            RowOrder::Paired(head_dim) => {
                let (head, element) = (output / head_dim, output % head_dim);
                let half = head_dim / 2;
                head * head_dim + 2 * (element % half) + element / half
            }
        }
    }
}

/// Reads and checks the header of `bytes`, the whole file; `file` names it in errors.
pub(crate) fn read(file: &str, bytes: &[u8]) -> Result<BTreeMap<String, StoredTensor>, ModelError> {
    if is_pointer(bytes) {
        return Err(ModelError::LfsPointer { file: file.to_owned() });
    }
    let short = |needed: u64| ModelError::ShortFile { file: file.to_owned(), needed, bytes: bytes.len() as u64 };
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>() else {
        return Err(short(PREFIX as u64));
    };
    let length = u64::from_le_bytes(*prefix);
    let header = usize::try_from(length).ok().and_then(|len| rest.get(..len));
    let Some(header) = header else {
        return Err(short(length.saturating_add(PREFIX as u64)));
    };
    let data = rest.len() - header.len();

    let Entries(entries) = serde_json::from_slice(header)
        .map_err(|error| ModelError::BadHeader { file: file.to_owned(), detail: error.to_string() })?;
    check_spans(file, &entries, data)?;
    let data_start = PREFIX + header.len();
    let stored = |info: TensorInfo| StoredTensor {
        dtype: Dtype::from_safetensors(info.dtype),
        type_name: format!("{:?}", info.dtype),
        shape: info.shape,
        start: data_start + info.data_offsets.0,
        order: RowOrder::Plain,
    };
    Ok(entries.into_iter().map(|(name, info)| (name, stored(info))).collect())
}

/// Checks that the tensors fill `data` bytes, each with as many as it needs.
fn check_spans(file: &str, entries: &BTreeMap<String, TensorInfo>, data: usize) -> Result<(), ModelError> {
    let mut by_offset: Vec<(&String, &TensorInfo)> = entries.iter().collect();
    by_offset.sort_by_key(|(_, info)| info.data_offsets);
    let mut expected = 0;
    for (tensor, info) in by_offset {
        let (start, end) = info.data_offsets;
        let needed = needed_bytes(info);
        if needed.is_none() || end.checked_sub(start) != needed {
            return Err(ModelError::TensorBytes {
                file: file.to_owned(),
                tensor: tensor.clone(),
                start: start as u64,
                end: end as u64,
                needed: needed.map_or("more than 2^64".to_owned(), |bytes| bytes.to_string()),
            });
        }
        if start != expected {
            return Err(ModelError::TensorStart {
                file: file.to_owned(),
                tensor: tensor.clone(),
                start: start as u64,
                expected: expected as u64,
            });
        }
        expected = end;
    }
    if expected != data {
        return Err(ModelError::DataLength { file: file.to_owned(), needed: expected as u64, bytes: data as u64 });
    }
    Ok(())
}

/// Bytes of shape and type; `None` if they overflow.
fn needed_bytes(info: &TensorInfo) -> Option<usize> {
    let elements = info.shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size))?;
    Some(elements.checked_mul(info.dtype.bitsize())?.div_ceil(8))
}

/// The tensors of a header, which may name each only once.
struct Entries(BTreeMap<String, TensorInfo>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    let info = map.next_value()?;
                    if entries.contains_key(&name) {
                        return Err(A::Error::custom(format!("\"{name}\" stands twice")));
                    }
                    entries.insert(name, info);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}
