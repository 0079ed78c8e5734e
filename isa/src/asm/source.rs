//! Files that a text includes, and how a line of them came to be assembled.

use std::borrow::Cow;
use std::sync::Arc;

use crate::program::ChipRef;

/// Gives the bytes of a file that the text names as its image or includes, or the reason why not.
pub type LoadFile<'f, 'a> = &'f mut dyn FnMut(&str) -> Result<Cow<'a, [u8]>, String>;

/// Gives the chip of a name, with its number of lanes.
pub type LoadChip<'f> = &'f mut dyn FnMut(&str) -> Option<(ChipRef, u32)>;

/// An included file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncludedFile {
    /// Its name, as the loader was asked for it.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// What brings lines to be assembled once more, or from another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExpansionCause {
    /// An iteration of a `.rept`, from 0.
    Iteration(u64),
    /// An `.include`.
    Inclusion,
}

/// Lines that an expansion brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Context {
    /// The expansion around it.
    parent: u32,
    /// Which included file the lines are of, counted from 1; 0 is the text itself.
    file: u32,
    /// Line of the `.rept` or `.include` in its own file.
    line: u32,
    cause: ExpansionCause,
}

/// All files and expansions of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct IncludedFiles {
    files: Vec<Arc<IncludedFile>>,
    /// Expansion number 0 is the text itself, and not in the list.
    contexts: Vec<Context>,
}

impl IncludedFiles {
    /// Number of the file of this name, if it was included before.
    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.files.iter().position(|file| file.name == name).map(|index| index as u32 + 1)
    }

    /// Adds a file, and gives back its number.
    pub(super) fn add(&mut self, source: IncludedFile) -> u32 {
        self.files.push(Arc::new(source));
        self.files.len() as u32
    }

    /// An included file by its number.
    pub(super) fn file(&self, number: u32) -> Option<&Arc<IncludedFile>> {
        self.files.get((number as usize).checked_sub(1)?)
    }

    pub(super) fn files(&self) -> usize {
        self.files.len()
    }

    /// Adds an expansion, and gives back its number.
    pub(super) fn expand(&mut self, parent: u32, file: u32, line: u32, cause: ExpansionCause) -> u32 {
        self.contexts.push(Context { parent, file, line, cause });
        self.contexts.len() as u32
    }

    fn context(&self, number: u32) -> Option<&Context> {
        self.contexts.get((number as usize).checked_sub(1)?)
    }

    /// Number of the file that an expansion's lines are of.
    pub(super) fn file_of(&self, context: u32) -> u32 {
        self.context(context).map_or(0, |context| context.file)
    }

    /// Whether an expansion is within the inclusion of a file.
    pub(super) fn includes(&self, mut context: u32, file: u32) -> bool {
        while let Some(found) = self.context(context) {
            if found.file == file {
                return true;
            }
            context = found.parent;
        }
        false
    }

    /// How many expansions are around a line.
    pub(super) fn depth(&self, mut context: u32) -> usize {
        let mut depth = 0;
        while let Some(found) = self.context(context) {
            (depth, context) = (depth + 1, found.parent);
        }
        depth
    }

    /// How the lines of an expansion came to be assembled, from the inside.
    pub(super) fn trail(&self, mut context: u32) -> Vec<String> {
        let mut trail = Vec::new();
        while let Some(found) = self.context(context) {
            let file = self.file(self.file_of(found.parent)).map_or(String::new(), |file| format!(" of {}", file.name));
            trail.push(match found.cause {
                ExpansionCause::Iteration(number) => {
                    format!("in iteration {number} of the `.rept` in line {}{file}", found.line)
                }
                ExpansionCause::Inclusion => format!("included from line {}{file}", found.line),
            });
            context = found.parent;
        }
        trail
    }
}

/// The name of a file that is alongside another: names with a folder are from there, absolute ones stay.
pub(super) fn beside(file: Option<&str>, name: &str) -> String {
    match file.and_then(|file| file.rsplit_once('/')) {
        Some((folder, _)) if !name.starts_with('/') => format!("{folder}/{name}"),
        _ => name.to_owned(),
    }
}
