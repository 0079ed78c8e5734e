//! What the files of a checkpoint hold, and finding in it what a graph needs.

use std::collections::BTreeMap;

use super::BoundTensor;
use crate::ModelError;
use crate::decoder::Tensor;
use crate::folder::{Files, TensorFile};
use crate::header::{self, RowOrder, StoredTensor};

/// What all files of a checkpoint hold.
pub(super) struct Directory<'a> {
    files: &'a [TensorFile],
    tensors: BTreeMap<String, (usize, StoredTensor)>,
    /// Prefix to be left out of names; empty unless the checkpoint is of the bare model.
    lacking: &'a str,
}

/// The name of a tensor of the text part of a larger model, as the text model alone has it.
fn text_name(name: String) -> String {
    let bare = name.strip_prefix("model.language_model.").map(|rest| format!("model.{rest}"));
    bare.or_else(|| name.strip_prefix("language_model.").map(str::to_owned)).unwrap_or(name)
}

impl<'a> Directory<'a> {
    pub(super) fn read(files: &'a Files, prefix: &'a str, wanted: &[Tensor]) -> Result<Self, ModelError> {
        let mut tensors: BTreeMap<String, (usize, StoredTensor)> = BTreeMap::new();
        for (number, file) in files.files.iter().enumerate() {
            let held = match &file.tensors {
                Some(held) => held.clone(),
                None => header::read(&file.name, &file.bytes)?,
            };
            for (name, stored) in held {
                let at = |index: &BTreeMap<String, usize>| index.get(&name) == Some(&number);
                if files.index.as_ref().is_some_and(|index| !at(index)) {
                    continue;
                }
                let name = text_name(name);
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
        let whole = wanted.iter().any(|tensor| tensor.name.starts_with(prefix) && tensors.contains_key(&tensor.name));
        Ok(Directory { files: &files.files, tensors, lacking: if whole { "" } else { prefix } })
    }

    /// The stored tensor of a name, under the name that it has here.
    fn get(&self, name: &str) -> Option<(&str, &(usize, StoredTensor))> {
        let short = name.strip_prefix(self.lacking).and_then(|short| self.tensors.get_key_value(short));
        let found = short.or_else(|| self.tensors.get_key_value(name));
        found.map(|(name, held)| (name.as_str(), held))
    }

    /// Whether there is a tensor of this name, or of its alias.
    pub(super) fn has(&self, tensor: &Tensor) -> bool {
        self.get(&tensor.name).is_some() || tensor.alias.as_deref().is_some_and(|alias| self.get(alias).is_some())
    }

    pub(super) fn find(&self, tensor: Tensor) -> Result<BoundTensor, ModelError> {
        let expected = tensor.stored_shape();
        let mut bound: Option<BoundTensor> = None;
        for name in tensor.stored_names() {
            let found = self.get(&name).or_else(|| tensor.alias.as_deref().and_then(|alias| self.get(alias)));
            let Some((found, (number, stored))) = found else {
                return Err(self.missing(name));
            };
            let file = || self.files[*number].name.clone();
            if let Some(stem) = found.strip_suffix(".weight") {
                let beside = |kind: &str| self.tensors.contains_key(&format!("{stem}.{kind}"));
                if beside("scales") && beside("biases") {
                    let scales = format!("{stem}.scales");
                    return Err(ModelError::MlxTensor { file: file(), tensor: found.to_owned(), scales });
                }
            }
            if stored.shape != expected {
                return Err(ModelError::WrongShape {
                    file: file(),
                    tensor: name,
                    got: stored.shape.clone(),
                    expected,
                    fields: tensor.fields,
                });
            }
            let Some(dtype) = stored.dtype else {
                return Err(ModelError::TensorType { file: file(), tensor: name, found: stored.type_name.clone() });
            };
            let place = (*number, stored.start);
            let others = tensor.stacked().map_or(0, |experts| experts - 1);
            match &mut bound {
                None => {
                    let shown = if tensor.name.contains('*') { &tensor.name } else { found };
                    let one = dtype.size(expected.iter().skip(usize::from(others > 0)).product());
                    bound = Some(BoundTensor {
                        name: tensor.shown(shown),
                        shape: tensor.shape.clone(),
                        view: tensor.view.clone(),
                        outputs: tensor
                            .view
                            .rows
                            .map_or(tensor.shape[tensor.shape.len().saturating_sub(2)], |rows| rows.total),
                        dtype,
                        order: tensor.view.paired.map_or(stored.order, RowOrder::Paired),
                        places: (0..=others).map(|expert| (place.0, place.1 + expert * one)).collect(),
                    });
                }
                Some(bound) if bound.dtype != dtype => {
                    return Err(ModelError::MixedExperts {
                        file: file(),
                        tensor: name,
                        found: dtype,
                        first: bound.dtype,
                    });
                }
                Some(bound) => bound.places.push(place),
            }
        }
        Ok(bound.expect("a tensor has at least one stored name"))
    }

    fn missing(&self, tensor: String) -> ModelError {
        let hint = if tensor == "lm_head.weight" {
            "set \"tie_word_embeddings\": true in config.json if the head shares the embedding, else download the \
            weights again"
        } else if tensor.ends_with(".bias") {
            "set \"attention_bias\" or \"mlp_bias\" to false in config.json if the model has no biases, else download \
            the weights again"
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
