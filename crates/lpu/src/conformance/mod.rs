//! Conformance vectors: programs with everything that must happen, run on any engine. `tests/conformance/README.md`
//! describes the files.

mod coverage;
mod engines;
mod outcome;
mod vector;

pub use coverage::{Coverage, coverage};
pub use engines::{Implementation, engines};
pub use outcome::{FaultSite, Outcome};
pub use vector::{Vector, VectorError, Vectors};

/// One vector that an engine does not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The vector.
    pub name: String,
    /// The first difference.
    pub difference: String,
}

/// What an engine did with a set of vectors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Vectors met.
    pub met: usize,
    /// Vectors that the engine says it does not run, with its reason.
    pub refused: Vec<Failure>,
    /// Vectors not met.
    pub failed: Vec<Failure>,
}

/// Runs all vectors on an engine.
#[must_use]
pub fn run(vectors: &Vectors, engine: &dyn Implementation) -> Tally {
    let mut tally = Tally::default();
    for vector in &vectors.list {
        let failure = |difference| Failure { name: vector.name.clone(), difference };
        match vectors
            .container(vector)
            .and_then(|container| vectors.encoded_alike(vector, &container).map(|()| container))
        {
            Err(difference) => tally.failed.push(failure(difference)),
            Ok(container) => match engine.run(&vectors.system, &container) {
                Outcome::Refused(reason) => tally.refused.push(failure(reason)),
                outcome => match vector.difference(&outcome) {
                    Some(difference) => tally.failed.push(failure(difference)),
                    None => tally.met += 1,
                },
            },
        }
    }
    tally
}
