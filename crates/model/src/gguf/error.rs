//! What can be wrong with a GGUF file: one variant a rule, in the file's own names.

/// A GGUF file was refused. Byte numbers count from the start of the file.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    // The file's structure.
    /// The first four bytes are not `GGUF`.
    #[error("it does not begin with `GGUF`; give a GGUF file, or a folder in Hugging Face form")]
    Magic,
    /// A version that is not read.
    #[error(
        "it is of version {version}; versions 2 and 3 are read, convert the model again with the converter of today"
    )]
    Version {
        /// The version found.
        version: u32,
    },
    /// The numbers are stored with the highest byte first.
    #[error("it is in big-endian byte order; write it in little-endian order (`gguf-convert-endian FILE little`)")]
    ByteOrder,
    /// The file ends inside its header.
    #[error(
        "it ends at byte {length}, inside its header: {what} at byte {at} has {needed} bytes; the file is truncated, \
        fetch it whole"
    )]
    Header {
        /// What is read there.
        what: &'static str,
        /// First byte of it.
        at: usize,
        /// Bytes that it has.
        needed: u64,
        /// Bytes of the file.
        length: usize,
    },
    /// The file ends before its tensors do.
    #[error(
        "it has {length} bytes and its tensors need {needed} (`{tensor}` is the first that is not whole); the file is \
        truncated, fetch it whole"
    )]
    Truncated {
        /// Bytes of the file.
        length: usize,
        /// Bytes up to the end of the last tensor.
        needed: usize,
        /// The first tensor beyond the end.
        tensor: String,
    },
    /// A count in the header that the file cannot hold.
    #[error("it counts {count} {what} and has room for at most {most}; the header is damaged")]
    Count {
        /// `tensors` or `metadata values`.
        what: &'static str,
        /// The count.
        count: u64,
        /// As many as the bytes left can hold.
        most: u64,
    },
    /// A text of a length that no name, key or template has.
    #[error("the text at byte {at} has {length} bytes, more than {most}; the header is damaged")]
    LongText {
        /// First byte of the text.
        at: usize,
        /// Bytes of the text.
        length: usize,
        /// Most bytes taken.
        most: usize,
    },
    /// A list with more items than bytes are left.
    #[error("the list at byte {at} has {count} items, more than the file has bytes left; the header is damaged")]
    LongList {
        /// First byte of the list.
        at: usize,
        /// Items that it counts.
        count: u64,
    },
    /// The lists together have more items than are taken.
    #[error("the lists up to byte {at} have more than {most} items; a vocabulary of such a size is not read")]
    Items {
        /// First byte of the last list.
        at: usize,
        /// Most items taken.
        most: u64,
    },
    /// A list in lists in lists.
    #[error("the list at byte {at} is inside {depth} others; no metadata value of a model is")]
    Nested {
        /// First byte of the list.
        at: usize,
        /// Lists around it.
        depth: usize,
    },
    /// A metadata value of a type that there is not.
    #[error(
        "the metadata value at byte {at} is of the unknown type {number}; the header is damaged or newer than this \
        reader"
    )]
    ValueType {
        /// First byte of the value.
        at: usize,
        /// The type's number.
        number: u32,
    },
    /// A metadata key that is there twice.
    #[error("the metadata value `{key}` is there twice; the file is not valid, use another one of the model")]
    ValueTwice {
        /// The key.
        key: String,
    },
    /// A tensor that is there twice.
    #[error("the tensor `{tensor}` is there twice; the file is not valid, use another one of the model")]
    TensorTwice {
        /// The tensor.
        tensor: String,
    },
    /// An alignment that is none.
    #[error("`general.alignment` is {found}, not a power of two up to {most}; the header is damaged")]
    Alignment {
        /// The value found.
        found: u64,
        /// The greatest alignment taken.
        most: u64,
    },
    /// A tensor that does not begin at a multiple of the alignment.
    #[error(
        "the tensor `{tensor}` begins at byte {offset} of the data, not at a multiple of the alignment {alignment}; \
        the header is damaged"
    )]
    Misaligned {
        /// The tensor.
        tensor: String,
        /// First byte, counted from the start of the data.
        offset: u64,
        /// The alignment.
        alignment: usize,
    },
    /// A tensor of no dimension, or of too many.
    #[error("the tensor `{tensor}` has {dimensions} dimensions; 1 to {most} are possible, the header is damaged")]
    Dimensions {
        /// The tensor.
        tensor: String,
        /// Dimensions found.
        dimensions: u32,
        /// The most that there are.
        most: u32,
    },
    /// A tensor whose size cannot be counted.
    #[error("the tensor `{tensor}` of shape {shape:?} needs more than 2^63 bytes; the header is damaged")]
    Shape {
        /// The tensor.
        tensor: String,
        /// The shape, neighbouring elements first, as the file has it.
        shape: Vec<u64>,
    },
    /// A row that is not a whole number of blocks.
    #[error(
        "the tensor `{tensor}` has rows of {columns} elements and {kind} has blocks of {block}; the header is damaged"
    )]
    Blocks {
        /// The tensor.
        tensor: String,
        /// Elements of a row.
        columns: u64,
        /// The element type.
        kind: &'static str,
        /// Elements of a block.
        block: usize,
    },
    /// Two tensors on the same bytes.
    #[error("the tensors `{first}` and `{second}` overlap at byte {at}; the header is damaged")]
    Overlap {
        /// The tensor that begins first.
        first: String,
        /// The other one.
        second: String,
        /// First byte of the second.
        at: usize,
    },

    // Files in several parts.
    /// A part of a model was given as bytes alone.
    #[error("it is part {part} of {count} of a model; give the path of the file, beside which the others are")]
    PartAlone {
        /// Number of the part, from 1.
        part: u64,
        /// Number of parts.
        count: u64,
    },
    /// A part whose name does not say which one it is.
    #[error(
        "it is part {part} of {count} of a model, but its name does not end in `{ending}`; give the file its name back"
    )]
    PartName {
        /// Number of the part, from 1.
        part: u64,
        /// Number of parts.
        count: u64,
        /// The end that the name should have.
        ending: String,
    },
    /// A part that is not there.
    #[error("part {part} of {count} of the model, {path}, is missing; put the parts into one folder")]
    PartMissing {
        /// Number of the part, from 1.
        part: u64,
        /// Number of parts.
        count: u64,
        /// Where it should be.
        path: String,
    },
    /// A part that says something else than its name, or than the first part.
    #[error(
        "`{key}` is {found} and {expected} was expected of part {part}; the parts are not of one model, fetch them \
        again together"
    )]
    PartMismatch {
        /// The metadata key.
        key: &'static str,
        /// Its value; `absent` when there is none.
        found: String,
        /// The value that fits name and first part.
        expected: u64,
        /// Number of the part, from 1.
        part: u64,
    },
    /// Parts that hold more or fewer tensors together than they say.
    #[error(
        "the parts hold {found} tensors and `split.tensors.count` is {expected}; the parts are not of one model, \
        fetch them again together"
    )]
    PartTensors {
        /// Tensors of all parts.
        found: u64,
        /// What the first part says.
        expected: u64,
    },
    /// More parts than are taken.
    #[error("`split.count` is {count}; at most {most} parts are taken")]
    Parts {
        /// The count.
        count: u64,
        /// The most taken.
        most: u64,
    },

    // Metadata.
    /// A metadata value that a model needs is absent.
    #[error("the metadata value `{key}` is missing; use another file of the model")]
    MissingValue {
        /// The key.
        key: String,
    },
    /// A metadata value of the wrong kind.
    #[error("the metadata value `{key}` is not {expected}; use another file of the model")]
    ValueKind {
        /// The key.
        key: String,
        /// What it should be.
        expected: &'static str,
    },
    /// An architecture that is not read.
    #[error("the architecture \"{found}\" is not read; those that are: {known}")]
    Architecture {
        /// `general.architecture`.
        found: String,
        /// The architectures read, separated by commas.
        known: String,
    },
    /// A metadata value that asks for arithmetic that is not there.
    #[error("`{key}` is {found}, which asks for {what}; that is not supported, use a model without")]
    Unsupported {
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// What it asks for.
        what: &'static str,
    },
    /// What the metadata say together is no model. The message is that of the same fault in a `config.json`, with the
    /// metadata keys.
    #[error("{detail}")]
    Model {
        /// What is wrong.
        detail: String,
    },

    // Tensors.
    /// A tensor that the model needs is absent.
    #[error("the tensor `{tensor}` is missing; {hint}")]
    MissingTensor {
        /// The tensor.
        tensor: String,
        /// What to do next.
        hint: String,
    },
    /// A tensor that the model has no place for.
    #[error(
        "the tensor `{tensor}` has no place in the architecture \"{architecture}\" as it is read here; use a model \
        without it"
    )]
    ExtraTensor {
        /// The tensor.
        tensor: String,
        /// `general.architecture`.
        architecture: String,
    },
    /// A tensor of another shape than the metadata give it.
    #[error(
        "the tensor `{tensor}` has the shape {got:?}, and {expected:?} was expected ({fields}); metadata and tensors \
        are not of one model"
    )]
    TensorShape {
        /// The tensor.
        tensor: String,
        /// The stored shape, neighbouring elements first, as the file has it.
        got: Vec<usize>,
        /// The expected one.
        expected: Vec<usize>,
        /// The metadata keys that give it.
        fields: String,
    },
    /// A tensor of an element type that is not read.
    #[error(
        "the tensor `{tensor}` is of the type {found}, which is not read; use a file of the model in one of these: \
        {known}"
    )]
    TensorType {
        /// The tensor.
        tensor: String,
        /// The type's name, or its number.
        found: String,
        /// The types read, separated by commas.
        known: String,
    },
    /// A tensor that stands for metadata and cannot.
    #[error(
        "the tensor `{tensor}` is {kind} of shape {shape:?}, not a short vector of numbers; use another file of the \
        model"
    )]
    Vector {
        /// The tensor.
        tensor: String,
        /// Its element type.
        kind: String,
        /// Its shape.
        shape: Vec<usize>,
    },
}
