//! A sequence of tokens: fed one by one to a model, on SRAM of its own. It is a stage whose ports
//! are all filled by the host.

use std::ops::Deref;
use std::sync::Arc;

use lpu_emulator::Observer;
use lpu_isa::Program;
use lpu_model::Checkpoint;

use crate::engine::{Engine, EngineError, Ran};
use crate::error::SessionError;
use crate::finite::{FirstNotFinite, NotFinite, NotFiniteOrigin};
use crate::models::Model;
use crate::ports::Step;
use crate::proof::compile;
use crate::stage::Stage;

/// What one token gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// One logit an id of the vocabulary.
    pub logits: Vec<f32>,
    /// Measured cycles.
    pub cycles: u64,
    /// Items that came to their queues by instruction fetch; the program's others were preloaded.
    pub fetched: u64,
}

/// Tokens fed to a model, whose methods it has. Sequences of one model are independent; their programs, plans and
/// threads are the model's.
pub struct Sequence {
    model: Arc<Model>,
    stage: Stage,
    position: usize,
}

impl Model {
    /// A sequence without tokens, on SRAM of its own: a private mapping of the file, or a copy of the image. The first
    /// one proves the first program for its engine.
    ///
    /// # Errors
    /// [`SessionError`] when the engine refuses the programs or there is no memory.
    pub fn sequence(self: &Arc<Self>) -> Result<Sequence, SessionError> {
        Ok(Sequence { model: Arc::clone(self), stage: self.stage()?, position: 0 })
    }
}

impl Deref for Sequence {
    type Target = Model;

    fn deref(&self) -> &Model {
        &self.model
    }
}

impl Sequence {
    /// The model, for other sequences.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The model's programs on the sequence's machine.
    #[must_use]
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// The engine that runs the model.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        self.stage.engine()
    }

    /// Stated cycles of the program that the next token runs, or of the last one when the context is full.
    #[must_use]
    pub fn stated_cycles(&self) -> u64 {
        let bucket = self.interface().buckets[self.bucket(self.position)];
        self.heads()[bucket.program].cycles
    }

    /// Tokens fed so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Forgets all tokens from a position on; the next token is fed there. Later rows of the cache are hidden by masks
    /// until they are written again.
    pub fn truncate(&mut self, position: usize) {
        self.position = self.position.min(position);
    }

    /// Feeds a token and runs the decode step.
    ///
    /// # Errors
    /// [`SessionError`] when there is no such token, no room, a fault, or a number that is not finite.
    pub fn feed(&mut self, token: u32) -> Result<Token, SessionError> {
        self.step(token, Engine::run)
    }

    /// Feeds a token and shows the run to an observer, on the reference engine.
    ///
    /// # Errors
    /// As [`Sequence::feed`].
    pub fn feed_observed<O: Observer>(&mut self, token: u32, observer: &mut O) -> Result<Token, SessionError> {
        self.step(token, |engine, program| engine.run_observed(program, observer))
    }

    fn step(
        &mut self,
        token: u32,
        run: impl FnOnce(&mut Engine, usize) -> Result<Ran, EngineError>,
    ) -> Result<Token, SessionError> {
        let Self { model, stage, position } = self;
        let host = model.host();
        let context = host.context;
        if *position >= context {
            return Err(SessionError::ContextFull { context });
        }
        let embedding =
            host.embedding_row(token).ok_or(SessionError::NoToken { token, last: host.config.vocab - 1 })?;
        let learned = match host.config.learned_positions {
            Some(positions) => Some(host.position_row(*position).ok_or(SessionError::NoPosition { positions })?),
            None => None,
        };
        let step = Step { embedding: Some(embedding), learned, ..Step::at(&host.config, context, *position) };
        let mut ran = stage.run_by(&step, run)?;
        let logits = stage.logits(&mut ran);
        let logit = logits.iter().copied().enumerate().find(|(_, logit)| !logit.is_finite());
        if ran.overflow || logit.is_some() {
            let (position, origin) = (self.position, self.origin(&step)?);
            if logit.is_some() || origin.is_some() {
                return Err(SessionError::NotFinite(Box::new(NotFinite { position, token, logit, origin })));
            }
        }
        self.position += 1;
        Ok(Token { logits, cycles: ran.cycles, fetched: ran.fetched })
    }

    /// What made the first number of the last run that is not finite, by running it again on the reference engine.
    fn origin(&self, step: &Step) -> Result<Option<NotFiniteOrigin>, SessionError> {
        let bucket = self.bucket(step.position);
        let index = self.interface().buckets[bucket].program;
        let mut watch = FirstNotFinite::default();
        let program = &self.programs()?[index];
        self.engine().run_again(&self.image()?, program, &self.stage.inputs(index, step)?, &mut watch)?;
        let operation = |origin: &NotFiniteOrigin| self.operation(bucket, program, origin);
        Ok(watch.0.map(|origin| NotFiniteOrigin { operation: operation(&origin), ..origin }))
    }

    /// Name of the graph's node that an instruction belongs to: its schedule follows from config, chip and options
    /// alone.
    fn operation(&self, bucket: usize, program: &Program, origin: &NotFiniteOrigin) -> Option<String> {
        let checkpoint = Checkpoint::from_config(self.host().config.to_json().as_bytes()).ok()?;
        let options = self.host().options();
        let compiled = compile(&checkpoint, self.system(), &options).ok()?;
        if compiled.programs.get(bucket)?.sets != program.sets {
            return None;
        }
        let issued = (origin.queue, origin.cycle);
        let record = compiled.records[bucket].iter().find(|record| record.computed.contains(&issued))?;
        Some(compiled.graph.nodes.get(record.node)?.name.clone())
    }
}
