//! What each chip of a program runs, and the normal form of its queue sets.
//!
//! A program has one normal form, so that it has one binary form and one text: sets are numbered in order of the first
//! chip that runs them, no two are equal, none is without a chip, and the first chip of a set renames no link.

use std::collections::{BTreeMap, HashMap};

use crate::error::ContentError;
use crate::place::ChipId;
use crate::program::Program;
use crate::queue::{Item, Queue};
use crate::sets::{ChipProgram, QueueSet};
use crate::timeline::MAX_CYCLES;

impl Program {
    /// A program whose chips, from chip 0 on, run these queues from cycle 0; in normal form.
    #[must_use]
    pub fn with_queues(self, chips: Vec<QueueSet>) -> Self {
        let runs = (0..chips.len()).map(|set| ChipProgram { set: set as u16, ..ChipProgram::default() }).collect();
        let mut program = Self { sets: chips, chips: runs, ..self };
        program.normalise();
        program
    }

    /// Whether chips and sets are in [normal form](Program::normalise).
    ///
    /// # Errors
    /// [`ContentError`] names the first chip that is not, or that starts after the last cycle of the format.
    pub fn validate_chips(&self) -> Result<(), ContentError> {
        check(self)
    }

    /// The chips in order, each with what it runs.
    pub fn each_chip(&self) -> impl Iterator<Item = (ChipId, &ChipProgram)> {
        (0..=u16::MAX).map(ChipId).zip(&self.chips)
    }

    /// The queues of a chip in order, by the chip's own names. None where the program has no such chip or set.
    #[must_use]
    pub fn queues(&self, chip: ChipId) -> Vec<(Queue, &[Item])> {
        let Some((run, set)) = self.run(chip) else { return Vec::new() };
        let mut queues: Vec<(Queue, &[Item])> =
            set.iter().map(|(&queue, items)| (run.queue(queue), &items[..])).collect();
        if !run.links.is_empty() {
            queues.sort_unstable_by_key(|&(queue, _)| queue);
        }
        queues
    }

    /// What a chip runs, and its queue set.
    #[must_use]
    pub fn run(&self, chip: ChipId) -> Option<(&ChipProgram, &QueueSet)> {
        let run = self.chips.get(usize::from(chip.0))?;
        Some((run, self.sets.get(usize::from(run.set))?))
    }

    /// The queues of one chip by its own names, to change them: other chips of its set keep what they have. The
    /// program may leave its [normal form](Program::normalise). None where it has no such chip or set.
    pub fn queues_mut(&mut self, chip: ChipId) -> Option<&mut QueueSet> {
        let own: QueueSet = self.run(chip)?.1.clone();
        let run = &mut self.chips[usize::from(chip.0)];
        let renamed = own.into_iter().map(|(queue, items)| (run.queue(queue), items)).collect();
        run.links.clear();
        let shared = run.set;
        if self.chips.iter().filter(|other| other.set == shared).count() > 1 {
            self.chips[usize::from(chip.0)].set = self.sets.len() as u16;
            self.sets.push(renamed);
        } else {
            self.sets[usize::from(shared)] = renamed;
        }
        self.sets.get_mut(usize::from(self.chips[usize::from(chip.0)].set))
    }

