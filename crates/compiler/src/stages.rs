//! The stages of a compilation as values: [`place`] decides where everything is, [`schedule`] gives every instruction
//! of a context bucket its cycle, and [`emit`] makes the program of a schedule. Each needs nothing but its arguments.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use lpu_isa::{ChipId, Image, Instruction, Program, Queue, QueueSet, Region, compress};
use lpu_model::{Checkpoint, Graph};

use crate::buckets::{SHORTEST_BUCKET, buckets};
use crate::error::CompileError;
use crate::interface::{Bucket, Interface, Port, region_name};
use crate::interval;
use crate::lower::{Lowered, lower};
use crate::placement::Placement;
use crate::plan::{Plan, ValueRow, plan};
use crate::record::{self, Record};
use crate::rows::CacheRows;
use crate::tables::Tables;
use crate::target::Target;
use crate::vectors::Stored;

/// A graph whose weights, constants, inputs and key-value rows have their places, for all context buckets.
pub struct Placed {
    /// What it was placed for.
    pub target: Target,
    /// What SRAM starts from.
    pub image: Image<'static>,
    /// Regions of weights and key-value rows.
    pub(crate) slices: Vec<Region>,
    pub(crate) plan: Plan,
    pub(crate) cache: CacheRows,
    /// The first chip of the group.
    pub(crate) first: u16,
    crowded: bool,
}

impl Placed {
    /// The graph.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.plan.graph
    }

    /// Tokens that the key-value rows of a sequence hold, a multiple of 16.
    #[must_use]
    pub fn context(&self) -> usize {
        self.plan.context
    }

    /// Where everything is.
    #[must_use]
    pub fn placement(&self) -> Placement {
        Placement::of(&self.plan, &self.slices, &self.cache, self.crowded)
    }

    /// What programs of all [`buckets`] ask of their host and give back.
    #[must_use]
    pub fn interface(&self) -> Interface {
        let buckets = buckets(self.plan.context);
        let programs = |bucket| (0..self.target.sequences).map(|of| of * buckets.len() + bucket).collect();
        let of_bucket = |(bucket, &tokens): (usize, &usize)| Bucket { programs: programs(bucket), tokens };
        let [inputs, outputs] = self.ports();
        Interface { buckets: buckets.iter().enumerate().map(of_bucket).collect(), inputs, outputs }
    }

    /// Names of the outputs, row by row.
    pub(crate) fn output_names(&self) -> Vec<String> {
        let graph = self.graph();
        let rows = graph.outputs.iter().flat_map(|&value| self.plan.rows_of(value));
        rows.map(|ValueRow { value, row }| region_name(&graph.value(value).name, row)).collect()
    }

    /// The places of an input by name.
    pub(crate) fn input_places(&self, name: &str) -> Option<&[Stored]> {
        let graph = self.graph();
        let named = |&(row, _): &(&ValueRow, _)| region_name(&graph.value(row.value).name, row.row) == name;
        self.plan.inputs.values.iter().find(named).map(|(_, places)| &places[..])
    }

    /// The ports of the group's chips: inputs and outputs.
    pub(crate) fn ports(&self) -> [Vec<Port>; 2] {
        self.plan.ports(self.target.chip.lanes(), self.target.group.chips(), self.first)
    }
}

/// Every instruction of a program with its cycle, for sequence 0.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Tokens of the context bucket.
    pub bucket: usize,
    /// Tokens that are attended to, the bucket's or sixteen more, which masks leave out.
    pub tokens: usize,
    /// Cycles of a run.
    pub cycles: u64,
    /// The least distance at which runs may follow one another on one chip.
    pub interval: Option<NonZeroU64>,
    /// What each queue dispatches, in order of cycles.
    pub issues: BTreeMap<Queue, Vec<(u64, Instruction)>>,
    /// Named memory of the first chip, outputs included; the others have the same.
    pub regions: Vec<Region>,
    /// By output that goes to the next stage, and row: its vectors.
    pub(crate) sent: Vec<Vec<Stored>>,
    /// What the schedule takes of a chip, where there are such outputs.
    pub(crate) taken: Option<Arc<Tables>>,
    /// What was scheduled when and why, a record a task in the order of scheduling.
    pub records: Vec<Record>,
}

impl Schedule {
    fn of(placed: &Placed, bucket: usize, tokens: usize, oracle: bool) -> Result<Self, CompileError> {
        let Lowered { issues, mut regions, sent, taken, records } =
            lower(&placed.plan, &placed.target, tokens, oracle)?;
        let chip = &placed.target.chip;
        let all = issues.values().flatten();
        let landed = all.filter_map(|(cycle, instruction)| chip.effect(*cycle, instruction.row()));
        // What a send puts on a link is received before the schedule ends.
        let cycles = chip.run_cycles(landed.max());
        regions.extend(placed.slices.iter().cloned());
        let interval = interval::of_chip(chip, &issues);
        Ok(Self { bucket, tokens, cycles, interval, issues, regions, sent, taken, records })
    }

