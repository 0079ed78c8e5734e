//! What a program is: queues of instructions, named regions of SRAM, and the container that holds several programs over
//! one image.

use std::borrow::Cow;
use std::num::NonZeroU64;

use crate::image::Image;
use crate::operand::Format;
pub use crate::operand::MAX_WORD;
pub use crate::place::{ChipId, SliceId, WordRun};
use crate::queue::Item;
pub use crate::sets::{ChipProgram, QueueSet};
use crate::table::Instruction;

/// The chip that a program was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChipRef {
    /// The preset's or description's name.
    pub name: String,
    /// Hash over every figure of the description.
    pub fingerprint: [u8; 32],
}

/// Use of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RegionKind {
    /// Filled by the host before cycle 0 of every run.
    Input,
    /// Read by the host after the end of every run.
    Output,
    /// Initialised by the image and never written.
    Const,
    /// Instructions in memory, never written.
    Code,
    /// Carried from one run to the next.
    State,
}

impl RegionKind {
    /// All kinds, in order of their encoding.
    pub const ALL: &'static [RegionKind] =
        &[RegionKind::Input, RegionKind::Output, RegionKind::Const, RegionKind::Code, RegionKind::State];

    /// The written form.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            RegionKind::Input => "input",
            RegionKind::Output => "output",
            RegionKind::Const => "const",
            RegionKind::Code => "code",
            RegionKind::State => "state",
        }
    }
}

/// A named array of vectors in SRAM, `[vectors, lanes]` of `format`.
///
/// Byte plane `b` of vector `v` is word number `v * format.bytes() + b` of the runs taken in order, so the runs
/// hold `vectors * format.bytes()` words together. Lanes past `lanes` are zero when the host fills a vector
/// and ignored when it reads one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// The name, unique within a program.
    pub name: String,
    /// What it is used for.
    pub kind: RegionKind,
    /// Number format of an element.
    pub format: Format,
    /// Number of vectors.
    pub vectors: u32,
    /// Live lanes of a vector.
    pub lanes: u32,
    /// Where the words are.
    pub runs: Vec<WordRun>,
}

impl Region {
    /// Number of words that the runs must hold.
    #[must_use]
    pub fn word_count(&self) -> u64 {
        u64::from(self.vectors) * u64::from(self.format.bytes())
    }

    /// All words in order.
    pub fn words(&self) -> impl Iterator<Item = (ChipId, SliceId, u32)> + '_ {
        self.runs.iter().flat_map(|run| run.words().map(move |word| (run.chip, run.slice, word)))
    }
}

/// Queues of instructions with the regions they work on, and the cycle count they state. Chips that do the same share
/// a queue set.
/// ```
/// use lpu_isa::Program;
///
/// let program = Program { name: "wait".into(), cycles: 20, ..Program::default() };
/// assert_eq!((program.items(), program.instructions()), (0, 0));
/// assert!(program.region("a").is_none());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// The name, unique within a container; a model's program is named by its context bucket.
    pub name: String,
    /// Cycles of a run, as stated by the program's author.
    pub cycles: u64,
    /// The least distance in cycles at which runs may follow one another, as stated by the program's author.
    pub interval: Option<NonZeroU64>,
    /// Named regions.
    pub regions: Vec<Region>,
    /// Queue sets, each run by one or several chips.
    pub sets: Vec<QueueSet>,
    /// What each chip runs, from chip 0 on.
    pub chips: Vec<ChipProgram>,
}

impl Program {
    /// The region of this name.
    #[must_use]
    pub fn region(&self, name: &str) -> Option<&Region> {
        self.regions.iter().find(|region| region.name == name)
    }

    /// Number of instructions in the queues of all chips; waiting (`nop`) is none.
    #[must_use]
    pub fn instructions(&self) -> usize {
        self.count(|item| !matches!(item.instruction, Instruction::Nop { .. }))
    }

    /// Number of items in the queues of all chips.
    #[must_use]
    pub fn items(&self) -> usize {
        self.count(|_| true)
    }

    /// Number of items of a kind in the queues of all chips.
    fn count(&self, wanted: impl Fn(&Item) -> bool) -> usize {
        let of_set = |set: &QueueSet| set.values().flatten().filter(|item| wanted(item)).count();
        let of_sets: Vec<usize> = self.sets.iter().map(of_set).collect();
        self.chips.iter().filter_map(|run| of_sets.get(usize::from(run.set))).sum()
    }
}

/// A file's content: one image, programs over it, and what the host needs.
/// ```
/// use lpu_isa::{ChipRef, Container, assemble};
///
/// let text = ".chip tsp-v1\n.program idle\n.cycles 20\n";
/// let chip = ChipRef { name: "tsp-v1".into(), fingerprint: [0; 32] };
/// let mut known = |_: &str| Some((chip.clone(), 320));
/// let (container, _) = assemble(text, &mut |_| Err("no files".into()), &mut known).unwrap();
/// let bytes = container.to_bytes()?;
/// assert_eq!(Container::parse(&bytes)?, container);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container<'a> {
    /// The chip.
    pub chip: ChipRef,
    /// The image.
    pub image: Image<'a>,
    /// At least one program.
    pub programs: Vec<Program>,
    /// Host section (opaque here); empty for a hand-written kernel.
    pub host: Cow<'a, [u8]>,
}
