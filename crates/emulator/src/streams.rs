//! Stream registers. A value keeps its diagonal while it flows, so it is stored once, under its diagonal, and never
//! moved.

use lpu_chip::Chip;
use lpu_isa::{Direction, Hemisphere, Producer, Stream};

#[derive(Clone, Copy, Debug)]
struct ValueTag {
    diagonal: i64,
    cycle: u64,
    code: bool,
    from: Option<Producer>,
}

/// A stream register in a cycle.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamRegister {
    pub(crate) stream: Stream,
    pub(crate) position: i32,
    pub(crate) cycle: u64,
}

/// The stream registers of one chip.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    lanes: usize,
    a_direction: usize,
    mask: usize,
    tags: Vec<ValueTag>,
    values: Vec<u8>,
}

impl Streams {
    pub(crate) fn new(chip: &Chip) -> Self {
        let positions = 2 * chip.mxm_position(Hemisphere::East) as usize + 2;
        let ring = positions.next_power_of_two();
        let slots = ring * 2 * usize::from(chip.streams());
        let empty = ValueTag { diagonal: i64::MIN, cycle: 0, code: false, from: None };
        Self {
            lanes: chip.lanes(),
            a_direction: usize::from(chip.streams()),
            mask: ring - 1,
            tags: vec![empty; slots],
            values: vec![0; slots * chip.lanes()],
        }
    }

    fn slot(&self, StreamRegister { stream, position, cycle }: StreamRegister) -> (usize, i64) {
        let (column, diagonal) = match stream.direction() {
            Direction::East => (0, cycle as i64 - i64::from(position)),
            Direction::West => (self.a_direction, cycle as i64 + i64::from(position)),
        };
        let column = column + usize::from(stream.number());
        (column * (self.mask + 1) + (diagonal as usize & self.mask), diagonal)
    }

    /// The value arriving at a register, if a producer fed it.
    pub(crate) fn get(&self, register: StreamRegister) -> Option<&[u8]> {
        let (slot, diagonal) = self.slot(register);
        (self.tags[slot].diagonal == diagonal).then(|| &self.values[slot * self.lanes..(slot + 1) * self.lanes])
    }

    /// Whether the value arriving at a register is a word of code, as it was read.
    pub(crate) fn is_code(&self, register: StreamRegister) -> bool {
        let (slot, diagonal) = self.slot(register);
        self.tags[slot].diagonal == diagonal && self.tags[slot].code
    }

    /// Puts a value on a register; gives back the producer that did so before it in this cycle.
    pub(crate) fn put(
        &mut self,
        register: StreamRegister,
        code: bool,
        from: Producer,
        value: &[u8],
    ) -> Option<Producer> {
        let (slot, diagonal) = self.slot(register);
        let before = self.tags[slot];
        self.tags[slot] = ValueTag { diagonal, cycle: register.cycle, code, from: Some(from) };
        self.values[slot * self.lanes..(slot + 1) * self.lanes].copy_from_slice(value);
        before.from.filter(|_| before.diagonal == diagonal && before.cycle == register.cycle)
    }
}
