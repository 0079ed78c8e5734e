//! The tensors of a checkpoint, found by name, checked against the config, read in place.

use std::collections::BTreeMap;

use crate::folder::{Bytes, File, Files};
use crate::graph::{WeightId, WeightSpec};
use crate::header::{self, Stored};
use crate::{Dtype, ModelError};

/// Prefix that a checkpoint of the bare model lacks.
const PREFIX: &str = "model.";

/// The tensors that a graph names.
///
/// A tensor has one dimension (`[n]`: one row of n) or two (`[rows, columns]`). Reading converts
/// to float32, which is exact for every stored type.
pub struct Weights {
    files: Vec<Bytes>,
    tensors: Vec<Tensor>,
}

struct Tensor {
    name: String,
    shape: Vec<usize>,
    dtype: Dtype,
    /// File and first byte; `None` when the checkpoint is a config alone.
    place: Option<(usize, usize)>,
}

impl Tensor {
    fn columns(&self) -> usize {
        *self.shape.last().expect("a tensor has a dimension")
    }

    fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Weights {
    /// Finds and checks every tensor of `specs` in the files.
    pub(crate) fn bind(specs: Vec<WeightSpec>, files: Files) -> Result<Weights, ModelError> {
        let directory = Directory::read(&files)?;
        let bare = !specs.iter().any(|spec| spec.name.starts_with(PREFIX) && directory.has(&spec.name));
        let mut tensors = Vec::with_capacity(specs.len());
        for mut spec in specs {
            if bare
                && let Some(name) = spec.name.strip_prefix(PREFIX)
                && directory.has(name)
            {
                spec.name = name.to_owned();
            }
            tensors.push(directory.find(spec)?);
        }
        Ok(Weights { files: files.files.into_iter().map(|file| file.bytes).collect(), tensors })
    }

    /// Tensors without values: shapes are those of `specs`, every element reads as zero.
    pub(crate) fn absent(specs: Vec<WeightSpec>, dtype: Dtype) -> Weights {
        let tensors = specs.into_iter().map(|spec| Tensor { name: spec.name, shape: spec.shape, dtype, place: None }).collect();
        Weights { files: Vec::new(), tensors }
    }

    /// The tensors' ids, in order.
    pub fn ids(&self) -> impl Iterator<Item = WeightId> + use<> {
        (0..self.tensors.len()).map(WeightId::new)
    }

    /// Whether there are values. Without, as in a checkpoint made from a config alone, every
    /// element reads as zero.
    pub fn present(&self) -> bool {
        self.tensors.iter().all(|tensor| tensor.place.is_some())
    }

    /// `[n]` or `[rows, columns]`, in elements.
    pub fn shape(&self, id: WeightId) -> &[usize] {
        &self.tensor(id).shape
    }

    /// Name in the checkpoint.
    pub fn name(&self, id: WeightId) -> &str {
        &self.tensor(id).name
    }

    /// Type in which the elements are stored.
    pub fn dtype(&self, id: WeightId) -> Dtype {
        self.tensor(id).dtype
    }

    /// Elements of all tensors; a tied embedding counts once.
    pub fn parameters(&self) -> usize {
        self.tensors.iter().map(Tensor::elements).sum()
    }

    /// Reads one row of a matrix, or with `row` 0 the whole of a vector.
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
        self.read(tensor, row * columns, out);
    }

    /// Reads a whole tensor, row after row.
    pub fn vector_f32(&self, id: WeightId) -> Vec<f32> {
        let tensor = self.tensor(id);
        let mut out = vec![0.0; tensor.elements()];
        self.read(tensor, 0, &mut out);
        out
    }

    fn tensor(&self, id: WeightId) -> &Tensor {
        &self.tensors[id.index()]
    }

    /// Reads `out.len()` elements of a tensor, from element `first` on.
    fn read(&self, tensor: &Tensor, first: usize, out: &mut [f32]) {
        let Some((file, start)) = tensor.place else {
            out.fill(0.0);
            return;
        };
        let size = tensor.dtype.bytes();
        let start = start + first * size;
        let bytes = &self.files[file][start..start + out.len() * size];
        tensor.dtype.read(bytes, out);
    }
}

/// What all files of a checkpoint hold.
struct Directory<'a> {
    files: &'a [File],
    tensors: BTreeMap<String, (usize, Stored)>,
}

impl<'a> Directory<'a> {
    fn read(files: &'a Files) -> Result<Self, ModelError> {
        let mut tensors: BTreeMap<String, (usize, Stored)> = BTreeMap::new();
        for (number, file) in files.files.iter().enumerate() {
            for (name, stored) in header::read(&file.name, &file.bytes)? {
                if let Some(index) = &files.index
                    && index.get(&name) != Some(&number)
                {
                    continue;
                }
                if let Some((first, _)) = tensors.get(&name) {
                    return Err(ModelError::TensorTwice {
                        tensor: name,
                        first: files.files[*first].name.clone(),
                        second: file.name.clone(),
                    });
                }
                tensors.insert(name, (number, stored));
            }
        }
        let files = &files.files;
        Ok(Directory { files, tensors })
    }

    fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    fn find(&self, spec: WeightSpec) -> Result<Tensor, ModelError> {
        let WeightSpec { name, shape, fields } = spec;
        let Some((number, stored)) = self.tensors.get(&name) else {
            return Err(self.missing(name));
        };
        let file = || self.files[*number].name.clone();
        if stored.shape != shape {
            return Err(ModelError::WrongShape { file: file(), tensor: name, got: stored.shape.clone(), expected: shape, fields });
        }
        let Some(dtype) = Dtype::from_safetensors(stored.dtype) else {
            return Err(ModelError::TensorType { file: file(), tensor: name, found: format!("{:?}", stored.dtype) });
        };
        Ok(Tensor { name, shape, dtype, place: Some((*number, stored.start)) })
    }

    fn missing(&self, tensor: String) -> ModelError {
        let hint = if tensor == "lm_head.weight" {
            "set \"tie_word_embeddings\": true in config.json if the head shares the embedding, else download the weights again"
        } else if tensor.ends_with(".bias") {
            "set \"attention_bias\" or \"mlp_bias\" to false in config.json if the model has no biases, else download the weights again"
        } else {
            "download the weights again, or correct config.json if it belongs to another model"
        };
        const SHOWN: usize = 3;
        let names: Vec<&str> = self.files.iter().map(|file| file.name.as_str()).collect();
        let mut searched = names[..names.len().min(SHOWN)].join(", ");
        if names.len() > SHOWN {
            searched += &format!(" and {} more", names.len() - SHOWN);
        }
        ModelError::MissingTensor { tensor, searched, hint }
    }
}
