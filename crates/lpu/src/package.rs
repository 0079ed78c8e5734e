//! The host section of a program file: the interface of its programs, and of a whole model what its host needs to feed
//! tokens and to read text.

use std::ops::Range;
use std::sync::Arc;

use lpu_compiler::{Bound, Compiled, Interface, Options, Parallel, Port, PortKind, Precision};
use lpu_model::{Checkpoint, Config, ModelError};
use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A host section that cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PackageError {
    /// The file holds no model.
    #[error("the file holds no model, only a program; run it with `lpu run`")]
    NoModel,
    /// The file holds a part of a model.
    #[error("the file holds a part of a model, which takes activations and no tokens; run it with `lpu run`")]
    OnlyPart,
    /// The section does not parse.
    #[error("the host section is damaged: {0}; compile the model again")]
    Damaged(String),
    /// The config inside is refused.
    #[error(transparent)]
    Model(#[from] ModelError),
}

#[derive(Serialize, Deserialize)]
struct PackageHeader {
    interface: Interface,
    model: Option<ModelHeader>,
    /// Left out where it is true.
    #[serde(default = "present", skip_serializing_if = "Clone::clone")]
    weights: bool,
}

#[derive(Serialize, Deserialize)]
struct ModelHeader {
    precision: String,
    context: usize,
    tensor_parallel: usize,
    pipeline_parallel: usize,
    lower_bounds: Vec<u64>,
    oracles: Vec<Option<u64>>,
    config: String,
    tokenizer_bytes: usize,
}

const fn present() -> bool {
    true
}

/// The host section: what programs ask of their host, and the host's side of a whole model.
pub struct Package {
    /// What the programs ask of their host and give back.
    pub interface: Interface,
    /// The host's side of a whole model; nothing for a part of one.
    pub host: Option<Host>,
    /// Whether the image has the model's weights. Without, it is zero where they would be, there are no tables of rows,
    /// and no session starts.
    pub weights: bool,
}

/// What the host of a whole model needs besides programs, image and interface.
pub struct Host {
    /// The model's name, that of the folder or the file that it comes from; no part of the section, so that the bytes
    /// of a program file follow from the model alone.
    pub name: String,
    /// Number formats that it was compiled for.
    pub precision: Precision,
    /// Tokens that the key-value rows of a sequence hold.
    pub context: usize,
    /// Sequences that have key-value rows.
    pub sequences: usize,
    /// Chips that share every layer, and stages.
    pub parallel: Parallel,
    /// For each context bucket, cycles that no schedule can beat.
    pub lower_bounds: Vec<u64>,
    /// For each context bucket, cycles with a choice of experts that is known beforehand; see
    /// [`lpu_compiler::Compiled::oracles`].
    pub oracles: Vec<Option<u64>>,
    /// The model's config.
    pub config: Config,
    /// `tokenizer.json`, if there is one.
    pub tokenizer: Option<Vec<u8>>,
    /// The embedding table, fp32 rows, and after it the table of learned positions of a model that has one; nothing of
    /// a model without weights.
    rows: RowTables,
}

/// Bytes of tables of rows, in memory or in a mapped file.
enum RowTables {
    Owned(Vec<u8>),
    Mapped(Arc<Mmap>, Range<usize>),
}

impl RowTables {
    fn bytes(&self) -> &[u8] {
        match self {
            RowTables::Owned(bytes) => bytes,
            RowTables::Mapped(file, range) => &file[range.clone()],
        }
    }
}

impl Host {
    /// The host's side of a checkpoint compiled with these options; of one without weights, without tables of rows.
    ///
    /// # Errors
    /// [`ModelError`] when a row cannot be read.
    pub fn new(checkpoint: &Checkpoint, options: &Options, compiled: &Compiled) -> Result<Self, ModelError> {
        let config = checkpoint.config.clone();
        let rows = if checkpoint.weights().present() { rows_of(checkpoint)? } else { Vec::new() };
        Ok(Self {
            name: checkpoint.name().to_owned(),
            precision: options.precision,
            context: options.context,
            sequences: compiled.interface.sequences(),
            parallel: compiled.parallel,
            lower_bounds: compiled.bounds.iter().map(Bound::cycles).collect(),
            oracles: compiled.oracles.clone(),
            config,
            tokenizer: checkpoint.tokenizer_json().map(<[u8]>::to_vec),
            rows: RowTables::Owned(rows),
        })
    }

    /// The options that the model was compiled with.
    #[must_use]
    pub fn options(&self) -> Options {
        let Parallel { tensor, pipeline } = self.parallel;
        let (tensor_parallel, pipeline_parallel) = (Some(tensor), Some(pipeline));
        let (precision, context, sequences) = (self.precision, self.context, self.sequences);
        Options { precision, context, sequences, tensor_parallel, pipeline_parallel }
    }

    /// The raw embedding row of a token; nothing where there is no such token.
    #[must_use]
    pub fn embedding_row(&self, token: u32) -> Option<Vec<f32>> {
        if token as usize >= self.config.vocab {
            return None;
        }
        self.row(token as usize)
    }

    /// The row of a learned position; nothing where there is no such position, or the model has none.
    #[must_use]
    pub fn position_row(&self, position: usize) -> Option<Vec<f32>> {
        if position >= self.config.learned_positions? {
            return None;
        }
        self.row(self.config.vocab + position)
    }

    fn row(&self, row: usize) -> Option<Vec<f32>> {
        let width = self.config.hidden * 4;
        let start = row.checked_mul(width)?;
        let bytes = self.rows.bytes().get(start..start.checked_add(width)?)?;
        Some(bytes.chunks_exact(4).map(|value| f32::from_le_bytes([value[0], value[1], value[2], value[3]])).collect())
    }
}

impl Package {
    /// The section as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        write(&self.interface, self.host.as_ref(), self.weights)
    }

    /// Reads a section.
    ///
    /// # Errors
    /// [`PackageError`] when it is empty or damaged.
    pub fn parse(bytes: &[u8]) -> Result<Self, PackageError> {
        Self::read(bytes, |rows| RowTables::Owned(rows.to_vec()))
    }

    /// Reads a section of a mapped file, whose tables of rows stay there.
    pub(crate) fn mapped(file: &Arc<Mmap>, section: Range<usize>) -> Result<Self, PackageError> {
        let end = section.end;
        Self::read(&file[section], |rows| RowTables::Mapped(Arc::clone(file), end - rows.len()..end))
    }

    /// Interface and host's side of a whole model.
    ///
    /// # Errors
    /// [`PackageError::OnlyPart`] where there is no model.
    pub fn model(self) -> Result<(Interface, Host), PackageError> {
        Ok((self.interface, self.host.ok_or(PackageError::OnlyPart)?))
    }

    fn read(bytes: &[u8], keep: impl FnOnce(&[u8]) -> RowTables) -> Result<Self, PackageError> {
        if bytes.is_empty() {
            return Err(PackageError::NoModel);
        }
        let damaged = |what: &str| PackageError::Damaged(what.to_owned());
        let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(|| damaged("it ends inside its length"))?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| damaged("its length is absurd"))?;
        let (header, rest) =
            rest.split_at_checked(length).ok_or_else(|| damaged("its header is longer than the section"))?;
        let PackageHeader { interface, model, weights } =
            serde_json::from_slice(header).map_err(|error| PackageError::Damaged(error.to_string()))?;
        let ascending = interface.buckets.windows(2).all(|pair| pair[0].tokens < pair[1].tokens);
        if interface.buckets.is_empty() || !ascending {
            return Err(damaged("its context buckets do not ascend"));
        }
        let sequences = interface.sequences();
        let mut programs: Vec<usize> = interface.buckets.iter().flat_map(|bucket| &bucket.programs).copied().collect();
        programs.sort_unstable();
        programs.dedup();
        let each = interface.buckets.iter().all(|bucket| bucket.programs.len() == sequences);
        if sequences == 0 || !each || programs.len() != sequences * interface.buckets.len() {
            return Err(damaged("its context buckets do not have a program for each sequence"));
        }
        let Some(header) = model else {
            return match rest {
                [] => Ok(Self { interface, host: None, weights }),
                _ => Err(damaged("bytes follow the header of a part")),
            };
        };
        let (tokenizer, rows) = rest
            .split_at_checked(header.tokenizer_bytes)
            .ok_or_else(|| damaged("its tokenizer is longer than the section"))?;
        let config = Config::from_json(header.config.as_bytes())?;
        let count = if weights { row_count(&config) as u128 } else { 0 };
        if rows.len() as u128 != count * config.hidden as u128 * 4 {
            return Err(damaged("its tables of rows do not match its config"));
        }
        if header.lower_bounds.len() != interface.buckets.len() || header.oracles.len() != interface.buckets.len() {
            return Err(damaged("it does not have a lower bound for each context bucket"));
        }
        if !gives_logits(&interface, config.vocab) {
            return Err(damaged("its programs do not give the logits of its config"));
        }
        let host = Host {
            precision: Precision::parse(&header.precision).ok_or_else(|| damaged("its number format is unknown"))?,
            name: "model".to_owned(),
            context: header.context,
            sequences,
            parallel: Parallel { tensor: header.tensor_parallel, pipeline: header.pipeline_parallel },
            lower_bounds: header.lower_bounds,
            oracles: header.oracles,
            config,
            tokenizer: (!tokenizer.is_empty()).then(|| tokenizer.to_vec()),
            rows: keep(rows),
        };
        Ok(Self { interface, host: Some(host), weights })
    }
}

