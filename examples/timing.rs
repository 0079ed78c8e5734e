//! Timing from a config alone: without weights, a token's cycles in each context bucket with their lower bound.

use std::error::Error;

use lpu::{Options, Precision, chip, model::Checkpoint};

const CONFIG: &str = include_str!("model/config.json");

fn main() -> Result<(), Box<dyn Error>> {
    let shape = Checkpoint::from_config(CONFIG.as_bytes())?;
    let chip = chip::preset("tsp-v1")?;
    for precision in [Precision::F16, Precision::W8A16, Precision::W8A8] {
        let compiled = lpu::compile(&shape, &chip, &Options { precision, context: 256, ..Options::default() })?;
        for (program, bound) in compiled.programs.iter().zip(&compiled.bounds) {
            let (cycles, least) = (program.cycles, bound.cycles());
            let ratio = cycles as f64 / least as f64;
            println!("{:<6} context {:>4} {cycles:>7} cycles, {ratio:.2} of the bound", precision.name(), program.name);
        }
    }
    Ok(())
}
