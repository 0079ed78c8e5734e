//! The tensors of a checkpoint, found by name, checked against the config, read in place.

mod directory;

use std::ops::Deref;

use rayon::prelude::*;

use crate::decoder::{Tensor, View};
use crate::folder::{FileBytes, Files};
use crate::graph::WeightId;
use crate::header::RowOrder;
use crate::{Dtype, ModelError};
use directory::Directory;

/// Elements from which on a whole tensor is read by several threads.
const PARALLEL: usize = 1 << 18;

/// The tensors that a graph names.
///
/// A tensor has one dimension (`[n]`: one row of n), two (`[rows, columns]`) or three (`[experts, rows, columns]`: the
/// rows of one expert after those of another). Reading converts to float32, which is exact for every stored type but
/// the quantised ones of GGUF files, whose expansion is one float32 product an element.
///
/// A tensor may be a part of a stored one, or are there transposed; what is read is always the tensor that the graph
/// means.
pub struct Weights {
    files: Vec<FileBytes>,
    tensors: Vec<BoundTensor>,
}

/// A tensor of the graph and where its elements are.
struct BoundTensor {
    name: String,
    shape: Vec<usize>,
    view: View,
    /// Outputs and inputs of the stored tensor; a vector is one input wide.
    outputs: usize,
    dtype: Dtype,
    /// How the outputs are ordered in the file.
    order: RowOrder,
    /// File and first byte, one an expert; empty when the checkpoint is a config alone.
    places: Vec<(usize, usize)>,
}

impl BoundTensor {
    fn columns(&self) -> usize {
        *self.shape.last().expect("a tensor has a dimension")
    }

    fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Rows of one expert.
    fn rows(&self) -> usize {
        match self.shape[..] {
            [_] => 1,
            [rows, _] | [_, rows, _] => rows,
            _ => unreachable!("a tensor has one to three dimensions"),
        }
    }

    /// The stored output of an output of this tensor.
    fn stored(&self, output: usize) -> usize {
        let output = self.view.rows.map_or(output, |rows| rows.stored(output));
        self.order.stored(output)
    }

    /// Whether outputs are stored as they are numbered.
    fn plain(&self) -> bool {
        self.view.rows.is_none() && self.order == RowOrder::Plain
    }
}

impl Weights {
    /// Finds and checks every tensor in the files. `prefix` is what the names of a bare model lack.
    pub(crate) fn bind(tensors: Vec<Tensor>, prefix: &str, files: Files) -> Result<Weights, ModelError> {
        let directory = Directory::read(&files, prefix, &tensors)?;
        let bound = tensors.into_iter().map(|tensor| directory.find(tensor)).collect::<Result<_, _>>()?;
        Ok(Weights { files: files.files.into_iter().map(|file| file.bytes).collect(), tensors: bound })
    }

    /// Whether the files have both tables and these differ anywhere.
    pub(crate) fn differ(tables: [&Tensor; 2], prefix: &str, files: &Files) -> Result<bool, ModelError> {
        let directory = Directory::read(files, prefix, &tables.map(Tensor::clone))?;
        let named = |table: &Tensor| Tensor { alias: None, ..table.clone() };
        if !directory.has(&named(tables[0])) || !directory.has(tables[1]) {
            return Ok(false);
        }
        let [one, other] = [directory.find(named(tables[0]))?, directory.find(tables[1].clone())?];
        let rows = one.rows();
        let [mut a, mut b] = [vec![0.0; one.columns()], vec![0.0; one.columns()]];
        let bytes: Vec<&[u8]> = files.files.iter().map(|file| &*file.bytes).collect();
        Ok((0..rows).any(|row| {
            read_row(&bytes, &one, row, &mut a);
            read_row(&bytes, &other, row, &mut b);
            a != b
        }))
    }

    /// Tensors without values: every element reads as zero.
    pub(crate) fn absent(tensors: Vec<Tensor>, dtype: Dtype) -> Weights {
        let bound = |tensor: Tensor| BoundTensor {
            name: tensor.shown(&tensor.name),
            outputs: 0,
            dtype,
            order: RowOrder::Plain,
            places: Vec::new(),
            shape: tensor.shape,
            view: tensor.view,
        };
        Weights { files: Vec::new(), tensors: tensors.into_iter().map(bound).collect() }
    }

    /// The tensors' ids, in order.
    pub fn ids(&self) -> impl Iterator<Item = WeightId> + use<> {
        (0..self.tensors.len()).map(WeightId::new)
    }

