//! Filling tiles: rows of a matrix, converted to the bytes that SRAM starts from.

use lpu_model::{WeightId, Weights};
use lpu_num::half::f32_to_f16;
use lpu_num::int::f32_to_i8;

use crate::error::CompileError;
use crate::planes::{Content, Part};
use crate::rows::{Experts, WeightSlices};

/// Fills the tiles of one output vector: lane `l` is row `outputs[l]` of the matrix, and input vector `t` holds the
/// columns `columns[t]`. Returns the scale of each lane where weights are int8.
///
/// # Errors
/// [`CompileError::NotFinite`] or [`CompileError::HalfOverflow`] at the first element that is one.
#[allow(clippy::too_many_arguments, reason = "what is read, how it is laid out, and where it goes")]
pub(crate) fn fill(
    weights: &Weights,
    weight: WeightId,
    outputs: &[Option<u32>],
    columns: &[Vec<Option<u32>>],
    content: Content,
    tiles: &[Vec<Part>],
    experts: Option<Experts>,
    slices: &mut WeightSlices,
) -> Result<Vec<f32>, CompileError> {
    let mut scales = vec![0.0f32; outputs.len()];
    if !weights.present() {
        return Ok(scales);
    }
    let (columns_of, copies) =
        (*weights.shape(weight).last().expect("a matrix has columns"), experts.map_or(1, |experts| experts.count));
    let rows_of = weights.shape(weight)[weights.shape(weight).len() - 2];
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
        // Rows so small that this has no float32 are zero.
        let inverse = Some(127.0 / largest).filter(|inverse| inverse.is_finite()).unwrap_or(0.0);
        for (expert, row) in rows.iter().enumerate() {
            let offset = expert as u32 * experts.map_or(0, |experts| experts.stride);
            for (parts, columns) in tiles.iter().zip(columns) {
                let values = columns.iter().map(|column| column.map_or(0.0, |column| row[column as usize]));
                let mut put = |part: usize, row: usize, bytes: &mut dyn Iterator<Item = u8>| {
                    let places = parts[part].places.map(|(slice, word)| (slice, word + offset));
                    for (cell, byte) in slices.row(&places, row).iter_mut().zip(bytes) {
                        *cell = byte;
                    }
                };
                match content {
                    Content::Halves => {
                        let halves: Vec<[u8; 2]> = values.map(|value| f32_to_f16(value).to_le_bytes()).collect();
                        for byte in 0..2 {
                            put(byte, lane, &mut halves.iter().map(|half| half[byte]));
                        }
                    }
                    Content::Bytes => put(0, lane, &mut values.map(|value| f32_to_i8(value * inverse) as u8)),
                    Content::Widened => {
                        let (part, row) = (lane / 16 % 2, lane / 32 * 16 + lane % 16);
                        put(part, row, &mut values.map(|value| f32_to_i8(value * inverse) as u8));
                    }
                }
            }
        }
    }
    Ok(scales)
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
