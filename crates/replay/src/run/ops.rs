//! Operations: one vector in, one vector out.

use std::sync::atomic::Ordering;

use lpu_isa::{Format, Instruction, PassFormat};
use lpu_num::{fp32, vectors};

use super::{ChipJob, Scratch, moves};
use crate::places::At;
use crate::plan::{AluInput, Bytes, Mailbox, Op};

impl ChipJob {
    #[inline(always)]
    fn lanes(&self) -> usize {
        self.plan.lanes
    }

    /// A vector of bytes that an earlier task or operation made.
    #[inline(always)]
    pub(super) fn read(&self, at: At) -> &[u8] {
        // SAFETY: `elaborate` puts what writes these bytes into an earlier phase, or before this in one task, or
        // into a later phase.
        unsafe { self.arena.bytes(at, self.lanes()) }
    }

    #[inline(always)]
    #[allow(clippy::mut_from_ref, reason = "as `Arena::bytes_mut`")]
    fn write(&self, at: At) -> &mut [u8] {
        // SAFETY: `elaborate` lets no other task of this phase touch what an operation makes.
        unsafe { self.arena.bytes_mut(at, self.lanes()) }
    }

    #[inline(always)]
    fn read_wide(&self, at: At) -> &[u32] {
        // SAFETY: as `read`.
        unsafe { self.arena.wide(at, self.lanes()) }
    }

    #[inline(always)]
    #[allow(clippy::mut_from_ref, reason = "as `Arena::bytes_mut`")]
    fn write_wide(&self, at: At) -> &mut [u32] {
        // SAFETY: as `write`.
        unsafe { self.arena.wide_mut(at, self.lanes()) }
    }

    /// Copies bytes to `out`.
    #[inline(always)]
    pub(super) fn copy(&self, src: Bytes<At>, out: &mut [u8]) {
        match src {
            Bytes::Plane(at) => out.copy_from_slice(self.read(at)),
            Bytes::Lane(at, byte) => vectors::narrow(self.read_wide(at), byte, out),
        }
    }

    /// The byte of lane 0.
    fn first(&self, src: Bytes<At>) -> u8 {
        match src {
            Bytes::Plane(at) => self.read(at)[0],
            Bytes::Lane(at, byte) => (self.read_wide(at)[0] >> (8 * byte)) as u8,
        }
    }

    /// The word of a window that an address in lane 0 chooses.
    pub(super) fn chosen(&self, map: [Bytes<At>; 2], window: crate::plan::ListRange) -> &At {
        let words = &self.plan.windows[window.range()];
        let address = usize::from(self.first(map[0])) | usize::from(self.first(map[1])) << 8;
        &words[address & (words.len() - 1)]
    }

    /// The fp16 values in two byte vectors.
    #[inline(always)]
    pub(super) fn numbers(&self, low: Bytes<At>, high: Bytes<At>, scratch: &mut Scratch) {
        let lanes = self.lanes();
        let [lows, highs] = &mut scratch.bytes;
        self.copy(low, &mut lows[..lanes]);
        self.copy(high, &mut highs[..lanes]);
        vectors::from_f16(&lows[..lanes], &highs[..lanes], &mut scratch.floats[0][..lanes]);
    }

