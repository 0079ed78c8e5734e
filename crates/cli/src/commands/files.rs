//! Files that commands read: models, and descriptions of chips and systems.

use std::borrow::Cow;
use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::slice;

use lpu::chip::{Chip, ChipError, System, preset};
use lpu::isa::ChipRef;
use lpu::model::{Checkpoint, KnownShape};

use super::outcome::Usage;

pub(crate) const SHIPPED: &str = "stories";

/// Reads a file, or standard input where the path is `-`; the message names it.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    if is_stream(path) {
        let mut bytes = Vec::new();
        let read = std::io::stdin().lock().read_to_end(&mut bytes);
        return read
            .map(|_| bytes)
            .map_err(|error| format!("cannot read standard input: {error}; give the path of a file"));
    }
    fs::read(path)
        .map_err(|error| format!("cannot read {}: {error}; give the path of an existing file", path.display()))
}

/// Whether a path means standard input.
pub(crate) fn is_stream(path: &Path) -> bool {
    path == Path::new(lpu::STDOUT)
}

/// Refuses standard output for data that a report in JSON would mix with.
pub(crate) fn unmixed(path: Option<&Path>, option: &str, json: bool) -> Result<(), Usage> {
    if json && path.is_some_and(lpu::is_stdout) {
        return Err(Usage(format!("{option} and --json both write standard output; give {option} the path of a file")));
    }
    Ok(())
}

/// A preset, or a description from a file.
pub(crate) fn chip(name: impl AsRef<OsStr>) -> Result<Chip, Box<dyn Error>> {
    Ok(chip_within(name.as_ref(), &[])?)
}

/// The most chips that extend one another.
const MOST_EXTENDED: usize = 16;

/// A preset, or a description from a file that those given extend, one by way of the next.
fn chip_within(name: &OsStr, extending: &[PathBuf]) -> Result<Chip, String> {
    let Some(text) = described(name)? else {
        return preset(&name.to_string_lossy()).map_err(|error| error.to_string());
    };
    let path = fs::canonicalize(name).unwrap_or_else(|_| name.into());
    let chain = [extending, slice::from_ref(&path)].concat();
    if extending.contains(&path) || extending.len() == MOST_EXTENDED {
        let chain = chain.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" extends ");
        return Err(ChipError::Circular { chain }.to_string());
    }
    with_chips(Path::new(name), &chain, |by_name| Chip::read(&text, by_name))
}

/// What comes of a description at a path, of which names of chips are presets or files in its folder.
fn with_chips<T>(
    path: &Path,
    extending: &[PathBuf],
    read: impl FnOnce(&mut dyn FnMut(&str) -> Result<Chip, ChipError>) -> Result<T, ChipError>,
) -> Result<T, String> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut failed = None;
    let mut by_name = |name: &str| {
        let in_folder = folder.join(name);
        let file = if name.ends_with(".toml") { in_folder.as_os_str() } else { OsStr::new(name) };
        chip_within(file, extending).map_err(|message| {
            failed = Some(message.clone());
            ChipError::Syntax { message }
        })
    };
    let found = read(&mut by_name);
    failed.map_or_else(|| found.map_err(|error| error.to_string()), Err)
}

/// The text of a description; nothing for the name of a preset.
fn described(name: &OsStr) -> Result<Option<String>, String> {
    let path = Path::new(name);
    if path.extension().is_none_or(|extension| extension != "toml") {
        return Ok(None);
    }
    String::from_utf8(read(path)?)
        .map(Some)
        .map_err(|_| format!("{} is not text; give a .toml description", path.display()))
}

/// A preset, or a description from a file, of a system or of one chip.
pub(crate) fn system(name: impl AsRef<OsStr>) -> Result<System, Box<dyn Error>> {
    let name = name.as_ref();
    let Some(text) = described(name)? else { return Ok(System::preset(&name.to_string_lossy())?) };
    let path = fs::canonicalize(name).unwrap_or_else(|_| name.into());
    Ok(with_chips(Path::new(name), &[path], |by_name| System::read(&text, by_name))?)
}

