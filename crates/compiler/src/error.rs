//! Why a model cannot be compiled for a chip.

use lpu_isa::Queue;
use thiserror::Error;

/// Why a model cannot be compiled for a chip; every message says what would help.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The weights do not fit.
    #[error(
        "weights in {format} take {needed} bytes of the weight slices in {chip}, where {available} are free; {advice}"
    )]
    WeightsTooLarge {
        /// The chip's name.
        chip: String,
        /// The number format.
        format: &'static str,
        /// Bytes needed, padding included.
        needed: u64,
        /// Bytes free.
        available: u64,
        /// What fits: it was compiled.
        advice: String,
    },
    /// The key-value cache does not fit next to the weights.
    #[error("{}; {}", cache(*sequences, *context, *needed, *available), cache_advice(*sequences, *fits, *fewer))]
    ContextTooLarge {
        /// The context asked for.
        context: usize,
        /// Sequences that each have so long a context.
        sequences: usize,
        /// Bytes needed.
        needed: u64,
        /// Bytes left.
        available: u64,
        /// A context that fits: it was compiled.
        fits: Option<usize>,
        /// Fewer sequences of the context that fit: they were compiled.
        fewer: Option<usize>,
    },
    /// A bucket is longer than the context that was placed.
    #[error(
        "a bucket of {bucket} tokens exceeds the placed context of {context}; place the graph for a longer context"
    )]
    BucketTooLong {
        /// Tokens of the bucket.
        bucket: usize,
        /// Tokens that the key-value rows hold.
        context: usize,
    },
    /// A context of no tokens.
    #[error("a context of 0 tokens holds nothing; ask for at least 1")]
    EmptyContext,
    /// No sequences.
    #[error("0 sequences have no key-value rows; ask for at least 1")]
    NoSequences,
    /// Constants or intermediate vectors do not fit the slices set aside for them.
    #[error(
        "{what} take {needed} words in each slice next to the VXM, which holds {available}; use a chip with \
          more words a bank or a smaller model"
    )]
    ScratchTooLarge {
        /// What does not fit.
        what: &'static str,
        /// Words needed.
        needed: u64,
        /// Words there are.
        available: u64,
    },
    /// A head is wider than a vector.
    #[error("a head of {head_dim} elements does not fit a vector of {lanes} lanes; use a chip with more superlanes")]
    HeadTooWide {
        /// Elements of a head.
        head_dim: usize,
        /// Lanes of a vector.
        lanes: usize,
    },
    /// A figure of the chip is below what every schedule needs.
    #[error("chip {chip}: `{field}` is {value}, and schedules need at least {needed}: {why}; describe a larger chip")]
    ChipTooSmall {
        /// The chip's name.
        chip: String,
        /// The figure.
        field: &'static str,
        /// Its value.
        value: u32,
        /// The least value that serves.
        needed: u32,
        /// Why.
        why: &'static str,
    },
    /// A figure of the chip is above what a schedule can use.
    #[error("chip {chip}: `{field}` is {value}, and schedules can use at most {most}: {why}; describe another chip")]
    ChipTooLarge {
        /// The chip's name.
        chip: String,
        /// The figure.
        field: &'static str,
        /// Its value.
        value: u32,
        /// The largest value that serves.
        most: u32,
        /// Why.
        why: &'static str,
    },
    /// A queue of the program does not fit the chip's queues.
    #[error(
        "the program for {context} tokens has {items} items in queue {queue}, and `queue_depth` of chip {chip} \
          is {depth}; give it at least {items}"
    )]
    QueueTooShallow {
        /// The chip's name.
        chip: String,
        /// Tokens that the program holds.
        context: String,
        /// The fullest queue.
        queue: Queue,
        /// Its items.
        items: usize,
        /// Items that a queue holds.
        depth: u32,
    },
    /// A weight is infinite or no number.
    #[error(
        "{place}: the value is {value}, so every result would be no number; the checkpoint is damaged, use \
          another copy of it"
    )]
    NotFinite {
        /// Tensor and place in it.
        place: String,
        /// The value.
        value: f32,
    },
    /// A weight is finite, and fp16 has no such number.
    #[error(
        "{place}: the value is {value}, but the greatest that fp16 holds is 65504; scale the weights of the \
          checkpoint down"
    )]
    HalfOverflow {
        /// Tensor and place in it.
        place: String,
        /// The value.
        value: f32,
    },
    /// An operation that the compiler does not lower.
    #[error("node {node}: {what}; compile a part of the graph without it, or a supported family")]
    Unsupported {
        /// The node's name.
        node: String,
        /// What is not supported.
        what: String,
    },
    /// A value has another number of rows than the first value of the graph, or none.
    #[error(
        "value {value} has {rows} rows, and the graph is compiled for {expected}: a run takes as many tokens \
          through every value; give every value {expected} rows"
    )]
    Rows {
        /// The value's name.
        value: String,
        /// Its rows.
        rows: usize,
        /// Rows of the first value, at least 1.
        expected: usize,
    },
    /// The graph has no such part.
    #[error(
        "the model has no part `{part}`; it has {layers} layers, counted from 0: give layer:N, attention:N, \
          ffn:N or head"
    )]
    NoPart {
        /// The part asked for.
        part: String,
        /// Layers of the model.
        layers: usize,
    },
    /// No cycle was found for a block.
    #[error(
        "no legal start for {what} among {searched} cycles: every start collides on a stream, an ALU or a \
          memory port of this chip; describe one with more of them"
    )]
    NoPlace {
        /// The block.
        what: String,
        /// Cycles searched.
        searched: u64,
    },
    /// The chips cannot run one schedule.
    #[error(
        "{chips} chips of {system} do not make a tensor-parallel group: {why}; choose a smaller one, or wire the \
          system as a node"
    )]
    NoGroup {
        /// The system's name.
        system: String,
        /// Chips of the group.
        chips: usize,
        /// Why not.
        why: String,
    },
    /// The graph cannot be cut over the chips of a group.
    #[error(transparent)]
    Shard(#[from] lpu_model::ShardError),
    /// The system has fewer chips than stages and groups ask for.
    #[error(
        "{stages} stages of {group} chips take {} chips, and {system} has {chips}; choose fewer, or a larger system",
        stages * group
    )]
    TooFewChips {
        /// The system's name.
        system: String,
        /// Its chips.
        chips: usize,
        /// Stages.
        stages: usize,
        /// Chips of a stage.
        group: usize,
    },
    /// Nothing leads from a stage's chips to those of the next.
    #[error(
        "no way leads from chip {from} to chip {to} of {system} through the chips of two stages that follow one \
          another; choose another tensor-parallel size, or connect them"
    )]
    NoRoute {
        /// The system's name.
        system: String,
        /// A chip of a stage.
        from: u16,
        /// The chip of the next stage that goes on with its piece.
        to: u16,
    },
    /// The model has fewer places to cut than stages ask for.
    #[error("a model that can be cut into {most} stages cannot have {stages}; choose at most {most}")]
    TooManyStages {
        /// Stages asked for.
        stages: usize,
        /// Stages that it can be cut into.
        most: usize,
    },
    /// A stage does not fit its chips.
    #[error("stage {stage} of {stages} on {group} chips: {}; {}", short(error), match (least, fewer) {
        (Some(least), _) => {
            format!("{} chips hold the model, in {least} stages: give --pipeline-parallel-size {least}", least * group)
        }
        (None, Some(fewer)) => {
            format!("no number of stages was found that fits the system; it holds {fewer} of the sequences: give \
                --sequences {fewer}")
        }
        (None, None) => "no number of stages was found that fits the system".to_owned(),
    })]
    Stage {
        /// Number of the stage, from 0.
        stage: usize,
        /// Stages.
        stages: usize,
        /// Chips of a stage.
        group: usize,
        /// The least number of stages that fit, each of which was placed.
        least: Option<usize>,
        /// Where there is none, fewer sequences that fit in some number of stages, each of which was placed.
        fewer: Option<usize>,
        /// Why it does not fit.
        error: Box<CompileError>,
    },
}

