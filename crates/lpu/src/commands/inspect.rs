//! `lpu inspect` and `lpu chips`: what stands at each step.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use lpu::chip::{Chip, PRESETS};
use lpu::isa::{Container, expand, item_text};
use lpu::model::Checkpoint;
use lpu::{Host, Options, Precision, compiler};

use super::{Outcome, Target, agrees, files};

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
    /// Program file, model folder or .gguf file; nothing for the model that ships
    file: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

impl Inspect {
    pub(crate) fn run(self) -> Outcome {
        let file = self.file.as_deref();
        let is_program = file.is_some_and(|path| path.is_file() && !Checkpoint::is_gguf(path));
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        if is_program {
            let container = files::program(file.expect("a program has a path"))?.container;
            let chip = files::chip_of(&container, self.target.chip.as_deref())?;
            if matches!(self.step, Step::Schedule | Step::Sram) {
                return show(self.step, &container, &chip, &mut out);
            }
            // Graph and placement follow from the config that the file carries.
            let host = Host::parse(&container.host)?;
            agrees(&self.target, &host)?;
            let checkpoint = Checkpoint::from_config(host.config.to_json().as_bytes())?.with_name(&host.name);
            return before(self.step, &checkpoint, &chip, &Options { precision: host.precision, context: host.context }, &mut out);
        }
        let checkpoint = match file {
            Some(path) => Checkpoint::open(path)?,
            None => files::shipped()?,
        };
        let chip = files::chip(self.target.chip.as_deref().unwrap_or("tsp-v1"))?;
        let options = Options { precision: self.target.dtype.unwrap_or(Precision::F16), context: self.target.context.unwrap_or(256) };
        if matches!(self.step, Step::Graph | Step::Placement) {
            return before(self.step, &checkpoint, &chip, &options, &mut out);
        }
        let compiled = compiler::compile(&checkpoint, &chip, &options)?;
        let container = Container { chip: chip.reference(), image: compiled.image, programs: compiled.programs, host: Vec::new().into() };
        show(self.step, &container, &chip, &mut out)
    }
}

/// Shows what stands before there is a program.
fn before(step: Step, checkpoint: &Checkpoint, chip: &Chip, options: &Options, out: &mut impl Write) -> Outcome {
    if step == Step::Graph {
        write!(out, "{}", checkpoint.graph().to_text(checkpoint.weights()))?;
    } else {
        write!(out, "{}", compiler::compile(checkpoint, chip, options)?.placement.to_text())?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
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
    out.flush()?;
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
                let mut out = std::io::stdout().lock();
                for name in PRESETS {
                    let chip = files::chip(name)?;
                    let (lanes, bytes, clock) = (chip.lanes(), chip.sram_bytes() >> 20, chip.values().clock_mhz);
                    writeln!(out, "{name:<12}{lanes} lanes, {} queues, {bytes} MiB of SRAM, {clock} MHz", chip.queues().len())?;
                }
            }
            Some(name) => write!(std::io::stdout(), "{}", files::chip(&name)?.to_toml())?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
