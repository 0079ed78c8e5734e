//! Running the plans of a program: the phases of all chips step by step, the tasks of a step by whichever thread comes
//! first.
//!
//! A task's result does not depend on the thread that does it, nor on when within its step, so neither do the bits.

mod any;
mod calls;
mod dots;
mod moves;
mod ops;
mod partition;
mod prefetch;

use std::cell::{RefCell, UnsafeCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, Ordering};

use lpu_num::dot::{Digits, Halves};

use crate::arena::{Arena, Mail};
use crate::error::ReplayError;
use crate::places::At;
use crate::plan::{Op, Plan, Task};
use crate::pool::{Barrier, PoolWork};
use crate::system::SystemPlan;
use calls::{Calls, SharedCalls};
use partition::Partition;
use prefetch::Prefetcher;

/// The most lanes that a chip has.
pub(crate) const MAX_LANES: usize = 4096;

/// The most streams that an instruction takes or feeds.
const MOST_STREAMS: usize = 32;

/// Bytes of a cache line.
const LINE: usize = 64;

/// In place of the greatest byte of fp16 weights that is not known yet.
const UNKNOWN: u8 = 0xff;

/// In place of the greatest byte of a run of one row: the row is that of the run before.
const ALIKE: u8 = 0xfe;

/// Room for what a thread works on between taking and putting vectors.
pub(crate) struct Scratch {
    /// Bytes of streams taken and fed.
    bytes: [Vec<u8>; 2],
    wide: [Vec<u32>; 3],
    floats: [Vec<f32>; 2],
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        bytes: std::array::from_fn(|_| vec![0; MOST_STREAMS * MAX_LANES]),
        wide: std::array::from_fn(|_| vec![0; MAX_LANES]),
        floats: std::array::from_fn(|_| vec![0.0; MAX_LANES]),
    });
}

/// What a run measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Cycles from the first to the last landing of an effect in any tile.
    pub cycles: u64,
    /// Items that came to their queues by instruction fetch; the others were preloaded.
    pub fetched: u64,
    /// Whether some ALU operation [overflows](lpu_lanes::overflows); false until the program has run.
    pub overflow: bool,
}

/// The plans of a program with the memory that they run over.
pub(crate) struct Job {
    pub(crate) plans: Arc<SystemPlan>,
    chips: Vec<ChipJob>,
    partition: Partition,
}

/// The plan of a chip with the memory that it runs over.
pub(crate) struct ChipJob {
    chip: usize,
    plans: Arc<SystemPlan>,
    plan: Arc<Plan<At>>,
    arena: Arena,
    /// The mailboxes of all chips.
    mail: Arc<Mail>,
    /// Runs that are done together, with their rows where they are as long as this many extents are
    /// materialised.
    calls: Arc<Calls>,
    materialised_count: u32,
    /// By pass: lines of each row that were read last time, which are worth fetching ahead.
    live: Vec<AtomicU16>,
    /// By run: the greatest high byte of fp16 weights without their signs, or [`ALIKE`], as long as they do not change.
    greatest: Vec<AtomicU8>,
    /// By task.
    steady: Vec<Steady>,
    prepared: Vec<UnsafeCell<Ready>>,
    /// Whether some operation of the run [overflows](lpu_lanes::overflows).
    overflow: AtomicBool,
}

/// Of a task whose runs are all in the file, of finite fp16 weights each read by one pass or of one row, while the
/// arena's epoch is this one.
struct Steady {
    epoch: AtomicU32,
    /// The greatest high byte of the weights without their signs; [`ALIKE`] if there are runs of one row.
    greatest: AtomicU8,
}

/// Activations made ready for passes over fp16 weights, or over int8 weights.
#[derive(Default)]
struct Ready {
    halves: Halves,
    digits: Digits,
}

// SAFETY: prepared activations are written by one task of a phase and read only in later phases; the arena states its
// own rules.
unsafe impl Sync for ChipJob {}

impl Job {
    /// Plans over the words of each chip, for a pool of `workers`.
    pub(crate) fn new(plans: Arc<SystemPlan>, arenas: &[Arena], workers: usize) -> Result<Self, ReplayError> {
        let sends = (0..plans.chips.len()).map(|chip| plans.of(chip).sends);
        let mail = Arc::new(Mail::new(sends, plans.plans.first().map_or(0, |plan| plan.lanes))?);
        let mut shared = SharedCalls::default();
        let chips = arenas.iter().enumerate().map(|(chip, arena)| {
            let arena = arena.with_work(plans.of(chip).work)?;
            Ok(ChipJob::new(chip, &plans, arena, &mail, &mut shared))
        });
        let chips: Vec<ChipJob> = chips.collect::<Result<_, ReplayError>>()?;
        let partition = Partition::new(&plans.steps, &chips, workers);
        Ok(Self { plans, chips, partition })
    }

