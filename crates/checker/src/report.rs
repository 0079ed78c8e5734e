//! What the checker found.

use lpu_isa::Violation;

use crate::flow::Flow;

/// What the checker found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Every violation, the verdict first; empty for a legal program.
    pub violations: Vec<Violation>,
    /// Cycles of a run.
    pub cycles: u64,
    /// Items that come to their queues by instruction fetch; the others are preloaded.
    pub fetched: u64,
    /// The resolved dataflow; complete only for a legal program.
    pub flow: Flow,
}

impl Report {
    /// Of a program that needs chips which the system does not have: only that is said, of its image first.
    pub(crate) fn made_for_another(violations: Vec<Violation>) -> Self {
        Self { violations, cycles: 0, fetched: 0, flow: Flow::default() }
    }
}
