//! GGUF files: one file with metadata, tokenizer and tensors, read as if it were a model folder.
//!
//! Metadata become a `config.json` ([`config`]) and a `tokenizer.json` ([`tokenizer`]) that go through the same checks as those of a
//! folder; tensors keep their place in the file and get the names of a folder ([`names`]). What is read of the file's own
//! structure ([`reader`]) is read with suspicion: no size is believed before the bytes that it needs are known to be there.

mod config;
mod names;
mod reader;
mod tokenizer;

use std::collections::BTreeMap;
use std::path::Path;

use crate::folder::{self, Bytes, File, Files};
use crate::header::Stored;
use crate::{Config, Dtype, ModelError};
use reader::Contents;

/// First bytes of every GGUF file.
const MAGIC: &[u8; 4] = b"GGUF";

/// A GGUF file as the parts of a folder.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) files: Files,
    /// The text of a `tokenizer.json`, if the file has a tokenizer; or why it cannot be taken over.
    pub(crate) tokenizer: Option<Result<Vec<u8>, String>>,
}

/// What is wrong inside a file, before it has a name.
pub(crate) type Fault = String;

/// Whether a path is that of a GGUF file: by its name, or by its first bytes.
pub(crate) fn is_gguf(path: &Path) -> bool {
    use std::io::Read;

    let begins = || {
        let mut first = [0; 4];
        let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut first));
        read.is_ok() && first == *MAGIC
    };
    path.is_file() && (path.extension().is_some_and(|extension| extension == "gguf") || begins())
}

/// Opens a file.
pub(crate) fn open(path: &Path) -> Result<Parts, ModelError> {
    let bytes = folder::map_bytes(path).map_err(|source| ModelError::Unreadable { path: path.to_path_buf(), source })?;
    parts(&path.display().to_string(), bytes)
}

/// Reads a file; `name` is for errors.
pub(crate) fn parts(name: &str, bytes: Bytes) -> Result<Parts, ModelError> {
    let bad = |detail: Fault| ModelError::BadGguf { file: name.to_owned(), detail };
    let contents = reader::read(&bytes).map_err(bad)?;
    let json = config::json(&contents, &bytes).map_err(bad)?;
    let config = Config::from_json(json.to_string().as_bytes())
        .map_err(|source| ModelError::GgufModel { file: name.to_owned(), source: Box::new(source) })?;
    let tokenizer = tokenizer::json(&contents.metadata).map(|json| json.map(|json| json.to_string().into_bytes()));
    let tensors = tensors(contents, &config);
    let file = File { name: name.to_owned(), bytes, tensors: Some(tensors) };
    Ok(Parts { config, files: Files { files: vec![file], index: None }, tokenizer })
}

/// The tensors under the names of a folder.
fn tensors(contents: Contents, config: &Config) -> BTreeMap<String, Stored> {
    let paired = contents.metadata.text("general.architecture").is_ok_and(|name| name == Some("llama"));
    let named = contents.tensors.into_iter().map(|(name, tensor)| {
        let (name, order) = names::folder_name(&name, paired.then_some(config.head_dim));
        let shape: Vec<usize> = tensor.shape.iter().rev().copied().collect();
        let stored = Stored { dtype: tensor.dtype, type_name: tensor.type_name, shape, start: tensor.start, order };
        (name, stored)
    });
    named.collect()
}

/// The element type of a number in a file; `None` for one that is not read.
fn dtype(number: u32) -> Option<Dtype> {
    Some(match number {
        0 => Dtype::F32,
        1 => Dtype::F16,
        2 => Dtype::Q4_0,
        8 => Dtype::Q8_0,
        14 => Dtype::Q6_K,
        30 => Dtype::BF16,
        _ => return None,
    })
}
