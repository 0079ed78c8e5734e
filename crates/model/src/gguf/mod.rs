//! GGUF files: one file, or several parts, with metadata, tokenizer and tensors, read as if it were a model folder.
//!
//! Metadata become a `config.json` ([`config`]) and a `tokenizer.json` ([`tokenizer`]) that go through the same checks
//! as those of a folder; tensors keep their place and their names in the file, and what the graph asks for is asked for
//! under these ([`names`],
//! [`bind`]). What is read of the file's own structure ([`reader`]) is read with suspicion: no size is believed before
//! the bytes that it needs are known to be there.

mod architecture;
mod bind;
mod config;
mod error;
mod names;
mod reader;
mod split;
mod tokenizer;
mod types;

use std::collections::BTreeMap;
use std::path::Path;

use crate::folder::{self, FileBytes, Files, TensorFile};
use crate::header::{RowOrder, StoredTensor};
use crate::json::is_pointer;
use crate::{Config, ModelError};
use architecture::Architecture;
pub(crate) use bind::Naming;
pub use error::GgufError;
use reader::Contents;

/// First bytes of every GGUF file.
const MAGIC: &[u8; 4] = b"GGUF";

/// A GGUF file as the parts of a folder.
pub(crate) struct GgufFile {
    pub(crate) config: Config,
    pub(crate) files: Files,
    pub(crate) naming: Naming,
    /// The text of a `tokenizer.json`, if the file has a tokenizer; or why it cannot be taken over.
    pub(crate) tokenizer: Option<Result<Vec<u8>, String>>,
}

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

/// The name of the model in a file: its own, without the number of a part.
pub(crate) fn model_name(path: &Path) -> String {
    split::stem(path)
}

/// Opens a file, with the other parts of its model alongside it.
pub(crate) fn open(path: &Path) -> Result<GgufFile, ModelError> {
    let bytes =
        folder::map_bytes(path).map_err(|source| ModelError::Unreadable { path: path.to_path_buf(), source })?;
    let part = SplitFile::read(&path.display().to_string(), bytes)?;
    assemble(split::gather(path, part)?)
}

/// Reads a file from its bytes; `name` is for errors.
pub(crate) fn parts(name: &str, bytes: FileBytes) -> Result<GgufFile, ModelError> {
    let part = SplitFile::read(name, bytes)?;
    let alone = match split::place(&part) {
        Ok(None) => return assemble(vec![part]),
        Ok(Some((part, count))) => GgufError::PartAlone { part, count },
        Err(error) => error,
    };
    Err(ModelError::BadGguf { file: name.to_owned(), source: alone })
}

/// One file of a model.
struct SplitFile {
    name: String,
    bytes: FileBytes,
    contents: Contents,
}

impl SplitFile {
    fn read(name: &str, bytes: FileBytes) -> Result<SplitFile, ModelError> {
        if is_pointer(&bytes) {
            return Err(ModelError::LfsPointer { file: name.to_owned() });
        }
        match reader::read(&bytes) {
            Ok(contents) => Ok(SplitFile { name: name.to_owned(), bytes, contents }),
            Err(source) => Err(ModelError::BadGguf { file: name.to_owned(), source }),
        }
    }
}

/// A model from its parts, of which the first has the metadata.
fn assemble(parts: Vec<SplitFile>) -> Result<GgufFile, ModelError> {
    let first = parts[0].name.clone();
    let bad = |source: GgufError| ModelError::BadGguf { file: first.clone(), source };
    let metadata = &parts[0].contents.metadata;
    let architecture = Architecture::of(metadata).map_err(bad)?;
    let made = config::make(&parts, architecture).map_err(bad)?;
    let config = Config::from_json(made.config.to_string().as_bytes())
        .map_err(|error| bad(GgufError::Model { detail: made.keys.translate(&error.to_string()) }))?;
    let tokenizer = tokenizer::json(metadata).map(|json| json.map(|json| json.to_string().into_bytes()));
    let paired = architecture.paired.then_some(config.head_dim);
    let files = parts.into_iter().map(|part| {
        let tensors = Some(tensors(part.contents, paired));
        TensorFile { name: part.name, bytes: part.bytes, tensors }
    });
    let naming = Naming { architecture, keys: made.keys };
    Ok(GgufFile { config, files: Files { files: files.collect(), index: None }, naming, tokenizer })
}

/// The tensors of a part; with `paired`, the size of a head, outputs of queries and keys are in pairs.
fn tensors(contents: Contents, paired: Option<usize>) -> BTreeMap<String, StoredTensor> {
    let stored = contents.tensors.into_iter().map(|(name, tensor)| {
        let mut shape: Vec<usize> = tensor.shape.iter().rev().copied().collect();
        if shape.len() == 1 && names::one_row(&name) {
            shape.insert(0, 1);
        }
        let order = paired.filter(|_| names::pairable(&name)).map_or(RowOrder::Plain, RowOrder::Paired);
        let stored =
            StoredTensor { dtype: tensor.dtype, type_name: tensor.type_name, shape, start: tensor.start, order };
        (name, stored)
    });
    stored.collect()
}
