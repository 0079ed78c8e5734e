//! What a program or an image has on chips that a system does not have.

use lpu_isa::{ChipId, Extent, Fault, Held, Image, Program, Site, Violation};

use crate::system::System;

impl System {
    /// Whether the system has this chip.
    #[must_use]
    pub fn has_chip(&self, chip: ChipId) -> bool {
        chip.0 < self.chips()
    }

    /// The fault of something on a chip that the system does not have.
    pub(crate) fn absent(&self, held: Held, chip: ChipId) -> Option<Fault> {
        (!self.has_chip(chip)).then_some(Fault::ChipAbsent { held, chip, chips: self.chips() })
    }

    /// All that an image has on chips that the system does not have, one violation a place, in order.
    #[must_use]
    pub fn absent_of_image(&self, image: &Image<'_>) -> Vec<Violation> {
        let places = image.extents.iter().flat_map(Extent::places);
        let mut found: Vec<Violation> =
            places.filter_map(|place| self.violation(None, place.chip, Held::Extent(place))).collect();
        found.sort_by_key(Violation::key);
        found
    }

    /// All that a program has on chips that the system does not have, in order: queues, whatever they hold, and runs of
    /// regions; where there are none of these, the chips themselves.
    #[must_use]
    pub fn absent_of_program(&self, program: &Program) -> Vec<Violation> {
        let mut found = Vec::new();
        for (chip, _) in program.each_chip().skip(usize::from(self.chips())) {
            let queues = program.queues(chip);
            let first = queues.iter().filter_map(|&(queue, items)| Some((queue, items.first()?)));
            let sites = first.map(|(queue, item)| Site { queue, item: 0, instruction: item.instruction });
            found.extend(sites.filter_map(|site| self.violation(Some(site), chip, Held::Queue)));
        }
        let runs = program.regions.iter().flat_map(|region| &region.runs);
        found.extend(runs.filter_map(|run| self.violation(None, run.chip, Held::Region(*run))));
        if found.is_empty()
            && let Some(last) = program.chips.len().checked_sub(1)
        {
            found.extend(self.violation(None, ChipId(u16::try_from(last).unwrap_or(u16::MAX)), Held::Program));
        }
        found.sort_by_key(Violation::key);
        found
    }

    fn violation(&self, site: Option<Site>, chip: ChipId, held: Held) -> Option<Violation> {
        Some(Violation { cycle: 0, chip, chips: self.chips(), site, fault: self.absent(held, chip)? })
    }
}

#[cfg(test)]
mod tests {
    use lpu_isa::{
        Count, Fill, Format, Hemisphere, Instruction, Queue, QueueSet, Region, RegionKind, SliceId, WordRun,
    };

    use super::*;

    fn run(chip: u16) -> WordRun {
        WordRun::one(ChipId(chip), SliceId { side: Hemisphere::East, index: 0 }, 5)
    }

    fn program(chips: usize, waits: Option<u16>, regions: &[u16]) -> Program {
        let mut queues = vec![QueueSet::new(); chips];
        if let Some(chip) = waits {
            queues[usize::from(chip)].insert(Queue::Vxm(0), vec![Instruction::Nop { count: Count(1) }.into()]);
            queues[usize::from(chip)].insert(Queue::Vxm(1), Vec::new());
        }
        let region = |&chip| Region {
            name: format!("r{chip}"),
            kind: RegionKind::State,
            format: Format::I8,
            vectors: 1,
            lanes: 1,
            runs: vec![run(chip)],
        };
        let regions = regions.iter().map(region).collect();
        Program { name: "p".into(), regions, ..Program::default() }.with_queues(queues)
    }

    #[test]
    fn everything_on_a_chip_that_is_not_there_is_found() {
        for name in ["test-small", "test-pair", "tsp-v1-node"] {
            let system = System::preset(name).unwrap();
            let chips = system.chips();
            for chip in 0..chips + 3 {
                let absent = usize::from(chip >= chips);
                let all = usize::from(chip) + 1;
                let image = Image { vector_bytes: 1, extents: vec![Extent { place: run(chip), fill: Fill::Zero }] };
                let of_program = |program: &Program| system.absent_of_program(program);
                let cases = [
                    system.absent_of_image(&image),
                    of_program(&program(all, Some(chip), &[])),
                    of_program(&program(1, None, &[chip])),
                    of_program(&program(all, None, &[])),
                ];
                for found in cases {
                    assert_eq!(found.len(), absent, "{name}, chip {chip}: {found:?}");
                    let says = |violation: &Violation| {
                        violation.to_string().contains(&format!("chip {chip}, but the system has {chips}"))
                    };
                    assert!(
                        found.iter().all(|violation| violation.chip == ChipId(chip) && says(violation)),
                        "{found:?}"
                    );
                }
                let both = of_program(&program(all, Some(chip), &[chip, 0]));
                assert_eq!(both.len(), 2 * absent, "{both:?}");
                assert_eq!(
                    system.out_of_range(ChipId(chip), Queue::Vxm(0), &Instruction::Sync {}).is_some(),
                    absent == 1
                );
            }
        }
    }
}
