//! Reading: borrowed bytes become a container that borrows its image and host section. Nothing is trusted, and
//! nothing is allocated beyond what the bytes at hand can fill.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

use super::bytes::{ByteCursor, at};
use super::check;
use super::code::{CHECKSUM, EXTENT, HEADER, MAGIC, RUN, VERSION, read_kind, read_place, read_queue, read_run};
use crate::chips;
use crate::codec::decode_queue_at;
use crate::error::{ContentError, FormatError};
use crate::image::{Extent, Fill, Image};
use crate::program::{ChipProgram, ChipRef, Container, Program, QueueSet, Region};
use crate::queue::{Item, Queue};

/// A program file whose header has been read and whose content is still to be verified and parsed.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Everything but the checksum.
    content: &'a [u8],
    checksum: [u8; CHECKSUM],
    vector_bytes: u32,
    fingerprint: [u8; 32],
    tables: u64,
}

impl<'a> Frame<'a> {
    /// Reads the header of a file's bytes and compares the stated length.
    ///
    /// # Errors
    /// [`FormatError`] when this is no program file, or one of another version or length.
    pub fn new(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let least = (HEADER + CHECKSUM) as u64;
        let found = bytes.len() as u64;
        if !bytes.starts_with(&MAGIC[..MAGIC.len().min(bytes.len())]) || bytes.is_empty() {
            return Err(FormatError::Magic);
        }
        if found < least {
            return Err(FormatError::Length { found, stated: least });
        }
        let mut header = ByteCursor { bytes: &bytes[..HEADER], at: MAGIC.len() };
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
        let tables = header.u64()?;
        let (content, rest) = bytes.split_at(bytes.len() - CHECKSUM);
        let mut checksum = [0; CHECKSUM];
        checksum.copy_from_slice(rest);
        Ok(Self { content, checksum, vector_bytes, fingerprint, tables })
    }

    /// What the checksum covers: everything before it.
    #[must_use]
    pub const fn content(&self) -> &'a [u8] {
        self.content
    }

    /// The checksum as the file states it, which is the program's hash if `found`, BLAKE3 of [`Frame::content`], is the
    /// same.
    ///
    /// # Errors
    /// [`FormatError::Checksum`] when the two differ.
    pub fn verify(&self, found: [u8; 32]) -> Result<[u8; 32], FormatError> {
        if found == self.checksum {
            Ok(found)
        } else {
            Err(FormatError::Checksum { offset: self.content.len() as u64 })
        }
    }

    /// Parses the content; image and host section stay borrowed.
    ///
    /// # Errors
    /// [`FormatError`] says what is wrong at which byte.
    pub fn container(&self) -> Result<Container<'a>, FormatError> {
        self.parse(true)
    }

    /// [`Frame::container`] with programs whose queues are left out, and so are not looked into.
    ///
    /// # Errors
    /// As [`Frame::container`].
    pub fn heads(&self) -> Result<Container<'a>, FormatError> {
        self.parse(false)
    }

    fn parse(&self, queues: bool) -> Result<Container<'a>, FormatError> {
        check::vector_bytes(self.vector_bytes).map_err(at(12))?;
        let (content, needed, left) = (self.content, self.tables, (self.content.len() - HEADER) as u64);
        let refused = FormatError::Truncated { offset: HEADER as u64 - 8, needed, left };
        let end = usize::try_from(needed).ok().filter(|_| needed <= left).ok_or(refused)?;
        let tables = ByteCursor { bytes: &content[..HEADER + end], at: HEADER };
        let data = ByteCursor { bytes: content, at: HEADER + end };
        read_tables(tables, data, self, queues)
    }
}

pub(crate) fn parse(bytes: &[u8]) -> Result<(Container<'_>, [u8; CHECKSUM]), FormatError> {
    let frame = Frame::new(bytes)?;
    let hash = frame.verify(*blake3::Hasher::new().update_rayon(frame.content()).finalize().as_bytes())?;
    Ok((frame.container()?, hash))
}

fn read_tables<'a>(
    mut tables: ByteCursor<'a>,
    mut data: ByteCursor<'a>,
    frame: &Frame<'_>,
    queues: bool,
) -> Result<Container<'a>, FormatError> {
    let Frame { vector_bytes, fingerprint, .. } = *frame;
    let chip = ChipRef { name: tables.name("chip")?, fingerprint };
    let host_length = tables.u64()?;
    let count = tables.count(EXTENT)?;
    let (mut extents, mut entries) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for _ in 0..count {
        entries.push(tables.offset());
        extents.push(read_extent(&mut tables, &mut data, vector_bytes)?);
    }
    let programs = read_programs(&mut tables, vector_bytes, queues)?;
    let chips = check::chips(&programs);
    for (extent, &entry) in extents.iter().zip(&entries) {
        check::extent(extent, vector_bytes, chips).map_err(at(entry))?;
    }
    check::apart(&extents).map_err(|(index, error)| at(entries[index])(error))?;
    tables.finish()?;
    let host = if host_length == 0 { &[] } else { data.aligned(host_length)? };
    data.finish()?;
    Ok(Container { chip, image: Image { vector_bytes, extents }, programs, host: Cow::Borrowed(host) })
}

