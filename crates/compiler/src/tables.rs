//! Reservation tables: which stream segments, memory ports, queues and ALU latches are taken, cycle by cycle.
//! Every reservation is logged, so that a failed attempt to schedule a block leaves no trace.

use bitvec::prelude::*;
use lpu_chip::Chip;
use lpu_isa::{Direction, Hemisphere, Queue, SliceId, Stream};

const READ: u16 = 1 << 0;
const WRITE: u16 = 1 << 1;
const READ_ISSUE: u16 = 1 << 2;
const WRITE_ISSUE: u16 = 1 << 3;
const READ_BANK: u16 = 4;
const WRITE_BANK: u16 = 8;

/// A list of cycles that are taken.
#[derive(Clone, Debug, Default)]
struct Cycles(BitVec);

impl Cycles {
    fn free(&self, from: usize, to: usize) -> bool {
        let end = (to + 1).min(self.0.len());
        from >= end || self.0[from..end].not_any()
    }

    fn set(&mut self, from: usize, to: usize, value: bool) {
        if self.0.len() <= to {
            self.0.resize((to + 1).next_power_of_two(), false);
        }
        self.0[from..=to].fill(value);
    }
}

#[derive(Clone, Debug)]
enum Undo {
    /// One 64-bit chunk of the positions of a diagonal.
    Segment {
        stream: usize,
        chunk: usize,
        mask: u64,
    },
    Memory {
        slice: usize,
        cycle: usize,
        bits: u16,
    },
    Queue {
        queue: usize,
        cycle: usize,
    },
    Latch {
        alu: usize,
        from: usize,
        to: usize,
    },
    Link {
        link: usize,
        from: usize,
        to: usize,
    },
}

/// All reservations of one chip.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    edge: i32,
    /// 64-bit chunks that hold one bit a position.
    chunks: usize,
    streams_a_direction: usize,
    slices_a_side: usize,
    words_per_bank: u32,
    queues: Vec<Queue>,
    /// By stream: one bit a position of each diagonal.
    segments: Vec<Vec<u64>>,
    memory: Vec<Vec<u16>>,
    issues: Vec<Cycles>,
    latches: Vec<Cycles>,
    links: Vec<Cycles>,
    log: Vec<Undo>,
    /// A cycle after which nothing is taken.
    horizon: u64,
}

/// A place in the log to fall back to.
#[derive(Clone, Copy)]
pub(crate) struct Mark(usize);

impl Tables {
    pub(crate) fn new(chip: &Chip) -> Self {
        let queues = chip.queues();
        let edge = chip.mxm_position(Hemisphere::East);
        Self {
            edge,
            chunks: (2 * edge as usize + 1).div_ceil(64),
            streams_a_direction: usize::from(chip.streams()),
            slices_a_side: chip.values().slices_per_side as usize,
            words_per_bank: chip.values().words_per_bank,
            segments: vec![Vec::new(); 2 * usize::from(chip.streams())],
            memory: vec![Vec::new(); 2 * chip.values().slices_per_side as usize],
            issues: queues.iter().map(|_| Cycles::default()).collect(),
            latches: (0..chip.values().alus).map(|_| Cycles::default()).collect(),
            links: (0..chip.values().c2c_queues).map(|_| Cycles::default()).collect(),
            queues,
            log: Vec::new(),
            horizon: 0,
        }
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark(self.log.len())
    }

    /// Takes back everything reserved since the mark.
    pub(crate) fn undo(&mut self, mark: Mark) {
        for entry in self.log.drain(mark.0..).rev() {
            match entry {
                Undo::Segment { stream, chunk, mask } => self.segments[stream][chunk] &= !mask,
                Undo::Memory { slice, cycle, bits } => self.memory[slice][cycle] &= !bits,
                Undo::Queue { queue, cycle } => self.issues[queue].set(cycle, cycle, false),
                Undo::Latch { alu, from, to } => self.latches[alu].set(from, to, false),
                Undo::Link { link, from, to } => self.links[link].set(from, to, false),
            }
        }
    }

    /// Takes back everything reserved since the last [`Tables::commit`].
    pub(crate) fn undo_all(&mut self) {
        self.undo(Mark(0));
    }

    /// A cycle after which nothing is taken.
    pub(crate) fn horizon(&self) -> u64 {
        self.horizon
    }

    /// Notes that what was taken after a cycle was given back.
    pub(crate) fn recede(&mut self, horizon: u64) {
        self.horizon = horizon;
    }

    /// Forgets how to take back what is reserved so far.
    pub(crate) fn commit(&mut self) {
        self.log.clear();
    }

