//! Arrays in `.npy` files: read into the bytes of a region, and written. Both orders and both byte orders are read; the
//! shape and the type must be those of the region.

use std::io::{self, Write};

use lpu_isa::{Format, Region};
use lpu_num::half::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use thiserror::Error;

/// A file that is no array, or not the array that a region takes.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum NpyError {
    /// The first bytes are of something else.
    #[error("this is no .npy file; give one as `numpy.save` writes it")]
    NotNpy,
    /// A version of the form that does not exist yet.
    #[error("version {major}.{minor} of the .npy form is not known; save the array as version 1.0, 2.0 or 3.0")]
    Version {
        /// First number.
        major: u8,
        /// Second number.
        minor: u8,
    },
    /// The header is not what `numpy.save` writes.
    #[error("the .npy header is damaged: {detail}; save the array again")]
    Header {
        /// What is wrong.
        detail: String,
    },
    /// The elements are no numbers.
    #[error("the array holds {found}, not numbers; save it as numbers, as with `array.astype(numpy.float32)`")]
    NoNumbers {
        /// What it holds.
        found: &'static str,
    },
    /// The file has too few or too many bytes.
    #[error(
        "an array of shape {shape} of {found} takes {needed} bytes after the header, the file has {bytes}; save the \
        array again"
    )]
    Length {
        /// The array's shape.
        shape: Shape,
        /// The array's type.
        found: String,
        /// Bytes that it takes.
        needed: u128,
        /// Bytes there are.
        bytes: usize,
    },
    /// The array has another shape.
    #[error(
        "the array has shape {found}, region `{region}` takes {}; reshape the array",
        Shape(vec![u64::from(*vectors), u64::from(*lanes)])
    )]
    Shape {
        /// The array's shape.
        found: Shape,
        /// The region.
        region: String,
        /// Its vectors.
        vectors: u32,
        /// Its lanes.
        lanes: u32,
    },
    /// The array has another type.
    #[error("the array is of {found}, region `{region}` is of {format}; save the array as {takes}")]
    Type {
        /// The array's type.
        found: String,
        /// The region.
        region: String,
        /// Its number format.
        format: Format,
        /// Types that it takes.
        takes: &'static str,
    },
    /// A finite number becomes infinite in the region's format.
    #[error(
        "element ({vector}, {lane}) is {value}, beyond the greatest number of {format} in region `{region}`; scale \
        the array"
    )]
    Beyond {
        /// First index.
        vector: usize,
        /// Second index.
        lane: usize,
        /// The element.
        value: f32,
        /// The region's number format.
        format: Format,
        /// The region.
        region: String,
    },
}

/// A shape, written as Python writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape(pub Vec<u64>);

impl std::fmt::Display for Shape {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0[..] {
            [one] => write!(formatter, "({one},)"),
            dims => write!(formatter, "({})", dims.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")),
        }
    }
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NpyHeader {
    kind: char,
    /// Bytes of an element.
    size: usize,
    big_endian: bool,
    fortran: bool,
    shape: Shape,
}

impl NpyHeader {
    /// The type as `numpy` names it.
    fn type_name(&self) -> String {
        let bits = 8 * self.size as u64;
        match self.kind {
            'b' => "bool".into(),
            'i' => format!("int{bits}"),
            'u' => format!("uint{bits}"),
            'f' => format!("float{bits}"),
            'c' => format!("complex{bits}"),
            kind => format!("type `{kind}{}`", self.size),
        }
    }
}

/// Longest header that is read; `numpy` reads no longer ones either.
const LONGEST_HEADER: usize = 10_000;

/// A cursor over the header's text.
struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    fn take(&mut self, token: &str) -> bool {
        self.0 = self.0.trim_start();
        let rest = self.0.strip_prefix(token);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn expect(&mut self, token: &str) -> Result<(), NpyError> {
        if self.take(token) {
            return Ok(());
        }
        let found: String = self.0.chars().take(20).collect();
        Err(damaged(format!("`{token}` is expected before `{}`", found.escape_debug())))
    }

    fn string(&mut self) -> Result<&'a str, NpyError> {
        let quote = if self.take("\"") { '"' } else { self.expect("'").map(|()| '\'')? };
        let (found, rest) = self.0.split_once(quote).ok_or_else(|| damaged("a text has no end"))?;
        self.0 = rest;
        Ok(found)
    }

