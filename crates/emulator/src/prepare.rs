//! A program made ready to step: queues expanded once, regions resolved to words.

use lpu_chip::Chip;
use lpu_isa::{ChipId, Fault, Instruction, Program, Queue, RegionKind, Site, Violation, expand, validate};

use crate::error::MachineError;

use crate::sram::Sram;

/// One issue, in order of cycle, chip, queue, item.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) cycle: u64,
    pub(crate) chip: u16,
    pub(crate) queue: u16,
    pub(crate) item: u32,
    pub(crate) instruction: Instruction,
}

/// A program ready to run, any number of times.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub(crate) stated: u64,
    pub(crate) steps: Vec<Step>,
    /// All queues of a chip in order; steps name them by index.
    pub(crate) queues: Vec<Queue>,
    /// Faults that need no running, in order.
    pub(crate) unfit: Vec<Violation>,
    /// By chip: slice, word of input regions.
    pub(crate) inputs: Vec<Vec<(usize, u32)>>,
    /// By chip and slice: words of const and code regions.
    pub(crate) protected: Vec<Vec<Vec<bool>>>,
}

impl Prepared {
    pub(crate) fn new(chip: &Chip, chips: &[Sram], program: &Program) -> Result<Self, MachineError> {
        if program.queues.len() > chips.len() {
            return Err(MachineError::Chips { found: program.queues.len(), expected: chips.len() });
        }
        let mut queues = chip.queues();
        queues.extend(program.queues.iter().flat_map(|queues| queues.keys().copied()));
        queues.sort_unstable();
        queues.dedup();
        let mut prepared = Self {
            stated: program.cycles,
            steps: Vec::new(),
            queues,
            unfit: Vec::new(),
            inputs: vec![Vec::new(); chips.len()],
            protected: chips.iter().map(|_| vec![Vec::new(); 2 * chip.values().slices_per_side as usize]).collect(),
        };
        prepared.regions(chip, chips, program)?;
        for (number, queues) in program.queues.iter().enumerate() {
            for (&queue, items) in queues {
                validate(queue, items)?;
                prepared.queue(chip, number as u16, queue, items);
            }
        }
        prepared.steps.sort_by_key(|step| (step.cycle, step.chip, step.queue, step.item));
        prepared.unfit.sort_by_key(Violation::key);
        Ok(prepared)
    }

    fn queue(&mut self, chip: &Chip, number: u16, queue: Queue, items: &[lpu_isa::Item]) {
        let index = self.queues.binary_search(&queue).expect("all queues are listed") as u16;
        let violation = |cycle, item: u32, instruction, fault| Violation {
            cycle,
            chip: ChipId(number),
            site: Some(Site { queue, item, instruction }),
            fault,
        };
        let Some(first) = items.first() else { return };
        if !chip.has_queue(queue) {
            let fault = Fault::RangeOverflow { what: "queue", value: 0, limit: 0 };
            self.unfit.push(violation(0, 0, first.instruction, fault));
            return;
        }
        let depth = chip.values().queue_depth as usize;
        if let Some(item) = items.get(depth) {
            let fault = Fault::QueueOverflow { items: items.len() as u64, depth: depth as u64 };
            self.unfit.push(violation(0, depth as u32, item.instruction, fault));
        }
        for issue in expand(items) {
            match lpu_chip::out_of_range(chip, queue, &issue.instruction) {
                Some(fault) => self.unfit.push(violation(issue.cycle, issue.item, issue.instruction, fault)),
                None => self.steps.push(Step {
                    cycle: issue.cycle,
                    chip: number,
                    queue: index,
                    item: issue.item,
                    instruction: issue.instruction,
                }),
            }
        }
    }

    fn regions(&mut self, chip: &Chip, chips: &[Sram], program: &Program) -> Result<(), MachineError> {
        for region in &program.regions {
            let found = region.runs.iter().map(|run| u64::from(run.count)).sum();
            if found != region.word_count() {
                return Err(MachineError::RegionWords { region: region.name.clone(), needed: region.word_count(), found });
            }
            for (at, slice, word) in region.words() {
                let sram = chips.get(usize::from(at.0)).filter(|sram| sram.contains(slice, word));
                let Some(sram) = sram else {
                    return Err(MachineError::OutsideSram { what: format!("region `{}`", region.name), slice, word });
                };
                let index = sram.index(slice);
                match region.kind {
                    RegionKind::Input => self.inputs[usize::from(at.0)].push((index, word)),
                    RegionKind::Const | RegionKind::Code => {
                        let words = &mut self.protected[usize::from(at.0)][index];
                        words.resize(chip.words_per_slice() as usize, false);
                        words[word as usize] = true;
                    }
                    RegionKind::Output | RegionKind::State => {}
                }
            }
        }
        Ok(())
    }
}