fn read_extent<'a>(
    tables: &mut ByteCursor<'_>,
    data: &mut ByteCursor<'a>,
    vector_bytes: u32,
) -> Result<Extent<'a>, FormatError> {
    let offset = tables.offset();
    let kind = tables.u8()?;
    let place = read_place(tables)?;
    let mut bytes = |tables: &mut ByteCursor<'_>, width: u64| {
        let offset = tables.offset();
        let live = tables.u32()?;
        if !(1..=vector_bytes).contains(&live) {
            return Err(FormatError::BadCode {
                offset,
                what: "number of bytes that a word here has",
                value: u64::from(live),
            });
        }
        Ok(Cow::Borrowed(data.aligned(width * u64::from(place.count) * u64::from(live))?))
    };
    let fill = match kind {
        0 => Fill::Zero,
        1 => Fill::Bytes(bytes(tables, 1)?),
        2 => {
            let other = read_place(tables)?;
            Fill::Pairs(bytes(tables, 2)?, other)
        }
        _ => return Err(FormatError::BadCode { offset, what: "kind of extent", value: u64::from(kind) }),
    };
    Ok(Extent { place, fill })
}

fn read_programs(tables: &mut ByteCursor<'_>, vector_bytes: u32, queues: bool) -> Result<Vec<Program>, FormatError> {
    let offset = tables.offset();
    let count = tables.count(2 + 8 + 4 + 2 + 2)?;
    if count == 0 {
        return Err(at(offset)(ContentError::NoPrograms));
    }
    let mut programs = Vec::new();
    let mut names = BTreeSet::new();
    for _ in 0..count {
        let offset = tables.offset();
        let program = read_program(tables, vector_bytes, queues)?;
        if !names.insert(program.name.clone()) {
            return Err(at(offset)(ContentError::DuplicateProgram { name: program.name }));
        }
        programs.push(program);
    }
    Ok(programs)
}

fn read_program(tables: &mut ByteCursor<'_>, vector_bytes: u32, queues: bool) -> Result<Program, FormatError> {
    let start = tables.offset();
    let name = tables.name("program")?;
    let cycles = tables.u64()?;
    let interval = NonZeroU64::new(tables.u64()?);
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
    let of_sets = tables.offset();
    let count = tables.u16()?;
    let encoded = (0..count).map(|_| read_set(tables)).collect::<Result<Vec<_>, _>>()?;
    let of_chips = tables.offset();
    let count = tables.u16()?;
    let chips = (0..count).map(|_| read_chip(tables)).collect::<Result<Vec<_>, _>>()?;
    check::program_head(&name, cycles, chips.len()).map_err(at(start))?;
    check::cycles(&name, interval.map_or(0, NonZeroU64::get)).map_err(at(start))?;
    for (region, offset) in regions.iter().zip(starts) {
        check::region(region, vector_bytes, chips.len()).map_err(at(offset))?;
    }
    let named = encoded.iter().map(|set| set.iter().map(|queue| (queue.queue, Vec::new())).collect()).collect();
    let mut program = Program { name, cycles, interval, regions, sets: named, chips };
    chips::check(&program).map_err(at(of_chips))?;
    if !queues {
        program.sets.iter_mut().for_each(QueueSet::clear);
        return Ok(program);
    }
    for ((set, encoded), start) in program.sets.iter_mut().zip(&encoded).zip(check::latest_starts(&program.chips)) {
        for queue in encoded {
            set.insert(queue.queue, queue.items(&program.name, start)?);
        }
    }
    chips::distinct(&program).map_err(at(of_sets))?;
    Ok(program)
}

fn read_region(tables: &mut ByteCursor<'_>) -> Result<Region, FormatError> {
    let name = tables.name("region")?;
    let (kind, format) = read_kind(tables)?;
    let (vectors, lanes) = (tables.u32()?, tables.u32()?);
    let count = tables.count(RUN)?;
    let runs = (0..count).map(|_| read_run(tables)).collect::<Result<_, _>>()?;
    Ok(Region { name, kind, format, vectors, lanes, runs })
}

/// A queue whose items are still encoded.
struct EncodedQueue<'a> {
    offset: u64,
    queue: Queue,
    start: u64,
    bytes: &'a [u8],
}

impl EncodedQueue<'_> {
    /// The items, whose chips start no later than in cycle `start`.
    fn items(&self, program: &str, start: u64) -> Result<Vec<Item>, FormatError> {
        let items = decode_queue_at(self.bytes, self.start)?;
        check::queue(program, self.queue, &items, start).map_err(at(self.offset))?;
        Ok(items)
    }
}

fn read_set<'a>(tables: &mut ByteCursor<'a>) -> Result<Vec<EncodedQueue<'a>>, FormatError> {
    let mut queues: Vec<EncodedQueue<'_>> = Vec::new();
    for _ in 0..tables.count(5 + 8)? {
        let offset = tables.offset();
        let queue = read_queue(tables)?;
        if queues.last().is_some_and(|last| last.queue >= queue) {
            return Err(FormatError::QueueOrder { offset, queue });
        }
        let length = tables.u64()?;
        let start = tables.offset();
        queues.push(EncodedQueue { offset, queue, start, bytes: tables.take(length)? });
    }
    Ok(queues)
}

fn read_chip(tables: &mut ByteCursor<'_>) -> Result<ChipProgram, FormatError> {
    let (set, start) = (tables.u16()?, tables.u64()?);
    let mut links = BTreeMap::new();
    for _ in 0..tables.u16()? {
        let offset = tables.offset();
        let (of_set, of_chip) = (tables.u16()?, tables.u16()?);
        if links.last_key_value().is_some_and(|(last, _)| *last >= of_set) {
            return Err(FormatError::QueueOrder { offset, queue: Queue::C2c(of_set) });
        }
        links.insert(of_set, of_chip);
    }
    Ok(ChipProgram { set, links, start })
}