    fn number(&mut self) -> Result<u64, NpyError> {
        self.0 = self.0.trim_start();
        let end = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
        let (digits, rest) = self.0.split_at(end);
        self.0 = rest;
        digits.parse().map_err(|_| damaged("a dimension is no whole number of 64 bits"))
    }
}

fn damaged(detail: impl Into<String>) -> NpyError {
    NpyError::Header { detail: detail.into() }
}

/// The header and the bytes after it.
fn split(bytes: &[u8]) -> Result<(NpyHeader, &[u8]), NpyError> {
    let rest = bytes.strip_prefix(b"\x93NUMPY").ok_or(NpyError::NotNpy)?;
    let short = || damaged("the file ends inside it");
    let ([major, minor], rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
    let (length, rest) = match (major, minor) {
        (1, 0) => rest.split_first_chunk::<2>().map(|(length, rest)| (usize::from(u16::from_le_bytes(*length)), rest)),
        (2 | 3, 0) => rest.split_first_chunk::<4>().map(|(length, rest)| (u32::from_le_bytes(*length) as usize, rest)),
        (&major, &minor) => return Err(NpyError::Version { major, minor }),
    }
    .ok_or_else(short)?;
    if length > LONGEST_HEADER {
        return Err(damaged(format!("it has {length} bytes, more than {LONGEST_HEADER}")));
    }
    let (text, data) = rest.split_at_checked(length).ok_or_else(short)?;
    let text = std::str::from_utf8(text).map_err(|_| damaged("it is no text"))?;
    Ok((header(Text(text))?, data))
}

fn header(mut text: Text<'_>) -> Result<NpyHeader, NpyError> {
    let (mut descr, mut fortran, mut shape) = (None, None, None);
    text.expect("{")?;
    while !text.take("}") {
        let key = text.string()?;
        text.expect(":")?;
        match key {
            "descr" if text.take("[") => return Err(NpyError::NoNumbers { found: "structures" }),
            "descr" => descr = Some(text.string()?),
            "fortran_order" if text.take("True") => fortran = Some(true),
            "fortran_order" => fortran = text.expect("False").map(|()| Some(false))?,
            "shape" => shape = Some(dimensions(&mut text)?),
            key => return Err(damaged(format!("the key `{}` is not known", key.escape_debug()))),
        }
        if !text.take(",") {
            text.expect("}")?;
            break;
        }
    }
    let rest = text.0.trim();
    if !rest.is_empty() {
        return Err(damaged("something follows its `}`"));
    }
    let missing = |key: &str| damaged(format!("`{key}` is missing"));
    let descr = descr.ok_or_else(|| missing("descr"))?;
    let unknown = || damaged(format!("the type `{}` is not known", descr.escape_debug()));
    let mut letters = descr.chars();
    let order = letters.next().filter(|order| "<>|=".contains(*order)).ok_or_else(unknown)?;
    let kind = letters.next().ok_or_else(unknown)?;
    if kind == 'O' {
        return Err(NpyError::NoNumbers { found: "Python objects" });
    }
    let size = letters.as_str().parse().map_err(|_| unknown())?;
    let fortran = fortran.ok_or_else(|| missing("fortran_order"))?;
    Ok(NpyHeader { kind, size, big_endian: order == '>', fortran, shape: shape.ok_or_else(|| missing("shape"))? })
}

fn dimensions(text: &mut Text<'_>) -> Result<Shape, NpyError> {
    let mut shape = Vec::new();
    text.expect("(")?;
    while !text.take(")") {
        shape.push(text.number()?);
        if !text.take(",") {
            text.expect(")")?;
            break;
        }
    }
    Ok(Shape(shape))
}

/// The types that a region takes: kind and bytes of an element.
fn taken(format: Format) -> (&'static str, &'static [(char, usize)]) {
    match format {
        Format::F32 => ("float32", &[('f', 4)]),
        Format::F16 => ("float16 or float32", &[('f', 2), ('f', 4)]),
        Format::Bf16 => ("float32", &[('f', 4)]),
        Format::I32 => ("int32", &[('i', 4)]),
        Format::I16 => ("int16", &[('i', 2)]),
        Format::I8 => ("int8", &[('i', 1)]),
    }
}

/// The array in a `.npy` file as the bytes of a region: its elements, little-endian, vector after vector.
///
/// The array has the region's shape, `(vectors, lanes)`; a leading 1 may be missing or be there once more. Elements of
/// `f16` come from `float16` or `float32`, those of `bf16` from `float32`, others from the type of the same name.
///
/// # Errors
/// [`NpyError`] says what is wrong with the file, or how array and region differ.
pub fn region_bytes(file: &[u8], region: &Region) -> Result<Vec<u8>, NpyError> {
    let (header, data) = split(file)?;
    let Region { name, format, vectors, lanes, .. } = region;
    let (takes, types) = taken(*format);
    if !types.contains(&(header.kind, header.size)) {
        return Err(NpyError::Type { found: header.type_name(), region: name.clone(), format: *format, takes });
    }
    let wanted = [u64::from(*vectors), u64::from(*lanes)];
    let fits = match &header.shape.0[..] {
        [1, dims @ ..] if dims.len() == 2 => dims == wanted,
        [lanes] => wanted == [1, *lanes],
        dims => dims == wanted,
    };
    if !fits {
        return Err(NpyError::Shape { found: header.shape, region: name.clone(), vectors: *vectors, lanes: *lanes });
    }
    let (vectors, lanes) = (*vectors as usize, *lanes as usize);
    let needed = vectors as u128 * lanes as u128 * header.size as u128;
    if data.len() as u128 != needed {
        return Err(NpyError::Length { found: header.type_name(), shape: header.shape, needed, bytes: data.len() });
    }
    let mut bytes = Vec::with_capacity(vectors * lanes * usize::from(format.bytes()));
    for (vector, lane) in (0..vectors).flat_map(|vector| (0..lanes).map(move |lane| (vector, lane))) {
        let index = if header.fortran { vector + lane * vectors } else { vector * lanes + lane };
        let mut element = [0; 4];
        let element = &mut element[..header.size];
        element.copy_from_slice(&data[index * header.size..][..header.size]);
        if header.big_endian {
            element.reverse();
        }
        let narrow = match (format, &*element) {
            (Format::F16, &[a, b, c, d]) => {
                (f32::from_le_bytes([a, b, c, d]), f32_to_f16 as fn(f32) -> u16, f16_to_f32 as fn(u16) -> f32)
            }
            (Format::Bf16, &[a, b, c, d]) => (f32::from_le_bytes([a, b, c, d]), f32_to_bf16 as _, bf16_to_f32 as _),
            (_, element) => {
                bytes.extend_from_slice(element);
                continue;
            }
        };
        let (value, narrow, widen) = narrow;
        let rounded = narrow(value);
        if value.is_finite() && !widen(rounded).is_finite() {
            return Err(NpyError::Beyond { vector, lane, value, format: *format, region: name.clone() });
        }
        bytes.extend(rounded.to_le_bytes());
    }
    Ok(bytes)
}

/// Writes little-endian elements of a type, such as `f4`, as a `.npy` file in C order.
///
/// # Errors
/// Those of the writer.
pub fn write(out: &mut impl Write, descr: &str, shape: &[usize], elements: &[u8]) -> io::Result<()> {
    let order = if descr.ends_with('1') { '|' } else { '<' };
    let shape = Shape(shape.iter().map(|&dim| dim as u64).collect());
    let mut header = format!("{{'descr': '{order}{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    // Magic, version, length, text and line end fill whole blocks of 64 bytes.
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    header += &" ".repeat(length - 1 - header.len());
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&(length as u16).to_le_bytes())?;
    writeln!(out, "{header}")?;
    out.write_all(elements)
}

/// Writes the bytes of a region, as [`region_bytes`] gives them, as a `.npy` file; `f16` and `bf16` become `float32`.
///
/// # Errors
/// Those of the writer.
pub fn write_region(out: &mut impl Write, region: &Region, bytes: &[u8]) -> io::Result<()> {
    let shape = [region.vectors as usize, region.lanes as usize];
    let widened = |widen: fn(u16) -> f32| -> Vec<u8> {
        bytes.chunks_exact(2).flat_map(|half| widen(u16::from_le_bytes([half[0], half[1]])).to_le_bytes()).collect()
    };
    match region.format {
        Format::F32 => write(out, "f4", &shape, bytes),
        Format::I32 => write(out, "i4", &shape, bytes),
        Format::I16 => write(out, "i2", &shape, bytes),
        Format::I8 => write(out, "i1", &shape, bytes),
        Format::F16 => write(out, "f4", &shape, &widened(f16_to_f32)),
        Format::Bf16 => write(out, "f4", &shape, &widened(bf16_to_f32)),
    }
}