    /// Puts sets and chips into normal form; every chip runs what it ran. What names a set that is not there is left
    /// as it is.
    pub fn normalise(&mut self) {
        let mut first: BTreeMap<u16, usize> = BTreeMap::new();
        for (chip, run) in self.chips.iter().enumerate() {
            if usize::from(run.set) >= self.sets.len() {
                return;
            }
            first.entry(run.set).or_insert(chip);
        }
        for (&set, &chip) in &first {
            self.name_as(set, chip);
        }
        let mut sets: Vec<Option<QueueSet>> = std::mem::take(&mut self.sets).into_iter().map(Some).collect();
        // By lengths of their queues, which tell most sets apart: the numbers of sets.
        let mut numbers: HashMap<Vec<(Queue, usize)>, Vec<u16>> = HashMap::new();
        let mut renumbered: BTreeMap<u16, u16> = BTreeMap::new();
        for run in &mut self.chips {
            let kept = &mut self.sets;
            let number = *renumbered.entry(run.set).or_insert_with(|| {
                let set = sets[usize::from(run.set)].take().unwrap_or_default();
                let lengths = set.iter().map(|(&queue, items)| (queue, items.len())).collect();
                let alike = numbers.entry(lengths).or_default();
                let found = alike.iter().copied().find(|&number| kept[usize::from(number)] == set);
                found.unwrap_or_else(|| {
                    kept.push(set);
                    alike.push(kept.len() as u16 - 1);
                    kept.len() as u16 - 1
                })
            });
            run.set = number;
        }
    }

    /// Names the links of a set as one of its chips does.
    fn name_as(&mut self, set: u16, chip: usize) {
        let names = self.chips[chip].links.clone();
        let of_set = &mut self.sets[usize::from(set)];
        let links: Vec<u16> = of_set.keys().filter_map(|queue| link(*queue)).collect();
        if !names.is_empty() {
            let run = &self.chips[chip];
            *of_set = std::mem::take(of_set).into_iter().map(|(queue, items)| (run.queue(queue), items)).collect();
        }
        for run in self.chips.iter_mut().filter(|run| run.set == set) {
            let name = |names: &BTreeMap<u16, u16>, link: u16| names.get(&link).copied().unwrap_or(link);
            let renamed = links.iter().map(|&link| (name(&names, link), name(&run.links, link)));
            run.links = renamed.filter(|(of_set, of_chip)| of_set != of_chip).collect();
        }
    }
}

fn link(queue: Queue) -> Option<u16> {
    match queue {
        Queue::C2c(link) => Some(link),
        _ => None,
    }
}

/// Whether chips and sets are in normal form.
pub(crate) fn check(program: &Program) -> Result<(), ContentError> {
    let wrong =
        |chip: ChipId, what: &'static str| Err(ContentError::QueueSets { program: program.name.clone(), chip, what });
    let mut seen = 0;
    for (chip, run) in program.each_chip() {
        let first = run.set == seen;
        if run.set > seen || usize::from(run.set) >= program.sets.len() {
            return wrong(chip, "runs a set that does not exist or is not numbered by its first chip");
        }
        seen += u16::from(first);
        links(run, first, &program.sets[usize::from(run.set)]).or_else(|what| wrong(chip, what))?;
        if run.start > MAX_CYCLES {
            return Err(ContentError::TooLong { program: program.name.clone(), cycles: run.start });
        }
    }
    if usize::from(seen) != program.sets.len() {
        return wrong(ChipId(program.chips.len() as u16), "would be needed for a set that no chip runs");
    }
    Ok(())
}

/// Whether the links of a chip are renamed each to one of its own.
fn links(run: &ChipProgram, first: bool, set: &QueueSet) -> Result<(), &'static str> {
    if run.links.is_empty() {
        return Ok(());
    }
    if first {
        return Err("is the first of its set and renames links");
    }
    if run.links.iter().any(|(of_set, of_chip)| of_set == of_chip || !set.contains_key(&Queue::C2c(*of_set))) {
        return Err("renames a link to itself, or one that its set does not have");
    }
    let mut named: Vec<Queue> = set.keys().map(|&queue| run.queue(queue)).collect();
    named.sort_unstable();
    if named.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("has two links of its set under one name");
    }
    Ok(())
}

/// Whether no two sets are equal. Costs as much as reading all of them.
pub(crate) fn distinct(program: &Program) -> Result<(), ContentError> {
    let mut numbers: HashMap<&QueueSet, usize> = HashMap::new();
    for (number, set) in program.sets.iter().enumerate() {
        if let Some(before) = numbers.insert(set, number) {
            return Err(ContentError::EqualSets { program: program.name.clone(), before, number });
        }
    }
    Ok(())
}
