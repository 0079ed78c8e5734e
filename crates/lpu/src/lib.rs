//! A deterministic LPU-style dataflow emulator: what library users import.
//!
//! ```
//! use lpu::{Options, Precision, Session, chip, model::Checkpoint};
//!
//! let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/checkpoints/plain");
//! let checkpoint = Checkpoint::open(folder.as_ref())?;
//! let tsp = chip::preset("tsp-v1")?;
//! let mut session = Session::compile(checkpoint, &tsp, &Options { precision: Precision::F16, context: 16, ..Options::default() })?;
//! let token = session.feed(7)?;
//! println!("{} cycles, {} logits", token.cycles, token.logits.len());
//! assert_eq!(token.cycles, session.stated_cycles());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod activity;
pub mod conformance;
mod engine;
mod error;
mod file;
mod finite;
mod generation;
mod interleaved;
mod known;
mod models;
pub mod npy;
mod output;
mod package;
mod plans;
pub mod ports;
mod proof;
mod sampler;
mod sequence;
mod session;
mod spacing;
mod spread;
mod stage;
mod summary;

pub use activity::{Activity, DispatchKind, units};
pub use engine::{Engine, EngineError, Engines, Ran, keep_plans};
pub use error::SessionError;
pub use file::{OpenError, ProgramFile};
pub use finite::{FirstNotFinite, NotFinite, NotFiniteKind, NotFiniteOrigin};
pub use generation::{Generated, Generation, Limits};
pub use interleaved::{Interleaved, Turn};
pub use known::{KnownModel, WeightBytes};
pub use lpu_checker as checker;
pub use lpu_chip as chip;
pub use lpu_compiler as compiler;
pub use lpu_compiler::{Options, Precision};
pub use lpu_emulator as emulator;
pub use lpu_isa as isa;
pub use lpu_model as model;
pub use lpu_num as num;
pub use lpu_replay as replay;
pub use lpu_report as report;
pub use models::Model;
pub use output::{Output, OutputError, STDOUT, is_stdout, write_file};
pub use package::{Host, Package, PackageError};
pub use ports::{PortError, Step};
pub use proof::{ProofError, compile, compile_graph, compile_measured};
pub use sampler::Sampler;
pub use sequence::{Sequence, Token};
pub use session::Session;
pub use spread::{ExchangeUse, LinkUse, Spread, StageUse};
pub use stage::{Stage, StageRun};
pub use summary::{
    BucketCycles, ByBucket, Hashes, HostUse, PerToken, SequenceCycles, SequenceSummary, SramUse, Subject, Summary,
    Throughput, Time, TokenCycles, latency, latency_of,
};
