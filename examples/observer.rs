//! An observer of a run: what a hand-written kernel dispatches in which cycle.

use std::error::Error;

use lpu::chip::{Chip, preset};
use lpu::emulator::{Machine, Observer};
use lpu::isa::{ChipId, Instruction, Item, Queue, assemble, item_text};

/// Prints each dispatch.
struct Dispatches;

impl Observer for Dispatches {
    fn dispatch(&mut self, cycle: u64, _chip: ChipId, queue: Queue, _item: u32, instruction: &Instruction) {
        println!("{cycle:>4}  {queue:<8}  {}", item_text(&Item::from(*instruction)));
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let source = include_str!("kernels/vector-add.lpu");
    let mut known = |name: &str| preset(name).ok().map(|chip: Chip| (chip.reference(), chip.lanes() as u32));
    let (container, _) = assemble(source, &mut |_| Err("this kernel has no image file".into()), &mut known)
        .map_err(|errors| errors[0].message.clone())?;
    let (chip, program) = (preset(&container.chip.name)?, &container.programs[0]);

    let mut machine = Machine::new(&chip, &container.image)?;
    let bytes: Vec<u8> = (0..320).flat_map(|lane| (lane as f32).to_le_bytes()).collect();
    machine.write_input(program, "a", &bytes)?;
    machine.write_input(program, "b", &bytes)?;
    let prepared = machine.prepare(program)?;
    let run = machine.run(&prepared, &mut Dispatches)?;
    let sum = machine.read_region(program, "c")?;
    println!("{} cycles; lane 319 is {}", run.cycles, f32::from_le_bytes(sum[319 * 4..].try_into()?));
    Ok(())
}
