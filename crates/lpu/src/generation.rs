//! Generating: a prompt is fed, then the tokens that a sampler chooses.

use lpu_model::{TextStream, Tokenizer};
use lpu_report::Latency;

use crate::error::SessionError;
use crate::sampler::Sampler;
use crate::sequence::{Sequence, Token};
use crate::summary::{Decoding, Summary, hex, latency};

/// When a generation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most tokens to choose; the last one is not fed.
    pub max_tokens: usize,
    /// Whether to go on after the model's stop ids.
    pub ignore_stop: bool,
}

/// A token that was fed, and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The id fed.
    pub fed: u32,
    /// Logits and cycles of the run.
    pub ran: Token,
    /// The id chosen; nothing while the prompt is fed.
    pub token: Option<u32>,
    /// Whether that is a stop id that ends the generation; it adds no text.
    pub stop: bool,
    /// The text that is complete with it; empty without a tokenizer.
    pub text: String,
}

/// Feeds a prompt and then the tokens chosen, one an item; ends after the last one, and after an error.
///
/// ```
/// use lpu::{Limits, Options, Precision, Sampler, Session, chip, model::Checkpoint};
///
/// let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/checkpoints/plain");
/// let tsp = chip::preset("tsp-v1")?;
/// let options = Options { precision: Precision::F16, context: 16, ..Options::default() };
/// let mut session = Session::compile(Checkpoint::open(folder.as_ref())?, &tsp, &options)?;
/// let limits = Limits { max_tokens: 3, ignore_stop: true };
/// let mut generation = session.generate(&[7, 8], Sampler::greedy(), limits, None)?;
/// for generated in &mut generation {
///     println!("{:?}", generated?.token);
/// }
/// assert_eq!(generation.tokens().len(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Generation<'a> {
    sequence: &'a mut Sequence,
    tokenizer: Option<&'a Tokenizer>,
    stream: Option<TextStream<'a>>,
    sampler: Sampler,
    limits: Limits,
    prompt: Vec<u32>,
    tokens: Vec<u32>,
    cycles: Vec<u64>,
    fetched: u64,
    /// Over the logits of all tokens fed.
    outputs: blake3::Hasher,
    over: bool,
}

impl Sequence {
    /// Feeds a prompt and then what a sampler chooses, token after token; text comes with a tokenizer.
    ///
    /// # Errors
    /// [`SessionError::Model`] when the tokenizer cannot read the prompt's ids.
    pub fn generate<'a>(
        &'a mut self,
        prompt: &[u32],
        sampler: Sampler,
        limits: Limits,
        tokenizer: Option<&'a Tokenizer>,
    ) -> Result<Generation<'a>, SessionError> {
        Ok(Generation {
            sequence: self,
            tokenizer,
            stream: tokenizer.map(|tokenizer| tokenizer.stream_after(prompt)).transpose()?,
            sampler,
            limits,
            prompt: prompt.to_vec(),
            tokens: Vec::new(),
            cycles: Vec::new(),
            fetched: 0,
            outputs: blake3::Hasher::new(),
            over: false,
        })
    }
}

impl<'a> Generation<'a> {
    /// The sequence that is fed.
    #[must_use]
    pub fn sequence(&self) -> &Sequence {
        self.sequence
    }

    /// The prompt.
    #[must_use]
    pub fn prompt(&self) -> &[u32] {
        &self.prompt
    }

    /// The ids chosen so far.
    #[must_use]
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Cycles of each token fed so far.
    #[must_use]
    pub fn cycles(&self) -> &[u64] {
        &self.cycles
    }

    /// Text of the ids chosen so far; nothing without a tokenizer.
    ///
    /// # Errors
    /// [`SessionError::Model`] when the tokens have no text.
    pub fn text(&self) -> Result<Option<String>, SessionError> {
        Ok(self.tokenizer.map(|tokenizer| tokenizer.decode_after(&self.prompt, &self.tokens)).transpose()?)
    }

    /// BLAKE3 over the logits of all tokens fed so far, little-endian, in hexadecimal.
    #[must_use]
    pub fn outputs(&self) -> String {
        hex(self.outputs.finalize().as_bytes())
    }

    /// Index among the programs of the one that the next token runs.
    pub(crate) fn program(&self) -> usize {
        self.sequence.program(self.sequence.position())
    }

    /// The latency of the program that the last token ran.
    ///
    /// # Errors
    /// [`SessionError`] when the file has changed since it was opened.
    pub fn latency(&self) -> Result<Latency, SessionError> {
        let sequence = &*self.sequence;
        let last = sequence.bucket(sequence.position().saturating_sub(1));
        let (host, system) = (sequence.host(), sequence.system());
        let (bound, oracle) = (host.lower_bounds[last], host.oracles.get(last).copied().flatten());
        let program = &sequence.programs()?[sequence.program(sequence.position().saturating_sub(1))];
        let mut latency = latency(system, &sequence.image()?, program, bound, oracle)?;
        latency.sequences = sequence.interface().sequences() as u64;
        latency.instructions.fetched = Some(self.fetched);
        Ok(latency)
    }

    /// What was generated and what it cost; `latency` as [`Generation::latency`] gives it, with the host's speed.
    ///
    /// # Errors
    /// [`SessionError`] when the tokens have no text or the model no file form.
    pub fn summary(&self, latency: &Latency, compile_seconds: f64) -> Result<Summary, SessionError> {
        let decoding = Decoding {
            engine: self.sequence.engine_name(),
            threads: self.sequence.threads(),
            prompt_tokens: self.prompt.clone(),
            tokens: self.tokens.clone(),
            text: self.text()?,
            per_token: self.cycles.clone(),
            outputs: *self.outputs.finalize().as_bytes(),
        };
        Ok(Summary::of_decoding(&self.sequence.subject()?, latency, decoding, compile_seconds))
    }

    fn step(&mut self, fed: u32) -> Result<Generated, SessionError> {
        let ran = self.sequence.feed(fed)?;
        self.cycles.push(ran.cycles);
        self.fetched = ran.fetched;
        ran.logits.iter().for_each(|logit| {
            self.outputs.update(&logit.to_le_bytes());
        });
        let mut generated = Generated { fed, ran, token: None, stop: false, text: String::new() };
        if self.cycles.len() < self.prompt.len() {
            return Ok(generated);
        }
        if self.tokens.len() < self.limits.max_tokens {
            let token = self.sampler.next(&generated.ran.logits);
            self.tokens.push(token);
            generated.token = Some(token);
            generated.stop = !self.limits.ignore_stop && self.sequence.host().config.stop_ids.contains(&token);
            if let (Some(stream), false) = (&mut self.stream, generated.stop) {
                generated.text.extend(stream.push(token)?);
            }
        }
        if generated.stop || self.tokens.len() >= self.limits.max_tokens {
            self.over = true;
            if let Some(stream) = self.stream.take() {
                generated.text += &stream.finish()?;
            }
        }
        Ok(generated)
    }
}

impl Iterator for Generation<'_> {
    type Item = Result<Generated, SessionError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let fed = self.prompt.get(self.cycles.len()).or(self.tokens.last()).copied();
        let generated = fed.map(|fed| self.step(fed));
        self.over |= !matches!(generated, Some(Ok(_)));
        generated
    }
}
