//! Writing: a container becomes a list of chunks, the large ones borrowed, with the checksum last.

use std::borrow::Cow;
use std::io;
use std::num::NonZeroU64;

use super::bytes::{ALIGN, padding};
use super::code::{CHECKSUM, HEADER, MAGIC, VERSION, put_kind, put_place, put_queue, put_run};
use crate::codec::encode_queue;
use crate::error::ContentError;
use crate::image::{Extent, Fill};
use crate::program::{ChipProgram, Container, Program, Region};

/// The binary form of a container, in pieces; image and host bytes are borrowed, not copied.
#[derive(Clone, Debug)]
pub struct Encoded<'a> {
    chunks: Vec<Cow<'a, [u8]>>,
    hash: [u8; CHECKSUM],
    length: u64,
}

impl Encoded<'_> {
    /// The pieces in order.
    #[must_use]
    pub fn chunks(&self) -> &[Cow<'_, [u8]>] {
        &self.chunks
    }

    /// Length of all pieces together.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// BLAKE3 of everything before the checksum, which is the checksum itself.
    #[must_use]
    pub const fn hash(&self) -> [u8; CHECKSUM] {
        self.hash
    }

    /// Writes all pieces.
    ///
    /// # Errors
    /// Whatever `out` reports.
    pub fn write_to(&self, out: &mut impl io::Write) -> io::Result<()> {
        self.chunks.iter().try_for_each(|chunk| out.write_all(chunk))
    }

    /// All pieces in one.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.chunks.concat()
    }
}

pub(crate) fn encode<'a>(container: &'a Container<'_>) -> Result<Encoded<'a>, ContentError> {
    super::check::container(container)?;
    let tables = tables(container)?;
    let data: Vec<&[u8]> = data(container).collect();
    let end = data.iter().fold((HEADER + tables.len()) as u64, |at, bytes| at + padding(at) + bytes.len() as u64);
    let length = end + CHECKSUM as u64;

    let mut head = Vec::with_capacity(HEADER + tables.len());
    head.extend(MAGIC);
    head.extend(VERSION.to_le_bytes());
    head.extend(container.image.vector_bytes.to_le_bytes());
    head.extend(container.chip.fingerprint);
    head.extend(length.to_le_bytes());
    head.extend((tables.len() as u64).to_le_bytes());
    head.extend(tables);

    let mut at = head.len() as u64;
    let mut chunks = vec![Cow::Owned(head)];
    for bytes in data {
        static ZEROS: [u8; ALIGN as usize] = [0; ALIGN as usize];
        let gap = padding(at);
        if gap > 0 {
            chunks.push(Cow::Borrowed(&ZEROS[..gap as usize]));
        }
        chunks.push(Cow::Borrowed(bytes));
        at += gap + bytes.len() as u64;
    }
    let mut hasher = blake3::Hasher::new();
    for chunk in &chunks {
        hasher.update(chunk);
    }
    let hash = *hasher.finalize().as_bytes();
    chunks.push(Cow::Owned(hash.to_vec()));
    Ok(Encoded { chunks, hash, length })
}

/// What is after the tables: extents in order, then the host section unless it is empty.
fn data<'a>(container: &'a Container<'_>) -> impl Iterator<Item = &'a [u8]> {
    let extents = container.image.extents.iter().filter(|extent| extent.fill != Fill::Zero);
    extents.map(Extent::bytes).chain(Some(container.host.as_ref()).filter(|host| !host.is_empty()))
}

fn tables(container: &Container<'_>) -> Result<Vec<u8>, ContentError> {
    let mut out = Vec::new();
    put_name(&mut out, &container.chip.name);
    out.extend((container.host.len() as u64).to_le_bytes());
    put_count(&mut out, "extents", container.image.extents.len())?;
    for extent in &container.image.extents {
        out.push(match extent.fill {
            Fill::Zero => 0,
            Fill::Bytes(_) => 1,
            Fill::Pairs(..) => 2,
        });
        extent.places().for_each(|place| put_place(&mut out, &place));
        if extent.fill != Fill::Zero {
            out.extend((extent.live() as u32).to_le_bytes());
        }
    }
    put_count(&mut out, "programs", container.programs.len())?;
    for program in &container.programs {
        put_program(&mut out, program)?;
    }
    Ok(out)
}

fn put_program(out: &mut Vec<u8>, program: &Program) -> Result<(), ContentError> {
    put_name(out, &program.name);
    out.extend(program.cycles.to_le_bytes());
    out.extend(program.interval.map_or(0, NonZeroU64::get).to_le_bytes());
    put_count(out, "regions", program.regions.len())?;
    for region in &program.regions {
        put_region(out, region)?;
    }
    out.extend((program.sets.len() as u16).to_le_bytes());
    for set in &program.sets {
        put_count(out, "queues", set.len())?;
        for (&queue, items) in set {
            let bytes = encode_queue(items);
            put_queue(out, queue);
            out.extend((bytes.len() as u64).to_le_bytes());
            out.extend(bytes);
        }
    }
    out.extend((program.chips.len() as u16).to_le_bytes());
    for ChipProgram { set, links, start } in &program.chips {
        out.extend(set.to_le_bytes());
        out.extend(start.to_le_bytes());
        out.extend((links.len() as u16).to_le_bytes());
        out.extend(links.iter().flat_map(|(of_set, of_chip)| [of_set.to_le_bytes(), of_chip.to_le_bytes()].concat()));
    }
    Ok(())
}

fn put_region(out: &mut Vec<u8>, region: &Region) -> Result<(), ContentError> {
    put_name(out, &region.name);
    put_kind(out, region.kind, region.format);
    out.extend(region.vectors.to_le_bytes());
    out.extend(region.lanes.to_le_bytes());
    put_count(out, "runs of a region", region.runs.len())?;
    for run in &region.runs {
        put_run(out, run);
    }
    Ok(())
}

/// A name whose length was checked.
fn put_name(out: &mut Vec<u8>, name: &str) {
    out.extend((name.len() as u16).to_le_bytes());
    out.extend(name.as_bytes());
}

fn put_count(out: &mut Vec<u8>, what: &'static str, found: usize) -> Result<(), ContentError> {
    out.extend(u32::try_from(found).map_err(|_| ContentError::TooMany { what, found })?.to_le_bytes());
    Ok(())
}
