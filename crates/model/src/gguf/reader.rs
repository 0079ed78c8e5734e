//! The structure of a GGUF file: magic, version, counts, metadata, tensor entries, padding, data.

use std::collections::BTreeMap;

use super::{Fault, MAGIC, dtype};
use crate::Dtype;

/// Arrays in arrays beyond this are refused.
const NESTING: usize = 3;
/// Most items of all lists together: what is kept of one is larger than in the file.
const ITEMS: u64 = 1 << 23;
/// Most dimensions of a tensor.
const DIMENSIONS: u32 = 4;

/// A metadata value. Whole numbers of all widths are one kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Whole(i128),
    Number(f64),
    Bool(bool),
    Text(String),
    Array(Vec<Value>),
}

/// A tensor entry; its bytes lie inside the file.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// `None` for a type that is not read.
    pub(super) dtype: Option<Dtype>,
    pub(super) type_name: String,
    /// Sizes, the one of neighbouring elements first.
    pub(super) shape: Vec<usize>,
    /// First byte, counted from the start of the file.
    pub(super) start: usize,
}

/// Metadata by key.
#[derive(Debug, Default)]
pub(super) struct Metadata(BTreeMap<String, Value>);

/// What a file holds.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) metadata: Metadata,
    pub(super) tensors: BTreeMap<String, Entry>,
}

impl Metadata {
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    fn wrong(key: &str, expected: &str) -> Fault {
        format!("the metadata value `{key}` is not {expected}")
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&str>, Fault> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(Self::wrong(key, "a text")),
        }
    }

    pub(super) fn whole(&self, key: &str) -> Result<Option<u64>, Fault> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Whole(number)) => u64::try_from(*number).map(Some).map_err(|_| Self::wrong(key, "a whole number of 64 bits")),
            Some(_) => Err(Self::wrong(key, "a whole number")),
        }
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, Fault> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(Some(*number)),
            Some(Value::Whole(number)) => Ok(Some(*number as f64)),
            Some(_) => Err(Self::wrong(key, "a number")),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, Fault> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(Self::wrong(key, "true or false")),
        }
    }

    /// A list whose items `item` takes; `what` names them.
    pub(super) fn list<'a, T>(&'a self, key: &str, what: &str, item: impl Fn(&'a Value) -> Option<T>) -> Result<Option<Vec<T>>, Fault> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(items)) => items.iter().map(item).collect::<Option<_>>().map(Some).ok_or_else(|| Self::wrong(key, what)),
            Some(_) => Err(Self::wrong(key, what)),
        }
    }
}

/// Reads the structure of a file.
pub(super) fn read(bytes: &[u8]) -> Result<Contents, Fault> {
    let mut cursor = Cursor { bytes, at: 0, items: 0 };
    if cursor.take(4)? != MAGIC {
        return Err("it does not begin with `GGUF`".to_owned());
    }
    let version = cursor.u32()?;
    if version != 2 && version != 3 {
        return Err(format!("it is of version {version}, or of another byte order; versions 2 and 3 in little-endian order are read"));
    }
    let tensor_count = cursor.u64()?;
    let value_count = cursor.u64()?;
    let mut metadata = Metadata::default();
    for _ in 0..value_count {
        let key = cursor.text()?;
        let kind = cursor.u32()?;
        let value = cursor.value(kind, 0)?;
        if metadata.0.insert(key.clone(), value).is_some() {
            return Err(format!("the metadata value `{key}` stands twice"));
        }
    }
    let mut entries = Vec::new();
    for _ in 0..tensor_count {
        entries.push(cursor.entry()?);
    }
    let alignment = metadata.whole("general.alignment")?.unwrap_or(32);
    let alignment = usize::try_from(alignment).ok().filter(|size| size.is_power_of_two() && *size <= 1 << 20);
    let alignment = alignment.ok_or("`general.alignment` is not a power of two up to 1048576")?;
    let data = cursor.at.next_multiple_of(alignment);
    let mut tensors = BTreeMap::new();
    for (name, mut entry, offset) in entries {
        entry.start = place(&name, &entry, offset, data, bytes.len())?;
        if tensors.insert(name.clone(), entry).is_some() {
            return Err(format!("the tensor `{name}` stands twice"));
        }
    }
    Ok(Contents { metadata, tensors })
}

