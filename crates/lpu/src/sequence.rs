//! A sequence of tokens: fed one by one to a model, into key-value rows of its own. It runs on a stage whose ports are
//! all filled by the host, alone or with the model's other sequences.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};

use lpu_emulator::Observer;
use lpu_isa::Program;
use lpu_model::Checkpoint;

use crate::engine::{Engine, EngineError, Ran, held};
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
    /// The machine, which sequences of [`Model::sequences`] share.
    machine: Arc<Mutex<Stage>>,
    number: usize,
    position: usize,
}

impl Model {
    /// A sequence without tokens, on SRAM of its own: a private mapping of the file, or a copy of the image. It is the
    /// first of those that the programs were compiled for. The first one proves the first program for its engine.
    ///
    /// # Errors
    /// [`SessionError`] when the engine refuses the programs or there is no memory.
    pub fn sequence(self: &Arc<Self>) -> Result<Sequence, SessionError> {
        let machine = Arc::new(Mutex::new(self.stage()?));
        Ok(Sequence { model: Arc::clone(self), machine, number: 0, position: 0 })
    }

    /// All sequences that the programs were compiled for ([`Options::sequences`](crate::Options)), without tokens, on
    /// one machine: each has key-value rows of its own in the same SRAM, and their runs take the machine in turn.
    ///
    /// ```
    /// use lpu::{Engines, Model, Options, Precision, chip, model::Checkpoint};
    ///
    /// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/checkpoints/plain");
    /// let options = Options { precision: Precision::F16, context: 16, sequences: 2, ..Options::default() };
    /// let tsp = chip::preset("tsp-v1")?;
    /// let model = Model::compile(Checkpoint::open(folder.as_ref())?, &tsp, &options, &Engines::default())?;
    /// let mut both = model.sequences()?;
    /// for token in [7, 8] {
    ///     let logits = both[0].feed(token)?.logits;
    ///     assert_eq!(both[1].feed(token)?.logits, logits);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Model::sequence`].
    pub fn sequences(self: &Arc<Self>) -> Result<Vec<Sequence>, SessionError> {
        let machine = Arc::new(Mutex::new(self.stage()?));
        let of = |number| Sequence { model: Arc::clone(self), machine: Arc::clone(&machine), number, position: 0 };
        Ok((0..self.interface().sequences()).map(of).collect())
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

    /// The model's programs on the sequence's machine; no sequence of the machine runs while it is held.
    pub fn stage(&self) -> MutexGuard<'_, Stage> {
        held(&self.machine)
    }

    /// The sequence's number among those that the programs were compiled for.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
    }

    /// Index among the programs of the one that the token at a position runs, or of the last one after the context.
    #[must_use]
    pub fn program(&self, position: usize) -> usize {
        self.interface().buckets[self.bucket(position)].programs[self.number]
    }

    /// Stated cycles of the program that the next token runs, or of the last one when the context is full.
    #[must_use]
    pub fn stated_cycles(&self) -> u64 {
        self.heads()[self.program(self.position)].cycles
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
        let Self { model, machine, number, position } = self;
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
        let at = Step::at(&host.config, context, *position);
        let step = Step { sequence: *number, embedding: Some(embedding), learned, ..at };
        let mut stage = held(machine);
        let mut ran = stage.run_by(&step, run)?;
        let logits = stage.logits(&mut ran);
        let logit = logits.iter().copied().enumerate().find(|(_, logit)| !logit.is_finite());
        if ran.overflow || logit.is_some() {
            let origin = origin(model, &stage, &step)?;
            let position = *position;
            if logit.is_some() || origin.is_some() {
                return Err(SessionError::NotFinite(Box::new(NotFinite { position, token, logit, origin })));
            }
        }
        *position += 1;
        Ok(Token { logits, cycles: ran.cycles, fetched: ran.fetched })
    }
}

/// What made the first number of the last run that is not finite, by running it again on the reference engine.
fn origin(model: &Model, stage: &Stage, step: &Step) -> Result<Option<NotFiniteOrigin>, SessionError> {
    let Some(index) = stage.program(step) else { return Ok(None) };
    let mut watch = FirstNotFinite::default();
    let program = &model.programs()?[index];
    stage.engine().run_again(&model.image()?, program, &stage.inputs(index, step)?, &mut watch)?;
    let operation = |origin: &NotFiniteOrigin| operation(model, (index, step.position), program, origin);
    Ok(watch.0.map(|origin| NotFiniteOrigin { operation: operation(&origin), ..origin }))
}

/// Name of the graph's node that an instruction belongs to: its schedule follows from config, chip and options alone.
fn operation(
    model: &Model,
    (index, position): (usize, usize),
    program: &Program,
    origin: &NotFiniteOrigin,
) -> Option<String> {
    let host = model.host();
    let checkpoint = Checkpoint::from_config(host.config.to_json().as_bytes()).ok()?;
    let compiled = compile(&checkpoint, model.system(), &host.options()).ok()?;
    if compiled.programs.get(index)?.sets != program.sets {
        return None;
    }
    let issued = (origin.queue, origin.cycle);
    let record = compiled.records[model.bucket(position)].iter().find(|record| record.computed.contains(&issued))?;
    Some(compiled.graph.nodes.get(record.node)?.name.clone())
}
