//! `lpu inspect` and `lpu chips`: what stands at each step.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use lpu::chip::{Chip, PRESETS};
use lpu::isa::{Container, expand, item_text};
use lpu::model::Checkpoint;
use lpu::{Options, Precision, compiler};

use super::{Outcome, Target, files};

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Operations of the decode step
    Graph,
    /// Where weights and key-value rows lie
    Placement,
    /// Every dispatch in order of cycles
    Schedule,
    /// Words of each slice by region
    Sram,
}

#[derive(Args)]
pub(crate) struct Inspect {
    /// What to show
    #[arg(value_enum)]
    step: Step,
    /// Program file or model folder; nothing for the model that ships
    file: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

impl Inspect {
    pub(crate) fn run(self) -> Outcome {
        let file = self.file.as_deref();
        let is_program = file.is_some_and(|path| path.is_file());
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        if is_program {
            if matches!(self.step, Step::Graph | Step::Placement) {
                return Err("a program file no longer holds graph or placement; give the model's folder".into());
            }
            let loaded = files::program(file.expect("a program has a path"))?;
            let chip = files::chip_of(&loaded.container, self.target.chip.as_deref())?;
            return show(self.step, &loaded.container, &chip, &mut out);
        }
        let checkpoint = match file {
            Some(path) => Checkpoint::open(path)?,
            None => files::shipped()?,
        };
        if self.step == Step::Graph {
            write!(out, "{}", checkpoint.graph().to_text(checkpoint.weights()))?;
            return Ok(ExitCode::SUCCESS);
        }
        let chip = files::chip(self.target.chip.as_deref().unwrap_or("tsp-v1"))?;
        let options = Options { precision: self.target.dtype.unwrap_or(Precision::F16), context: self.target.context.unwrap_or(256) };
        let compiled = compiler::compile(&checkpoint, &chip, &options)?;
        if self.step == Step::Placement {
            write!(out, "{}", compiled.placement.to_text())?;
            return Ok(ExitCode::SUCCESS);
        }
        let container = Container { chip: chip.reference(), image: compiled.image, programs: compiled.programs, host: Vec::new().into() };
        show(self.step, &container, &chip, &mut out)
    }
}

fn show(step: Step, container: &Container<'_>, chip: &Chip, out: &mut impl Write) -> Outcome {
    for program in &container.programs {
        writeln!(out, "program {}: {} cycles", program.name, program.cycles)?;
        if step == Step::Sram {
            for region in &program.regions {
                let bytes = region.word_count() * chip.lanes() as u64;
                let (kind, name) = (region.kind.text(), &region.name);
                writeln!(out, "  {kind:<7}{name:<16}[{}, {}] {}, {bytes} bytes", region.vectors, region.lanes, region.format)?;
                for run in &region.runs {
                    writeln!(out, "    {run}")?;
                }
            }
            continue;
        }
        let mut issues = Vec::new();
        for (number, queues) in program.queues.iter().enumerate() {
            for (queue, items) in queues {
                issues.extend(expand(items).map(|issue| (issue.cycle, number, *queue, issue.instruction)));
            }
        }
        issues.sort_by_key(|&(cycle, chip, queue, _)| (cycle, chip, queue));
        for (cycle, number, queue, instruction) in issues {
            let prefix = if program.queues.len() > 1 { format!("{number}/") } else { String::new() };
            writeln!(out, "{cycle:>8}  {prefix}{:<12}{}", queue.to_string(), item_text(&instruction.into()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Args)]
pub(crate) struct Chips {
    /// Preset or .toml description
    name: Option<String>,
}

impl Chips {
    pub(crate) fn run(self) -> Outcome {
        match self.name {
            None => {
                for name in PRESETS {
                    let chip = files::chip(name)?;
                    let (lanes, bytes, clock) = (chip.lanes(), chip.sram_bytes() >> 20, chip.values().clock_mhz);
                    println!("{name:<12}{lanes} lanes, {} queues, {bytes} MiB of SRAM, {clock} MHz", chip.queues().len());
                }
            }
            Some(name) => print!("{}", files::chip(&name)?.to_toml()),
        }
        Ok(ExitCode::SUCCESS)
    }
}
