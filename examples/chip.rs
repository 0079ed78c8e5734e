//! A chip of one's own: a preset with other figures, and what they change.

use std::error::Error;

use lpu::{Options, Precision, chip, model::Checkpoint};

const CONFIG: &str = include_str!("model/config.json");

fn main() -> Result<(), Box<dyn Error>> {
    let model = Checkpoint::from_config(CONFIG.as_bytes())?;
    let options = Options { precision: Precision::W8A16, context: 32, ..Options::default() };
    let published = chip::preset("tsp-v1")?;
    for (name, figures) in [
        ("as published", &[][..]),
        ("adders twice as slow", &[("vxm_simple", 8)]),
        ("half the clock", &[("clock_mhz", 450)]),
    ] {
        let mine = published.with(figures)?;
        let cycles = lpu::compile(&model, &mine, &options)?.programs[0].cycles;
        let microseconds = cycles as f64 / f64::from(mine.values().clock_mhz);
        println!("{name:<28}{cycles:>8} cycles  {microseconds:.2} us");
    }
    Ok(())
}
