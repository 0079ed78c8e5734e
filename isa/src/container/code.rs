//! The byte codes of the container: queues, slices, runs and kinds as fixed fields, written and read side by side.

use super::bytes::ByteCursor;
use crate::error::FormatError;
use crate::operand::{Format, Operand};
use crate::program::{ChipId, RegionKind, SliceId, WordRun};
use crate::queue::{Hemisphere, PlanePort, Queue};

/// First bytes of a file; the line ends in it show damage by text transfer.
pub(crate) const MAGIC: [u8; 8] = *b"\x89LPB\r\n\x1a\n";
/// Version of the layout.
pub(crate) const VERSION: u32 = 5;
/// Bytes of the header.
pub(crate) const HEADER: usize = 64;
/// Bytes of the checksum.
pub(crate) const CHECKSUM: usize = blake3::OUT_LEN;
/// Bytes of an encoded place.
const PLACE: usize = 13;
/// Bytes of an encoded run: a place and the distance from word to word.
pub(crate) const RUN: usize = PLACE + 4;
/// Bytes of the shortest encoded extent: its kind and a place.
pub(crate) const EXTENT: usize = 1 + PLACE;

fn side_code(side: Hemisphere) -> u8 {
    match side {
        Hemisphere::East => 0,
        Hemisphere::West => 1,
    }
}

fn pick<T: Copy>(all: &[T], cursor: &mut ByteCursor<'_>, what: &'static str) -> Result<T, FormatError> {
    let offset = cursor.offset();
    let value = cursor.u8()?;
    all.get(usize::from(value)).copied().ok_or(FormatError::BadCode { offset, what, value: u64::from(value) })
}

fn read_side(cursor: &mut ByteCursor<'_>) -> Result<Hemisphere, FormatError> {
    pick(&Hemisphere::BOTH, cursor, "side")
}

/// Chip, slice and first words of a run: everything but its stride.
pub(crate) fn put_place(out: &mut Vec<u8>, run: &WordRun) {
    out.extend(run.chip.0.to_le_bytes());
    out.push(side_code(run.slice.side));
    out.extend(run.slice.index.to_le_bytes());
    out.extend(run.word.to_le_bytes());
    out.extend(run.count.to_le_bytes());
}

pub(crate) fn read_place(cursor: &mut ByteCursor<'_>) -> Result<WordRun, FormatError> {
    let chip = ChipId(cursor.u16()?);
    let slice = SliceId { side: read_side(cursor)?, index: cursor.u16()? };
    Ok(WordRun { chip, slice, word: cursor.u32()?, count: cursor.u32()?, stride: 1 })
}

pub(crate) fn put_run(out: &mut Vec<u8>, run: &WordRun) {
    put_place(out, run);
    out.extend(run.stride.to_le_bytes());
}

pub(crate) fn read_run(cursor: &mut ByteCursor<'_>) -> Result<WordRun, FormatError> {
    let place = read_place(cursor)?;
    Ok(WordRun { stride: cursor.u32()?, ..place })
}

/// Five bytes: unit, side, number, port; fields that a unit does not have are zero.
pub(crate) fn put_queue(out: &mut Vec<u8>, queue: Queue) {
    let (unit, side, number, port) = match queue {
        Queue::Mem(side, slice) => (0, side_code(side), slice, 0),
        Queue::Vxm(alu) => (1, 0, alu, 0),
        Queue::Mxm(side, plane, port) => (2, side_code(side), plane, port as u8),
        Queue::Sxm(side, unit) => (3, side_code(side), unit, 0),
        Queue::C2c(link) => (4, 0, link, 0),
    };
    out.extend([unit, side]);
    out.extend(number.to_le_bytes());
    out.push(port);
}

pub(crate) fn read_queue(cursor: &mut ByteCursor<'_>) -> Result<Queue, FormatError> {
    let offset = cursor.offset();
    let unit = cursor.u8()?;
    let side = read_side(cursor)?;
    let number = cursor.u16()?;
    let port = pick(&PlanePort::ALL, cursor, "port of a plane")?;
    let queue = match unit {
        0 => Queue::Mem(side, number),
        1 => Queue::Vxm(number),
        2 => Queue::Mxm(side, number, port),
        3 => Queue::Sxm(side, number),
        4 => Queue::C2c(number),
        _ => return Err(FormatError::BadCode { offset, what: "unit", value: u64::from(unit) }),
    };
    let mut canonical = Vec::with_capacity(5);
    put_queue(&mut canonical, queue);
    let given = [unit, side_code(side), number.to_le_bytes()[0], number.to_le_bytes()[1], port as u8];
    if canonical == given {
        Ok(queue)
    } else {
        Err(FormatError::BadCode { offset, what: "queue", value: u64::from(unit) })
    }
}

pub(crate) fn put_kind(out: &mut Vec<u8>, kind: RegionKind, format: Format) {
    out.extend([
        RegionKind::ALL.iter().position(|each| *each == kind).unwrap_or_default() as u8,
        format.to_bits() as u8,
    ]);
}

pub(crate) fn read_kind(cursor: &mut ByteCursor<'_>) -> Result<(RegionKind, Format), FormatError> {
    Ok((pick(RegionKind::ALL, cursor, "kind of region")?, pick(Format::ALL, cursor, "number format")?))
}
