//! Reading: borrowed bytes become a container that borrows its image and host section. Nothing is trusted, and
//! nothing is allocated beyond what the bytes at hand can fill.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::check;
use super::code::{CHECKSUM, EXTENT, HEADER, MAGIC, RUN, VERSION, padding, read_kind, read_place, read_queue, read_run};
use super::error::{ContentError, FormatError};
use crate::codec::decode_queue_at;
use crate::program::{ChipId, ChipRef, Container, Extent, Fill, Image, Program, Region};
use crate::queue::{Item, Queue};

/// A place in bytes up to an end.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn offset(&self) -> u64 {
        self.at as u64
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, needed: u64) -> Result<&'a [u8], FormatError> {
        let left = self.left();
        match usize::try_from(needed) {
            Ok(length) if length <= left => {
                let taken = &self.bytes[self.at..self.at + length];
                self.at += length;
                Ok(taken)
            }
            _ => Err(FormatError::Truncated { offset: self.offset(), needed, left: left as u64 }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FormatError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, FormatError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FormatError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, FormatError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A number of entries that each take at least `least` bytes.
    fn count(&mut self, least: usize) -> Result<usize, FormatError> {
        let offset = self.offset();
        let count = self.u32()? as usize;
        let needed = count as u64 * least as u64;
        let left = self.left() as u64;
        if needed > left { Err(FormatError::Truncated { offset, needed, left }) } else { Ok(count) }
    }

    fn name(&mut self, what: &'static str) -> Result<String, FormatError> {
        let offset = self.offset();
        let length = self.u16()?;
        let bytes = self.take(u64::from(length))?;
        let name = std::str::from_utf8(bytes).map_err(|_| FormatError::NotUtf8 { offset })?;
        check::name(what, name).map_err(at(offset))?;
        Ok(name.to_owned())
    }

    /// Bytes at the next aligned offset.
    fn aligned(&mut self, length: u64) -> Result<&'a [u8], FormatError> {
        let offset = self.offset();
        if self.take(padding(offset))?.iter().any(|byte| *byte != 0) {
            return Err(FormatError::Padding { offset });
        }
        self.take(length)
    }

    fn finish(self) -> Result<(), FormatError> {
        match self.left() {
            0 => Ok(()),
            length => Err(FormatError::Surplus { offset: self.offset(), length: length as u64 }),
        }
    }
}

fn at(offset: u64) -> impl Fn(ContentError) -> FormatError {
    move |content| FormatError::Content { offset, content }
}

pub(crate) fn parse(bytes: &[u8]) -> Result<(Container<'_>, [u8; CHECKSUM]), FormatError> {
    let least = (HEADER + CHECKSUM) as u64;
    let found = bytes.len() as u64;
    if !bytes.starts_with(&MAGIC[..MAGIC.len().min(bytes.len())]) || bytes.is_empty() {
        return Err(FormatError::Magic);
    }
    if found < least {
        return Err(FormatError::Length { found, stated: least });
    }
    let mut header = Cursor { bytes: &bytes[..HEADER], at: MAGIC.len() };
    let version = header.u32()?;
    if version != VERSION {
        return Err(FormatError::Version { found: version, supported: VERSION });
    }
    let vector_bytes = header.u32()?;
    let fingerprint = header.array()?;
    let stated = header.u64()?;
    if stated != found {
        return Err(FormatError::Length { found, stated });
    }
    let (content, checksum) = bytes.split_at(bytes.len() - CHECKSUM);
    let hash = *blake3::Hasher::new().update_rayon(content).finalize().as_bytes();
    if hash != checksum {
        return Err(FormatError::Checksum { offset: content.len() as u64 });
    }
    check::vector_bytes(vector_bytes).map_err(at(12))?;
    let (offset, needed, left) = (header.offset(), header.u64()?, (content.len() - HEADER) as u64);
    let end = usize::try_from(needed).ok().filter(|_| needed <= left).ok_or(FormatError::Truncated { offset, needed, left })?;
    let tables = Cursor { bytes: &content[..HEADER + end], at: HEADER };
    let data = Cursor { bytes: content, at: HEADER + end };
    Ok((read_tables(tables, data, vector_bytes, fingerprint)?, hash))
}

