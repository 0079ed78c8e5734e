//! The assembler: program text (`.lpu`) to a container. It reports every mistake, each with its place and what to
//! do. The grammar is written down in `docs/program-format.md`.

mod directive;
mod element;
mod error;
mod expand;
mod finish;
mod instruction;
mod lex;
mod regions;
mod source;
mod source_map;
mod state;
mod symbol;

pub(crate) use directive::{REGION_USAGE, USAGE};
pub use error::{AsmError, Span};
pub(crate) use instruction::{FURTHEST, usage};
pub use source::{IncludedFile, LoadChip, LoadFile};
pub use source_map::{Place, SourceMap};

use crate::program::Container;
use expand::Expansion;

/// Chips for which a text need state links only once, at least; more where the text has lines enough.
pub(crate) const FOLDED: usize = state::EACH as usize;

/// Assembles a text. `load` is asked for the image file and for files that are included, `chip` for the chip unless the
/// text gives its fingerprint. A name in an included file is joined to that file's folder before `load` sees it.
/// An image that `load` lends is borrowed by the container. A program whose cycles are not stated has 0 of them,
/// and the source map says so.
/// ```
/// use lpu_isa::{ChipRef, assemble};
///
/// let text = ".chip tsp-v1
/// .program copy
/// .cycles 27
/// .input a i8 [1 320] at e0:0
/// .output b i8 [1 320] at e4:0
/// .queue mem.e0
/// @0 read a, e0
/// .queue mem.e4
/// @5 write b, e0
/// ";
/// let chip = ChipRef { name: "tsp-v1".into(), fingerprint: [0; 32] };
/// let mut known = |_: &str| Some((chip.clone(), 320));
/// let (container, _) = assemble(text, &mut |_| Err("no files".into()), &mut known).unwrap();
/// assert_eq!(container.programs[0].cycles, 27);
///
/// let wrong = ".chip tsp-v1\n.program p\n.queue mem.e0\nread 0\n";
/// let errors = assemble(wrong, &mut |_| Err("no files".into()), &mut known);
/// println!("{}", errors.unwrap_err()[0].message);
/// ```
///
/// # Errors
/// Every mistake in the text, in order of lines; a mistake in a line that is assembled several times once.
pub fn assemble<'a>(
    source: &str,
    load: LoadFile<'_, 'a>,
    chip: LoadChip<'_>,
) -> Result<(Container<'a>, SourceMap), Vec<AsmError>> {
    let mut expansion = Expansion::new(source, load, chip);
    expansion.text(source);
    expansion.finish()
}