    /// A line a task: first and last dispatch, what it is, and why it did not start earlier.
    #[must_use]
    pub fn to_text(&self, graph: &Graph) -> String {
        record::to_text(graph, &self.records)
    }
}

/// Gives everything of a graph its place, and fills it from the checkpoint's weights where there are any. The key-value
/// rows of each sequence hold `context` tokens, rounded up to a multiple of 16.
///
/// # Errors
/// [`CompileError`] says what does not fit, without advice on what would.
pub fn place(target: &Target, checkpoint: &Checkpoint, graph: Graph, context: usize) -> Result<Placed, CompileError> {
    place_at(target, checkpoint, graph, (context, 0))
}

/// [`place`] on a group whose first chip is `first`.
pub(crate) fn place_at(
    target: &Target,
    checkpoint: &Checkpoint,
    graph: Graph,
    (context, first): (usize, u16),
) -> Result<Placed, CompileError> {
    let chips = target.group.chips();
    let of_member = |member: usize| {
        let (plan, slices) = plan(target, checkpoint, graph.clone(), (context, member))?;
        let mut extents = plan.vectors.extents(checkpoint.weights().present());
        let placed = (slices.crowded(), slices.cache_rows(), slices.regions());
        extents.extend(slices.extents());
        Ok::<_, CompileError>((plan, placed, extents))
    };
    let (plan, (crowded, cache, regions), of_first) = of_member(0)?;
    let mut extents = Vec::new();
    for member in 1..chips {
        // Without weights the chips of a group differ in nothing.
        let of_chip = if checkpoint.weights().present() { of_member(member)?.2 } else { of_first.clone() };
        extents.extend(of_chip.into_iter().map(|extent| extent.on_chip(ChipId(first + member as u16))));
    }
    extents.splice(0..0, of_first.into_iter().map(|extent| extent.on_chip(ChipId(first))));
    let image = Image { vector_bytes: target.chip.lanes() as u32, extents };
    Ok(Placed { target: target.clone(), image, slices: regions, plan, cache, first, crowded })
}

/// The schedule of a context bucket of `bucket` tokens, rounded up to a multiple of 16 and at most the placed context:
/// that for so many tokens, or that for sixteen more where it is shorter. Sixteen more include the spare row of each
/// entry, which a mask leaves out like tokens that are not fed yet. The shortest bucket and those below, where counts
/// grow with each sixteen tokens, those that would need another vector of masks, and those over a group are scheduled as
/// they are.
///
/// # Errors
/// [`CompileError`] when a task has no legal start, or intermediate vectors do not fit.
pub fn schedule(placed: &Placed, bucket: usize) -> Result<Schedule, CompileError> {
    shortest(placed, bucket, false)
}

/// Cycles that a bucket of a graph with experts would take if the choice of experts were known beforehand, so that
/// their weights could be loaded like any others; nothing where there are no experts.
///
/// # Errors
/// As [`schedule`].
pub fn oracle(placed: &Placed, bucket: usize) -> Result<Option<u64>, CompileError> {
    if placed.plan.experts.is_empty() {
        return Ok(None);
    }
    Ok(Some(shortest(placed, bucket, true)?.cycles))
}

fn shortest(placed: &Placed, bucket: usize, oracle: bool) -> Result<Schedule, CompileError> {
    if bucket == 0 {
        return Err(CompileError::EmptyContext);
    }
    let bucket = bucket.div_ceil(16).saturating_mul(16);
    if bucket > placed.plan.context {
        return Err(CompileError::BucketTooLong { bucket, context: placed.plan.context });
    }
    let found = Schedule::of(placed, bucket, bucket, oracle)?;
    let single = placed.target.group.chips() == 1;
    if !single || bucket <= SHORTEST_BUCKET || bucket.is_multiple_of(placed.target.chip.lanes()) {
        return Ok(found);
    }
    match Schedule::of(placed, bucket, bucket + 16, oracle) {
        Ok(longer) if longer.cycles < found.cycles => Ok(longer),
        Ok(_) | Err(CompileError::NoPlace { .. } | CompileError::ScratchTooLarge { .. }) => Ok(found),
        Err(error) => Err(error),
    }
}

