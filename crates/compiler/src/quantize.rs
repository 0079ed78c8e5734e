//! Filling tiles: rows of a matrix, converted to the bytes that SRAM starts from.

use lpu_model::{WeightId, Weights};
use lpu_num::half::f32_to_f16;
use lpu_num::int::f32_to_i8;

use crate::error::CompileError;
use crate::planes::{Content, Part};
use crate::rows::{Experts, WeightSlices};

/// A matrix as one output vector sees it.
pub(crate) struct Matrix<'a> {
    /// Shape `[rows, columns]`, or `[experts, rows, columns]`.
    pub(crate) weight: WeightId,
    /// The row of each lane of the output vector.
    pub(crate) outputs: &'a [Option<u32>],
    /// By input vector: the column of each lane.
    pub(crate) columns: &'a [Vec<Option<u32>>],
    pub(crate) content: Content,
    /// How the tiles of all experts are placed, where the matrix is one of experts.
    pub(crate) experts: Option<Experts>,
}

/// Fills the tiles of one output vector. Returns the scale of each lane where weights are int8.
///
/// # Errors
/// [`CompileError::NotFinite`] or [`CompileError::HalfOverflow`] at the first element that is one.
pub(crate) fn fill(
    weights: &Weights,
    matrix: &Matrix<'_>,
    tiles: &[Vec<Part>],
    slices: &mut WeightSlices,
) -> Result<Vec<f32>, CompileError> {
    let &Matrix { weight, outputs, columns, content, experts } = matrix;
    let mut scales = vec![0.0f32; outputs.len()];
    if !weights.present() {
        return Ok(scales);
    }
    let shape = weights.shape(weight);
    let (columns_of, copies) =
        (*shape.last().expect("a matrix has columns"), experts.map_or(1, |experts| experts.count));
    let rows_of = shape[shape.len() - 2];
    let mut rows = vec![vec![0.0; columns_of]; copies];
    for (lane, output) in outputs.iter().enumerate() {
        let Some(output) = *output else { continue };
        for (expert, row) in rows.iter_mut().enumerate() {
            let number = expert * rows_of + output as usize;
            weights.row_f32(weight, number, row);
            check(weights, weight, number, row, content == Content::Halves)?;
        }
        // Experts share the scale of an output, so that it need not follow the choice.
        let largest = rows.iter().flatten().fold(0.0f32, |largest, value| largest.max(value.abs()));
        scales[lane] = largest / 127.0;
        for (expert, row) in rows.iter().enumerate() {
            let offset = expert as u32 * experts.map_or(0, |experts| experts.stride);
            for (parts, columns) in tiles.iter().zip(columns) {
                let values = columns.iter().map(|column| column.map_or(0.0, |column| row[column as usize]));
                let mut cells = Cells { parts, offset, slices: &mut *slices };
                cells.put_row(content, lane, largest, values);
            }
        }
    }
    Ok(scales)
}

/// The words of a tile, or of that of one expert.
struct Cells<'a> {
    parts: &'a [Part],
    /// Words from the first expert's.
    offset: u32,
    slices: &'a mut WeightSlices,
}

impl Cells<'_> {
    /// Row `lane` of the tile, in the bytes of its content; `largest` is the largest size in the row of the matrix.
    fn put_row(&mut self, content: Content, lane: usize, largest: f32, values: impl Iterator<Item = f32>) {
        // Rows so small that this has no float32 are zero.
        let inverse = Some(127.0 / largest).filter(|inverse| inverse.is_finite()).unwrap_or(0.0);
        let byte = |value: f32| f32_to_i8(value * inverse) as u8;
        match content {
            Content::Halves => {
                let halves: Vec<[u8; 2]> = values.map(|value| f32_to_f16(value).to_le_bytes()).collect();
                for byte in 0..2 {
                    self.put(byte, lane, halves.iter().map(|half| half[byte]));
                }
            }
            Content::Bytes => self.put(0, lane, values.map(byte)),
            Content::Widened => self.put(lane / 16 % 2, lane / 32 * 16 + lane % 16, values.map(byte)),
        }
    }

    /// The bytes of a row of a part.
    fn put(&mut self, part: usize, row: usize, bytes: impl Iterator<Item = u8>) {
        let places = self.parts[part].places.map(|(slice, word)| (slice, word + self.offset));
        for (cell, byte) in self.slices.row(&places, row).iter_mut().zip(bytes) {
            *cell = byte;
        }
    }
}

/// A tensor that stays in float32.
///
/// # Errors
/// [`CompileError::NotFinite`].
pub(crate) fn vector(weights: &Weights, id: WeightId) -> Result<Vec<f32>, CompileError> {
    let values = weights.vector_f32(id);
    check(weights, id, 0, &values, false)?;
    Ok(values)
}

/// Checks a table whose rows the host reads as float32.
///
/// # Errors
/// [`CompileError::NotFinite`].
pub(crate) fn table(weights: &Weights, id: WeightId) -> Result<(), CompileError> {
    let shape = weights.shape(id);
    let mut row = vec![0.0; shape[1]];
    (0..shape[0]).try_for_each(|number| {
        weights.row_f32(id, number, &mut row);
        check(weights, id, number, &row, false)
    })
}

/// The least size that fp16 rounds to infinity.
const HALF_LIMIT: f32 = 65_520.0;

fn check(weights: &Weights, id: WeightId, row: usize, values: &[f32], halves: bool) -> Result<(), CompileError> {
    let limit = if halves { HALF_LIMIT } else { f32::INFINITY };
    // Written so that NaN fails.
    let Some(column) =
        values.iter().position(|value| !matches!(value.abs().partial_cmp(&limit), Some(order) if order.is_lt()))
    else {
        return Ok(());
    };
    let (place, value) = (weights.place(id, row, column), values[column]);
    Err(if value.is_finite() {
        CompileError::HalfOverflow { place, value }
    } else {
        CompileError::NotFinite { place, value }
    })
}
