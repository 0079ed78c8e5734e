//! What an engine did with a program, in the terms of vectors.

use std::collections::BTreeMap;

use lpu_isa::Violation;
use serde::Deserialize;
use serde_json::Value;

/// What an engine did with a program.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It ran to its end.
    Ran {
        /// Cycles of the run.
        cycles: u64,
        /// All words of SRAM, `chip/slice:word`, in hexadecimal; none where the engine has no values.
        words: Option<BTreeMap<String, String>>,
        /// What happened in each cycle, as vectors write it; none where the engine does not say.
        activity: Option<Vec<Value>>,
    },
    /// It broke a rule.
    Fault(FaultSite),
    /// The engine does not run such programs, or failed in another way; why.
    Refused(String),
}

/// The first fault of a program.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct FaultSite {
    /// The rule's name.
    pub rule: String,
    /// Cycle in which it is observed.
    pub cycle: u64,
    /// The chip.
    pub chip: u16,
    /// The queue; none for the program as a whole.
    pub queue: Option<String>,
    /// The item; none for the program as a whole.
    pub item: Option<u32>,
}

impl FaultSite {
    /// The site of a violation.
    #[must_use]
    pub fn of(violation: &Violation) -> Self {
        Self {
            rule: violation.fault.rule().name().to_owned(),
            cycle: violation.cycle,
            chip: violation.chip.0,
            queue: violation.site.map(|site| site.queue.to_string()),
            item: violation.site.map(|site| site.item),
        }
    }
}
