//! The reference engine: steps a chip cycle by cycle, moves every value, finds every fault. `docs/timing.md` in code.
//!
//! A [`Machine`] holds SRAM; [`Machine::prepare`] expands a program's queues once; [`Machine::run`] steps it.

mod error;
mod machine;
mod observer;
mod planes;
mod prepare;
mod sram;
mod step;
mod streams;

pub use error::{MachineError, RunError};
pub use machine::{Machine, Run};
pub use observer::Observer;
pub use prepare::Prepared;
