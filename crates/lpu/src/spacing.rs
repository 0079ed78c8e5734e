//! How soon runs of a model's programs may follow one another, held to the checker's proof.

use std::collections::BTreeMap;

use lpu_checker::{Windows, check_system, prove_interval};

use crate::error::SessionError;
use crate::models::Model;

/// Distances of a model's runs; each program is proven when it is first asked for.
pub(crate) struct Spacing<'a> {
    model: &'a Model,
    /// By index among the programs.
    windows: BTreeMap<usize, Windows>,
}

impl<'a> Spacing<'a> {
    pub(crate) fn new(model: &'a Model) -> Self {
        Self { model, windows: BTreeMap::new() }
    }

    /// The least distance in cycles at which a run of program `next` may follow one of program `before`, which may be
    /// the same: that which the checker proves, and for runs of one bucket at least the stated interval.
    ///
    /// # Errors
    /// [`SessionError`] when a program is not legal, or its interval or none is proven.
    pub(crate) fn after(&mut self, next: usize, before: usize) -> Result<u64, SessionError> {
        for program in [next, before] {
            if !self.windows.contains_key(&program) {
                self.windows.insert(program, self.prove(program)?);
            }
        }
        let heads = self.model.heads();
        let stated = heads[next].interval.filter(|_| heads[next].cycles == heads[before].cycles);
        let proven = self.windows[&next].after(&self.windows[&before]);
        Ok(proven.max(stated.map_or(0, Into::into)))
    }

    fn prove(&self, number: usize) -> Result<Windows, SessionError> {
        let (system, program) = (self.model.system(), &self.model.programs()?[number]);
        let overlay = |error| SessionError::Overlay { program: program.name.clone(), error: Box::new(error) };
        let report = check_system(system, &self.model.image()?, program)?;
        prove_interval(system, program, &report).map_err(overlay)?;
        Windows::new(system, &report).map_err(overlay)
    }
}
