//! Instructions in memory: an `ifetch` takes two vectors, a block, that hold whole items one after another, as the
//! binary form has them. A zero byte where an opcode would be ends the block; the rest of it is zero.

use crate::codec::{decode_queue, encode_queue};
use crate::queue::{Item, Queue};
use crate::table::{Instruction, TableRow};
use crate::timeline::{Clock, validate_item};

/// Whether a block may start with this item: it must not refer to the one before it, which may have issued long ago.
const fn starts(item: &Item) -> bool {
    !item.paired && !matches!(item.instruction, Instruction::Repeat { .. })
}

/// The items of a queue as blocks of `block_bytes` bytes; nothing when an item and those that refer to it do not fit
/// one.
#[must_use]
pub fn blocks(items: &[Item], block_bytes: usize) -> Option<Vec<Vec<u8>>> {
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    let mut at = 0;
    while at < items.len() {
        let group = 1 + items[at + 1..].iter().take_while(|item| !starts(item)).count();
        let bytes = encode_queue(&items[at..at + group]);
        match blocks.last_mut().filter(|block| block.len() + bytes.len() <= block_bytes) {
            Some(block) => block.extend_from_slice(&bytes),
            None => blocks.push(bytes),
        }
        at += group;
    }
    if blocks.iter().any(|block| block.len() > block_bytes) {
        return None;
    }
    blocks.iter_mut().for_each(|block| block.resize(block_bytes, 0));
    Some(blocks)
}

/// The items of a block that is fetched for `queue`.
///
/// # Errors
/// The offset of the first byte at which no item is that can be there.
pub fn block_items(queue: Queue, block: &[u8]) -> Result<Vec<Item>, usize> {
    let mut items: Vec<Item> = Vec::new();
    let mut at = 0;
    while block.get(at).is_some_and(|&opcode| opcode != 0) {
        let row = TableRow::by_opcode(block[at]).ok_or(at)?;
        let encoded = block.get(at..at + row.bytes()).ok_or(at)?;
        let item = decode_queue(encoded).ok().and_then(|found| found.first().copied()).ok_or(at)?;
        if items.is_empty() && !starts(&item) || validate_item(queue, items.last(), Clock::default(), &item).is_err() {
            return Err(at);
        }
        items.push(item);
        at += row.bytes();
    }
    match block[at..].iter().position(|&byte| byte != 0) {
        Some(offset) => Err(at + offset),
        None => Ok(items),
    }
}

/// The items of a block, whatever queue it is for; nothing where there is something else.
pub(crate) fn items_of(block: &[u8]) -> Option<Vec<Item>> {
    let mut items = Vec::new();
    let mut at = 0;
    while block.get(at).is_some_and(|&opcode| opcode != 0) {
        let encoded = block.get(at..at + TableRow::by_opcode(block[at])?.bytes())?;
        items.extend(decode_queue(encoded).ok()?);
        at += encoded.len();
    }
    block[at..].iter().all(|&byte| byte == 0).then_some(items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operand::{Count, Stream, Stride, Word};
    use crate::queue::Hemisphere;

    fn items() -> Vec<Item> {
        let read = |word| Item::from(Instruction::Read { word: Word(word), dst: Stream::east(0) });
        let write = Item { instruction: Instruction::Write { word: Word(9), src: Stream::west(3) }, paired: true };
        let repeat = Item::from(Instruction::Repeat { count: Count(3), distance: Count(2), stride: Stride(1) });
        vec![
            read(1),
            write,
            read(2),
            repeat,
            read(3),
            Instruction::Ifetch { src: Stream::west(2) }.into(),
            Instruction::Sync {}.into(),
        ]
    }

    #[test]
    fn blocks_hold_the_items_and_never_part_a_pair() {
        let queue = Queue::Mem(Hemisphere::East, 0);
        for bytes in 14..64 {
            let blocks = blocks(&items(), bytes).expect("the longest group has 14 bytes");
            let found: Vec<Item> = blocks.iter().flat_map(|block| block_items(queue, block).unwrap()).collect();
            assert_eq!(found, items(), "blocks of {bytes} bytes");
            assert!(blocks.iter().all(|block| block.len() == bytes));
        }
        assert_eq!(blocks(&items(), 13), None);
        assert_eq!(blocks(&[], 32), Some(Vec::new()));
    }

    #[test]
    fn the_first_bad_byte_is_named() {
        let queue = Queue::Mem(Hemisphere::East, 0);
        let good = blocks(&items(), 64).unwrap().remove(0);
        assert_eq!(block_items(Queue::Vxm(0), &good), Err(0), "another unit's instruction");
        assert_eq!(block_items(queue, &good[6..]), Err(0), "starts with a paired item");
        assert_eq!(block_items(queue, &good[18..]), Err(0), "starts with a repeat");
        let mut bad = good.clone();
        bad[6] = 0xff;
        assert_eq!(block_items(queue, &bad), Err(6), "no such opcode");
        bad = good.clone();
        bad[63] = 1;
        assert_eq!(block_items(queue, &bad), Err(63), "something behind the end");
        assert_eq!(block_items(queue, &good[..15]), Err(12), "cut");
    }
}
