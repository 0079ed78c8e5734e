//! Chip descriptions drawn at random, and models held to what a description allows: compiled right, or refused by the
//! figure's name.

use std::fs;
use std::path::PathBuf;

use lpu::chip::{Chip, FIELDS, System, preset};
use lpu::emulator::Machine;
use lpu::model::Checkpoint;
use lpu::ports::read;
use lpu::replay::Replay;
use lpu::{Options, Precision, Step, compiler};

use crate::dice::Dice;

/// Values of a figure for which small models must compile, by the figure's name.
const SERVED: &[(&str, u32, u32, u32)] = &[
    ("superlanes", 1, 40, 1),
    ("streams", 16, 128, 16),
    ("slices_per_side", 40, 200, 1),
    ("slices_per_position", 1, 16, 1),
    ("banks", 1, 16, 1),
    ("words_per_bank", 2048, 8192, 1),
    ("alus", 8, 32, 1),
    ("planes_per_side", 2, 8, 2),
    ("accumulators", 1, 256, 1),
    ("sxm_per_side", 2, 64, 1),
    ("transposers_per_side", 1, 2, 1),
    ("mem_read", 1, 64, 1),
    ("mem_write", 1, 64, 1),
    ("mem_gather", 3, 64, 1),
    ("mem_gather_access", 0, 5, 1),
    ("mem_scatter", 1, 64, 1),
    ("vxm_simple", 1, 64, 1),
    ("vxm_special", 1, 64, 1),
    ("sxm_local", 1, 64, 1),
    ("sxm_across", 1, 64, 1),
    ("mxm_load", 1, 64, 1),
    ("mxm_install", 1, 64, 1),
    ("mxm_pass", 1, 64, 1),
    ("mxm_f16_interval", 1, 64, 1),
    ("mxm_accumulate", 1, 64, 1),
];

/// Draws changes of one to three figures of a chip, or of all; `served` keeps to values that small models must compile
/// for.
pub fn draw(dice: &mut Dice, served: bool) -> Vec<(&'static str, u32)> {
    let names: Vec<&'static str> = match served {
        true => SERVED.iter().map(|&(name, ..)| name).collect(),
        false => FIELDS
            .iter()
            .map(|field| field.name)
            .filter(|name| !["lanes_per_superlane", "hop"].contains(name))
            .collect(),
    };
    let count = match dice.below(8) {
        7 => names.len(),
        roll => roll % 3 + 1,
    };
    let mut changes: Vec<(&'static str, u32)> = Vec::new();
    while changes.len() < count {
        let name = names[dice.below(names.len())];
        if changes.iter().all(|&(found, _)| found != name) {
            changes.push((name, value(dice, name, served)));
        }
    }
    changes
}

/// A value of a figure: uniform in what is served, else as often small as large.
fn value(dice: &mut Dice, name: &str, served: bool) -> u32 {
    if served {
        let &(_, least, most, step) = SERVED.iter().find(|&&(found, ..)| found == name).expect("it is served");
        return least + dice.below(((most - least) / step + 1) as usize) as u32 * step;
    }
    let field = FIELDS.iter().find(|field| field.name == name).expect("it is a field");
    let span = u64::from(field.most - field.least) + 1;
    let bits = dice.below(64 - span.leading_zeros() as usize) as u32;
    let value = field.least + (dice.roll() % span.min(1 << bits << 1).max(1)) as u32;
    match name {
        "streams" => value.next_multiple_of(16).min(field.most),
        "planes_per_side" => value.next_multiple_of(2).min(field.most),
        _ => value,
    }
}

/// What became of a model on a chip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Compiled, legal, and right on both engines.
    Right,
    /// The description was refused.
    Description(String),
    /// The compiler refused, with this message.
    Refused(String),
    /// Anything that must not be.
    Wrong(String),
}

/// A test checkpoint with its reference.
pub struct Case {
    /// The checkpoint's folder.
    pub name: &'static str,
    checkpoint: Checkpoint,
    tokens: Vec<u32>,
    logits: Vec<f32>,
}

