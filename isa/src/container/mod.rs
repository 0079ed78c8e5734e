//! The binary program file (`.lpb`): one byte form for each container, borrowed when read. The layout is written
//! down in `docs/program-format.md`.

mod bytes;
mod check;
mod code;
mod read;
mod write;

pub use crate::error::{ContentError, FormatError};
pub use read::Frame;
pub use write::Encoded;

pub(crate) use check::{
    extent as check_extent, name as check_name, overlaps as extent_overlaps, pair as check_pair,
    program_head as check_program_head, region as check_region,
};

use crate::program::Container;

impl Container<'_> {
    /// Whether the container has a binary form.
    ///
    /// # Errors
    /// [`ContentError`] names the first thing that contradicts the rest or the format.
    pub fn validate(&self) -> Result<(), ContentError> {
        check::container(self)
    }

    /// The binary form, in pieces that borrow the image.
    ///
    /// # Errors
    /// As [`Container::validate`].
    pub fn encode(&self) -> Result<Encoded<'_>, ContentError> {
        write::encode(self)
    }

    /// The binary form in one piece; for a large image [`Container::encode`] saves the copy.
    ///
    /// # Errors
    /// As [`Container::validate`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, ContentError> {
        Ok(self.encode()?.to_vec())
    }

    /// BLAKE3 of the binary form without its checksum, which is the checksum: the program's hash, to cite.
    ///
    /// # Errors
    /// As [`Container::validate`].
    pub fn program_hash(&self) -> Result<[u8; 32], ContentError> {
        Ok(self.encode()?.hash())
    }
}

impl<'a> Container<'a> {
    /// Reads a file's bytes; image and host section stay borrowed.
    ///
    /// # Errors
    /// [`FormatError`] says what is wrong at which byte.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FormatError> {
        Ok(read::parse(bytes)?.0)
    }

    /// [`Container::parse`] together with [`Container::program_hash`], which reading has verified anyway.
    ///
    /// # Errors
    /// As [`Container::parse`].
    pub fn parse_with_hash(bytes: &'a [u8]) -> Result<(Self, [u8; 32]), FormatError> {
        read::parse(bytes)
    }
}