    /// Whether anything but this job has its plans.
    pub(crate) fn is_shared(&self) -> bool {
        // Each chip has them too.
        Arc::strong_count(&self.plans) > 1 + self.chips.len()
    }

    /// Makes ready for another run.
    pub(crate) fn begin(&self) {
        self.chips.iter().for_each(|chip| chip.overflow.store(false, Ordering::Relaxed));
    }

    /// Whether some operation of the last run [overflows](lpu_lanes::overflows).
    pub(crate) fn overflow(&self) -> bool {
        self.chips.iter().any(|chip| chip.overflow.load(Ordering::Relaxed))
    }
}

impl ChipJob {
    fn new(chip: usize, plans: &Arc<SystemPlan>, arena: Arena, mail: &Arc<Mail>, shared: &mut SharedCalls) -> Self {
        let plan = Arc::clone(plans.of(chip));
        for op in &plan.ops {
            match *op {
                Op::Copy { dst, .. } => arena.note_written(dst),
                Op::Split { dst, .. } => dst.iter().for_each(|&dst| arena.note_written(dst)),
                // Others make intermediate values; a scatter's word is known when it runs.
                _ => {}
            }
        }
        let (calls, materialised_count) = shared.of_plan(&plan, &arena);
        let live = plan.passes.iter().map(|_| AtomicU16::new(plan.lanes.div_ceil(LINE) as u16)).collect();
        let greatest = plan.runs.iter().map(|_| AtomicU8::new(UNKNOWN)).collect();
        let steady = plan
            .tasks
            .iter()
            .map(|_| Steady { epoch: AtomicU32::new(u32::MAX), greatest: AtomicU8::new(UNKNOWN) })
            .collect();
        let prepared = (0..plan.prepared).map(|_| UnsafeCell::new(Ready::default())).collect();
        Self {
            chip,
            plans: Arc::clone(plans),
            plan,
            arena,
            mail: Arc::clone(mail),
            calls,
            materialised_count,
            live,
            greatest,
            steady,
            prepared,
            overflow: AtomicBool::new(false),
        }
    }

    /// Operations in order, in the host's widest vectors: the same code, compiled for each.
    fn ops(&self, ops: &[Op<At>], scratch: &mut Scratch) {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                // SAFETY: the host has the instructions.
                return unsafe { self.ops_avx512(ops, scratch) };
            }
            if is_x86_feature_detected!("avx2") {
                // SAFETY: the host has the instructions.
                return unsafe { self.ops_avx2(ops, scratch) };
            }
        }
        ops.iter().for_each(|op| self.op(op, scratch));
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn ops_avx512(&self, ops: &[Op<At>], scratch: &mut Scratch) {
        for (number, op) in ops.iter().enumerate() {
            self.expect(ops, number);
            self.op(op, scratch);
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn ops_avx2(&self, ops: &[Op<At>], scratch: &mut Scratch) {
        for (number, op) in ops.iter().enumerate() {
            self.expect(ops, number);
            self.op(op, scratch);
        }
    }

    fn task(&self, number: usize, scratch: &mut Scratch, prefetch: &mut Prefetcher<'_>) {
        match self.plan.tasks[number] {
            Task::Ops(span) => self.ops(&self.plan.ops[span.range()], scratch),
            Task::Runs(_) => self.runs(number, scratch, prefetch),
            Task::Columns { columns, lane, lanes } => {
                self.columns(&self.plan.columns[columns.range()], usize::from(lane), usize::from(lanes), scratch);
            }
        }
    }
}

impl PoolWork for Job {
    fn part(&self, worker: usize, barrier: &Barrier) {
        let mut prefetch = Prefetcher::new(self, worker);
        SCRATCH.with_borrow_mut(|scratch| {
            for step in 0..self.partition.steps() {
                prefetch.begin(step);
                while let Some((chip, task)) = self.partition.next(step, worker) {
                    self.chips[chip].task(task, scratch, &mut prefetch);
                }
                if !barrier.meet(|| self.partition.renew(step), || prefetch.idle()) {
                    return;
                }
            }
        });
    }
}