impl CompileError {
    /// The error of a stage whose graph does not fit its chips.
    pub(crate) fn of_stage((stage, stages): (usize, usize), group: usize, error: Self) -> Self {
        Self::Stage { stage, stages, group, least: None, fewer: None, error: Box::new(error) }
    }
}

/// Why a stage does not fit, without the advice of a program of one chip, which was not tried for it.
fn short(error: &CompileError) -> String {
    match error {
        CompileError::WeightsTooLarge { chip, format, needed, available, .. } => format!(
            "weights in {format} take {needed} bytes of the weight slices in {chip}, where {available} are free"
        ),
        &CompileError::ContextTooLarge { context, sequences, needed, available, .. } => {
            cache(sequences, context, needed, available)
        }
        error => error.to_string(),
    }
}

/// What key-value rows take that do not fit.
fn cache(sequences: usize, context: usize, needed: u64, available: u64) -> String {
    let what = match sequences {
        1 => format!("a context of {context} tokens takes"),
        _ => format!("{sequences} sequences with a context of {context} tokens take"),
    };
    format!("{what} {needed} bytes of key-value memory, {available} are left next to the weights")
}

/// What fits instead.
fn cache_advice(sequences: usize, fits: Option<usize>, fewer: Option<usize>) -> String {
    let fewer = fewer.map(|fewer| format!("{fewer} of the sequences fit: give --sequences {fewer}"));
    match (fits, fewer) {
        (None, None) => "no context fits: use a chip with more words a bank".to_owned(),
        (None, Some(fewer)) => fewer,
        (Some(fits), _) if sequences == 1 => format!("a context of {fits} fits"),
        (Some(fits), None) => format!("a context of {fits} fits, with as many sequences"),
        (Some(fits), Some(fewer)) => format!("a context of {fits} fits, with as many sequences, or {fewer}"),
    }
}

#[cfg(test)]
mod tests {
    use super::CompileError;

    #[test]
    fn a_stage_states_only_what_was_tried() {
        let weights = CompileError::WeightsTooLarge {
            chip: "c".into(),
            format: "w8a16",
            needed: 9,
            available: 8,
            advice: String::new(),
        };
        let (fits, fewer) = (None, None);
        let context = CompileError::ContextTooLarge { context: 7, sequences: 1, needed: 9, available: 8, fits, fewer };
        for error in [weights, context] {
            let refused = CompileError::of_stage((1, 3), 8, error);
            let message = refused.to_string();
            assert!(message.starts_with("stage 1 of 3 on 8 chips: "), "{message}");
            assert!(message.contains("9 bytes") && message.contains('8') && message.contains("no number"), "{message}");
            assert!(!message.contains("; ;") && !message.contains("no context fits"), "{message}");
            let CompileError::Stage { stage, stages, group, error, .. } = refused else { unreachable!("it is one") };
            let message = CompileError::Stage { stage, stages, group, least: Some(5), fewer, error }.to_string();
            assert!(message.ends_with("40 chips hold the model, in 5 stages: give --pipeline-parallel-size 5"));
        }
    }
}
