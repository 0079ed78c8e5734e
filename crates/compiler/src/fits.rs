//! What would fit where something does not, found by compiling it.

use lpu_model::{Block, Checkpoint, Graph};

use crate::error::CompileError;
use crate::lower::lower;
use crate::part::Part;
use crate::stages::place;
use crate::target::{Precision, Target};

/// Whether a graph of a checkpoint compiles for a target and a context.
pub(crate) type Compiles<'a> = &'a dyn Fn(&Checkpoint, &Graph, &Target, usize) -> bool;

/// A model that does not fit, without its weights where its graph follows from its config alone.
struct Trial<'a> {
    given: &'a Checkpoint,
    shape: Option<Checkpoint>,
    graph: &'a Graph,
    target: &'a Target,
    context: usize,
    compiles: Compiles<'a>,
}

/// The error with advice that was tried.
pub(crate) fn advised(
    error: CompileError,
    checkpoint: &Checkpoint,
    graph: &Graph,
    (target, context): (&Target, usize),
    compiles: Compiles<'_>,
) -> CompileError {
    let shape = Checkpoint::from_config(checkpoint.config.to_json().as_bytes()).ok();
    let shape = shape.filter(|shape| shape.graph() == checkpoint.graph());
    let trial = Trial { given: checkpoint, shape, graph, target, context, compiles };
    match error {
        CompileError::ContextTooLarge { context, sequences, needed, available, .. } => {
            let (fits, fewer) = (trial.context(), trial.sequences());
            CompileError::ContextTooLarge { context, sequences, needed, available, fits, fewer }
        }
        CompileError::WeightsTooLarge { chip, format, needed, available, .. } => {
            CompileError::WeightsTooLarge { chip, format, needed, available, advice: trial.weights() }
        }
        error => error,
    }
}

/// The largest of `1..below` that fits, to within a share of `1 / part` of it, if none that fits comes after one that
/// does not; else one that fits.
pub(crate) fn last(below: usize, part: usize, fits: impl Fn(usize) -> bool) -> Option<usize> {
    let (mut found, mut end) = (0, below);
    while end.saturating_sub(found) > 1 + found / part {
        let middle = found.midpoint(end);
        if fits(middle) { found = middle } else { end = middle }
    }
    (found > 0).then_some(found)
}

impl Trial<'_> {
    fn checkpoint(&self) -> &Checkpoint {
        self.shape.as_ref().unwrap_or(self.given)
    }

    fn compiles(&self, graph: &Graph, target: &Target, context: usize) -> bool {
        (self.compiles)(self.checkpoint(), graph, target, context)
    }

    /// A shorter context that fits: the longest whose rows have places, or if that has no schedule, about the longest
    /// that has one.
    fn context(&self) -> Option<usize> {
        let placed = |rows: usize| place(self.target, self.checkpoint(), self.graph.clone(), 16 * rows).ok();
        // The longest bucket is the hardest.
        let lowered = |rows: usize| {
            placed(rows).is_some_and(|placed| lower(&placed.plan, self.target, placed.context(), false).is_ok())
        };
        let most = last(self.context.div_ceil(16), usize::MAX, |rows| placed(rows).is_some())?;
        let rows = if lowered(most) { most } else { last(most, 16, lowered)? };
        let shorter = std::iter::successors(Some(rows), |rows| Some(rows / 2).filter(|&rows| rows > 0));
        shorter.map(|rows| 16 * rows).find(|&context| self.compiles(self.graph, self.target, context))
    }

    /// Fewer sequences that fit: the most whose rows have places, or if these have no schedule, about as many as have
    /// one.
    fn sequences(&self) -> Option<usize> {
        let of = |sequences: usize| Target { sequences, ..self.target.clone() };
        let placed =
            |sequences: usize| place(&of(sequences), self.checkpoint(), self.graph.clone(), self.context).is_ok();
        let below = self.target.sequences.min(self.target.most_sequences());
        let most = last(below, usize::MAX, placed)?;
        let fewer = std::iter::successors(Some(most), |sequences| Some(sequences / 2).filter(|&fewer| fewer > 0));
        { fewer }.find(|&sequences| self.compiles(self.graph, &of(sequences), self.context))
    }

    fn weights(&self) -> String {
        let context = self.context().map(|context| format!("a context of {context} fits"));
        let fewer = self.sequences().map(|fewer| format!("{fewer} of the sequences fit: give --sequences {fewer}"));
        match (context, fewer) {
            (Some(context), Some(fewer)) => return format!("{context}, with as many sequences, or {fewer}"),
            (Some(found), None) | (None, Some(found)) => return found,
            (None, None) => {}
        }
        let others =
            [Precision::W8A16, Precision::W8A8].into_iter().filter(|&precision| precision != self.target.precision);
        let fits = |&precision: &Precision| {
            self.compiles(self.graph, &Target { precision, ..self.target.clone() }, self.context)
        };
        if let Some(precision) = { others }.find(fits) {
            return format!("in {} it fits", precision.name());
        }
        let whole = self.graph.blocks().contains(&Block::Head);
        let layer = Part::Layer(0).of(self.graph).ok().filter(|_| whole);
        let help = match layer.is_some_and(|layer| self.compiles(&layer, self.target, self.context)) {
            true => "its parts compile one by one, such as layer:0",
            false => "describe a chip with more words a bank",
        };
        format!("it does not fit one chip, and nothing runs it on several yet: {help}")
    }
}
