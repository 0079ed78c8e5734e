//! What would fit where something does not, found by compiling it.

use lpu_chip::Chip;
use lpu_model::{Block, Checkpoint, Graph};

use crate::error::CompileError;
use crate::{Options, Part, Precision, attempt, plan};

/// A model that does not fit, without its weights where its graph follows from its config alone.
struct Trial<'a> {
    given: &'a Checkpoint,
    shape: Option<Checkpoint>,
    graph: &'a Graph,
    chip: &'a Chip,
    options: Options,
}

/// The error with advice that was tried.
pub(crate) fn advised(error: CompileError, checkpoint: &Checkpoint, graph: &Graph, chip: &Chip, options: Options) -> CompileError {
    let shape = Checkpoint::from_config(checkpoint.config.to_json().as_bytes()).ok();
    let shape = shape.filter(|shape| shape.graph() == checkpoint.graph());
    let trial = Trial { given: checkpoint, shape, graph, chip, options };
    match error {
        CompileError::ContextTooLarge { context, needed, available, .. } => {
            CompileError::ContextTooLarge { context, needed, available, fits: trial.context() }
        }
        CompileError::WeightsTooLarge { chip, format, needed, available, .. } => {
            CompileError::WeightsTooLarge { chip, format, needed, available, advice: trial.weights() }
        }
        error => error,
    }
}

/// The largest of `1..below` that fits, if none that fits comes after one that does not; else one that fits.
fn last(below: usize, fits: impl Fn(usize) -> bool) -> Option<usize> {
    let (mut found, mut end) = (0, below);
    while end.saturating_sub(found) > 1 {
        let middle = found.midpoint(end);
        if fits(middle) { found = middle } else { end = middle }
    }
    (found > 0).then_some(found)
}

impl Trial<'_> {
    fn checkpoint(&self) -> &Checkpoint {
        self.shape.as_ref().unwrap_or(self.given)
    }

    fn compiles(&self, graph: &Graph, options: Options) -> bool {
        attempt(self.checkpoint(), graph.clone(), self.chip, &options).is_ok()
    }

    /// A shorter context that fits: about the longest whose rows have places, unless its schedule has none.
    fn context(&self) -> Option<usize> {
        let options = |rows: usize| Options { context: 16 * rows, ..self.options };
        let planned = |rows: usize| plan::plan(self.checkpoint(), self.graph.clone(), self.chip, &options(rows)).is_ok();
        let compiled = |rows: usize| self.compiles(self.graph, options(rows));
        let most = last(self.options.context.div_ceil(16), planned)?;
        let rows = if compiled(most) { Some(most) } else { last(most, compiled) };
        rows.map(|rows| 16 * rows)
    }

    fn weights(&self) -> String {
        if let Some(context) = self.context() {
            return format!("a context of {context} fits");
        }
        let others = [Precision::W8A16, Precision::W8A8].into_iter().filter(|&precision| precision != self.options.precision);
        let fits = |&precision: &Precision| self.compiles(self.graph, Options { precision, ..self.options });
        if let Some(precision) = { others }.find(fits) {
            return format!("in {} it fits", precision.name());
        }
        let whole = self.graph.blocks().contains(&Block::Head);
        let layer = Part::Layer(0).of(self.graph).ok().filter(|_| whole);
        let help = match layer.is_some_and(|layer| self.compiles(&layer, self.options)) {
            true => "its parts compile one by one, such as layer:0",
            false => "describe a chip with more words a bank",
        };
        format!("it does not fit one chip, and nothing runs it on several yet: {help}")
    }
}
