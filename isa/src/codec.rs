//! The binary encoding of instructions: how an item becomes bits, and bits an item. Everything follows from the
//! table: opcode (8 bits), pair flag (1 bit), operands in table order at their kind's width, most significant bit
//! first, padded with zero bits to a whole byte.

use std::sync::LazyLock;

use bitvec::prelude::*;

use crate::error::FormatError;
use crate::queue::Item;
use crate::table::{Instruction, OperandBits, TABLE, TableRow};

/// Bytes that hold the longest item.
const LONGEST: usize = 16;

/// First bit of the first operand.
const OPERANDS_START: usize = 9;

static BY_OPCODE: LazyLock<[Option<&'static TableRow>; 256]> =
    LazyLock::new(|| std::array::from_fn(|code| TableRow::by_opcode(code as u8)));

/// The shortest encoding of any row, in bytes.
static SHORTEST: LazyLock<usize> = LazyLock::new(|| TABLE.iter().map(TableRow::bytes).min().unwrap_or(1));

impl TableRow {
    /// Length of the binary encoding, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bits().div_ceil(8)
    }
}

/// The bytes of a queue's items, one after another.
#[must_use]
pub fn encode_queue(items: &[Item]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(items.len() * 8);
    for item in items {
        encode_item(item, &mut bytes);
    }
    bytes
}

fn encode_item(item: &Item, bytes: &mut Vec<u8>) {
    let row = item.instruction.row();
    let mut buffer = [0u8; LONGEST];
    let bits = buffer.view_bits_mut::<Msb0>();
    bits[..8].store_be(row.opcode);
    bits.set(8, item.paired);
    let mut at = OPERANDS_START;
    for (operand, value) in row.operands.iter().zip(item.instruction.operand_bits()) {
        let end = at + operand.kind.width();
        bits[at..end].store_be(value);
        at = end;
    }
    bytes.extend_from_slice(&buffer[..row.bytes()]);
}

/// The items of a queue's bytes.
///
/// # Errors
/// [`FormatError`] names the first byte at which no item is. Whether the items make a queue is for
/// [`crate::timeline::validate`] to say.
pub fn decode_queue(bytes: &[u8]) -> Result<Vec<Item>, FormatError> {
    decode_queue_at(bytes, 0)
}

/// [`decode_queue`] of bytes that are at offset `base` of a file.
pub(crate) fn decode_queue_at(bytes: &[u8], base: u64) -> Result<Vec<Item>, FormatError> {
    let mut items = Vec::with_capacity(bytes.len() / *SHORTEST);
    let mut at = 0;
    while at < bytes.len() {
        let offset = base + at as u64;
        let opcode = bytes[at];
        let row = BY_OPCODE[usize::from(opcode)].ok_or(FormatError::UnknownOpcode { offset, opcode })?;
        let length = row.bytes();
        let encoded =
            bytes.get(at..at + length).ok_or(FormatError::CutInstruction { offset, mnemonic: row.mnemonic })?;
        items.push(decode_item(row, encoded, offset)?);
        at += length;
    }
    Ok(items)
}

fn decode_item(row: &'static TableRow, encoded: &[u8], offset: u64) -> Result<Item, FormatError> {
    let bits = encoded.view_bits::<Msb0>();
    let mut values = OperandBits::new();
    let mut at = OPERANDS_START;
    for operand in row.operands {
        let end = at + operand.kind.width();
        values.push(bits[at..end].load_be());
        at = end;
    }
    if bits[at..].any() {
        return Err(FormatError::InstructionPadding { offset, mnemonic: row.mnemonic });
    }
    let instruction = Instruction::from_bits(row.opcode, &values)
        .ok_or(FormatError::BadOperand { offset, mnemonic: row.mnemonic })?;
    Ok(Item { instruction, paired: bits[OPERANDS_START - 1] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_fits_the_buffer() {
        for row in TABLE {
            assert!(row.bytes() <= LONGEST, "{}", row.mnemonic);
        }
    }
}