    /// Whether there are values. Without, as in a checkpoint made from a config alone, every
    /// element reads as zero.
    pub fn present(&self) -> bool {
        self.tensors.iter().all(|tensor| !tensor.places.is_empty())
    }

    /// `[n]`, `[rows, columns]` or `[experts, rows, columns]`, in elements.
    pub fn shape(&self, id: WeightId) -> &[usize] {
        &self.tensor(id).shape
    }

    /// Name in the checkpoint, with the part in brackets where the stored tensor holds several; `*` stands for an
    /// expert.
    pub fn name(&self, id: WeightId) -> &str {
        &self.tensor(id).name
    }

    /// Where an element is stored, for people: the tensor of the file, with the place in it. `row` is as for
    /// [`Weights::row_f32`].
    ///
    /// # Panics
    /// If there is no such element.
    pub fn place(&self, id: WeightId, row: usize, column: usize) -> String {
        let tensor = self.tensor(id);
        let rows = tensor.rows();
        let (expert, row) = (row / rows, row % rows);
        assert!(
            column < tensor.columns() && expert * rows < tensor.elements(),
            "row {row}, column {column} of {}",
            tensor.name
        );
        let whole = tensor.name.strip_suffix(&format!("[{}]", tensor.view.part)).unwrap_or(&tensor.name);
        let name = whole.replace('*', &expert.to_string());
        let stored = if tensor.shape.len() == 1 { tensor.stored(column) } else { tensor.stored(row) };
        let place = match tensor.shape.len() {
            1 => format!("element {stored}"),
            _ if tensor.view.transposed => format!("row {column}, column {stored}"),
            3 if name == whole => format!("expert {expert}, row {stored}, column {column}"),
            _ => format!("row {stored}, column {column}"),
        };
        format!("tensor \"{name}\", {place}")
    }

    /// Type in which the elements are stored.
    pub fn dtype(&self, id: WeightId) -> Dtype {
        self.tensor(id).dtype
    }

    /// Elements of all tensors; a tied embedding counts once.
    pub fn parameters(&self) -> usize {
        self.tensors.iter().map(BoundTensor::elements).sum()
    }

    /// Reads one row of a matrix, or with `row` 0 the whole of a vector. Rows of experts count on from one to the next.
    ///
    /// # Panics
    /// If there is no such row, or `out` has not as many elements as a row.
    pub fn row_f32(&self, id: WeightId, row: usize, out: &mut [f32]) {
        let tensor = self.tensor(id);
        let columns = tensor.columns();
        assert!(
            row < tensor.elements() / columns && out.len() == columns,
            "row {row} into {} elements of {} {:?}",
            out.len(),
            tensor.name,
            tensor.shape
        );
        read_row(&self.files, tensor, row, out);
    }

    /// Reads a whole tensor, row after row.
    pub fn vector_f32(&self, id: WeightId) -> Vec<f32> {
        let tensor = self.tensor(id);
        let mut out = vec![0.0; tensor.elements()];
        let columns = tensor.columns();
        if out.len() >= PARALLEL {
            out.par_chunks_mut(columns).enumerate().for_each(|(row, out)| read_row(&self.files, tensor, row, out));
        } else {
            out.chunks_mut(columns).enumerate().for_each(|(row, out)| read_row(&self.files, tensor, row, out));
        }
        out
    }

    fn tensor(&self, id: WeightId) -> &BoundTensor {
        &self.tensors[id.index()]
    }
}

/// Reads a row of a tensor in one of the files.
fn read_row<B: Deref<Target = [u8]>>(files: &[B], tensor: &BoundTensor, row: usize, out: &mut [f32]) {
    let rows = tensor.rows();
    let Some(&(file, start)) = tensor.places.get(row / rows) else {
        out.fill(0.0);
        return;
    };
    let bytes = &files[file][start..];
    let dtype = tensor.dtype;
    if tensor.shape.len() == 1 {
        if tensor.plain() {
            dtype.read(&bytes[..dtype.size(out.len())], out);
        } else {
            for (output, value) in out.iter_mut().enumerate() {
                *value = dtype.element(bytes, tensor.stored(output));
            }
        }
    } else {
        let output = tensor.stored(row % rows);
        if tensor.view.transposed {
            for (input, value) in out.iter_mut().enumerate() {
                *value = dtype.element(bytes, input * tensor.outputs + output);
            }
        } else {
            let size = dtype.size(out.len());
            dtype.read(&bytes[output * size..(output + 1) * size], out);
        }
    }
    if tensor.view.shift != 0.0 {
        out.iter_mut().for_each(|value| *value += tensor.view.shift);
    }
}