impl Case {
    /// Opens a test checkpoint.
    ///
    /// # Panics
    /// When the folder does not hold one.
    #[must_use]
    pub fn open(name: &'static str) -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("checkpoints").join(name);
        let checkpoint = Checkpoint::open(&folder).expect("the checkpoint opens");
        let tokens = fs::read(folder.join("tokens.json")).expect("there are tokens");
        let stored = fs::read(folder.join("logits.npy")).expect("there are logits");
        // One dimension or two of little-endian float32 after a header whose length is at byte 8.
        let header = 10 + usize::from(u16::from_le_bytes([stored[8], stored[9]]));
        let logits =
            stored[header..].chunks_exact(4).map(|value| f32::from_le_bytes([value[0], value[1], value[2], value[3]]));
        Self {
            name,
            tokens: serde_json::from_slice(&tokens).expect("tokens are numbers"),
            logits: logits.collect(),
            checkpoint,
        }
    }

    /// Compiles for a changed `tsp-v1`, proves what came of it, and feeds `count` tokens to both engines. `most` is the
    /// relative error of logits allowed.
    #[must_use]
    pub fn on(
        &self,
        changes: &[(&str, u32)],
        precision: Precision,
        context: usize,
        count: usize,
        most: f64,
    ) -> Outcome {
        let chip = match preset("tsp-v1").expect("it ships").with(changes) {
            Ok(chip) => chip,
            Err(error) => return Outcome::Description(error.to_string()),
        };
        let compiled =
            match compiler::compile(&self.checkpoint, &chip, &Options { precision, context, ..Options::default() }) {
                Ok(compiled) => compiled,
                Err(error) => return Outcome::Refused(error.to_string()),
            };
        for (program, bound) in compiled.programs.iter().zip(&compiled.bounds) {
            match lpu::checker::check(&chip, &compiled.image, program) {
                Err(error) => return Outcome::Wrong(error.to_string()),
                Ok(report) if !report.violations.is_empty() => {
                    return Outcome::Wrong(format!(
                        "{} broken rules, first {}",
                        report.violations.len(),
                        report.violations[0]
                    ));
                }
                Ok(report) if report.cycles != program.cycles => {
                    return Outcome::Wrong("the stated cycles are not the derived ones".into());
                }
                Ok(_) if bound.cycles() > program.cycles => {
                    return Outcome::Wrong(format!("{} cycles beat the bound of {}", program.cycles, bound.cycles()));
                }
                Ok(_) => {}
            }
        }
        self.run(&chip, &compiled, context, count, most).map_or_else(Outcome::Wrong, |()| Outcome::Right)
    }

    fn run(
        &self,
        chip: &Chip,
        compiled: &compiler::Compiled,
        context: usize,
        count: usize,
        most: f64,
    ) -> Result<(), String> {
        let (config, program) = (&self.checkpoint.config, &compiled.programs[0]);
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let mut machine = Machine::new(chip, &compiled.image).map_err(|error| text(&error))?;
        let prepared = machine.prepare(program).map_err(|error| text(&error))?;
        let mut fast = Replay::new(&System::single(chip), &compiled.image, 2).map_err(|error| text(&error))?;
        let plan = fast.prepare(&compiled.image, program).map_err(|error| text(&error))?;
        for (position, &token) in self.tokens[..count].iter().enumerate() {
            let step = Step::of(&self.checkpoint, context, position, token).map_err(|error| text(&error))?;
            let inputs = step.inputs(&compiled.interface, program).map_err(|error| text(&error))?;
            for (region, bytes) in inputs {
                machine.write_input(program, &region, &bytes).map_err(|error| text(&error))?;
                fast.write_input(program, &region, &bytes).map_err(|error| text(&error))?;
            }
            let run = machine.run(&prepared, &mut ()).map_err(|error| text(&error))?;
            let replayed = fast.run(&plan).map_err(|error| text(&error))?;
            let bytes = machine.read_region(program, "logits").map_err(|error| text(&error))?;
            if run.cycles != program.cycles || replayed.cycles != run.cycles {
                return Err(format!(
                    "{} cycles stated, {} and {} measured",
                    program.cycles, run.cycles, replayed.cycles
                ));
            }
            if fast.read_region(program, "logits").map_err(|error| text(&error))? != bytes {
                return Err("the engines' logits differ".into());
            }
            let found = read(&compiled.interface.outputs[0].lanes, &bytes);
            let expected = &self.logits[position * config.vocab..(position + 1) * config.vocab];
            let norm = |values: &mut dyn Iterator<Item = f32>| {
                values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt()
            };
            let error = norm(&mut found.iter().zip(expected).map(|(found, expected)| found - expected))
                / norm(&mut expected.iter().copied());
            if error.is_nan() || error > most {
                return Err(format!("token {position}: relative error {error}"));
            }
        }
        Ok(())
    }
}
