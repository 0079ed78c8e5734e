//! Files that commands read and write.

use std::borrow::Cow;
use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::Path;

use lpu::checker::Warning;
use lpu::chip::{Chip, System, preset};
use lpu::isa::asm::{Place, SourceMap, assemble};
use lpu::isa::{ChipId, ChipRef, Container, Queue, Violation};
use lpu::model::Checkpoint;

use super::Usage;
use super::listing::Listing;

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
    String::from_utf8(read(path)?)
        .map(Some)
        .map_err(|_| format!("{} is not text; give a .toml description", path.display()))
}

/// A preset, or a description from a file, of a system or of one chip.
pub(crate) fn system(name: impl AsRef<OsStr>) -> Result<System, Box<dyn Error>> {
    let name = name.as_ref();
    let Some(text) = described(name)? else { return Ok(System::preset(&name.to_string_lossy())?) };
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
    let found = System::read(&text, &mut by_name);
    match failed {
        Some(message) => Err(message.into()),
        None => Ok(found?),
    }
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
    Ok(Checkpoint::open(path)?)
}

/// The prompt of the model that ships.
pub(crate) const SHIPPED_PROMPT: &str = include_str!("../../model/prompt.txt");

/// Whether a path names a compiled file.
pub(crate) fn is_compiled(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "lpb")
}

/// A container that owns its bytes.
fn owned(container: Container<'_>) -> Container<'static> {
    let mut image = lpu::isa::Image { vector_bytes: container.image.vector_bytes, extents: Vec::new() };
    image.extents.extend(container.image.extents.into_iter().map(lpu::isa::Extent::into_owned));
    Container {
        chip: container.chip,
        image,
        programs: container.programs,
        host: Cow::Owned(container.host.into_owned()),
    }
}

/// A program file, text or binary.
pub(crate) struct Loaded {
    pub(crate) container: Container<'static>,
    /// Source lines, for text.
    pub(crate) map: Option<SourceMap>,
    /// The text; empty for a `.lpb`.
    text: String,
    /// The system that the text names, or that was given with it; nothing for a `.lpb`.
    system: Option<System>,
}

impl Loaded {
    /// The system that the program was made for; `chip` is a description of it, where one is given.
    pub(crate) fn system(&self, chip: Option<&OsStr>) -> Result<System, Box<dyn Error>> {
        self.system.clone().map_or_else(|| system_for(&self.container.chip, chip), Ok)
    }

    /// Refuses programs that need chips which their system does not have. `chip` as in [`Loaded::system`]; a system
    /// that is not known refuses nothing.
    pub(crate) fn on_chips(&self, path: &Path, chip: Option<&OsStr>) -> Result<(), String> {
        let Ok(system) = self.system(chip) else { return Ok(()) };
        let mut text = self.listed(path, 0, &system.absent_of_image(&self.container.image));
        for (index, program) in self.container.programs.iter().enumerate() {
            text += &self.listed(path, index, &system.absent_of_program(program));
        }
        if text.is_empty() { Ok(()) } else { Err(text.trim_end().to_owned()) }
    }

    /// The violations of program number `program`, each with its file, and for text with its line.
    pub(crate) fn listed<'v>(
        &self,
        path: &Path,
        program: usize,
        violations: impl IntoIterator<Item = &'v Violation>,
    ) -> String {
        let lines: Vec<&str> = self.text.lines().collect();
        let mut text = String::new();
        for violation in violations {
            let place = self.place(program, violation.site.map(|site| (violation.chip, site.queue, site.item)));
            entry(&mut text, &lines, path, place.as_ref(), violation);
            if let Some(other) = violation.fault.producer()
                && let Some(place) = self.place(program, Some((other.chip, other.queue, other.item)))
                && let (file, Some(line)) = source(&lines, path, &place)
            {
                let chip = if violation.chips > 1 { format!("chip {}, ", other.chip.0) } else { String::new() };
                let file = if place.file.is_some() { format!("{file} ") } else { String::new() };
                text += &format!(
                    "    {chip}{} in cycle {}, {file}line {}: {}\n",
                    other.queue,
                    other.cycle,
                    place.line,
                    line.trim()
                );
            }
        }
        text
    }

    /// The warnings of program number `program`, as [`Loaded::listed`] has violations.
    pub(crate) fn warned(&self, path: &Path, program: usize, warnings: &[Warning]) -> String {
        let lines: Vec<&str> = self.text.lines().collect();
        let mut text = String::new();
        for warning in warnings {
            let place = self.place(program, warning.at().map(|at| (at.chip, at.site.queue, at.site.item)));
            entry(&mut text, &lines, path, place.as_ref(), &format_args!("warning: {warning}"));
        }
        text
    }

    /// The source of an item, or of the program as a whole.
    fn place(&self, program: usize, item: Option<(ChipId, Queue, u32)>) -> Option<Place> {
        self.map.as_ref().and_then(|map| match item {
            Some((chip, queue, item)) => map.place(program, chip, queue, item),
            None => map.program_place(program),
        })
    }
}

