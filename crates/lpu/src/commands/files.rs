//! Files that commands read and write.

use std::borrow::Cow;
use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::Path;

use lpu::chip::{Chip, System, preset};
use lpu::isa::asm::{SourceMap, assemble};
use lpu::isa::{ChipRef, Container, Violation};
use lpu::model::Checkpoint;

use super::Usage;
use super::listing::Listing;

pub(crate) const SHIPPED: &str = "stories";

/// Reads a file, or standard input where the path is `-`; the message names it.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    if is_stream(path) {
        let mut bytes = Vec::new();
        let read = std::io::stdin().lock().read_to_end(&mut bytes);
        return read.map(|_| bytes).map_err(|error| format!("cannot read standard input: {error}; give the path of a file"));
    }
    fs::read(path).map_err(|error| format!("cannot read {}: {error}; give the path of an existing file", path.display()))
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
    match described(name.as_ref())? {
        Some(text) => Ok(Chip::from_toml(&text)?),
        None => Ok(preset(&name.as_ref().to_string_lossy())?),
    }
}

/// The text of a description; nothing for the name of a preset.
fn described(name: &OsStr) -> Result<Option<String>, String> {
    let path = Path::new(name);
    if path.extension().is_none_or(|extension| extension != "toml") {
        return Ok(None);
    }
    String::from_utf8(read(path)?).map(Some).map_err(|_| format!("{} is not text; give a .toml description", path.display()))
}

/// A preset, or a description from a file, of a system or of one chip.
pub(crate) fn system(name: impl AsRef<OsStr>) -> Result<System, Box<dyn Error>> {
    let name = name.as_ref();
    let Some(text) = described(name)? else { return Ok(System::preset(&name.to_string_lossy())?) };
    if !text.lines().any(|line| line.trim_start().starts_with("chips")) {
        return Ok(System::single(&Chip::from_toml(&text)?));
    }
    let folder = Path::new(name).parent().unwrap_or(Path::new("")).to_path_buf();
    let mut failed = None;
    let mut by_name = |name: &str| {
        let found = if name.ends_with(".toml") { chip(folder.join(name)) } else { chip(name) };
        found.map_err(|error| {
            let message = error.to_string();
            failed = Some(message.clone());
            lpu::chip::ChipError::Syntax { message }
        })
    };
    let found = System::from_toml(&text, &mut by_name);
    match failed {
        Some(message) => Err(message.into()),
        None => Ok(found?),
    }
}

/// The model that ships.
pub(crate) fn shipped() -> Result<Checkpoint, Box<dyn Error>> {
    let weights: &'static [u8] = include_bytes!("../../../../examples/model/model.safetensors");
    let config = include_bytes!("../../../../examples/model/config.json");
    let tokenizer = include_bytes!("../../../../examples/model/tokenizer.json");
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
    Ok(Checkpoint::open(path)?)
}

/// The prompt of the model that ships.
pub(crate) const SHIPPED_PROMPT: &str = include_str!("../../../../examples/model/prompt.txt");

/// Whether a path names a compiled file.
pub(crate) fn is_compiled(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "lpb")
}

/// A container that owns its bytes.
fn owned(container: Container<'_>) -> Container<'static> {
    let mut image = lpu::isa::Image { vector_bytes: container.image.vector_bytes, extents: Vec::new() };
    image.extents.extend(container.image.extents.into_iter().map(lpu::isa::Extent::into_owned));
    Container { chip: container.chip, image, programs: container.programs, host: Cow::Owned(container.host.into_owned()) }
}

/// A program file, text or binary.
pub(crate) struct Loaded {
    pub(crate) container: Container<'static>,
    /// Source lines, for text.
    pub(crate) map: Option<SourceMap>,
    /// The text; empty for a `.lpb`.
    text: String,
}

impl Loaded {
    /// The violations of program number `program`, each with its file, and for text with its line.
    pub(crate) fn listed<'v>(&self, path: &Path, program: usize, violations: impl IntoIterator<Item = &'v Violation>) -> String {
        let lines: Vec<&str> = self.text.lines().collect();
        let mut text = String::new();
        for violation in violations {
            let number = self.line(program, violation);
            let place = number.map_or_else(|| path.display().to_string(), |number| format!("{}:{number}", path.display()));
            text += &format!("{place}: {violation}\n");
            if let Some(line) = number.and_then(|number| lines.get(number as usize - 1)) {
                text += &format!("    {}\n", line.trim());
            }
        }
        text
    }

    fn line(&self, program: usize, violation: &Violation) -> Option<u32> {
        self.map.as_ref().and_then(|map| match &violation.site {
            Some(site) => map.line(program, violation.chip, site.queue, site.item),
            None => map.program_line(program),
        })
    }
}

/// Reads a `.lpb`, or assembles anything else.
pub(crate) fn program(path: &Path) -> Result<Loaded, Box<dyn Error>> {
    let bytes = read(path)?;
    if is_compiled(path) || is_stream(path) && bytes.starts_with(b"\x89LPB") {
        let container = Container::parse(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        return Ok(Loaded { container: owned(container), map: None, text: String::new() });
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("{} is not text; program files end in .lpb", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut beside = |name: &str| fs::read(folder.join(name)).map(Cow::Owned).map_err(|error| error.to_string());
    let mut unusable = None;
    let mut by_name = |name: &str| {
        let name = if name.ends_with(".toml") { folder.join(name) } else { name.into() };
        let found = system(&name).map_err(|error| unusable = Some(error.to_string())).ok()?;
        Some((found.reference(), found.chip().lanes() as u32))
    };
    let (mut container, map) = match assemble(&text, &mut beside, &mut by_name) {
        Ok(assembled) => assembled,
        Err(mut mistakes) => {
            // The assembler knows only that there is no such chip; what is wrong with its description says more.
            if let (Some(reason), Some(mistake)) =
                (unusable, mistakes.iter_mut().find(|mistake| mistake.message.starts_with("there is no chip")))
            {
                mistake.message = reason;
            }
            return Err(Listing::new(path, &text, &mistakes).into());
        }
    };
    let system = system_of(&container, None)?;
    for (index, program) in container.programs.iter_mut().enumerate() {
        if !map.cycles_stated(index) {
            program.cycles = lpu::checker::cycles(&system, &container.image, program)?;
        }
    }
    Ok(Loaded { container, map: Some(map), text })
}

/// The chip that a container was made for.
pub(crate) fn chip_of(container: &Container<'_>, name: Option<&OsStr>) -> Result<Chip, Box<dyn Error>> {
    Ok(system_of(container, name)?.chip().clone())
}

/// The chip that something was made for.
pub(crate) fn chip_for(made: &ChipRef, name: Option<&OsStr>) -> Result<Chip, Box<dyn Error>> {
    Ok(system_for(made, name)?.chip().clone())
}

/// The system that a container was made for; one chip is a system of one.
pub(crate) fn system_of(container: &Container<'_>, name: Option<&OsStr>) -> Result<System, Box<dyn Error>> {
    system_for(&container.chip, name)
}

/// The system that something was made for.
pub(crate) fn system_for(made: &ChipRef, name: Option<&OsStr>) -> Result<System, Box<dyn Error>> {
    let system = system(name.unwrap_or(OsStr::new(&made.name)))?;
    if system.reference().fingerprint != made.fingerprint {
        let message = format!(
            "the program was made for a chip `{}` with other figures than `{}`; give the description that it was made for with --chip",
            made.name,
            system.name()
        );
        return Err(message.into());
    }
    Ok(system)
}
