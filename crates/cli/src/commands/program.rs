//! A program as commands load it, from text or from a program file, and its messages with their source lines.

use std::borrow::Cow;
use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use lpu::checker::Warning;
use lpu::chip::System;
use lpu::isa::asm::{Place, SourceMap, assemble};
use lpu::isa::{ChipId, Container, Queue, Violation};

use super::files::{is_compiled, made_for, no_known_model, read, shown, system, system_for};
use super::listing::Listing;

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
pub(crate) fn load(path: &Path, chip: Option<&OsStr>) -> Result<Loaded, Box<dyn Error>> {
    no_known_model(path)?;
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
    let mut named_file = |name: &str| regular(&folder.join(name)).map(Cow::Owned);
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
    let (mut container, map) = match assemble(&text, &mut named_file, &mut by_name) {
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

/// Whether the name of a chip in a text of this folder has a description: it is a preset's, or that of a file that
/// exists.
fn described_by(folder: &Path, name: &str) -> bool {
    if name.ends_with(".toml") { folder.join(name).exists() } else { System::preset(name).is_ok() }
}

/// The bytes of a file that a text names. One that is no regular file might never end.
fn regular(path: &Path) -> Result<Vec<u8>, String> {
    let found = fs::metadata(path).map_err(|error| error.to_string())?;
    if !found.is_file() {
        return Err("it is no regular file".to_owned());
    }
    fs::read(path).map_err(|error| error.to_string())
}
