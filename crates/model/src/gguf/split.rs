//! Models in several files, `NAME-00001-of-0000N.gguf`: finding the parts alongside one of them, and holding them to be
//! of one model.

use std::path::{Path, PathBuf};

use super::{GgufError, SplitFile};
use crate::{ModelError, folder};

/// Most parts taken.
const PARTS: u64 = 1 << 10;
/// Number of a part, from 0.
const NUMBER: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";

/// Which part of how many a file is, counted from 1; `None` for a model in one file.
pub(super) fn place(part: &SplitFile) -> Result<Option<(u64, u64)>, GgufError> {
    let metadata = &part.contents.metadata;
    match metadata.whole(COUNT)? {
        None | Some(0 | 1) => Ok(None),
        Some(count) if count > PARTS => Err(GgufError::Parts { count, most: PARTS }),
        Some(count) => Ok(Some((metadata.whole(NUMBER)?.unwrap_or(0).saturating_add(1), count))),
    }
}

/// The end of the name of a part, counted from 1.
fn ending(part: u64, count: u64) -> String {
    format!("-{part:05}-of-{count:05}.gguf")
}

/// The name that all parts of a model begin with; the whole stem of a file that is no part.
pub(super) fn stem(path: &Path) -> String {
    let name = path.file_stem().map_or("model".into(), |name| name.to_string_lossy());
    let number = |text: &str| text.len() == 5 && text.bytes().all(|letter| letter.is_ascii_digit());
    let stem = name.rsplit_once("-of-").filter(|(_, count)| number(count)).and_then(|(rest, _)| rest.rsplit_once('-'));
    stem.filter(|(_, part)| number(part)).map_or_else(|| name.to_string(), |(stem, _)| stem.to_owned())
}

/// All parts of the model of which `path` is a part, in order.
pub(super) fn gather(path: &Path, part: SplitFile) -> Result<Vec<SplitFile>, ModelError> {
    let bad = |file: &str, source: GgufError| ModelError::BadGguf { file: file.to_owned(), source };
    let name = part.name.clone();
    let Some((own, count)) = place(&part).map_err(|error| bad(&name, error))? else { return Ok(vec![part]) };
    let end = ending(own, count);
    let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
    if own > count || !file.ends_with(&end) {
        return Err(bad(&name, GgufError::PartName { part: own, count, ending: end }));
    }
    let mut given = Some(part);
    let mut parts = Vec::new();
    for number in 1..=count {
        let part = match given.take_if(|_| number == own) {
            Some(part) => part,
            None => read(&sibling(path, file, &end, &ending(number, count)), number, count)
                .map_err(|error| error.of(&name))?,
        };
        check(&part, number, count).map_err(|error| bad(&part.name, error))?;
        parts.push(part);
    }
    let total = parts[0].contents.metadata.whole(TENSORS).map_err(|error| bad(&parts[0].name, error))?;
    let found = parts.iter().map(|part| part.contents.tensors.len() as u64).sum();
    match total {
        Some(expected) if expected != found => Err(bad(&parts[0].name, GgufError::PartTensors { found, expected })),
        _ => Ok(parts),
    }
}

/// What went wrong with another part.
enum SplitFault {
    Gguf(GgufError),
    Model(ModelError),
}

impl SplitFault {
    fn of(self, file: &str) -> ModelError {
        match self {
            SplitFault::Gguf(source) => ModelError::BadGguf { file: file.to_owned(), source },
            SplitFault::Model(error) => error,
        }
    }
}

/// The path of another part: the same name with another end. A name that is not Unicode is refused before.
fn sibling(path: &Path, file: &str, own: &str, end: &str) -> PathBuf {
    path.with_file_name(format!("{}{end}", file.strip_suffix(own).unwrap_or(file)))
}

fn read(path: &Path, part: u64, count: u64) -> Result<SplitFile, SplitFault> {
    match folder::map_bytes(path) {
        Ok(bytes) => SplitFile::read(&path.display().to_string(), bytes).map_err(SplitFault::Model),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(SplitFault::Gguf(GgufError::PartMissing { part, count, path: path.display().to_string() }))
        }
        Err(source) => Err(SplitFault::Model(ModelError::Unreadable { path: path.to_path_buf(), source })),
    }
}

/// Holds a part to its number and the count.
fn check(part: &SplitFile, number: u64, count: u64) -> Result<(), GgufError> {
    let metadata = &part.contents.metadata;
    for (key, expected) in [(COUNT, count), (NUMBER, number - 1)] {
        let found = metadata.whole(key)?;
        if found != Some(expected) {
            let found = found.map_or("absent".to_owned(), |found| found.to_string());
            return Err(GgufError::PartMismatch { key, found, expected, part: number });
        }
    }
    Ok(())
}
