//! The structure of a GGUF file: magic, version, counts, metadata, tensor entries, padding, data.

use std::collections::BTreeMap;

use super::{GgufError, MAGIC, types};
use crate::Dtype;

/// Arrays in arrays beyond this are refused.
const NESTING: usize = 3;
/// Most items of all lists together: what is kept of one is larger than in the file.
const ITEMS: u64 = 1 << 23;
/// Most dimensions of a tensor.
const DIMENSIONS: u32 = 4;
/// Most bytes of a text.
const TEXT: usize = 1 << 24;
/// The greatest alignment taken.
const ALIGNMENT: u64 = 1 << 20;
/// Bytes of the shortest metadata value (an empty key, a type, a byte) and of the shortest tensor entry (an empty name,
/// one dimension).
const SHORTEST: [u64; 2] = [13, 32];

/// A metadata value. Whole numbers of all widths are one kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum MetadataValue {
    Whole(i128),
    Number(f64),
    Bool(bool),
    Text(String),
    Array(Vec<MetadataValue>),
}

/// A tensor entry; the bytes of one whose type is known are inside the file.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// `None` for a type that is not read.
    pub(super) dtype: Option<Dtype>,
    /// The type's name, or its number.
    pub(super) type_name: String,
    /// Sizes, the one of neighbouring elements first.
    pub(super) shape: Vec<usize>,
    /// First byte, counted from the start of the file.
    pub(super) start: usize,
}

/// Metadata by key.
#[derive(Debug, Default)]
pub(super) struct Metadata(BTreeMap<String, MetadataValue>);

/// What a file holds.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) metadata: Metadata,
    pub(super) tensors: BTreeMap<String, Entry>,
}

impl Metadata {
    pub(super) fn get(&self, key: &str) -> Option<&MetadataValue> {
        self.0.get(key)
    }

    fn wrong(key: &str, expected: &'static str) -> GgufError {
        GgufError::ValueKind { key: key.to_owned(), expected }
    }

