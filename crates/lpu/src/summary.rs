//! What was compiled or generated and what it costs, as plain records: what `--json` prints.

use std::fmt;
use std::num::NonZeroU64;

use lpu_checker::{CheckError, issues};
use lpu_chip::System;
use lpu_compiler::Precision;
use lpu_isa::{Image, Program, Region};
use lpu_report::{Instructions, Latency, Utilization};
use serde::Serialize;

use crate::activity::Activity;
use crate::spread::Spread;

/// The latency of a program on a system, of one sequence.
///
/// # Errors
/// [`CheckError`] when the program's queues have no meaning.
pub fn latency(
    system: &System,
    image: &Image<'_>,
    program: &Program,
    lower_bound: u64,
    oracle: Option<u64>,
) -> Result<Latency, CheckError> {
    let activity = Activity::new(system, &issues(system, image, program)?, program.cycles);
    Ok(latency_of(system, program, &activity, (lower_bound, oracle)))
}

/// The latency of a program whose activity is known, with its lower bound and its cycles if the choice of experts were
/// known beforehand.
#[must_use]
pub fn latency_of(
    system: &System,
    program: &Program,
    activity: &Activity,
    (lower_bound, oracle): (u64, Option<u64>),
) -> Latency {
    let chip = system.chip();
    let used = program.regions.iter().map(Region::word_count).sum::<u64>() * chip.lanes() as u64;
    Latency {
        part: false,
        synthetic: chip.synthetic().map(str::to_owned),
        cycles: program.cycles,
        interval: program.interval.map(NonZeroU64::get),
        sequences: 1,
        lower_bound,
        oracle,
        clock_mhz: chip.values().clock_mhz,
        utilization: activity.utilization(system),
        sram: (used, u64::from(system.chips()) * chip.sram_bytes()),
        instructions: Instructions { preloaded: program.instructions() as u64, fetched: None },
        host_tokens_per_second: None,
    }
}

/// What a summary is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The model's name.
    pub model: &'a str,
    /// The chip's name.
    pub chip: &'a str,
    /// Number formats.
    pub precision: Precision,
    /// Tokens that fit.
    pub context: usize,
    /// BLAKE3 of the program file, where there is one.
    pub hash: Option<[u8; 32]>,
}

/// What a run of a whole model gave.
pub(crate) struct Decoding {
    pub(crate) engine: &'static str,
    pub(crate) threads: usize,
    pub(crate) prompt_tokens: Vec<u32>,
    pub(crate) tokens: Vec<u32>,
    pub(crate) text: Option<String>,
    pub(crate) per_token: Vec<u64>,
    /// BLAKE3 over all logits.
    pub(crate) outputs: [u8; 32],
}

/// One value, or one a context bucket, ascending.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ByBucket<T> {
    /// Of the bucket that the last token ran in.
    One(T),
    /// Of every bucket.
    Each(Vec<T>),
}

/// Cycles of a token.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum PerToken {
    /// Of each token fed.
    Fed(Vec<u64>),
    /// Of the tokens of each context bucket.
    Buckets(Vec<BucketCycles>),
}

/// A token's cycles in one context bucket.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BucketCycles {
    /// Tokens up to which the bucket serves.
    pub context: usize,
    /// Cycles of a token.
    pub cycles: u64,
    /// Cycles that no schedule is shorter than.
    pub lower_bound: u64,
    /// Cycles over the lower bound.
    pub ratio: f64,
    /// Cycles if the choice of experts were known beforehand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oracle: Option<u64>,
}

/// Cycles of tokens, and what they are held to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TokenCycles {
    /// Of each token fed, sequence after sequence, or of each bucket.
    pub per_token: PerToken,
    /// From the first run of several sequences to the end of the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Cycles that no schedule of the longest bucket in use is shorter than.
    pub lower_bound: u64,
    /// Cycles over the lower bound.
    pub ratio: f64,
    /// Cycles if the choice of experts were known beforehand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oracle: Option<u64>,
}

