//! Finding the files of a model folder, and mapping the big ones.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::ops::Deref;
use std::path::{Component, Path, PathBuf};

use memmap2::Mmap;

use crate::ModelError;
use crate::header::StoredTensor;
use crate::json::{is_pointer, without_mark};

/// Name of the index of a checkpoint in several files.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// The bytes of a tensor file.
pub(crate) enum FileBytes {
    /// Read on demand by the operating system.
    Mapped(Mmap),
    /// Given by the caller, or part of the executable.
    Given(Cow<'static, [u8]>),
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            FileBytes::Mapped(map) => map,
            FileBytes::Given(bytes) => bytes,
        }
    }
}

/// A tensor file with its name.
pub(crate) struct TensorFile {
    /// Path, or the name that the caller gave.
    pub(crate) name: String,
    pub(crate) bytes: FileBytes,
    /// What the file holds, where that is known already; else its safetensors header says.
    pub(crate) tensors: Option<BTreeMap<String, StoredTensor>>,
}

/// The tensor files of a checkpoint.
#[derive(Default)]
pub(crate) struct Files {
    pub(crate) files: Vec<TensorFile>,
    /// Which of `files` the index says to hold each tensor; absent without an index.
    pub(crate) index: Option<BTreeMap<String, usize>>,
}

/// Checks that a model folder is there.
pub(crate) fn check(folder: &Path) -> Result<(), ModelError> {
    let path = folder.to_path_buf();
    match fs::metadata(folder) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(ModelError::NotAFolder { path }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(ModelError::NoFolder { path }),
        Err(source) => Err(ModelError::Unreadable { path, source }),
    }
}

/// Reads a small text file of the folder, less a byte order mark; `None` if it is not there.
pub(crate) fn read(folder: &Path, name: &str) -> Result<Option<Vec<u8>>, ModelError> {
    let path = folder.join(name);
    match fs::read(&path) {
        Ok(mut bytes) => {
            let mark = bytes.len() - without_mark(&bytes).len();
            bytes.drain(..mark);
            Ok(Some(bytes))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ModelError::Unreadable { path, source }),
    }
}

/// Maps the tensor files of a folder: `model.safetensors`, else those that the index names, else
/// all `*.safetensors` in the order of their names.
pub(crate) fn map_tensor_files(folder: &Path) -> Result<Files, ModelError> {
    let whole = folder.join("model.safetensors");
    if whole.exists() {
        return map_all(vec![whole]);
    }
    if let Some(json) = read(folder, INDEX)? {
        return map_shards(folder, &json);
    }
    let names = file_names(folder)?;
    let ends = |name: &&String, ending: &str| name.ends_with(ending);
    let tensors: Vec<PathBuf> =
        names.iter().filter(|name| ends(name, ".safetensors")).map(|name| folder.join(name)).collect();
    if !tensors.is_empty() {
        return map_all(tensors);
    }
    let folder = folder.to_path_buf();
    let other = [".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx"];
    let found = names.iter().find(|name| other.iter().any(|ending| ends(name, ending)));
    Err(match found.cloned() {
        Some(found) => ModelError::OtherFormat { folder, found },
        None => ModelError::NoWeights { folder },
    })
}

/// The first GGUF file of a folder.
pub(crate) fn first_gguf(folder: &Path) -> Option<String> {
    file_names(folder).ok()?.into_iter().find(|name| name.ends_with(".gguf"))
}

/// Names of the entries of a folder, in order; names that are not Unicode are left out.
fn file_names(folder: &Path) -> Result<Vec<String>, ModelError> {
    let unreadable = |source| ModelError::Unreadable { path: folder.to_path_buf(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        names.extend(entry.map_err(unreadable)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

fn map_shards(folder: &Path, json: &[u8]) -> Result<Files, ModelError> {
    #[derive(serde::Deserialize)]
    struct ShardIndex {
        weight_map: BTreeMap<String, String>,
    }

    let file = folder.join(INDEX).display().to_string();
    let bad = |detail: String| ModelError::BadIndex { file: file.clone(), detail };
    if is_pointer(json) {
        return Err(ModelError::LfsPointer { file });
    }
    let ShardIndex { weight_map } = serde_json::from_slice(json).map_err(|error| bad(error.to_string()))?;
    if weight_map.is_empty() {
        return Err(bad("`weight_map` is empty".to_owned()));
    }
    let mut shards: Vec<&String> = weight_map.values().collect();
    shards.sort();
    shards.dedup();
    for shard in &shards {
        let mut parts = Path::new(shard).components();
        let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
        if !plain || shard.contains(['/', '\\', '\0']) {
            return Err(ModelError::ShardName { file, shard: (*shard).clone() });
        }
    }
    let place = |shard| shards.partition_point(|other| *other < shard);
    let index = weight_map.iter().map(|(tensor, shard)| (tensor.clone(), place(shard))).collect();
    let paths = shards.iter().map(|shard| folder.join(shard)).collect();
    let Files { files, .. } = map_all(paths)?;
    Ok(Files { files, index: Some(index) })
}

fn map_all(paths: Vec<PathBuf>) -> Result<Files, ModelError> {
    let files: Result<Vec<TensorFile>, ModelError> = paths.into_iter().map(map).collect();
    Ok(Files { files: files?, index: None })
}

fn map(path: PathBuf) -> Result<TensorFile, ModelError> {
    match map_bytes(&path) {
        Ok(bytes) => Ok(TensorFile { name: path.display().to_string(), bytes, tensors: None }),
        Err(source) => Err(ModelError::Unreadable { path, source }),
    }
}

pub(crate) fn map_bytes(path: &Path) -> std::io::Result<FileBytes> {
    let file = fs::File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(FileBytes::Given(Cow::Borrowed(&[])));
    }
    // SAFETY: the map is only read, and only as bytes, of which every pattern is valid. Nothing
    // may shorten or rewrite the file while it is mapped; checkpoints are written once and then
    // only read, which is the condition under which every reader of this format maps them.
    let map = unsafe { Mmap::map(&file)? };
    Ok(FileBytes::Mapped(map))
}