/// First byte of a tensor in the file; its bytes are all there.
fn place(name: &str, entry: &Entry, offset: u64, data: usize, length: usize) -> Result<usize, Fault> {
    let start = usize::try_from(offset).ok().and_then(|offset| offset.checked_add(data));
    let start = start
        .filter(|start| *start <= length)
        .ok_or_else(|| format!("the tensor `{name}` starts at byte {offset} of the data, beyond the file"))?;
    let Some(dtype) = entry.dtype else { return Ok(start) };
    let (block, size) = dtype.block();
    let columns = entry.shape.first().copied().unwrap_or(1);
    if columns % block != 0 {
        return Err(format!("the tensor `{name}` has rows of {columns} elements in blocks of {block}"));
    }
    let elements = entry.shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    let needed = elements.and_then(|elements| (elements / block).checked_mul(size));
    match needed {
        Some(needed) if needed <= length - start => Ok(start),
        _ => Err(format!(
            "the tensor `{name}` of shape {:?} needs {} bytes and the file has {} left",
            entry.shape,
            needed.map_or("more than 2^64".to_owned(), |needed| needed.to_string()),
            length - start
        )),
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Items of the lists so far.
    items: u64,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: u64) -> Result<&'a [u8], Fault> {
        let left = self.bytes.len() - self.at;
        match usize::try_from(count) {
            Ok(count) if count <= left => {
                self.at += count;
                Ok(&self.bytes[self.at - count..self.at])
            }
            _ => Err(format!("it ends too early: {count} bytes are needed at byte {} and {left} are left", self.at)),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        Ok(self.take(N as u64)?.try_into().expect("as many as were asked for"))
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Fault> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<String, Fault> {
        let length = self.u64()?;
        let at = self.at;
        let bytes = self.take(length)?;
        // Tokens of some vocabularies are cut inside a character.
        if bytes.len() > 1 << 24 {
            return Err(format!("the text at byte {at} has {length} bytes, more than 16 MiB"));
        }
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<Value, Fault> {
        let at = self.at;
        Ok(match kind {
            0 => Value::Whole(u8::from_le_bytes(self.array()?).into()),
            1 => Value::Whole(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Whole(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Whole(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Whole(self.u32()?.into()),
            5 => Value::Whole(i32::from_le_bytes(self.array()?).into()),
            6 => Value::Number(f32::from_le_bytes(self.array()?).into()),
            7 => Value::Bool(self.array::<1>()? != [0]),
            8 => Value::Text(self.text()?),
            9 if depth < NESTING => {
                let kind = self.u32()?;
                let count = self.u64()?;
                // No item is smaller than a byte, so a count beyond the bytes left is refused before anything is kept.
                if count > (self.bytes.len() - self.at) as u64 {
                    return Err(format!("the list at byte {at} has {count} items, more than the file has bytes left"));
                }
                self.items += count;
                if self.items > ITEMS {
                    return Err(format!("the lists up to byte {at} have more than {ITEMS} items"));
                }
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(self.value(kind, depth + 1)?);
                }
                Value::Array(items)
            }
            9 => return Err(format!("the list at byte {at} lies in more than {NESTING} others")),
            10 => Value::Whole(self.u64()?.into()),
            11 => Value::Whole(i64::from_le_bytes(self.array()?).into()),
            12 => Value::Number(f64::from_le_bytes(self.array()?)),
            other => return Err(format!("the metadata value at byte {at} is of the unknown type {other}")),
        })
    }

    /// A tensor's name, its entry (without place) and its offset in the data.
    fn entry(&mut self) -> Result<(String, Entry, u64), Fault> {
        let name = self.text()?;
        let dimensions = self.u32()?;
        if dimensions == 0 || dimensions > DIMENSIONS {
            return Err(format!("the tensor `{name}` has {dimensions} dimensions; 1 to {DIMENSIONS} are possible"));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            let size = self.u64()?;
            shape.push(usize::try_from(size).map_err(|_| format!("the tensor `{name}` has a size of {size}"))?);
        }
        let kind = self.u32()?;
        let offset = self.u64()?;
        let dtype = dtype(kind);
        let type_name = dtype.map_or(format!("number {kind}"), |dtype| dtype.name().to_owned());
        Ok((name, Entry { dtype, type_name, shape, start: 0 }, offset))
    }
}