/// What one of several sequences gave.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SequenceSummary {
    /// Ids of the prompt.
    pub prompt_tokens: Vec<u32>,
    /// Ids generated.
    pub tokens: Vec<u32>,
    /// Text of the ids generated; none without a tokenizer.
    pub text: Option<String>,
    /// When its tokens ran.
    pub cycles: SequenceCycles,
    /// BLAKE3 over all its rows of logits, little-endian, in hexadecimal.
    pub outputs: String,
}

/// When the tokens of one of several sequences ran.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SequenceCycles {
    /// Cycles of each token fed.
    pub per_token: Vec<u64>,
    /// The cycle in which the run of each token fed began, from the first run of all sequences on.
    pub starts: Vec<u64>,
    /// The cycle after its last run.
    pub end: u64,
}

/// Time at the chip's clock, host transfer apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Time {
    /// Microseconds of a token.
    pub us_per_token: f64,
    /// Tokens a second; none for a part of a decode step.
    pub tokens_per_second: Option<f64>,
}

/// How many tokens a second several sequences make, each of whose tokens waits for the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Throughput {
    /// The least distance in cycles at which runs may follow one another.
    pub interval: Option<u64>,
    /// Sequences that have key-value rows.
    pub sequences: u64,
    /// Sequences that fill the pipeline: fewer leave chips idle.
    pub filling: Option<u64>,
    /// Tokens a second of one sequence; none for a part of a decode step.
    pub user_tokens_per_second: Option<f64>,
    /// Tokens a second of all sequences together.
    pub system_tokens_per_second: Option<f64>,
}

/// SRAM of all chips, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SramUse {
    /// In regions of the program.
    pub used_bytes: u64,
    /// There is.
    pub total_bytes: u64,
}

/// BLAKE3 hashes to cite, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hashes {
    /// Of the program file.
    pub program: Option<String>,
    /// Over all rows of logits, little-endian.
    pub outputs: Option<String>,
}

/// What the host of the emulation did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HostUse {
    /// Seconds of compiling or loading.
    pub compile_seconds: f64,
    /// Tokens fed over seconds of decoding alone; none where nothing was run.
    pub tokens_per_second: Option<f64>,
    /// The largest resident size of this process, in bytes; 0 where the system does not say.
    pub peak_rss_bytes: u64,
    /// Threads that ran the program.
    pub threads: usize,
}

/// What was compiled or generated and what it costs: what `--json` prints. `docs/reports.md` defines each value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The model's name, with that of its part.
    pub model: String,
    /// The chip's name.
    pub chip: String,
    /// Why the chip's figures are as they are, where no such chip is published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synthetic: Option<String>,
    /// Name of the number formats.
    pub dtype: &'static str,
    /// Tokens that fit.
    pub context: usize,
    /// The engine; none where nothing was run.
    pub engine: Option<&'static str>,
    /// Ids of the prompt.
    pub prompt_tokens: Vec<u32>,
    /// Ids generated.
    pub tokens: Vec<u32>,
    /// Text of the ids generated; none without a tokenizer.
    pub text: Option<String>,
    /// What each of several sequences gave, where several prompts were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequences: Option<Vec<SequenceSummary>>,
    /// Cycles.
    pub cycles: TokenCycles,
    /// Time at the chip's clock.
    pub latency: ByBucket<Time>,
    /// Tokens a second of one sequence and of all together.
    pub throughput: ByBucket<Throughput>,
    /// Busy shares of the units.
    pub utilization: ByBucket<Utilization>,
    /// Where instructions came from.
    pub instructions: Instructions,
    /// Stages, exchanges and links, of the longest bucket; only of what was compiled for several chips.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<Spread>,
    /// SRAM.
    pub sram: SramUse,
    /// Hashes to cite.
    pub hash: Hashes,
    /// What the host did.
    pub host: HostUse,
}

impl Summary {
    /// Of a run of a whole model.
    pub(crate) fn of_decoding(
        subject: &Subject<'_>,
        latency: &Latency,
        decoding: Decoding,
        compile_seconds: f64,
    ) -> Self {
        let mut summary = Self::of(subject, latency, PerToken::Fed(decoding.per_token), compile_seconds);
        summary.engine = Some(decoding.engine);
        summary.prompt_tokens = decoding.prompt_tokens;
        summary.tokens = decoding.tokens;
        summary.text = decoding.text;
        summary.hash.outputs = Some(hex(&decoding.outputs));
        summary.host.threads = decoding.threads;
        summary
    }

