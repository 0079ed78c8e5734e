//! A pass through weights that no kernel does: every weight by itself, in the words of the definition.

use lpu_isa::PassFormat;
use lpu_num::dot::{dot_f16_exact, dot_i8};
use lpu_num::half::{f16_to_f32, i8_to_f16};

use super::{ChipJob, Scratch};
use crate::places::At;
use crate::plan::{Bytes, Half};

impl ChipJob {
    /// A plane's byte for an output and an input, and whether the plane has weights for that output.
    fn weight(&self, plane: u32, output: usize, input: usize) -> (u8, bool) {
        let weights = &self.plan.weights[plane as usize];
        let (row, lane) = if weights.by_input { (input, output) } else { (output, input) };
        let there = weights.by_input || output < weights.rows.len();
        let byte = weights.rows.get(row).map_or(0, |&(at, half)| {
            let byte = self.read(at)[lane];
            match half {
                Half::Whole => byte,
                Half::Low => i8_to_f16(byte as i8).to_le_bytes()[0],
                Half::High => i8_to_f16(byte as i8).to_le_bytes()[1],
            }
        });
        (byte, there)
    }

    pub(super) fn any_pass(
        &self,
        format: PassFormat,
        planes: [u32; 2],
        [low, high]: [Bytes<At>; 2],
        out: &mut [u32],
        scratch: &mut Scratch,
    ) {
        let lanes = self.plan.lanes;
        match format {
            PassFormat::I8 => self.copy(low, &mut scratch.bytes[0][..lanes]),
            PassFormat::F16 => self.numbers(low, high, scratch),
        }
        let (bytes, [numbers, row]) = (&scratch.bytes[0], &mut scratch.floats);
        for (output, out) in out.iter_mut().enumerate() {
            let weight = |plane: usize, input: usize| self.weight(planes[plane], output, input);
            *out = match format {
                PassFormat::I8 => (0..lanes).fold(0i32, |sum, input| {
                    sum.wrapping_add(dot_i8(&[weight(0, input).0 as i8], &[bytes[input] as i8]))
                }) as u32,
                PassFormat::F16 if weight(0, 0).1 || weight(1, 0).1 => {
                    for (input, cell) in row.iter_mut().enumerate().take(lanes) {
                        *cell = f16_to_f32(u16::from_le_bytes([weight(0, input).0, weight(1, input).0]));
                    }
                    dot_f16_exact(&row[..lanes], &numbers[..lanes]).to_bits()
                }
                PassFormat::F16 => 0,
            };
        }
    }
}
