//! A matrix plane: weight buffer, installed array, result port, accumulators.

use std::sync::Arc;

use lpu_isa::{Mode, Orientation, PassFormat};
use lpu_num::dot::{PassF16, max_abs, plane_i8};
use lpu_num::fp32;

use crate::dispatch::Dispatch;

/// Installed weights: for each output its weights over all input lanes.
#[derive(Debug)]
pub(crate) struct Array {
    /// Outputs with weights; further outputs are zero.
    outputs: usize,
    weights: Vec<u8>,
}

/// Rows of 8-bit integers as binary16: all low bytes, all high bytes.
pub(crate) fn widen(rows: &[u8]) -> [Vec<u8>; 2] {
    let number = |&byte: &u8| lpu_num::half::i8_to_f16(byte as i8).to_le_bytes();
    [0, 1].map(|half| rows.iter().map(|byte| number(byte)[half]).collect())
}

/// A result at the port.
#[derive(Clone, Debug)]
pub(crate) struct PortResult {
    pub(crate) format: PassFormat,
    pub(crate) value: Vec<u32>,
}

/// fp16 weights of a pair of planes, widened; kept while both arrays stay.
#[derive(Debug)]
struct WidenedPair {
    low: Arc<Array>,
    high: Arc<Array>,
    weights: Vec<f32>,
    row_max: Vec<f32>,
}

/// One plane.
#[derive(Debug, Default)]
pub(crate) struct Plane {
    buffer: Vec<u8>,
    /// Sixteens of rows in the buffer.
    loaded: Vec<bool>,
    orientation: Option<Orientation>,
    pub(crate) array: Option<Arc<Array>>,
    pub(crate) busy_until: u64,
    pub(crate) port: Option<(PortResult, Dispatch)>,
    accumulators: Vec<Option<PortResult>>,
    wide: Option<WidenedPair>,
}

/// What an install finds in the buffer.
pub(crate) struct Sampled {
    pub(crate) array: Arc<Array>,
    pub(crate) found: u16,
    pub(crate) beyond: u16,
}

impl Plane {
    /// Puts sixteen rows into the buffer; says whether that is legal.
    pub(crate) fn load(&mut self, row: usize, rows: &[u8], orientation: Orientation, lanes: usize) -> bool {
        if self.buffer.len() != lanes * lanes {
            self.buffer.resize(lanes * lanes, 0);
        }
        self.loaded.resize(lanes / 16, false);
        let legal = !self.loaded[row / 16] && self.orientation.is_none_or(|before| before == orientation);
        self.buffer[row * lanes..(row + 16) * lanes].copy_from_slice(rows);
        self.loaded[row / 16] = true;
        self.orientation = Some(orientation);
        legal
    }

    /// Takes the buffer for an install of `rows` rows.
    pub(crate) fn sample(&mut self, rows: usize, lanes: usize) -> Sampled {
        self.loaded.resize(lanes / 16, false);
        self.buffer.resize(lanes * lanes, 0);
        let count = |range: &[bool]| 16 * range.iter().filter(|&&loaded| loaded).count() as u16;
        let (found, beyond) = (count(&self.loaded[..rows / 16]), count(&self.loaded[rows / 16..]));
        let mut weights = std::mem::take(&mut self.buffer);
        for (index, loaded) in self.loaded.iter().enumerate() {
            if !loaded && index < rows / 16 {
                weights[index * 16 * lanes..(index + 1) * 16 * lanes].fill(0);
            }
        }
        let outputs = match self.orientation.take() {
            Some(Orientation::In) => {
                let mut turned = vec![0; lanes * lanes];
                for input in (0..rows).step_by(16) {
                    for output in 0..lanes {
                        let cells = &mut turned[output * lanes + input..output * lanes + input + 16];
                        for (lane, cell) in cells.iter_mut().enumerate() {
                            *cell = weights[(input + lane) * lanes + output];
                        }
                    }
                }
                self.buffer = std::mem::replace(&mut weights, turned);
                lanes
            }
            _ => rows,
        };
        self.loaded.fill(false);
        Sampled { array: Arc::new(Array { outputs, weights }), found, beyond }
    }