    /// Of several sequences, whose runs ended before cycle `total`.
    pub(crate) fn of_sequences(
        subject: &Subject<'_>,
        latency: &Latency,
        (engine, threads): (&'static str, usize),
        (sequences, total): (Vec<SequenceSummary>, u64),
        compile_seconds: f64,
    ) -> Self {
        let per_token = sequences.iter().flat_map(|sequence| &sequence.cycles.per_token).copied().collect();
        let mut summary = Self::of(subject, latency, PerToken::Fed(per_token), compile_seconds);
        summary.engine = Some(engine);
        summary.sequences = Some(sequences);
        summary.cycles.total = Some(total);
        summary.host.threads = threads;
        summary
    }

    /// Of what was compiled: the latency of each context bucket, with the bucket's tokens, ascending. Nothing without
    /// buckets.
    #[must_use]
    pub fn of_compiled(subject: &Subject<'_>, buckets: &[(usize, Latency)], compile_seconds: f64) -> Option<Self> {
        let (_, longest) = buckets.last()?;
        let bucket = |&(context, ref latency): &(usize, Latency)| BucketCycles {
            context,
            cycles: latency.cycles,
            lower_bound: latency.lower_bound,
            ratio: latency.ratio(),
            oracle: latency.oracle,
        };
        let per_token = PerToken::Buckets(buckets.iter().map(bucket).collect());
        let mut summary = Self::of(subject, longest, per_token, compile_seconds);
        summary.latency = ByBucket::Each(buckets.iter().map(|(_, latency)| time(latency)).collect());
        summary.throughput = ByBucket::Each(buckets.iter().map(|(_, latency)| throughput(latency)).collect());
        summary.utilization = ByBucket::Each(buckets.iter().map(|(_, latency)| latency.utilization).collect());
        Some(summary)
    }

    fn of(subject: &Subject<'_>, latency: &Latency, per_token: PerToken, compile_seconds: f64) -> Self {
        Self {
            model: subject.model.to_owned(),
            chip: subject.chip.to_owned(),
            synthetic: latency.synthetic.clone(),
            dtype: subject.precision.name(),
            context: subject.context,
            engine: None,
            prompt_tokens: Vec::new(),
            tokens: Vec::new(),
            text: None,
            sequences: None,
            cycles: TokenCycles {
                per_token,
                total: None,
                lower_bound: latency.lower_bound,
                ratio: latency.ratio(),
                oracle: latency.oracle,
            },
            latency: ByBucket::One(time(latency)),
            throughput: ByBucket::One(throughput(latency)),
            utilization: ByBucket::One(latency.utilization),
            instructions: latency.instructions,
            system: None,
            sram: SramUse { used_bytes: latency.sram.0, total_bytes: latency.sram.1 },
            hash: Hashes { program: subject.hash.as_ref().map(hex), outputs: None },
            host: HostUse {
                compile_seconds,
                tokens_per_second: latency.host_tokens_per_second,
                peak_rss_bytes: peak_rss(),
                threads: 1,
            },
        }
    }
}

/// One JSON object, its keys in alphabetical order.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        serde_json::to_value(self).map_err(|_| fmt::Error)?.fmt(f)
    }
}

fn time(latency: &Latency) -> Time {
    Time { us_per_token: latency.microseconds(), tokens_per_second: latency.tokens_per_second() }
}

fn throughput(latency: &Latency) -> Throughput {
    Throughput {
        interval: latency.interval,
        sequences: latency.sequences,
        filling: latency.filling(),
        user_tokens_per_second: latency.tokens_per_second(),
        system_tokens_per_second: latency.system_tokens_per_second(),
    }
}

pub(crate) fn hex(hash: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}

/// The largest resident size of this process, in bytes; 0 where the system does not say.
fn peak_rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0) * 1024
}
