//! A place in the bytes of a file: integers, names and aligned pieces are taken from it, and nothing beyond its end.

use super::check;
use crate::error::{ContentError, FormatError};

/// Alignment of extent data and of the host section.
pub(crate) const ALIGN: u64 = 64;

/// The bytes from `at` to the next aligned offset.
pub(crate) fn padding(at: u64) -> u64 {
    at.wrapping_neg() % ALIGN
}

/// A place in bytes up to an end.
pub(crate) struct ByteCursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> ByteCursor<'a> {
    pub(crate) fn offset(&self) -> u64 {
        self.at as u64
    }

    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(super) fn take(&mut self, needed: u64) -> Result<&'a [u8], FormatError> {
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

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
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

    pub(super) fn u64(&mut self) -> Result<u64, FormatError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A number of entries that each take at least `least` bytes.
    pub(super) fn count(&mut self, least: usize) -> Result<usize, FormatError> {
        let offset = self.offset();
        let count = self.u32()? as usize;
        let needed = count as u64 * least as u64;
        let left = self.left() as u64;
        if needed > left { Err(FormatError::Truncated { offset, needed, left }) } else { Ok(count) }
    }

    pub(super) fn name(&mut self, what: &'static str) -> Result<String, FormatError> {
        let offset = self.offset();
        let length = self.u16()?;
        let bytes = self.take(u64::from(length))?;
        let name = std::str::from_utf8(bytes).map_err(|_| FormatError::NotUtf8 { offset })?;
        check::name(what, name).map_err(at(offset))?;
        Ok(name.to_owned())
    }

    /// Bytes at the next aligned offset.
    pub(super) fn aligned(&mut self, length: u64) -> Result<&'a [u8], FormatError> {
        let offset = self.offset();
        if self.take(padding(offset))?.iter().any(|byte| *byte != 0) {
            return Err(FormatError::Padding { offset });
        }
        self.take(length)
    }

    pub(super) fn finish(self) -> Result<(), FormatError> {
        match self.left() {
            0 => Ok(()),
            length => Err(FormatError::Surplus { offset: self.offset(), length: length as u64 }),
        }
    }
}

pub(super) fn at(offset: u64) -> impl Fn(ContentError) -> FormatError {
    move |content| FormatError::Content { offset, content }
}
