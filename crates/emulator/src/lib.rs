//! The reference engine: steps a chip cycle by cycle, moves every value, finds every fault. `docs/timing.md` in code.
//!
//! A [`Machine`] holds SRAM; [`Machine::prepare`] expands a program's queues once; [`Machine::run`] steps it.

mod control;
mod dispatch;
mod error;
mod links;
mod machine;
mod observer;
mod planes;
mod prepare;
mod run;
mod sram;
mod stepper;
mod streams;

pub use error::{MachineError, RunError};
pub use machine::Machine;
pub use observer::{BankAccess, Computation, Observer, StreamWrite};
pub use prepare::Prepared;
pub use run::Run;
