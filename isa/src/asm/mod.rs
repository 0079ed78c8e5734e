//! The assembler: program text (`.lpu`) to a container. It reports every mistake, each with its place and what to
//! do. The grammar is written down in `docs/program-format.md`.

mod directive;
mod element;
mod error;
mod finish;
mod instruction;
mod lex;
mod source_map;
mod state;
mod symbol;

use std::borrow::Cow;

pub(crate) use directive::{REGION_USAGE, USAGE};
pub use error::{AsmError, Span};
pub(crate) use instruction::{FURTHEST, usage};
pub use source_map::SourceMap;

use crate::program::{ChipRef, Container};
use lex::Line;
use state::{Open, Text};

/// Gives the bytes of the file that the text names as its image, or the reason why not.
pub type LoadFile<'f, 'a> = &'f mut dyn FnMut(&str) -> Result<Cow<'a, [u8]>, String>;

/// Gives the chip of a name, with its number of lanes.
pub type LoadChip<'f> = &'f mut dyn FnMut(&str) -> Option<(ChipRef, u32)>;

/// Assembles a text. `load` is asked for the image file, `chip` for the chip unless the text gives its fingerprint.
/// An image that `load` lends is borrowed by the container. A program whose cycles are not stated has 0 of them,
/// and the source map says so.
///
/// # Errors
/// Every mistake in the text, in order of lines.
pub fn assemble<'a>(source: &str, load: LoadFile<'_, 'a>, chip: LoadChip<'_>) -> Result<(Container<'a>, SourceMap), Vec<AsmError>> {
    let mut text = Text {
        chip: None,
        file: None,
        extents: Vec::new(),
        host: None,
        programs: Vec::new(),
        program_names: Default::default(),
        constants: Default::default(),
        open: Open::Nothing,
    };
    let mut errors = Vec::new();
    for line in Line::all(source) {
        match line.text.trim_start().as_bytes().first() {
            None => {}
            Some(b'.') => errors.extend(directive::line(&mut text, &line, load, chip).err()),
            Some(_) => instruction::line(&mut text, &line, &mut errors),
        }
    }
    let finished = finish::finish(text, source.len(), &mut errors);
    errors.sort_by_key(|error| error.span);
    finished.filter(|_| errors.is_empty()).ok_or(errors)
}
