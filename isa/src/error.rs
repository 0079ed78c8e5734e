//! What can be wrong with a container: with its content ([`ContentError`]) and with the bytes of a file
//! ([`FormatError`]). Every message ends with what to do next.

use thiserror::Error;

use crate::program::{ChipId, WordRun};
use crate::queue::Queue;
use crate::timeline::{MAX_CYCLES, QueueError};

/// A container that has no binary form, because its content contradicts itself or the format.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ContentError {
    /// The image's word size is outside the format.
    #[error("a word of {found} bytes does not exist; give the number of lanes of the chip, 1 to 65536")]
    VectorBytes {
        /// Bytes of a word.
        found: u32,
    },
    /// A name that is empty or too long.
    #[error("the name of a {what} has {length} bytes; give it one of 1 to 65535 bytes")]
    Name {
        /// What is named.
        what: &'static str,
        /// Its length.
        length: usize,
    },
    /// No program at all.
    #[error("there is no program; add one")]
    NoPrograms,
    /// Two programs of one name.
    #[error("two programs are named `{name}`; rename one")]
    DuplicateProgram {
        /// The name.
        name: String,
    },
    /// A program for no chip, or for more than the format can number.
    #[error("program `{program}` has {chips} chips; give it 1 to 65535")]
    Chips {
        /// The program.
        program: String,
        /// Its chips.
        chips: usize,
    },
    /// A place on a chip that no program has.
    #[error("{place} is on chip {}, but there are {chips} chips; correct the chip or give the program more \
        chips", place.chip.0)]
    NoSuchChip {
        /// The place.
        place: WordRun,
        /// Number of chips.
        chips: usize,
    },
    /// A run of no words.
    #[error("{place} holds no words; leave it out")]
    EmptyRun {
        /// The run.
        place: WordRun,
    },
    /// A run that stays on one word.
    #[error("{place} has a distance of 0 from word to word; give it at least 1")]
    ZeroStride {
        /// The run.
        place: WordRun,
    },
    /// A run past the last address that the format has.
    #[error("{place} runs past word 16777215; shorten it")]
    PastEnd {
        /// The run.
        place: WordRun,
    },
    /// An extent whose words are apart.
    #[error("extent {place} is strided; split it into extents of consecutive words")]
    StridedExtent {
        /// The extent.
        place: WordRun,
    },
    /// Extents that share words.
    #[error("extent {place} overlaps {before}; initialise each word once")]
    ExtentOverlap {
        /// The extent that is first.
        before: WordRun,
        /// The extent that is after it.
        place: WordRun,
    },
    /// An extent with bytes that are not the same number for each word, or with too few or too many.
    #[error(
        "extent {place} has {found} bytes for {words} words; give the first 1 to {limit} bytes of each word, of each \
        the same number"
    )]
    ExtentBytes {
        /// The extent.
        place: WordRun,
        /// Bytes given.
        found: u64,
        /// Words, those of pairs counted twice.
        words: u64,
        /// Bytes of a word.
        limit: u32,
    },
    /// An extent of pairs whose two places have different numbers of words.
    #[error("extent {place} is paired with {other}; give both the same number of words")]
    UnequalPair {
        /// The extent.
        place: WordRun,
        /// Its other place.
        other: WordRun,
    },
    /// Two regions of one name.
    #[error("program `{program}` has two regions named `{region}`; rename one")]
    DuplicateRegion {
        /// The program.
        program: String,
        /// The name.
        region: String,
    },
    /// A region without elements, or with more lanes than a vector has.
    #[error("region `{region}` is [{vectors}, {lanes}]; give it at least one vector and 1 to {limit} lanes")]
    RegionShape {
        /// The region.
        region: String,
        /// Its vectors.
        vectors: u32,
        /// Its lanes.
        lanes: u32,
        /// Lanes of the chip.
        limit: u32,
    },
    /// A region whose runs hold another number of words than its shape.
    #[error(
        "region `{region}` needs {expected} words but its runs hold {found}; give one word a byte of the format and \
        vector"
    )]
    RegionWords {
        /// The region.
        region: String,
        /// Words by its shape.
        expected: u64,
        /// Words of its runs.
        found: u64,
    },
    /// A queue that holds nothing.
    #[error("program `{program}`: queue {queue} is empty; leave it out")]
    EmptyQueue {
        /// The program.
        program: String,
        /// The queue.
        queue: Queue,
    },
    /// A queue whose items have no meaning.
    #[error("program `{program}`: {error}; correct that instruction")]
    Queue {
        /// The program.
        program: String,
        /// What is wrong.
        error: QueueError,
    },
    /// Chips and queue sets that are not in their normal form.
    #[error("program `{program}`: chip {} {what}; make the program again, or normalise it", chip.0)]
    QueueSets {
        /// The program.
        program: String,
        /// The chip.
        chip: ChipId,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Two queue sets that are equal.
    #[error("program `{program}`: queue sets {before} and {number} are equal; give their chips one set")]
    EqualSets {
        /// The program.
        program: String,
        /// Number of the first.
        before: usize,
        /// Number of the second.
        number: usize,
    },
    /// A queue that runs, or a program that states, more cycles than the format allows.
    #[error("program `{program}`: {cycles} cycles are more than {MAX_CYCLES}; split the program")]
    TooLong {
        /// The program.
        program: String,
        /// The cycles.
        cycles: u64,
    },
    /// More of something than the format can count.
    #[error("{found} {what} are more than the format can count; split the file")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// How many.
        found: usize,
    },
}

