//! Programs of pairs of chips, repeated over further pairs that run the same queue sets: later, and over links of other
//! names.

use lpu::chip::{Chip, System};
use lpu::isa::{ChipId, Image, Instruction, Program, Region, WordRun};

use crate::dice::Dice;
use crate::scenes::Scene;

/// Links of a pair as (of the first chip, of the second), by the names of even pairs and by those of odd ones. Either
/// name of a link is in the same hemisphere.
const LINKS: [[(u16, u16); 2]; 2] = [[(0, 1), (7, 7)], [(2, 3), (5, 6)]];

/// A system of so many pairs of this chip, which has eight links. Every third pair has links of a class of its own,
/// over which vectors arrive earlier.
#[must_use]
pub fn pairs(chip: &Chip, count: u16) -> System {
    let links = (0..count).flat_map(|pair| {
        let class = if pair % 3 == 2 { " near" } else { "" };
        let link = move |(one, other)| format!("'{}.{one} - {}.{other}{class}'", 2 * pair, 2 * pair + 1);
        LINKS[usize::from(pair % 2)].map(link)
    });
    let links = links.collect::<Vec<_>>().join(", ");
    let (latency, interval) = (chip.values().c2c_link - 7, chip.values().c2c_interval);
    let near = format!("[link_classes.near]\nlatency = {latency}\ninterval = {interval}");
    let text = format!("name = 'pairs'\nchip = 'one'\nchips = {}\nlinks = [{links}]\n{near}", 2 * count);
    System::from_toml(&text, &mut |_| Ok(chip.clone())).expect("the links are there")
}

/// A program of one pair, on as many pairs as the system has.
#[must_use]
pub fn repeat(system: &System, scene: &Scene, dice: &mut Dice) -> Scene {
    let Scene { image, program } = scene;
    let (mut image, mut program): (Image<'static>, Program) = (image.clone(), program.clone());
    let (extents, regions, chips) = (image.extents.clone(), program.regions.clone(), program.chips.clone());
    let period = u64::from(system.chip().values().c2c_period);
    let mut items = program.sets.iter().flat_map(|set| set.values()).flatten();
    let deskews = items.any(|item| matches!(item.instruction, Instruction::Deskew {}));
    for pair in 1..system.chips() / 2 {
        let moved = |run: WordRun| WordRun { chip: ChipId(run.chip.0 + 2 * pair), ..run };
        image.extents.extend(extents.iter().cloned().map(|mut extent| {
            extent.place = moved(extent.place);
            if let lpu::isa::Fill::Pairs(_, other) = &mut extent.fill {
                *other = moved(*other);
            }
            extent
        }));
        let region = |region: &Region| Region {
            name: format!("{}@{pair}", region.name),
            runs: region.runs.iter().copied().map(moved).collect(),
            ..region.clone()
        };
        program.regions.extend(regions.iter().map(region));
        // What waits for the shared counter keeps its distance to the rest where it starts whole periods later.
        let start = if deskews { period * dice.below(4) as u64 } else { dice.below(300) as u64 };
        for (number, run) in chips.iter().enumerate() {
            let mut run = run.clone();
            run.start = start;
            if pair % 2 == 1 {
                let name = |(one, other)| if number == 0 { one } else { other };
                run.links.extend(LINKS[0].map(name).into_iter().zip(LINKS[1].map(name)));
            }
            program.chips.push(run);
        }
    }
    program.normalise();
    program.cycles = lpu::checker::cycles(system, &image, &program).unwrap_or(program.cycles);
    Scene { image, program }
}
