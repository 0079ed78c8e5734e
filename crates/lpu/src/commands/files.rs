//! Files that commands read and write.

use std::borrow::Cow;
use std::error::Error;
use std::fs::{self, File};
use std::path::Path;

use lpu::checker::Warning;
use lpu::chip::{Chip, PRESETS, System, preset};
use lpu::isa::asm::{SourceMap, assemble};
use lpu::isa::{ChipId, ChipRef, Container, Queue, Violation};
use lpu::model::Checkpoint;

use super::listing::Listing;

pub(crate) const SHIPPED: &str = "stories";

/// Reads a file; the message names it.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("cannot read {}: {error}; give the path of an existing file", path.display()))
}

/// Writes a file; the message names it.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|error| format!("cannot write {}: {error}; choose another place", path.display()))
}

/// Creates a file; the message names it.
pub(crate) fn create(path: &Path) -> Result<File, String> {
    File::create(path).map_err(|error| format!("cannot write {}: {error}; choose another place", path.display()))
}

/// Refuses a place that cannot be written before work goes into what should stand there.
pub(crate) fn writable(path: &Path) -> Result<(), String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.is_dir() || path.file_name().is_none() {
        return Err(format!("cannot write {}: it is a folder; give the path of a file", path.display()));
    }
    if folder.is_dir() {
        return Ok(());
    }
    Err(format!("cannot write {}: there is no folder {}; make it or choose another place", path.display(), folder.display()))
}

/// A preset, or a description from a file.
pub(crate) fn chip(name: &str) -> Result<Chip, Box<dyn Error>> {
    if PRESETS.contains(&name) || !name.ends_with(".toml") {
        return Ok(preset(name)?);
    }
    let text = String::from_utf8(read(Path::new(name))?).map_err(|_| format!("{name} is not text; give a .toml description"))?;
    Ok(Chip::from_toml(&text)?)
}

/// A preset, or a description from a file, of a system or of one chip.
pub(crate) fn system(name: &str) -> Result<System, Box<dyn Error>> {
    if !name.ends_with(".toml") {
        return Ok(System::preset(name)?);
    }
    let text = String::from_utf8(read(Path::new(name))?).map_err(|_| format!("{name} is not text; give a .toml description"))?;
    if !text.lines().any(|line| line.trim_start().starts_with("chips")) {
        return Ok(System::single(&Chip::from_toml(&text)?));
    }
    let folder = Path::new(name).parent().unwrap_or(Path::new("")).to_path_buf();
    let mut failed = None;
    let mut by_name = |name: &str| {
        let found = if name.ends_with(".toml") { chip(&folder.join(name).display().to_string()) } else { chip(name) };
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
            let number = self.line(program, violation.site.map(|site| (violation.chip, site.queue, site.item)));
            entry(&mut text, &lines, path, number, violation);
            if let Some(other) = violation.fault.producer()
                && let Some(number) = self.line(program, Some((other.chip, other.queue, other.item)))
                && let Some(line) = lines.get(number as usize - 1)
            {
                let chip = if violation.chips > 1 { format!("chip {}, ", other.chip.0) } else { String::new() };
                text += &format!("    {chip}{} in cycle {}, line {number}: {}\n", other.queue, other.cycle, line.trim());
            }
        }
        text
    }

    /// The warnings of program number `program`, as [`Loaded::listed`] has violations.
    pub(crate) fn warned(&self, path: &Path, program: usize, warnings: &[Warning]) -> String {
        let lines: Vec<&str> = self.text.lines().collect();
        let mut text = String::new();
        for warning in warnings {
            let number = self.line(program, warning.at().map(|at| (at.chip, at.site.queue, at.site.item)));
            entry(&mut text, &lines, path, number, &format_args!("warning: {warning}"));
        }
        text
    }

    /// The source line of an item, or of the program as a whole.
    fn line(&self, program: usize, item: Option<(ChipId, Queue, u32)>) -> Option<u32> {
        self.map.as_ref().and_then(|map| match item {
            Some((chip, queue, item)) => map.line(program, chip, queue, item),
            None => map.program_line(program),
        })
    }
}

/// One message with its place, and the source line where there is one.
fn entry(text: &mut String, lines: &[&str], path: &Path, number: Option<u32>, message: &dyn std::fmt::Display) {
    let place = number.map_or_else(|| path.display().to_string(), |number| format!("{}:{number}", path.display()));
    *text += &format!("{place}: {message}\n");
    if let Some(line) = number.and_then(|number| lines.get(number as usize - 1)) {
        *text += &format!("    {}\n", line.trim());
    }
}

/// Reads a `.lpb`, or assembles anything else.
pub(crate) fn program(path: &Path) -> Result<Loaded, Box<dyn Error>> {
    let bytes = read(path)?;
    if is_compiled(path) {
        let container = Container::parse(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        return Ok(Loaded { container: owned(container), map: None, text: String::new() });
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("{} is not text; program files end in .lpb", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut beside = |name: &str| fs::read(folder.join(name)).map(Cow::Owned).map_err(|error| error.to_string());
    let mut unusable = None;
    let mut by_name = |name: &str| {
        let name = if name.ends_with(".toml") { folder.join(name).display().to_string() } else { name.to_owned() };
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
pub(crate) fn chip_of(container: &Container<'_>, name: Option<&str>) -> Result<Chip, Box<dyn Error>> {
    Ok(system_of(container, name)?.chip().clone())
}

/// The chip that something was made for.
pub(crate) fn chip_for(made: &ChipRef, name: Option<&str>) -> Result<Chip, Box<dyn Error>> {
    Ok(system_for(made, name)?.chip().clone())
}

/// The system that a container was made for; one chip is a system of one.
pub(crate) fn system_of(container: &Container<'_>, name: Option<&str>) -> Result<System, Box<dyn Error>> {
    system_for(&container.chip, name)
}

/// The system that something was made for.
pub(crate) fn system_for(made: &ChipRef, name: Option<&str>) -> Result<System, Box<dyn Error>> {
    let system = system(name.unwrap_or(&made.name))?;
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