/// The program of a schedule for sequence 0, named by its bucket: issues in a row become `repeat` items.
#[must_use]
pub fn emit(schedule: &Schedule) -> Program {
    let queues = schedule.issues.iter().map(|(&queue, issues)| (queue, compress(issues)));
    let queues: QueueSet = queues.collect();
    let (name, regions) = (schedule.bucket.to_string(), schedule.regions.clone());
    Program { name, cycles: schedule.cycles, interval: schedule.interval, regions, ..Program::default() }
        .with_queues(vec![queues])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use lpu_isa::expand;
    use lpu_model::Checkpoint;

    use super::{Placed, emit, oracle, place, schedule};
    use crate::{CompileError, Options, Precision, Target, compile};

    const CONTEXT: usize = 272;

    fn checkpoint() -> Checkpoint {
        let config = r#"{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":32,
            "intermediate_size":48,"num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,
            "vocab_size":24,"rms_norm_eps":1e-5,"tie_word_embeddings":true,"hidden_act":"silu","rope_theta":10000.0,
            "max_position_embeddings":512}"#;
        Checkpoint::from_config(config.as_bytes()).expect("a config of a known family")
    }

    fn target(precision: Precision) -> Target {
        Target::new(&lpu_chip::preset("tsp-v1").expect("it ships"), precision)
    }

    fn placed(precision: Precision, context: usize) -> Placed {
        let checkpoint = checkpoint();
        place(&target(precision), &checkpoint, checkpoint.graph(), context).expect("it fits")
    }

    #[test]
    fn the_stages_one_by_one_make_what_compile_makes() {
        for precision in [Precision::F16, Precision::W8A8, Precision::W8A16] {
            let options = Options { precision, context: CONTEXT, ..Options::default() };
            let compiled = compile(&checkpoint(), &target(precision).chip, &options).expect("it fits");
            let placed = placed(precision, CONTEXT);
            assert_eq!(placed.placement(), compiled.placements[0], "{precision:?}");
            assert_eq!(placed.interface(), compiled.interface, "{precision:?}");
            let last = schedule(&placed, CONTEXT).expect("it has a schedule");
            assert_eq!(Some(&emit(&last)), compiled.programs.last(), "{precision:?}");
            assert_eq!(Some(&last.records), compiled.records.last(), "{precision:?}");
            assert_eq!(oracle(&placed, CONTEXT), Ok(None), "{precision:?}: there are no experts");
        }
    }

    #[test]
    fn no_tile_entry_or_constant_shares_a_word_with_another() {
        for precision in [Precision::F16, Precision::W8A8, Precision::W8A16] {
            let placement = placed(precision, CONTEXT).placement();
            assert!(!placement.tiles.is_empty() && !placement.constants.is_empty());
            let mut taken = BTreeSet::new();
            for tile in &placement.tiles {
                // A part of a tile that is widened has the rows of every second load.
                let loads = tile.rows.div_ceil(16);
                for (number, part) in tile.parts.iter().enumerate() {
                    let words = match precision {
                        Precision::W8A16 => (loads + 1 - number) / 2,
                        _ => loads,
                    } as u32;
                    for (slice, word) in part.iter().flat_map(|run| run.places()) {
                        for word in word..word + words {
                            assert!(taken.insert((slice, word)), "{precision:?}: {} at {slice}:{word}", tile.node);
                        }
                    }
                }
            }
            for entry in &placement.entries {
                for (slice, word) in entry.bytes.iter().flatten().flat_map(|run| run.places()) {
                    for word in word..=word + (entry.tokens / 16) as u32 {
                        assert!(taken.insert((slice, word)), "{precision:?}: {} at {slice}:{word}", entry.node);
                    }
                }
            }
            for (slice, word) in placement.constants.iter().flat_map(|run| run.places()) {
                assert!(taken.insert((slice, word)), "{precision:?}: a constant at {slice}:{word}");
            }
        }
    }

    #[test]
    fn a_schedule_follows_from_the_placed_graph_and_the_bucket_alone() {
        let placed = placed(Precision::W8A16, CONTEXT);
        let cycles = |bucket| schedule(&placed, bucket).expect("it has a schedule").cycles;
        assert_eq!(cycles(64), cycles(64));
        assert_eq!(cycles(50), cycles(64), "buckets are rounded up to rows of key-value slices");
        assert!(cycles(16) <= cycles(CONTEXT));
        assert_eq!(schedule(&placed, 0).unwrap_err(), CompileError::EmptyContext);
        let context = CONTEXT;
        let long = CompileError::BucketTooLong { bucket: CONTEXT + 16, context };
        assert_eq!(schedule(&placed, CONTEXT + 1).unwrap_err(), long);
    }

    #[test]
    fn a_program_holds_each_issue_of_its_schedule() {
        let schedule = schedule(&placed(Precision::F16, 16), 16).expect("it has a schedule");
        let program = emit(&schedule);
        assert_eq!((program.name.as_str(), program.cycles), ("16", schedule.cycles));
        assert_eq!(program.sets[0].len(), schedule.issues.len());
        for (queue, items) in &program.sets[0] {
            let issues: Vec<_> = expand(items).map(|issue| (issue.cycle, issue.instruction)).collect();
            assert_eq!(issues, schedule.issues[queue], "{queue}");
        }
        assert_eq!(schedule.to_text(&checkpoint().graph()).lines().count(), schedule.records.len());
    }
}
