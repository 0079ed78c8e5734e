//! Giving the graph its tensors of a GGUF file: under the file's names, in the layout that converters write, with
//! faults in the file's terms.

use std::collections::BTreeMap;

use super::architecture::Architecture;
use super::config::Keys;
use super::{GgufError, types};
use crate::decoder::Tensor;
use crate::folder::Files;
use crate::header::StoredTensor;
use crate::{ModelError, Weights};

/// What tensors and config fields are called in the files of a model.
pub(crate) struct Naming {
    pub(super) architecture: &'static Architecture,
    pub(super) keys: Keys,
}

impl Naming {
    /// Finds and checks every tensor.
    pub(crate) fn bind(&self, mut tensors: Vec<Tensor>, mut files: Files) -> Result<Weights, ModelError> {
        let first = files.files.first().map_or_else(String::new, |file| file.name.clone());
        let mut left: BTreeMap<String, usize> = BTreeMap::new();
        for (number, file) in files.files.iter().enumerate() {
            left.extend(
                held(&file.tensors)
                    .keys()
                    .filter(|name| !Architecture::beside(name))
                    .map(|name| (name.clone(), number)),
            );
        }
        for tensor in &mut tensors {
            self.architecture.own(tensor);
            if tensor.shape.len() == 3 {
                left.remove(&tensor.name);
                self.experts(tensor, &mut files)?;
            }
            for name in tensor.stored_names() {
                left.remove(&name);
            }
        }
        if let Some((tensor, number)) = left.pop_first() {
            let source = GgufError::ExtraTensor { tensor, architecture: self.architecture.name.to_owned() };
            return Err(ModelError::BadGguf { file: files.files[number].name.clone(), source });
        }
        Weights::bind(tensors, "", files).map_err(|error| self.translate(error, &first))
    }

    /// The matrices of experts, which files have in one tensor or, older ones, in one each. Those of one tensor are
    /// entered as `NAME[expert]`.
    fn experts(&self, tensor: &mut Tensor, files: &mut Files) -> Result<(), ModelError> {
        let stacked = tensor.name.clone();
        let Some(file) = files.files.iter_mut().find(|file| held(&file.tensors).contains_key(&stacked)) else {
            // The tensors of single experts have the expert's number for the `_exps` of all.
            tensor.name = stacked.replacen("_exps.", ".*.", 1);
            return Ok(());
        };
        let stored = held(&file.tensors)[&stacked].clone();
        let bad = |source: GgufError| ModelError::BadGguf { file: file.name.clone(), source };
        if stored.shape != tensor.shape {
            return Err(bad(self.shape(&stacked, &stored.shape, &tensor.shape, tensor.fields)));
        }
        let Some(dtype) = stored.dtype else { return Err(bad(unread(&stacked, &stored.type_name))) };
        let matrix = stored.shape[1..].to_vec();
        let bytes = dtype.size(matrix.iter().product());
        let singles = (0..stored.shape[0]).map(|expert| {
            let single = StoredTensor { shape: matrix.clone(), start: stored.start + expert * bytes, ..stored.clone() };
            (format!("{stacked}[{expert}]"), single)
        });
        file.tensors.get_or_insert_default().extend(singles);
        tensor.name = format!("{stacked}[*]");
        Ok(())
    }

    fn shape(&self, tensor: &str, got: &[usize], expected: &[usize], fields: &str) -> GgufError {
        let shape = |sizes: &[usize]| sizes.iter().rev().copied().collect();
        GgufError::TensorShape {
            tensor: tensor.to_owned(),
            got: shape(got),
            expected: shape(expected),
            fields: self.keys.translate(fields),
        }
    }

    /// A fault with a tensor in the file's terms; `first` is the file that has the metadata.
    fn translate(&self, error: ModelError, first: &str) -> ModelError {
        let (file, source) = match error {
            ModelError::MissingTensor { tensor, .. } => (first.to_owned(), self.missing(tensor)),
            ModelError::WrongShape { file, tensor, got, expected, fields } => {
                (file, self.shape(&tensor, &got, &expected, fields))
            }
            ModelError::TensorType { file, tensor, found } => (file, unread(&tensor, &found)),
            ModelError::TensorTwice { tensor, second, .. } => (second, GgufError::TensorTwice { tensor }),
            other => return other,
        };
        ModelError::BadGguf { file, source }
    }

    fn missing(&self, tensor: String) -> GgufError {
        let hint = if tensor.ends_with(".bias") {
            "the other tensors of its kind have biases; use another file of the model".to_owned()
        } else {
            let kind = self.architecture.name;
            format!(
                "use another file of the model, or one of an architecture that has its tensors (this one is \"{kind}\")"
            )
        };
        GgufError::MissingTensor { tensor, hint }
    }
}

fn held(tensors: &Option<BTreeMap<String, StoredTensor>>) -> &BTreeMap<String, StoredTensor> {
    static NONE: BTreeMap<String, StoredTensor> = BTreeMap::new();
    tensors.as_ref().unwrap_or(&NONE)
}

fn unread(tensor: &str, found: &str) -> GgufError {
    GgufError::TensorType { tensor: tensor.to_owned(), found: found.to_owned(), known: types::names() }
}