    /// Takes a stream from the register at `from`, fed in cycle `cycle`, up to its last consumer at `to`. The
    /// consumer's register itself stays free for another producer.
    pub(crate) fn segment(&mut self, stream: Stream, cycle: u64, from: i32, to: i32) -> bool {
        let (index, shift, low, high) = match stream.direction() {
            Direction::East => (0, -from, from, to - 1),
            Direction::West => (self.streams_a_direction, from, to + 1, from),
        };
        let index = index + usize::from(stream.number());
        let diagonal = (cycle as i64 + i64::from(shift) + i64::from(self.edge)) as usize;
        // A value cannot be taken at the position that feeds it.
        if high < low {
            return false;
        }
        let (low, high) = ((low + self.edge) as usize, (high + self.edge) as usize);
        let column = &mut self.segments[index];
        if column.len() < (diagonal + 1) * self.chunks {
            column.resize((diagonal + 1).next_power_of_two() * self.chunks, 0);
        }
        let mask = |chunk: usize| {
            let (first, last) = (low.max(64 * chunk), high.min(64 * chunk + 63));
            (u64::MAX >> (63 - (last - first))) << (first % 64)
        };
        self.horizon = self.horizon.max(cycle + high as u64 - low as u64 + 1);
        let start = diagonal * self.chunks;
        let touched = low / 64..=high / 64;
        if touched.clone().any(|chunk| column[start + chunk] & mask(chunk) != 0) {
            return false;
        }
        for chunk in touched {
            column[start + chunk] |= mask(chunk);
            self.log.push(Undo::Segment { stream: index, chunk: start + chunk, mask: mask(chunk) });
        }
        true
    }

    fn slice_index(&self, slice: SliceId) -> usize {
        usize::from(slice.index) + if slice.side == Hemisphere::West { self.slices_a_side } else { 0 }
    }

    fn memory(&mut self, slice: usize, cycle: u64, conflicts: u16, bits: u16) -> bool {
        self.horizon = self.horizon.max(cycle);
        let column = &mut self.memory[slice];
        let cycle = cycle as usize;
        if column.len() <= cycle {
            column.resize((cycle + 1).next_power_of_two(), 0);
        }
        if column[cycle] & conflicts != 0 {
            return false;
        }
        column[cycle] |= bits;
        self.log.push(Undo::Memory { slice, cycle, bits });
        true
    }

    /// Takes the read port in the cycle of dispatch.
    pub(crate) fn read(&mut self, slice: SliceId, cycle: u64, word: u32) -> bool {
        let (slice, bank) = (self.slice_index(slice), (word / self.words_per_bank) as u16);
        let write = self.memory[slice].get(cycle as usize).copied().unwrap_or(0);
        if write & WRITE != 0 && write >> WRITE_BANK & 0xf == bank {
            return false;
        }
        self.memory(slice, cycle, READ | READ_ISSUE, READ | READ_ISSUE | bank << READ_BANK)
    }

    /// Takes the read issue in cycle `issue` and the read port in cycle `access`.
    pub(crate) fn gather(&mut self, slice: SliceId, issue: u64, access: u64, word: u32) -> bool {
        let (slice, bank) = (self.slice_index(slice), (word / self.words_per_bank) as u16);
        let write = self.memory[slice].get(access as usize).copied().unwrap_or(0);
        if write & WRITE != 0 && write >> WRITE_BANK & 0xf == bank {
            return false;
        }
        self.memory(slice, access, READ, READ | bank << READ_BANK) && self.memory(slice, issue, READ_ISSUE, READ_ISSUE)
    }

    /// Takes the write issue in cycle `issue` and the write port in cycle `access`.
    pub(crate) fn write(&mut self, slice: SliceId, issue: u64, access: u64, word: u32) -> bool {
        let (slice, bank) = (self.slice_index(slice), (word / self.words_per_bank) as u16);
        let read = self.memory[slice].get(access as usize).copied().unwrap_or(0);
        if read & READ != 0 && read >> READ_BANK & 0xf == bank {
            return false;
        }
        self.memory(slice, access, WRITE, WRITE | bank << WRITE_BANK)
            && self.memory(slice, issue, WRITE_ISSUE, WRITE_ISSUE)
    }

    /// Takes a cycle of a queue that is not a memory slice's.
    pub(crate) fn issue(&mut self, queue: Queue, cycle: u64) -> bool {
        let index = self.queues.binary_search(&queue).expect("the queue is one of the chip's");
        self.horizon = self.horizon.max(cycle);
        let cycle = cycle as usize;
        let free = self.issues[index].free(cycle, cycle);
        if free {
            self.issues[index].set(cycle, cycle, true);
            self.log.push(Undo::Queue { queue: index, cycle });
        }
        free
    }

    /// Takes an ALU's latch from the cycle in which a result lands to that of its last use.
    pub(crate) fn latch(&mut self, alu: usize, from: u64, to: u64) -> bool {
        self.horizon = self.horizon.max(to);
        let (from, to) = (from as usize, to as usize);
        let free = self.latches[alu].free(from, to);
        if free {
            self.latches[alu].set(from, to, true);
            self.log.push(Undo::Latch { alu, from, to });
        }
        free
    }

    /// Takes a link for the `cycles` that a vector sent in cycle `from` occupies it.
    pub(crate) fn link(&mut self, link: u16, from: u64, cycles: u64) -> bool {
        let (link, from, to) = (usize::from(link), from as usize, (from + cycles) as usize - 1);
        let free = self.links[link].free(from, to);
        if free {
            self.links[link].set(from, to, true);
            self.log.push(Undo::Link { link, from, to });
        }
        free
    }
}