/// The file of a place, which is `path` or what that includes, and the text of its line.
fn source<'a>(lines: &[&'a str], path: &Path, place: &'a Place) -> (String, Option<&'a str>) {
    let index = place.line as usize - 1;
    match &place.file {
        Some(file) => (path.with_file_name(&file.name).display().to_string(), file.text.lines().nth(index)),
        None => (shown(path), lines.get(index).copied()),
    }
}

/// One message with its place, the source line where there is one, and the repetitions that it is in.
fn entry(text: &mut String, lines: &[&str], path: &Path, place: Option<&Place>, message: &dyn std::fmt::Display) {
    let Some(place) = place else {
        *text += &format!("{}: {message}\n", shown(path));
        return;
    };
    let (file, line) = source(lines, path, place);
    *text += &format!("{file}:{}: {message}\n", place.line);
    for shown in line.map(str::trim).into_iter().chain(place.trail.iter().map(String::as_str)) {
        *text += &format!("    {shown}\n");
    }
}

/// Reads a `.lpb`, or assembles anything else. The chip is the one that the program names; `chip` is its description,
/// where it is no preset.
pub(crate) fn program(path: &Path, chip: Option<&OsStr>) -> Result<Loaded, Box<dyn Error>> {
    let bytes = read(path)?;
    if is_compiled(path) || bytes.starts_with(b"\x89LPB") {
        let container = Container::parse(&bytes).map_err(|error| format!("{}: {error}", shown(path)))?;
        if chip.is_some() {
            system_for(&container.chip, chip)?;
        }
        return Ok(Loaded { container: owned(container), map: None, text: String::new(), system: None });
    }
    let mut text = String::from_utf8(bytes)
        .map_err(|_| format!("{} is neither text nor a program file; give one of these", shown(path)))?;
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    let given = chip.map(system).transpose()?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut beside = |name: &str| regular(&folder.join(name)).map(Cow::Owned);
    let (mut named, mut unusable) = (None, None);
    let mut by_name = |name: &str| {
        let found = match &given {
            Some(given) if given.name() == name || !described_by(folder, name) => Ok(given.clone()),
            _ if name.ends_with(".toml") => system(folder.join(name)),
            _ => system(name),
        };
        let found = found.map_err(|error| unusable = Some(error.to_string())).ok()?;
        let known = (found.reference(), found.chip().lanes() as u32);
        named = Some(found);
        Some(known)
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
    let system = match (given, named) {
        (Some(given), _) => made_for(&container.chip, given)?,
        (None, Some(named)) => named,
        (None, None) => system_for(&container.chip, None)?,
    };
    for (index, program) in container.programs.iter_mut().enumerate() {
        if !map.cycles_stated(index) {
            program.cycles = lpu::checker::cycles(&system, &container.image, program)?;
        }
    }
    Ok(Loaded { container, map: Some(map), text, system: Some(system) })
}

/// Whether the name of a chip in a text of this folder has a description: it is a preset's, or that of a file that
/// exists.
fn described_by(folder: &Path, name: &str) -> bool {
    if name.ends_with(".toml") { folder.join(name).exists() } else { System::preset(name).is_ok() }
}

/// A path as messages name it.
pub(crate) fn shown(path: &Path) -> String {
    if is_stream(path) { "<stdin>".to_owned() } else { path.display().to_string() }
}

/// The bytes of a file that a text names. One that is no regular file might never end.
fn regular(path: &Path) -> Result<Vec<u8>, String> {
    let found = fs::metadata(path).map_err(|error| error.to_string())?;
    if !found.is_file() {
        return Err("it is no regular file".to_owned());
    }
    fs::read(path).map_err(|error| error.to_string())
}

/// The chip that something was made for.
pub(crate) fn chip_for(made: &ChipRef, name: Option<&OsStr>) -> Result<Chip, Box<dyn Error>> {
    Ok(system_for(made, name)?.chip().clone())
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
                    "the program was made for chip `{name}` of fingerprint {fingerprint}, which is no preset; {WITH_CHIP}"
                );
                Err(message.into())
            }
        },
    }
}

const WITH_CHIP: &str =
    "give the description that it was made for with --chip FILE.toml; `lpu chips FILE.toml` prints a fingerprint";

/// The system, if what was made is for it.
fn made_for(made: &ChipRef, system: System) -> Result<System, String> {
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
