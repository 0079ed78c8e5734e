//! Parts of a model as a pipeline: each is a stage of its own, and hands on its outputs by name.

use std::error::Error;
use std::path::Path;

use lpu::compiler::Part;
use lpu::{Engines, Options, Precision, Stage, Step, chip, model::Checkpoint};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/model");
    let checkpoint = Checkpoint::open(&folder)?;
    let chip = chip::preset("tsp-v1")?;
    let options = Options { precision: Precision::W8A16, context: 16, ..Options::default() };
    let graph = checkpoint.graph();

    let mut stages = Vec::new();
    for part in (0..checkpoint.config.layers).map(Part::Layer).chain([Part::Head]) {
        let compiled = lpu::compile_graph(&checkpoint, part.of(&graph)?, &chip, &options)?;
        stages.push((part, Stage::of(compiled, &chip, &Engines::default())?));
    }
    for (position, token) in [7, 11, 13].into_iter().enumerate() {
        let mut step = Step::of(&checkpoint, options.context, position, token)?;
        let mut cycles = 0;
        for (_, stage) in &mut stages {
            let run = stage.run(&step)?;
            cycles += run.cycles;
            step.activations.extend(stage.named(&run));
        }
        println!("token {token}: {cycles} cycles through {} stages", stages.len());
    }
    for (part, stage) in &stages {
        println!("{part:<8} {} cycles", stage.heads()[0].cycles);
    }
    Ok(())
}
