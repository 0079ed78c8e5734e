//! What can be wrong with a checkpoint: one variant a rule, with the numbers and paths at fault.
//!
//! Every message says what was found, then, after a semicolon or a full stop, what to do next.

use std::path::PathBuf;

use crate::{Dtype, GgufError};

/// A checkpoint, a config, a tensor file or a token was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    // The folder.
    /// The path does not exist.
    #[error("{path}: there is no such folder; give the path of a folder that holds config.json and *.safetensors")]
    NoFolder {
        /// The path asked for.
        path: PathBuf,
    },
    /// The path is not a folder.
    #[error(
        "{path}: this is a file, not a folder; give the folder that holds config.json and *.safetensors, or a .gguf \
        file"
    )]
    NotAFolder {
        /// The path asked for.
        path: PathBuf,
    },
    /// The folder has no `config.json`.
    #[error(
        "{folder}: there is no config.json; give a Hugging Face model folder, or download config.json into this one"
    )]
    NoConfig {
        /// The folder asked for.
        folder: PathBuf,
    },
    /// The folder has no `config.json` but a GGUF file.
    #[error("{folder}: there is no config.json, but {file}; give the path of that file")]
    GgufFolder {
        /// The folder asked for.
        folder: PathBuf,
        /// A GGUF file in it.
        file: String,
    },
    /// The folder has weights in another format only.
    #[error(
        "{folder}: the weights are in {found}, which is not read; convert them with `save_pretrained(..., \
        safe_serialization=True)`"
    )]
    OtherFormat {
        /// The folder asked for.
        folder: PathBuf,
        /// A file in the format that is not read.
        found: String,
    },
    /// The folder has no weights.
    #[error("{folder}: there is no *.safetensors file; download the weights into this folder")]
    NoWeights {
        /// The folder asked for.
        folder: PathBuf,
    },
    /// The operating system refused a read.
    #[error("{path}: {source}; check that the file exists and can be read")]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },

    /// No known model has the name.
    #[error("there is no known model `{name}`; the nearest are {nearest}, and `lpu models` lists all")]
    UnknownShape {
        /// The name asked for.
        name: String,
        /// The names that take the fewest edits.
        nearest: String,
    },

    // config.json.
    /// `config.json` is not a JSON object.
    #[error("config.json: {detail}; {hint}")]
    ConfigSyntax {
        /// What is wrong.
        detail: String,
        /// What to do next.
        hint: &'static str,
    },
    /// A config by itself, in a file of another name, is not right.
    #[error("{}", .source.to_string().replace("config.json", .file))]
    ConfigFile {
        /// The file.
        file: String,
        /// What would be wrong with a `config.json`.
        source: Box<ModelError>,
    },
    /// A file of Git LFS stands for one that has not been fetched.
    #[error("{file}: this is a Git LFS pointer in place of the file; run `git lfs pull` in its repository")]
    LfsPointer {
        /// The file.
        file: String,
    },
    /// `generation_config.json` does not parse, or its stop ids are none.
    #[error("generation_config.json: {detail}; correct the file or remove it")]
    BadGenerationConfig {
        /// What is wrong.
        detail: String,
    },
    /// A field that has no default is absent.
    #[error("config.json: `{field}` is missing; add it with the value that the model was trained with")]
    MissingField {
        /// The field.
        field: String,
    },
    /// A field has a value of the wrong kind.
    #[error("config.json: `{field}` is {got}, not {expected}; correct the value")]
    WrongType {
        /// The field.
        field: String,
        /// What is there, shortened.
        got: String,
        /// What should be there.
        expected: &'static str,
    },
    /// A size is zero.
    #[error("config.json: `{field}` is 0; a model needs at least 1")]
    ZeroSize {
        /// The field.
        field: String,
    },
    /// A size is beyond what this crate takes.
    #[error("config.json: `{field}` is {value}, beyond the limit of {limit}; correct the value")]
    TooLarge {
        /// The field.
        field: String,
        /// The value found.
        value: u64,
        /// The largest value taken.
        limit: u64,
    },
    /// A floating-point field is out of its range.
    #[error("config.json: `{field}` is {value}, but must be {rule}; correct the value")]
    OutOfRange {
        /// The field.
        field: String,
        /// The value found.
        value: f64,
        /// The range.
        rule: &'static str,
    },
    /// The architecture has no row in the family table.
    #[error("config.json: the architecture {found} is not supported; the supported ones are: {supported}")]
    UnknownArchitecture {
        /// The architecture or model type found.
        found: String,
        /// Supported architectures, separated by commas.
        supported: String,
    },
    /// The activation of the feed-forward is not known.
    #[error("config.json: `{field}` is \"{found}\"; the supported ones are: {supported}")]
    UnknownActivation {
        /// The field.
        field: String,
        /// The activation found.
        found: String,
        /// Supported activations, separated by commas.
        supported: String,
    },
    /// A field asks for something that changes the arithmetic in a way that is not supported.
    #[error("config.json: `{field}` asks for {what}, which is not supported; use a model without")]
    UnsupportedField {
        /// The field.
        field: String,
        /// What it asks for.
        what: &'static str,
    },
    /// `layer_types` is not one type a layer.
    #[error("config.json: `layer_types` has {found} entries for {layers} layers; give one a layer")]
    LayerTypes {
        /// Entries found.
        found: usize,
        /// Layers of the model.
        layers: usize,
    },
    /// A list of one entry a layer is too short.
    #[error("config.json: `{field}` has {found} entries for {layers} layers; give one a layer")]
    ListLength {
        /// The list.
        field: &'static str,
        /// Entries found.
        found: usize,
        /// Layers of the model.
        layers: usize,
    },
    /// A layer type is not known.
    #[error("config.json: `layer_types` has \"{found}\"; the supported ones are: full_attention, sliding_attention")]
    UnknownLayerType {
        /// The type found.
        found: String,
    },
    /// A token would take more experts than there are.
    #[error(
        "config.json: a token takes {active} experts of {experts}; correct `num_experts_per_tok` or the number of \
        experts"
    )]
    TooManyActive {
        /// Experts a token takes.
        active: usize,
        /// Experts that there are.
        experts: usize,
    },
    /// The rotary type is not known.
    #[error(
        "config.json: the rotary type \"{found}\" is not supported; the supported ones are: default, linear, dynamic, \
        yarn, longrope, llama3"
    )]
    UnknownRope {
        /// The type found.
        found: String,
    },
    /// A list of rotary factors has not one for each pair.
    #[error("config.json: `{field}` has {found} factors for {pairs} pairs of a head that are rotated; give one a pair")]
    RopeFactors {
        /// The list.
        field: &'static str,
        /// Factors found.
        found: usize,
        /// Pairs that are rotated.
        pairs: usize,
    },
    /// The rotary parameters are one set a kind of layer.
    #[error(
        "config.json: `{field}.{key}` is an object; rotary parameters by kind of layer are not supported, give one \
        set for all layers"
    )]
    NestedRope {
        /// The object of rotary parameters.
        field: String,
        /// The key in it.
        key: String,
    },
    /// Only a part of each head would be rotated, in a family that rotates whole ones.
    #[error(
        "config.json: `partial_rotary_factor` is {value}; this architecture rotates whole heads, remove the field or \
        correct `architectures`"
    )]
    PartialRotary {
        /// The factor found.
        value: f64,
    },
    /// Tensors are stored in a quantised format.
    #[error(
        "config.json: `{field}` is set; use the checkpoint in float32, float16 or bfloat16, the compiler quantises by \
        itself"
    )]
    Quantized {
        /// The field.
        field: &'static str,
    },
    /// Tensors are stored in the quantised format of MLX.
    #[error(
        "config.json: `{field}` says that this is an MLX checkpoint, quantised to {bits} bits in groups of \
        {group_size}; use the checkpoint that it was made from, in float32, float16 or bfloat16, the compiler \
        quantises by itself"
    )]
    MlxQuantized {
        /// The field.
        field: &'static str,
        /// Elements that share a scale.
        group_size: usize,
        /// Bits of an element.
        bits: usize,
    },
    /// A tensor is stored in the quantised format of MLX, with scales and biases alongside it.
    #[error(
        "{file}: tensor \"{tensor}\" is quantised in the format of MLX (there are \"{scales}\" and its biases); use \
        the checkpoint that it was made from, in float32, float16 or bfloat16, the compiler quantises by itself"
    )]
    MlxTensor {
        /// The tensor file.
        file: String,
        /// The tensor.
        tensor: String,
        /// The tensor of its scales.
        scales: String,
    },
    /// `head_dim` is absent and cannot be derived.
    #[error(
        "config.json: `hidden_size` {hidden} is not a multiple of `num_attention_heads` {heads}; correct one of them \
        or give `head_dim`"
    )]
    HiddenNotDivisible {
        /// `hidden_size`.
        hidden: usize,
        /// `num_attention_heads`.
        heads: usize,
    },
    /// Query heads cannot be shared out over key-value heads.
    #[error(
        "config.json: `num_attention_heads` {heads} is not a multiple of `num_key_value_heads` {kv_heads}; correct \
        one of them"
    )]
    HeadsNotDivisible {
        /// `num_attention_heads`.
        heads: usize,
        /// `num_key_value_heads`.
        kv_heads: usize,
    },
    /// What is rotated of a head has no two halves.
    #[error(
        "config.json: {rotary_dim} elements of a head would be rotated, rotary embedding needs two halves; correct \
        `head_dim`, or `hidden_size` and `num_attention_heads`, or the share that is rotated"
    )]
    OddHeadDim {
        /// Elements rotated of one head.
        rotary_dim: usize,
    },

    // Tensor files.
    /// The index of shards is not what it should be.
    #[error("{file}: {detail}; download the index file again")]
    BadIndex {
        /// The index file.
        file: String,
        /// What is wrong.
        detail: String,
    },
    /// The index names a shard outside the folder.
    #[error(
        "{file}: the shard name \"{shard}\" is not a plain file name; shards must lie in the folder itself, correct \
        the index"
    )]
    ShardName {
        /// The index file.
        file: String,
        /// The name found.
        shard: String,
    },
    /// The file ends before its header does.
    #[error(
        "{file}: the header needs {needed} bytes and the file has {bytes}; the file is truncated or no safetensors \
        file, download it again"
    )]
    ShortFile {
        /// The tensor file.
        file: String,
        /// Bytes that the header needs, its length field included.
        needed: u64,
        /// Bytes that the file has.
        bytes: u64,
    },
    /// The header does not parse.
    #[error("{file}: the safetensors header is damaged: {detail}; download the file again")]
    BadHeader {
        /// The tensor file.
        file: String,
        /// What is wrong.
        detail: String,
    },
    /// The bytes given to a tensor are not those that its shape needs.
    #[error(
        "{file}: tensor \"{tensor}\" has the bytes {start}..{end}, but its shape needs {needed}; the file is damaged, \
        download it again"
    )]
    TensorBytes {
        /// The tensor file.
        file: String,
        /// The tensor.
        tensor: String,
        /// First byte, counted from the end of the header.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// Bytes that shape and type need, or that they overflow.
        needed: String,
    },
    /// Tensors overlap or leave a hole.
    #[error(
        "{file}: tensor \"{tensor}\" starts at byte {start}, but the one before ends at {expected}; the file is \
        damaged, download it again"
    )]
    TensorStart {
        /// The tensor file.
        file: String,
        /// The tensor.
        tensor: String,
        /// Where it starts, counted from the end of the header.
        start: u64,
        /// Where it should start.
        expected: u64,
    },
    /// The file is longer or shorter than its tensors.
    #[error(
        "{file}: the tensors need {needed} bytes after the header and the file has {bytes}; the file is truncated or \
        damaged, download it again"
    )]
    DataLength {
        /// The tensor file.
        file: String,
        /// Bytes of all tensors.
        needed: u64,
        /// Bytes after the header.
        bytes: u64,
    },
    /// One tensor is in two files.
    #[error(
        "tensor \"{tensor}\" is in {first} and again in {second}; remove one of the files or add \
        model.safetensors.index.json"
    )]
    TensorTwice {
        /// The tensor.
        tensor: String,
        /// One file.
        first: String,
        /// The other file.
        second: String,
    },
    /// A tensor that the graph needs is absent.
    #[error("tensor \"{tensor}\" is missing (searched: {searched}); {hint}")]
    MissingTensor {
        /// The tensor.
        tensor: String,
        /// The files searched.
        searched: String,
        /// What to do next.
        hint: &'static str,
    },
    /// A tensor has another shape than the config gives it.
    #[error(
        "{file}: tensor \"{tensor}\" has the shape {got:?}, but config.json gives {expected:?} ({fields}); correct \
        config.json or use the weights that belong to it"
    )]
    WrongShape {
        /// The tensor file.
        file: String,
        /// The tensor.
        tensor: String,
        /// The stored shape.
        got: Vec<usize>,
        /// The shape that the config gives.
        expected: Vec<usize>,
        /// The config fields that give it.
        fields: &'static str,
    },
    /// A tensor has an element type that is not read.
    #[error(
        "{file}: tensor \"{tensor}\" is of type {found}; only F32, F16 and BF16 are read, convert the checkpoint to \
        one of them"
    )]
    TensorType {
        /// The tensor file.
        file: String,
        /// The tensor.
        tensor: String,
        /// The stored type.
        found: String,
    },

    /// Experts of one layer are stored in different types.
    #[error(
        "{file}: tensor \"{tensor}\" is stored as {found}, the first expert of its layer as {first}; convert all \
        experts to one type"
    )]
    MixedExperts {
        /// The tensor file.
        file: String,
        /// The tensor.
        tensor: String,
        /// Its type.
        found: Dtype,
        /// The type of the first expert.
        first: Dtype,
    },

    // GGUF files.
    /// The file's structure, its metadata or its tensors are not those of a model that can be run.
    #[error("{file}: {source}")]
    BadGguf {
        /// The file.
        file: String,
        /// What is wrong.
        source: GgufError,
    },
    /// The tokenizer in the file cannot be taken over.
    #[error("the tokenizer of {model}: {detail}; give token ids with --tokens")]
    GgufTokenizer {
        /// Name of the model.
        model: String,
        /// What is wrong.
        detail: String,
    },

    // Tokens and text.
    /// A position has no row in the table of learned positions.
    #[error("position {position} is out of range; this model has learned positions 0 to {last}, feed fewer tokens")]
    PositionOutOfRange {
        /// The position asked for.
        position: u32,
        /// The largest position.
        last: usize,
    },
    /// A token id is not in the vocabulary.
    #[error("token id {token} is out of range; this model has ids 0 to {last}")]
    TokenOutOfRange {
        /// The id asked for.
        token: u32,
        /// The largest id.
        last: usize,
    },
    /// There is no `tokenizer.json`.
    #[error("{model} has no tokenizer.json; add the file to the folder, or give token ids with --tokens")]
    NoTokenizer {
        /// Name of the model.
        model: String,
    },
    /// `tokenizer.json` does not load.
    #[error("tokenizer.json: {detail}; download it again, or give token ids with --tokens")]
    BadTokenizer {
        /// What the tokenizer said.
        detail: String,
    },
    /// The tokenizer failed on a text or on ids.
    #[error("the tokenizer cannot {action}: {detail}; give token ids with --tokens")]
    Tokenizer {
        /// "encode the text" or "decode the ids".
        action: &'static str,
        /// What the tokenizer said.
        detail: String,
    },
}