/// Rows of the tables that the host supplies rows of.
fn row_count(config: &Config) -> usize {
    config.vocab + config.learned_positions.unwrap_or(0)
}

/// The tables of rows of a checkpoint, fp32.
fn rows_of(checkpoint: &Checkpoint) -> Result<Vec<u8>, ModelError> {
    let config = &checkpoint.config;
    let mut rows = Vec::with_capacity(row_count(config) * config.hidden * 4);
    let mut row = vec![0.0f32; config.hidden];
    for token in 0..config.vocab as u32 {
        checkpoint.embedding_row(token, &mut row)?;
        rows.extend(row.iter().flat_map(|value| value.to_le_bytes()));
    }
    for position in 0..config.learned_positions.unwrap_or(0) as u32 {
        checkpoint.position_row(position, &mut row)?;
        rows.extend(row.iter().flat_map(|value| value.to_le_bytes()));
    }
    Ok(rows)
}

/// Whether the outputs are the logits of a vocabulary, in order.
fn gives_logits(interface: &Interface, vocab: usize) -> bool {
    let mut next = 0usize;
    let follows = |port: &Port| match port.kind {
        PortKind::Logits { first } if first as usize == next => {
            next = next.saturating_add(port.lanes.elements());
            true
        }
        _ => false,
    };
    interface.outputs.iter().all(follows) && next == vocab
}

/// A host section: length of the header, header, tokenizer, tables of rows.
pub(crate) fn write(interface: &Interface, host: Option<&Host>, weights: bool) -> Vec<u8> {
    let tokenizer = host.and_then(|host| host.tokenizer.as_deref()).unwrap_or_default();
    let model = host.map(|host| ModelHeader {
        precision: host.precision.name().into(),
        context: host.context,
        tensor_parallel: host.parallel.tensor,
        pipeline_parallel: host.parallel.pipeline,
        lower_bounds: host.lower_bounds.clone(),
        oracles: host.oracles.clone(),
        config: host.config.to_json(),
        tokenizer_bytes: tokenizer.len(),
    });
    let header = serde_json::to_vec(&PackageHeader { interface: interface.clone(), model, weights })
        .expect("a header of texts and numbers serialises");
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend(tokenizer);
    bytes.extend(host.map(|host| host.rows.bytes()).unwrap_or_default());
    bytes
}
