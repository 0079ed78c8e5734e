//! A program made ready to step: queues proven to have a meaning, regions resolved to words.

use lpu_chip::{Chip, System};
use lpu_isa::{
    ChipId, ChipProgram, Fault, Item, Program, Queue, QueueError, QueueSet, RegionKind, Site, Violation, validate,
};

use crate::sram::ChipSram;

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

/// A queue of a chip.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) chip: u16,
    /// Its number in [`Prepared::queues`].
    pub(crate) queue: u16,
    /// Cycle in which its clock starts.
    pub(crate) start: u64,
    /// Queue set, and which queue of it.
    items: (u16, usize),
}

/// A program ready to run, any number of times.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub(crate) stated: u64,
    /// Chips of the system.
    pub(crate) chips: u16,
    /// Queues that the chips have, in order.
    pub(crate) lines: Vec<Line>,
    /// The items of each queue set.
    sets: Vec<Vec<Vec<Item>>>,
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
    /// A program whose regions fit the chips.
    pub(crate) fn new(system: &System, chips: &[ChipSram], program: &Program) -> Result<Self, QueueError> {
        let chip = system.chip();
        let mut queues = chip.queues();
        let named =
            |(run, set): (&ChipProgram, &QueueSet)| set.keys().map(|&queue| run.queue(queue)).collect::<Vec<_>>();
        queues.extend(program.each_chip().filter_map(|(id, _)| program.run(id)).flat_map(named));
        queues.sort_unstable();
        queues.dedup();
        let mut prepared = Self {
            stated: program.cycles,
            chips: system.chips(),
            lines: Vec::new(),
            sets: program.sets.iter().map(|set| set.values().cloned().collect()).collect(),
            queues,
            unfit: Vec::new(),
            inputs: vec![Vec::new(); chips.len()],
            fixed: chips.iter().map(|_| vec![Vec::new(); 2 * chip.values().slices_per_side as usize]).collect(),
        };
        prepared.regions(chip, chips, program);
        for set in &program.sets {
            set.iter().try_for_each(|(&queue, items)| validate(queue, items))?;
        }
        for (id, run) in program.each_chip() {
            let queues = program.sets.get(usize::from(run.set)).into_iter().flat_map(QueueSet::keys);
            let mut queues: Vec<(Queue, usize)> = queues.map(|&queue| run.queue(queue)).zip(0..).collect();
            queues.sort_unstable();
            for (queue, number) in queues {
                prepared.queue(chip, (id, run.start), queue, (run.set, number));
            }
        }
        prepared.unfit.sort_by_key(Violation::key);
        Ok(prepared)
    }

    /// Items that are in the queues before a run.
    #[must_use]
    pub fn preloaded(&self) -> u64 {
        self.lines.iter().map(|line| self.items(line).len() as u64).sum()
    }

    /// What is in a queue before a run.
    pub(crate) fn items(&self, line: &Line) -> &[Item] {
        &self.sets[usize::from(line.items.0)][line.items.1]
    }

    fn queue(&mut self, chip: &Chip, (number, start): (ChipId, u64), queue: Queue, of_set: (u16, usize)) {
        let items = &self.sets[usize::from(of_set.0)][of_set.1];
        let index = self.queues.binary_search(&queue).expect("all queues are listed") as u16;
        let chips = self.chips;
        let violation = |item: usize, fault| Violation {
            cycle: 0,
            chip: number,
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
        self.lines.push(Line { chip: number.0, queue: index, start, items: of_set });
    }

    fn regions(&mut self, chip: &Chip, chips: &[ChipSram], program: &Program) {
        for region in &program.regions {
            for (at, slice, word) in region.words() {
                let index = chips[usize::from(at.0)].index(slice);
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
    }
}
