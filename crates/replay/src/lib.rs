//! The fast engine: a program's time is proven once, what remains is a fixed dataflow, and that is replayed at the
//! speed of memory.
//!
//! [`Replay`] holds SRAM as the reference engine's machine does; [`Replay::prepare`] has the checker prove a program
//! legal and turns the dataflow it resolved into a plan; [`Replay::run`] does the plan. Any number of engines share a
//! [`Platform`] and the plans of its programs, each over SRAM of its own. `docs/fast-engine.md` says why the result
//! cannot differ.

mod arena;
mod cache;
mod codec;
mod elaborate;
mod engine;
mod error;
mod places;
mod plan;
mod pool;
mod run;
mod steps;
mod system;
mod validate;

pub use cache::{PLAN_VERSION, ProgramOrigin};
pub use engine::{Outline, Platform, Prepared, Replay};
pub use error::ReplayError;
pub use run::Run;
