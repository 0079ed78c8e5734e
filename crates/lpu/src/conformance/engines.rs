//! Engines that can be held to vectors.

use std::collections::BTreeMap;

use lpu_chip::System;
use lpu_emulator::{BankAccess, Machine, MachineError, Observer, RunError, StreamWrite};
use lpu_isa::{ChipId, Container, Sram};
use lpu_replay::{Replay, ReplayError};
use serde_json::{Value, json};

use super::outcome::{FaultSite, Outcome};

/// An implementation of the machine.
pub trait Implementation {
    /// Its name.
    fn name(&self) -> &'static str;
    /// Runs the first program of a container once.
    fn run(&self, system: &System, container: &Container<'_>) -> Outcome;
}

/// All engines, the reference first.
#[must_use]
pub fn engines() -> Vec<Box<dyn Implementation>> {
    vec![Box::new(Reference), Box::new(Fast), Box::new(Checker)]
}

/// The reference engine.
struct Reference;

/// The fast engine; it has no activity.
struct Fast;

/// The checker: verdicts and cycles without values.
struct Checker;

#[derive(Default)]
struct Watch(Vec<Value>);

impl Observer for Watch {
    fn stream_write(&mut self, write: StreamWrite<'_>) {
        let StreamWrite { cycle, chip, stream, position, value, .. } = write;
        self.0.push(json!([cycle, "stream", chip.0, stream.to_string(), position, hex(value)]));
    }
    fn bank_access(&mut self, access: BankAccess) {
        let BankAccess { cycle, chip, slice, bank, word, write } = access;
        let kind = if write { "write" } else { "read" };
        self.0.push(json!([cycle, "bank", chip.0, slice.to_string(), bank, word, kind]));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All words of a system.
fn words(system: &System, sram: &impl Sram) -> BTreeMap<String, String> {
    let mut words = BTreeMap::new();
    for chip in (0..system.chips()).map(ChipId) {
        for slice in system.chip().slices() {
            for word in 0..system.chip().words_per_slice() {
                words.extend(
                    sram.word(chip, slice, word).map(|bytes| (format!("{}/{slice}:{word}", chip.0), hex(&bytes))),
                );
            }
        }
    }
    words
}

impl Implementation for Reference {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn run(&self, system: &System, container: &Container<'_>) -> Outcome {
        let refused = |error: &dyn std::fmt::Display| Outcome::Refused(error.to_string());
        let mut machine = match Machine::of_system(system, &container.image) {
            Ok(machine) => machine,
            Err(MachineError::ChipAbsent(first)) => return Outcome::Fault(FaultSite::of(&first)),
            Err(error) => return refused(&error),
        };
        let prepared = match machine.prepare(&container.programs[0]) {
            Ok(prepared) => prepared,
            Err(MachineError::ChipAbsent(first)) => return Outcome::Fault(FaultSite::of(&first)),
            Err(error) => return refused(&error),
        };
        let mut watch = Watch::default();
        match machine.run(&prepared, &mut watch) {
            Ok(run) => {
                Outcome::Ran { cycles: run.cycles, words: Some(words(system, &machine)), activity: Some(watch.0) }
            }
            Err(RunError::Fault(first)) => Outcome::Fault(FaultSite::of(&first)),
            Err(error) => refused(&error),
        }
    }
}

impl Implementation for Fast {
    fn name(&self) -> &'static str {
        "fast"
    }

    fn run(&self, system: &System, container: &Container<'_>) -> Outcome {
        let refused = |error: &dyn std::fmt::Display| Outcome::Refused(error.to_string());
        let program = &container.programs[0];
        let mut replay = match Replay::new(system, &container.image, 1) {
            Ok(replay) => replay,
            Err(ReplayError::ChipAbsent(first)) => return Outcome::Fault(FaultSite::of(&first)),
            Err(error) => return refused(&error),
        };
        let prepared = match replay.prepare(&container.image, program) {
            Ok(prepared) => prepared,
            Err(ReplayError::Fault(first) | ReplayError::ChipAbsent(first)) => {
                return Outcome::Fault(FaultSite::of(&first));
            }
            Err(error) => return refused(&error),
        };
        match replay.run(&prepared) {
            Ok(run) => Outcome::Ran { cycles: run.cycles, words: Some(words(system, &replay)), activity: None },
            Err(ReplayError::Fault(first)) => Outcome::Fault(FaultSite::of(&first)),
            Err(error) => refused(&error),
        }
    }
}

impl Implementation for Checker {
    fn name(&self) -> &'static str {
        "checker"
    }

    fn run(&self, system: &System, container: &Container<'_>) -> Outcome {
        match lpu_checker::check_system(system, &container.image, &container.programs[0]) {
            Ok(report) => match report.violations.first() {
                Some(first) => Outcome::Fault(FaultSite::of(first)),
                None => Outcome::Ran { cycles: report.cycles, words: None, activity: None },
            },
            Err(error) => Outcome::Refused(error.to_string()),
        }
    }
}