    #[inline(always)]
    pub(super) fn op(&self, op: &Op<At>, scratch: &mut Scratch) {
        match *op {
            Op::Join { dst, parts } => self.join(parts, self.write_wide(dst), scratch),
            Op::Alu { instruction, dst, sources } => {
                let mut splats = scratch.wide.iter_mut();
                let mut source = |source| match source {
                    AluInput::Wide(at) => self.read_wide(at),
                    AluInput::Splat(value) => match splats.next() {
                        Some(splat) => {
                            splat[..self.lanes()].fill(value);
                            &splat[..self.lanes()]
                        }
                        None => &[],
                    },
                    AluInput::None => &[],
                };
                let sources = sources.map(&mut source);
                let out = self.write_wide(dst);
                match instruction {
                    Instruction::Convert { from: Format::F32, to: Format::F16, .. } => vectors::to_f16(sources[0], out),
                    Instruction::Convert { from: Format::F32, to: Format::I8, .. } => vectors::to_i8(sources[0], out),
                    _ => lpu_lanes::operate(&instruction, sources, out),
                }
                if lpu_lanes::overflows(&instruction, sources[0], out) {
                    self.overflow.store(true, Ordering::Relaxed);
                }
            }
            Op::Copy { dst, src } => self.copy(src, self.write(dst)),
            Op::Split { dst, src } => {
                vectors::split(self.read_wide(src), dst.map(|dst| self.write(dst)));
            }
            Op::Gather { dst, map, window } => self.write(dst).copy_from_slice(self.read(*self.chosen(map, window))),
            Op::Scatter { src, map, window } => {
                let word = *self.chosen(map, window);
                self.arena.note_written(word);
                self.copy(src, self.write(word));
            }
            Op::Switch { instruction, operands, taken } => {
                self.switch(&instruction, &self.plan.operands[operands.range()], usize::from(taken), scratch);
            }
            Op::Move { dst, src, movement } => moves::lanes(movement, self.read_wide(src), self.write_wide(dst)),
            Op::Fold { dst, src, way, integers } => {
                moves::fold(way, integers, self.read_wide(src), self.write_wide(dst))
            }
            Op::Zero { dst, from } => self.write_wide(dst)[usize::from(from)..].fill(0),
            Op::Prepare { prepared, low, high, int8 } => {
                self.numbers(low, high, scratch);
                let numbers = &scratch.floats[0][..self.lanes()];
                // SAFETY: this task alone touches it in this phase.
                let ready = unsafe { &mut *self.prepared[prepared as usize].get() };
                if int8 { ready.digits.load(numbers) } else { ready.halves.load(numbers) }
            }
            Op::Add { dst, format, terms } => self.add(format, &self.plan.terms[terms.range()], self.write_wide(dst)),
            Op::Pass { dst, format, planes, low, high } => {
                self.any_pass(format, planes, [low, high], self.write_wide(dst), scratch)
            }
            // SAFETY: no other operation of a run fills this mailbox, and those that read it are in later steps.
            Op::Send { number, src } => self.copy(src, unsafe { self.mail.fill(self.chip, number) }),
            Op::Receive { dst, number } => {
                let Mailbox { chip, send } = self.plans.chips[self.chip].sources[number as usize];
                // SAFETY: it was filled in an earlier step, and is not filled again in this run.
                self.write(dst).copy_from_slice(unsafe { self.mail.read(usize::from(chip), send) });
            }
        }
    }

    #[inline(always)]
    fn join(&self, parts: [Option<Bytes<At>>; 4], out: &mut [u32], scratch: &mut Scratch) {
        let mut copies = scratch.bytes[0].chunks_exact_mut(self.lanes());
        let parts = parts.map(|part| {
            Some(match part? {
                Bytes::Plane(at) => self.read(at),
                lane => {
                    let copy = copies.next()?;
                    self.copy(lane, copy);
                    &*copy
                }
            })
        });
        vectors::join(parts, out);
    }

    fn switch(&self, instruction: &Instruction, operands: &[Bytes<At>], taken: usize, scratch: &mut Scratch) {
        let lanes = self.lanes();
        let [value, out] = &mut scratch.bytes;
        let (sources, results) = operands.split_at(taken);
        let value = &mut value[..taken * lanes];
        for (cells, &source) in value.chunks_exact_mut(lanes).zip(sources) {
            self.copy(source, cells);
        }
        let out = &mut out[..results.len() * lanes];
        lpu_lanes::switch(instruction, value, out, lanes);
        for (cells, result) in out.chunks_exact(lanes).zip(results) {
            self.write(result.of()).copy_from_slice(cells);
        }
    }

    #[inline(always)]
    fn add(&self, format: PassFormat, terms: &[At], out: &mut [u32]) {
        let Some((&first, rest)) = terms.split_first() else { return out.fill(0) };
        out.copy_from_slice(self.read_wide(first));
        for &term in rest {
            let term = self.read_wide(term);
            match format {
                PassFormat::I8 => out.iter_mut().zip(term).for_each(|(sum, &value)| *sum = sum.wrapping_add(value)),
                PassFormat::F16 => out
                    .iter_mut()
                    .zip(term)
                    .for_each(|(sum, &value)| *sum = fp32::add(f32::from_bits(*sum), f32::from_bits(value)).to_bits()),
            }
        }
    }
}