fn read_tables<'a>(
    mut tables: Cursor<'a>,
    mut data: Cursor<'a>,
    vector_bytes: u32,
    fingerprint: [u8; 32],
) -> Result<Container<'a>, FormatError> {
    let chip = ChipRef { name: tables.name("chip")?, fingerprint };
    let host_length = tables.u64()?;
    let count = tables.count(EXTENT)?;
    let mut extents = Vec::with_capacity(count);
    let first = tables.offset();
    for _ in 0..count {
        extents.push(read_extent(&mut tables, &mut data, vector_bytes)?);
    }
    let programs = read_programs(&mut tables, vector_bytes)?;
    let mut before = None;
    for (index, extent) in extents.iter().enumerate() {
        let offset = first + (index * EXTENT) as u64;
        check::extent(before, extent, vector_bytes, check::chips(&programs)).map_err(at(offset))?;
        before = Some(extent.place);
    }
    tables.finish()?;
    let host = if host_length == 0 { &[] } else { data.aligned(host_length)? };
    data.finish()?;
    Ok(Container { chip, image: Image { vector_bytes, extents }, programs, host: Cow::Borrowed(host) })
}

fn read_extent<'a>(tables: &mut Cursor<'a>, data: &mut Cursor<'a>, vector_bytes: u32) -> Result<Extent<'a>, FormatError> {
    let place = read_place(tables)?;
    let offset = tables.offset();
    let fill = match tables.u8()? {
        0 => Fill::Zero,
        1 => Fill::Bytes(Cow::Borrowed(data.aligned(u64::from(place.count) * u64::from(vector_bytes))?)),
        value => return Err(FormatError::BadCode { offset, what: "kind of extent", value: u64::from(value) }),
    };
    Ok(Extent { place, fill })
}

fn read_programs(tables: &mut Cursor<'_>, vector_bytes: u32) -> Result<Vec<Program>, FormatError> {
    let offset = tables.offset();
    let count = tables.count(2 + 8 + 4 + 2)?;
    if count == 0 {
        return Err(at(offset)(ContentError::NoPrograms));
    }
    let mut programs = Vec::new();
    let mut names = BTreeSet::new();
    for _ in 0..count {
        let offset = tables.offset();
        let program = read_program(tables, vector_bytes)?;
        if !names.insert(program.name.clone()) {
            return Err(at(offset)(ContentError::DuplicateProgram { name: program.name }));
        }
        programs.push(program);
    }
    Ok(programs)
}

fn read_program(tables: &mut Cursor<'_>, vector_bytes: u32) -> Result<Program, FormatError> {
    let start = tables.offset();
    let name = tables.name("program")?;
    let cycles = tables.u64()?;
    let mut regions = Vec::new();
    let mut starts = Vec::new();
    let mut names = BTreeSet::new();
    for _ in 0..tables.count(2 + 2 + 4 + 4 + 4)? {
        let offset = tables.offset();
        let region = read_region(tables)?;
        if !names.insert(region.name.clone()) {
            return Err(at(offset)(ContentError::DuplicateRegion { program: name, region: region.name }));
        }
        regions.push(region);
        starts.push(offset);
    }
    let chips = usize::from(tables.u16()?);
    check::program_head(&name, cycles, chips).map_err(at(start))?;
    for (region, offset) in regions.iter().zip(starts) {
        check::region(region, vector_bytes, chips).map_err(at(offset))?;
    }
    let queues = (0..chips).map(|chip| read_queues(tables, &name, ChipId(chip as u16))).collect::<Result<_, _>>()?;
    Ok(Program { name, cycles, regions, queues })
}

fn read_region(tables: &mut Cursor<'_>) -> Result<Region, FormatError> {
    let name = tables.name("region")?;
    let (kind, format) = read_kind(tables)?;
    let (vectors, lanes) = (tables.u32()?, tables.u32()?);
    let count = tables.count(RUN)?;
    let runs = (0..count).map(|_| read_run(tables)).collect::<Result<_, _>>()?;
    Ok(Region { name, kind, format, vectors, lanes, runs })
}

fn read_queues(tables: &mut Cursor<'_>, program: &str, chip: ChipId) -> Result<BTreeMap<Queue, Vec<Item>>, FormatError> {
    let mut queues: BTreeMap<Queue, Vec<Item>> = BTreeMap::new();
    for _ in 0..tables.count(5 + 8)? {
        let offset = tables.offset();
        let queue = read_queue(tables)?;
        if queues.last_key_value().is_some_and(|(last, _)| *last >= queue) {
            return Err(FormatError::QueueOrder { offset, queue });
        }
        let length = tables.u64()?;
        let start = tables.offset();
        let items = decode_queue_at(tables.take(length)?, start)?;
        check::queue(program, chip, queue, &items).map_err(at(offset))?;
        queues.insert(queue, items);
    }
    Ok(queues)
}