    /// Replaces the array; the memory of the old one serves the next loads.
    pub(crate) fn install(&mut self, array: Arc<Array>) {
        self.wide = None;
        if let Some(Ok(old)) = self.array.replace(array).map(Arc::try_unwrap)
            && self.buffer.is_empty()
        {
            self.buffer = old.weights;
        }
    }

    pub(crate) fn pass_i8(&self, activation: &[u8], lanes: usize) -> Vec<u32> {
        let mut out = vec![0i32; lanes];
        if let Some(array) = &self.array {
            let signed = |bytes: &[u8]| bytes.iter().map(|&byte| byte as i8).collect::<Vec<i8>>();
            let weights = signed(&array.weights[..array.outputs * lanes]);
            plane_i8(&weights, lanes, &signed(activation), &mut out[..array.outputs]);
        }
        out.into_iter().map(|value| value as u32).collect()
    }

    /// A pass through this plane's low bytes and the odd plane's high bytes.
    pub(crate) fn pass_f16(
        &mut self,
        high: Option<&Arc<Array>>,
        activation: &[f32],
        lanes: usize,
        widen: &[f32],
    ) -> Vec<u32> {
        let mut out = vec![0.0; lanes];
        if let (Some(low), Some(high)) = (&self.array, high) {
            let current =
                self.wide.as_ref().is_some_and(|wide| Arc::ptr_eq(&wide.low, low) && Arc::ptr_eq(&wide.high, high));
            if !current {
                let outputs = low.outputs.max(high.outputs);
                let mut weights = self.wide.take().map_or_else(Vec::new, |wide| wide.weights);
                weights.clear();
                weights.extend((0..outputs * lanes).map(|cell| {
                    let byte =
                        |array: &Array| if cell < array.outputs * lanes { usize::from(array.weights[cell]) } else { 0 };
                    widen[byte(low) | byte(high) << 8]
                }));
                let row_max = weights.chunks_exact(lanes).map(max_abs).collect();
                self.wide = Some(WidenedPair { low: Arc::clone(low), high: Arc::clone(high), weights, row_max });
            }
            if let Some(wide) = &self.wide {
                let outputs = wide.row_max.len();
                PassF16::new(activation).plane(&wide.weights, lanes, &wide.row_max, &mut out[..outputs]);
            }
        }
        out.into_iter().map(f32::to_bits).collect()
    }

    /// Updates an accumulator; the error says what is missing.
    pub(crate) fn accumulate(
        &mut self,
        index: usize,
        mode: Mode,
        result: PortResult,
    ) -> Result<&PortResult, &'static str> {
        if self.accumulators.len() <= index {
            self.accumulators.resize(index + 1, None);
        }
        let slot = &mut self.accumulators[index];
        match (mode, slot.as_mut()) {
            (Mode::Set, _) => *slot = Some(result),
            (Mode::Add, None) => {
                *slot = Some(result);
                return Err("an accumulator that was never set in this run is added to");
            }
            (Mode::Add, Some(before)) if before.format != result.format => {
                *slot = Some(result);
                return Err("an accumulator that holds the other format is added to");
            }
            (Mode::Add, Some(before)) => {
                for (sum, &value) in before.value.iter_mut().zip(&result.value) {
                    *sum = match result.format {
                        PassFormat::I8 => sum.wrapping_add(value),
                        PassFormat::F16 => fp32::add(f32::from_bits(*sum), f32::from_bits(value)).to_bits(),
                    };
                }
            }
        }
        Ok(slot.as_ref().expect("the accumulator was just set"))
    }

    /// The value of an accumulator, whatever led to it.
    pub(crate) fn accumulator(&self, index: usize) -> Option<&PortResult> {
        self.accumulators.get(index).and_then(Option::as_ref)
    }
}