    /// A value that `take` takes; `expected` names the kind.
    fn value<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        take: impl Fn(&'a MetadataValue) -> Option<T>,
    ) -> Result<Option<T>, GgufError> {
        self.get(key).map(|value| take(value).ok_or_else(|| Self::wrong(key, expected))).transpose()
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&str>, GgufError> {
        self.value(
            key,
            "a text",
            |value| if let MetadataValue::Text(text) = value { Some(text.as_str()) } else { None },
        )
    }

    pub(super) fn whole(&self, key: &str) -> Result<Option<u64>, GgufError> {
        self.value(key, "a whole number of 64 bits", |value| match value {
            MetadataValue::Whole(number) => u64::try_from(*number).ok(),
            _ => None,
        })
    }

    /// A whole number, or a list that has the same one for each layer.
    pub(super) fn whole_or_equal(&self, key: &str) -> Result<Option<u64>, GgufError> {
        let Some(MetadataValue::Array(items)) = self.get(key) else { return self.whole(key) };
        let equal = items.windows(2).all(|pair| pair[0] == pair[1]);
        match items.first() {
            Some(MetadataValue::Whole(number)) if equal => {
                u64::try_from(*number).map(Some).map_err(|_| Self::wrong(key, "a whole number of 64 bits"))
            }
            _ => Err(Self::wrong(key, "a whole number, or the same one for each layer")),
        }
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, GgufError> {
        self.value(key, "a number", |value| match value {
            MetadataValue::Number(number) => Some(*number),
            MetadataValue::Whole(number) => Some(*number as f64),
            _ => None,
        })
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, GgufError> {
        self.value(key, "true or false", |value| if let MetadataValue::Bool(flag) = value { Some(*flag) } else { None })
    }

    /// A list whose items `item` takes; `what` names them.
    pub(super) fn list<'a, T>(
        &'a self,
        key: &str,
        what: &'static str,
        item: impl Fn(&'a MetadataValue) -> Option<T>,
    ) -> Result<Option<Vec<T>>, GgufError> {
        self.value(key, what, |value| {
            if let MetadataValue::Array(items) = value { items.iter().map(&item).collect() } else { None }
        })
    }
}

/// Reads the structure of a file.
pub(super) fn read(bytes: &[u8]) -> Result<Contents, GgufError> {
    let mut cursor = GgufCursor { bytes, at: 0, items: 0 };
    if cursor.take("the magic", 4)? != MAGIC {
        return Err(GgufError::Magic);
    }
    let version = cursor.u32("the version")?;
    if matches!(version.swap_bytes(), 1..=3) {
        return Err(GgufError::ByteOrder);
    }
    if version != 2 && version != 3 {
        return Err(GgufError::Version { version });
    }
    let tensor_count = cursor.u64("the number of tensors")?;
    let value_count = cursor.u64("the number of metadata values")?;
    cursor.check_count("metadata values", value_count, SHORTEST[0])?;
    cursor.check_count("tensors", tensor_count, SHORTEST[1])?;
    let mut metadata = Metadata::default();
    for _ in 0..value_count {
        let key = cursor.text("a metadata key")?;
        let kind = cursor.u32("the type of a metadata value")?;
        let value = cursor.value(kind, 0)?;
        if metadata.0.insert(key.clone(), value).is_some() {
            return Err(GgufError::ValueTwice { key });
        }
    }
    cursor.check_count("tensors", tensor_count, SHORTEST[1])?;
    let mut entries = Vec::new();
    for _ in 0..tensor_count {
        entries.push(cursor.entry()?);
    }
    let found = metadata.whole("general.alignment")?.unwrap_or(32);
    if !found.is_power_of_two() || found > ALIGNMENT {
        return Err(GgufError::Alignment { found, most: ALIGNMENT });
    }
    let tensors = place(entries, cursor.at, found as usize, bytes.len())?;
    Ok(Contents { metadata, tensors })
}

/// An entry before it has its place: its name, its offset in the data, and its bytes, unknown for a type that is.
struct LocatedTensor {
    name: String,
    entry: Entry,
    offset: u64,
    length: usize,
}

/// Gives every tensor its first byte in the file: none begins off the alignment, overlaps another or ends beyond the
/// file.
fn place(
    entries: Vec<LocatedTensor>,
    header: usize,
    alignment: usize,
    length: usize,
) -> Result<BTreeMap<String, Entry>, GgufError> {
    let data = header.next_multiple_of(alignment);
    let mut spans: Vec<(usize, usize, usize)> = Vec::with_capacity(entries.len());
    for (number, LocatedTensor { name, entry, offset, length }) in entries.iter().enumerate() {
        let shape =
            || GgufError::Shape { tensor: name.clone(), shape: entry.shape.iter().map(|size| *size as u64).collect() };
        if !offset.is_multiple_of(alignment as u64) {
            return Err(GgufError::Misaligned { tensor: name.clone(), offset: *offset, alignment });
        }
        let start = usize::try_from(*offset).ok().and_then(|offset| offset.checked_add(data)).ok_or_else(shape)?;
        spans.push((start, start.checked_add(*length).ok_or_else(shape)?, number));
    }
    spans.sort_unstable();
    if let Some((_, _, first)) = spans.iter().find(|(_, end, _)| *end > length) {
        let needed = spans.iter().map(|(_, end, _)| *end).max().unwrap_or_default();
        return Err(GgufError::Truncated { length, needed, tensor: entries[*first].name.clone() });
    }
    // The tensor that reaches furthest so far.
    let mut before: Option<(usize, usize, usize)> = None;
    for span in spans.iter().filter(|(start, end, _)| start < end) {
        if let Some((_, end, first)) = before
            && span.0 < end
        {
            let name = |number: usize| entries[number].name.clone();
            return Err(GgufError::Overlap { first: name(first), second: name(span.2), at: span.0 });
        }
        before = Some(*span);
    }
    let mut starts = vec![0; entries.len()];
    spans.iter().for_each(|(start, _, number)| starts[*number] = *start);
    let mut tensors = BTreeMap::new();
    for (LocatedTensor { name, entry, .. }, start) in entries.into_iter().zip(starts) {
        if tensors.insert(name.clone(), Entry { start, ..entry }).is_some() {
            return Err(GgufError::TensorTwice { tensor: name });
        }
    }
    Ok(tensors)
}

struct GgufCursor<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Items of the lists so far.
    items: u64,
}

impl<'a> GgufCursor<'a> {
    /// Refuses a count of things of which each has at least `shortest` bytes.
    fn check_count(&self, what: &'static str, count: u64, shortest: u64) -> Result<(), GgufError> {
        let most = (self.bytes.len() - self.at) as u64 / shortest;
        if count > most { Err(GgufError::Count { what, count, most }) } else { Ok(()) }
    }

    fn take(&mut self, what: &'static str, count: u64) -> Result<&'a [u8], GgufError> {
        let left = self.bytes.len() - self.at;
        match usize::try_from(count) {
            Ok(count) if count <= left => {
                self.at += count;
                Ok(&self.bytes[self.at - count..self.at])
            }
            _ => Err(GgufError::Header { what, at: self.at, needed: count, length: self.bytes.len() }),
        }
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], GgufError> {
        Ok(self.take(what, N as u64)?.try_into().expect("as many as were asked for"))
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    fn text(&mut self, what: &'static str) -> Result<String, GgufError> {
        let length = self.u64(what)?;
        let at = self.at;
        let bytes = self.take(what, length)?;
        if bytes.len() > TEXT {
            return Err(GgufError::LongText { at, length: bytes.len(), most: TEXT });
        }
        // Tokens of some vocabularies are cut inside a character.
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<MetadataValue, GgufError> {
        const WHAT: &str = "a metadata value";
        let at = self.at;
        Ok(match kind {
            0 => MetadataValue::Whole(u8::from_le_bytes(self.array(WHAT)?).into()),
            1 => MetadataValue::Whole(i8::from_le_bytes(self.array(WHAT)?).into()),
            2 => MetadataValue::Whole(u16::from_le_bytes(self.array(WHAT)?).into()),
            3 => MetadataValue::Whole(i16::from_le_bytes(self.array(WHAT)?).into()),
            4 => MetadataValue::Whole(self.u32(WHAT)?.into()),
            5 => MetadataValue::Whole(i32::from_le_bytes(self.array(WHAT)?).into()),
            6 => MetadataValue::Number(f32::from_le_bytes(self.array(WHAT)?).into()),
            7 => MetadataValue::Bool(self.array::<1>(WHAT)? != [0]),
            8 => MetadataValue::Text(self.text(WHAT)?),
            9 if depth < NESTING => {
                let kind = self.u32("the type of a list")?;
                let count = self.u64("the number of items of a list")?;
                // No item is smaller than a byte, so a count beyond the bytes left is refused before anything is kept.
                if count > (self.bytes.len() - self.at) as u64 {
                    return Err(GgufError::LongList { at, count });
                }
                self.items += count;
                if self.items > ITEMS {
                    return Err(GgufError::Items { at, most: ITEMS });
                }
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(self.value(kind, depth + 1)?);
                }
                MetadataValue::Array(items)
            }
            9 => return Err(GgufError::Nested { at, depth }),
            10 => MetadataValue::Whole(self.u64(WHAT)?.into()),
            11 => MetadataValue::Whole(i64::from_le_bytes(self.array(WHAT)?).into()),
            12 => MetadataValue::Number(f64::from_le_bytes(self.array(WHAT)?)),
            number => return Err(GgufError::ValueType { at, number }),
        })
    }

    fn entry(&mut self) -> Result<LocatedTensor, GgufError> {
        let name = self.text("the name of a tensor")?;
        let dimensions = self.u32("the number of dimensions of a tensor")?;
        if dimensions == 0 || dimensions > DIMENSIONS {
            return Err(GgufError::Dimensions { tensor: name, dimensions, most: DIMENSIONS });
        }
        let mut sizes = Vec::new();
        for _ in 0..dimensions {
            sizes.push(self.u64("the shape of a tensor")?);
        }
        let number = self.u32("the type of a tensor")?;
        let offset = self.u64("the place of a tensor")?;
        let kind = types::find(number);
        // Within 63 bits, so that a shape is not too large only because of another size of 0.
        let elements =
            sizes.iter().try_fold(1u64, |product, size| product.checked_mul(*size)).filter(|count| *count < 1 << 63);
        let shape: Option<Vec<usize>> = sizes.iter().map(|size| usize::try_from(*size).ok()).collect();
        let (block, size) = kind.map_or((1, 0), |kind| kind.block);
        let length = elements.and_then(|elements| usize::try_from(elements).ok()?.div_ceil(block).checked_mul(size));
        let (Some(shape), Some(length)) = (shape, length.filter(|length| *length < 1 << 62)) else {
            return Err(GgufError::Shape { tensor: name, shape: sizes });
        };
        if let Some(kind) = kind
            && !sizes[0].is_multiple_of(block as u64)
        {
            return Err(GgufError::Blocks { tensor: name, columns: sizes[0], kind: kind.name, block });
        }
        let type_name = kind.map_or(format!("number {number}"), |kind| kind.name.to_owned());
        let entry = Entry { dtype: kind.and_then(|kind| kind.dtype), type_name, shape, start: 0 };
        Ok(LocatedTensor { name, entry, offset, length })
    }
}
