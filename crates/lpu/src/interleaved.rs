//! Several generations whose runs follow one another on one machine, as soon as the programs allow.

use lpu_report::Latency;

use crate::error::SessionError;
use crate::generation::{Generated, Generation};
use crate::models::Model;
use crate::spacing::Spacing;
use crate::summary::{SequenceCycles, SequenceSummary, Summary};

/// A token of one of several sequences.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// Which of the generations.
    pub sequence: usize,
    /// The cycle in which its run began, from the first run of all on.
    pub start: u64,
    /// What came of it.
    pub generated: Generated,
}

/// A run that others follow.
struct Begun {
    program: usize,
    start: u64,
    end: u64,
}

/// Generations of the sequences of one machine ([`Model::sequences`]), a token of each in turn. A run begins in the
/// earliest cycle that is far enough after the runs before it and not before its sequence's own last run has ended.
/// What it computes does not depend on that: each sequence gives what it gives by itself.
///
/// ```
/// use lpu::{Engines, Interleaved, Limits, Model, Options, Precision, Sampler, chip, model::Checkpoint};
///
/// let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/checkpoints/plain");
/// let options = Options { precision: Precision::F16, context: 16, sequences: 2, ..Options::default() };
/// let tsp = chip::preset("tsp-v1")?;
/// let model = Model::compile(Checkpoint::open(folder.as_ref())?, &tsp, &options, &Engines::default())?;
/// let mut sequences = model.sequences()?;
/// let limits = Limits { max_tokens: 3, ignore_stop: true };
/// let generations = sequences.iter_mut().zip([[7, 8], [9, 10]]);
/// let generations = generations.map(|(sequence, prompt)| sequence.generate(&prompt, Sampler::greedy(), limits, None));
/// let mut interleaved = Interleaved::new(&model, generations.collect::<Result<_, _>>()?);
/// for turn in &mut interleaved {
///     let turn = turn?;
///     println!("cycle {}: sequence {} chooses {:?}", turn.start, turn.sequence, turn.generated.token);
/// }
/// assert!(interleaved.cycles() <= 8 * model.heads()[0].cycles);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Interleaved<'a> {
    model: &'a Model,
    generations: Vec<Generation<'a>>,
    spacing: Spacing<'a>,
    /// Runs that have not ended when the next one may begin.
    begun: Vec<Begun>,
    cycles: Vec<SequenceCycles>,
    next: usize,
    failed: Option<usize>,
}

impl<'a> Interleaved<'a> {
    /// Of generations that feed sequences of the model.
    #[must_use]
    pub fn new(model: &'a Model, generations: Vec<Generation<'a>>) -> Self {
        let none = || SequenceCycles { per_token: Vec::new(), starts: Vec::new(), end: 0 };
        let cycles = generations.iter().map(|_| none()).collect();
        Self { model, generations, spacing: Spacing::new(model), begun: Vec::new(), cycles, next: 0, failed: None }
    }

    /// The generations.
    #[must_use]
    pub fn generations(&self) -> &[Generation<'a>] {
        &self.generations
    }

    /// Which of the generations ended the others with an error.
    #[must_use]
    pub fn failed(&self) -> Option<usize> {
        self.failed
    }

    /// When the tokens of each generation ran.
    #[must_use]
    pub fn times(&self) -> &[SequenceCycles] {
        &self.cycles
    }

    /// The latency of the longest program that a token ran, or of the first where there is none.
    ///
    /// # Errors
    /// [`SessionError`] when there is no generation, or the file has changed since it was opened.
    pub fn latency(&self) -> Result<Latency, SessionError> {
        let longest = self.generations.iter().max_by_key(|generation| generation.sequence().position());
        let none = SessionError::NoSequence { sequence: 0, sequences: 0 };
        longest.ok_or(none)?.latency()
    }

    /// The cycle after the last run so far.
    #[must_use]
    pub fn cycles(&self) -> u64 {
        self.cycles.iter().map(|cycles| cycles.end).max().unwrap_or(0)
    }

    /// What was generated and what it cost; `latency` is that of a token, with the host's speed.
    ///
    /// # Errors
    /// [`SessionError`] when the tokens have no text or the model no file form.
    pub fn summary(&self, latency: &Latency, compile_seconds: f64) -> Result<Summary, SessionError> {
        let of = |(generation, cycles): (&Generation<'a>, &SequenceCycles)| {
            Ok::<_, SessionError>(SequenceSummary {
                prompt_tokens: generation.prompt().to_vec(),
                tokens: generation.tokens().to_vec(),
                text: generation.text()?,
                cycles: cycles.clone(),
                outputs: generation.outputs(),
            })
        };
        let sequences = self.generations.iter().zip(&self.cycles).map(of).collect::<Result<_, _>>()?;
        let engine = (self.model.engine_name(), self.model.threads());
        let subject = self.model.subject()?;
        Ok(Summary::of_sequences(&subject, latency, engine, (sequences, self.cycles()), compile_seconds))
    }

    /// The earliest cycle in which a sequence may run a program, and what it ran.
    fn start(&mut self, sequence: usize, program: usize) -> Result<u64, SessionError> {
        let mut start = self.cycles[sequence].end;
        for before in &self.begun {
            start = start.max(before.start + self.spacing.after(program, before.program)?);
        }
        Ok(start)
    }

    fn turn(&mut self, sequence: usize) -> Option<Result<Turn, SessionError>> {
        let generation = &mut self.generations[sequence];
        let program = generation.program();
        let generated = match generation.next()? {
            Ok(generated) => generated,
            Err(error) => return Some(Err(error)),
        };
        let start = match self.start(sequence, program) {
            Ok(start) => start,
            Err(error) => return Some(Err(error)),
        };
        let end = start + generated.ran.cycles;
        // Runs begin in order of time, so what has ended by now has ended for all that follow.
        self.begun.retain(|before| before.end > start);
        self.begun.push(Begun { program, start, end });
        let cycles = &mut self.cycles[sequence];
        cycles.per_token.push(generated.ran.cycles);
        cycles.starts.push(start);
        cycles.end = end;
        Some(Ok(Turn { sequence, start, generated }))
    }
}

impl Iterator for Interleaved<'_> {
    type Item = Result<Turn, SessionError>;

    /// The next token in turn; nothing once all generations are over, and after an error.
    fn next(&mut self) -> Option<Self::Item> {
        let (first, count) = (self.next, self.generations.len());
        for sequence in (0..count).map(|step| (first + step) % count) {
            if self.failed.is_some() {
                return None;
            }
            if let Some(turn) = self.turn(sequence) {
                self.next = sequence + 1;
                self.failed = turn.is_err().then_some(sequence);
                return Some(turn);
            }
        }
        None
    }
}