/// The model that ships.
pub(crate) fn shipped() -> Result<Checkpoint, Box<dyn Error>> {
    let weights: &'static [u8] = include_bytes!("../../model/model.safetensors");
    let config = include_bytes!("../../model/config.json");
    let tokenizer = include_bytes!("../../model/tokenizer.json");
    let files = vec![("model.safetensors".to_owned(), Cow::Borrowed(weights))];
    Ok(Checkpoint::from_parts(config, files, Some(tokenizer))?.with_name(SHIPPED))
}

/// Refuses standard input for a model.
pub(crate) fn unpiped(model: &Path) -> Result<(), Usage> {
    match is_stream(model) {
        true => Err(Usage("a model is not read from standard input; give the path of its folder or file".into())),
        false => Ok(()),
    }
}

/// The model at a path, or the one that ships.
pub(crate) fn checkpoint(path: Option<&Path>) -> Result<Checkpoint, Box<dyn Error>> {
    let Some(path) = path else { return shipped() };
    unpiped(path)?;
    match name(path).and_then(|name| KnownShape::named(name).ok()) {
        Some(shape) => Err(without_weights(shape).into()),
        None => Ok(Checkpoint::open(path)?),
    }
}

/// The shape of a model at a path, or of the known model of that name where there is nothing at the path.
pub(crate) fn shape(path: &Path) -> Result<Checkpoint, Box<dyn Error>> {
    match name(path).map(KnownShape::named) {
        Some(Ok(shape)) => Ok(shape.checkpoint()?),
        Some(Err(unknown)) => Err(format!("there is no such file or folder, and {unknown}").into()),
        None => Ok(Checkpoint::open_shape(path)?),
    }
}

/// Refuses the name of a known model where a program is asked for.
pub(crate) fn no_known_model(path: &Path) -> Result<(), String> {
    match name(path).and_then(|name| KnownShape::named(name).ok()) {
        Some(KnownShape { name, source, .. }) => Err(format!(
            "`{name}` names the shape of a model ({source}), no program; `lpu compile {name} --timing-only -o FILE.lpb` \
            writes its program, over an image of zeros"
        )),
        None => Ok(()),
    }
}

/// What a path says if it is to be a name: it has no folder, and nothing is there.
fn name(path: &Path) -> Option<&str> {
    path.to_str().filter(|name| !name.contains(['/', '\\']) && path.symlink_metadata().is_err())
}

/// Why the shape of a known model does not do where weights are needed.
fn without_weights(shape: &KnownShape) -> String {
    let KnownShape { name, source, .. } = shape;
    format!(
        "`{name}` names the shape of a model ({source}), which has no weights; give the path of a folder or .gguf file \
        that has them, or compile the shape with --timing-only"
    )
}

/// The prompt of the model that ships.
pub(crate) const SHIPPED_PROMPT: &str = include_str!("../../model/prompt.txt");

/// Whether a path names a compiled file.
pub(crate) fn is_compiled(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "lpb")
}

/// A path as messages name it.
pub(crate) fn shown(path: &Path) -> String {
    if is_stream(path) { "<stdin>".to_owned() } else { path.display().to_string() }
}

/// The system that something was made for: that of a description, where one is given, or the preset of its name.
pub(crate) fn system_for(made: &ChipRef, name: Option<&OsStr>) -> Result<System, Box<dyn Error>> {
    match name {
        Some(name) => Ok(made_for(made, system(name)?)?),
        None => match System::preset(&made.name) {
            Ok(system) => Ok(made_for(made, system)?),
            Err(_) => {
                let (name, fingerprint) = (&made.name, hex(&made.fingerprint));
                let message = format!(
                    "the program was made for chip `{name}` of fingerprint {fingerprint}, which is no preset; \
                    {WITH_CHIP}"
                );
                Err(message.into())
            }
        },
    }
}

const WITH_CHIP: &str =
    "give the description that it was made for with --chip FILE.toml; `lpu chips FILE.toml` prints a fingerprint";

/// The system, if what was made is for it.
pub(crate) fn made_for(made: &ChipRef, system: System) -> Result<System, String> {
    let given = system.reference();
    if given.fingerprint == made.fingerprint {
        return Ok(system);
    }
    let (one, other) = (hex(&made.fingerprint), hex(&given.fingerprint));
    Err(format!(
        "the program was made for chip `{}` of fingerprint {one}, but `{}` has fingerprint {other}; {WITH_CHIP}",
        made.name, given.name
    ))
}

/// Bytes in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
