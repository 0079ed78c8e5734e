//! A program made ready to step: queues proven to have a meaning, regions resolved to words.

use lpu_chip::{Chip, System};
use lpu_isa::{ChipId, Fault, Item, Program, Queue, RegionKind, Site, Violation, validate};

use crate::error::MachineError;
use crate::sram::Sram;

/// Whether a word may be written, and whether it may be fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fixed {
    /// Any instruction may write it.
    #[default]
    Free,
    /// It belongs to a const region, or to a code region that is also an input.
    Const,
    /// It belongs to a code region.
    Code,
}

/// A program ready to run, any number of times.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub(crate) stated: u64,
    /// Chips of the system.
    pub(crate) chips: u16,
    /// Queues that the chip has, in order: chip, number in `queues`, items.
    pub(crate) lines: Vec<(u16, u16, Vec<Item>)>,
    /// All queues of a chip in order; lines name them by number.
    pub(crate) queues: Vec<Queue>,
    /// Faults that need no running, in order.
    pub(crate) unfit: Vec<Violation>,
    /// By chip: slice, word of input regions.
    pub(crate) inputs: Vec<Vec<(usize, u32)>>,
    /// By chip and slice: words of const and code regions.
    pub(crate) fixed: Vec<Vec<Vec<Fixed>>>,
}

impl Prepared {
    pub(crate) fn new(system: &System, chips: &[Sram], program: &Program) -> Result<Self, MachineError> {
        let chip = system.chip();
        if let Some(&first) = system.absent_of_program(program).first() {
            return Err(MachineError::ChipAbsent(first));
        }
        let mut queues = chip.queues();
        queues.extend(program.queues.iter().flat_map(|queues| queues.keys().copied()));
        queues.sort_unstable();
        queues.dedup();
        let mut prepared = Self {
            stated: program.cycles,
            chips: system.chips(),
            lines: Vec::new(),
            queues,
            unfit: Vec::new(),
            inputs: vec![Vec::new(); chips.len()],
            fixed: chips.iter().map(|_| vec![Vec::new(); 2 * chip.values().slices_per_side as usize]).collect(),
        };
        prepared.regions(chip, chips, program)?;
        for (number, queues) in program.queues.iter().enumerate() {
            for (&queue, items) in queues {
                validate(queue, items)?;
                prepared.queue(chip, number as u16, queue, items);
            }
        }
        prepared.unfit.sort_by_key(Violation::key);
        Ok(prepared)
    }

    /// Items that are in the queues before a run.
    #[must_use]
    pub fn preloaded(&self) -> u64 {
        self.lines.iter().map(|(_, _, items)| items.len() as u64).sum()
    }

    fn queue(&mut self, chip: &Chip, number: u16, queue: Queue, items: &[Item]) {
        let index = self.queues.binary_search(&queue).expect("all queues are listed") as u16;
        let chips = self.chips;
        let violation = |item: usize, fault| Violation {
            cycle: 0,
            chip: ChipId(number),
            chips,
            site: Some(Site { queue, item: item as u32, instruction: items[item].instruction }),
            fault,
        };
        if items.is_empty() {
            return;
        }
        if !chip.has_queue(queue) {
            self.unfit.push(violation(0, Fault::RangeOverflow { what: "queue", value: 0, limit: 0 }));
            return;
        }
        let depth = chip.values().queue_depth as usize;
        if items.len() > depth {
            self.unfit.push(violation(depth, Fault::QueueOverflow { items: items.len() as u64, depth: depth as u64 }));
        }
        self.lines.push((number, index, items.to_vec()));
    }

    fn regions(&mut self, chip: &Chip, chips: &[Sram], program: &Program) -> Result<(), MachineError> {
        for region in &program.regions {
            let found = region.runs.iter().map(|run| u64::from(run.count)).sum();
            if found != region.word_count() {
                return Err(MachineError::RegionWords {
                    region: region.name.clone(),
                    needed: region.word_count(),
                    found,
                });
            }
            for (at, slice, word) in region.words() {
                let sram = chips.get(usize::from(at.0)).filter(|sram| sram.contains(slice, word));
                let Some(sram) = sram else {
                    return Err(MachineError::OutsideSram { what: format!("region `{}`", region.name), slice, word });
                };
                let index = sram.index(slice);
                let fixed = match region.kind {
                    RegionKind::Input => {
                        self.inputs[usize::from(at.0)].push((index, word));
                        continue;
                    }
                    RegionKind::Const => Fixed::Const,
                    RegionKind::Code => Fixed::Code,
                    RegionKind::Output | RegionKind::State => continue,
                };
                let words = &mut self.fixed[usize::from(at.0)][index];
                words.resize(chip.words_per_slice() as usize, Fixed::Free);
                if words[word as usize] != Fixed::Code {
                    words[word as usize] = fixed;
                }
            }
        }
        for (inputs, fixed) in self.inputs.iter().zip(&mut self.fixed) {
            for &(slice, word) in inputs {
                if let Some(fixed @ Fixed::Code) = fixed[slice].get_mut(word as usize) {
                    *fixed = Fixed::Const;
                }
            }
        }
        Ok(())
    }
}