/// Bytes that are no container.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Another kind of file.
    #[error("byte 0: this is no LPU program file; give a file made by the assembler or the compiler")]
    Magic,
    /// A version that this crate does not read.
    #[error(
        "byte 8: the file has format version {found}, but this program reads version {supported}; compile or assemble \
        it again with this program"
    )]
    Version {
        /// Version of the file.
        found: u32,
        /// Version read.
        supported: u32,
    },
    /// A file that is shorter or longer than it states.
    #[error("byte {found}: the file ends here but states a length of {stated} bytes; copy or make it again")]
    Length {
        /// Bytes there are.
        found: u64,
        /// Bytes stated, or the least a file has.
        stated: u64,
    },
    /// Bytes that do not have the stated checksum.
    #[error(
        "byte {offset}: the checksum here is not that of the content, so the file is damaged; copy or make it again"
    )]
    Checksum {
        /// Offset of the checksum.
        offset: u64,
    },
    /// A field that runs past the section that holds it.
    #[error("byte {offset}: {needed} bytes are needed here but {left} are left; make the file again")]
    Truncated {
        /// Offset of the field.
        offset: u64,
        /// Bytes needed.
        needed: u64,
        /// Bytes left in the section.
        left: u64,
    },
    /// Bytes between the end of the tables and the data that belong to nothing.
    #[error("byte {offset}: {length} bytes here belong to nothing; make the file again")]
    Surplus {
        /// Offset of the first.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// Padding that is not zero.
    #[error("byte {offset}: the padding up to the next section is not zero; make the file again")]
    Padding {
        /// Offset of the padding.
        offset: u64,
    },
    /// A name that is not UTF-8.
    #[error("byte {offset}: a name is not UTF-8; make the file again")]
    NotUtf8 {
        /// Offset of the name.
        offset: u64,
    },
    /// A code that stands for nothing.
    #[error("byte {offset}: {value} is no {what}; make the file again with this version")]
    BadCode {
        /// Offset of the code.
        offset: u64,
        /// What the code stands for.
        what: &'static str,
        /// The code.
        value: u64,
    },
    /// Queues out of order, or one twice.
    #[error("byte {offset}: queue {queue} does not follow the one before it in order; make the file again")]
    QueueOrder {
        /// Offset of the queue.
        offset: u64,
        /// The queue.
        queue: Queue,
    },
    /// An opcode that the table does not have.
    #[error(
        "byte {offset}: opcode {opcode:#04x} is in no row of the instruction table; make the file again with this \
        version"
    )]
    UnknownOpcode {
        /// Offset of the instruction.
        offset: u64,
        /// The opcode.
        opcode: u8,
    },
    /// An instruction that runs past its queue.
    #[error("byte {offset}: the queue ends inside this `{mnemonic}`; make the file again")]
    CutInstruction {
        /// Offset of the instruction.
        offset: u64,
        /// Its mnemonic.
        mnemonic: &'static str,
    },
    /// An instruction with set bits after its operands.
    #[error("byte {offset}: the padding of this `{mnemonic}` is not zero; make the file again")]
    InstructionPadding {
        /// Offset of the instruction.
        offset: u64,
        /// Its mnemonic.
        mnemonic: &'static str,
    },
    /// An operand that has no such value.
    #[error("byte {offset}: an operand of this `{mnemonic}` has no such value; make the file again")]
    BadOperand {
        /// Offset of the instruction.
        offset: u64,
        /// Its mnemonic.
        mnemonic: &'static str,
    },
    /// Content that contradicts itself.
    #[error("byte {offset}: {content}")]
    Content {
        /// Offset of what is wrong.
        offset: u64,
        /// What is wrong.
        content: ContentError,
    },
}
