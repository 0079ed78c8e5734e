//! `lpu inspect` and `lpu chips`: what is at each step.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use lpu::chip::{Chip, PRESETS, SYSTEMS, System};
use lpu::compiler::{Operation, Part, Record};
use lpu::isa::{Program, expand, item_text};
use lpu::model::{Checkpoint, Graph};
use lpu::{Options, Package, compiler};

use super::options::{self, TargetOptions};
use super::outcome::CommandResult;
use super::{files, program};

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shown {
    /// Operations of the decode step
    Graph,
    /// Where weights and key-value rows are
    Placement,
    /// Each operation: when it ran, what it waited for, which resource held it up
    Schedule,
    /// Every dispatch in order of cycles
    Dispatches,
    /// Words of each slice by region
    Sram,
}

#[derive(Args)]
pub(crate) struct Inspect {
    /// What to show
    #[arg(value_enum)]
    step: Shown,
    /// Program file, model folder (with or without weights), config.json or .gguf file; the name of a known model
    /// (`lpu models`) where there is no file or folder of that name; nothing for the model that ships
    file: Option<PathBuf>,
    /// Only a part: layer:N, attention:N, ffn:N or head
    #[arg(long, value_parser = options::part)]
    part: Option<Part>,
    #[command(flatten)]
    target: TargetOptions,
}

impl Inspect {
    pub(crate) fn run(self) -> CommandResult {
        let file = self.file.as_deref();
        let is_config = |path: &Path| path.extension().is_some_and(|extension| extension == "json");
        let is_file = |path: &Path| path.is_file() && !Checkpoint::is_gguf(path) && !is_config(path);
        let is_program = file.is_some_and(|path| files::is_stream(path) || is_file(path));
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        if is_program {
            let loaded = program::load(file.expect("a program has a path"), self.target.described())?;
            loaded.on_chips(file.expect("a program has a path"), self.target.described())?;
            let system = loaded.system(self.target.described())?;
            let container = loaded.container;
            if self.target.says() {
                options::agrees(&self.target, &Package::parse(&container.host)?.model()?.1)?;
            }
            if matches!(self.step, Shown::Dispatches | Shown::Sram) {
                return show(self.step, &container.programs, system.chip(), &mut out);
            }
            // The rest follows from the config that the file carries.
            let (_, host) = Package::parse(&container.host)?.model()?;
            let checkpoint = Checkpoint::from_config(host.config.to_json().as_bytes())?.with_name(&host.name);
            let options = host.options();
            return self.model(&checkpoint, &system, &options, Some(&container.programs), &mut out);
        }
        let checkpoint = match file {
            Some(path) => files::shape(path)?,
            None => files::shipped()?,
        };
        let (system, options) = (self.target.system()?, self.target.options(256));
        self.model(&checkpoint, &system, &options, None, &mut out)
    }

    /// Shows a step of a model's compilation; with `filed`, the programs of a file, only if they are what it makes.
    fn model(
        &self,
        checkpoint: &Checkpoint,
        system: &System,
        options: &Options,
        filed: Option<&[Program]>,
        out: &mut impl Write,
    ) -> CommandResult {
        let whole = checkpoint.graph();
        let graph = match self.part {
            Some(part) => part.of(&whole)?,
            None => whole,
        };
        if self.step == Shown::Graph {
            let stages = options.laid(system, checkpoint, &graph)?.stages;
            for (number, stage) in stages.iter().enumerate() {
                if stages.len() > 1 {
                    writeln!(out, "stage {number}")?;
                }
                write!(out, "{}", stage.to_text(checkpoint.weights()))?;
            }
            out.flush()?;
            return Ok(ExitCode::SUCCESS);
        }
        if filed.is_some() && self.part.is_some() {
            return Err("the file holds the whole model; leave --part away, or give the model itself".into());
        }
        let compiled = lpu::compile_graph(checkpoint, graph.clone(), system, options)?;
        if filed.is_some_and(|programs| programs != compiled.programs) {
            return Err("this compiler makes other programs of the file's model, so its placement and schedule are \
                unknown; `inspect dispatches` and `inspect sram` show what is in the file, and `compile` makes it anew"
                .into());
        }
        match self.step {
            Shown::Placement => {
                for (number, (placement, (first, _))) in compiled.placements.iter().zip(&compiled.stages).enumerate() {
                    if system.chips() > 1 {
                        let last = usize::from(*first) + compiled.parallel.tensor - 1;
                        writeln!(out, "stage {number}, each of chips {first} to {last}")?;
                    }
                    write!(out, "{}", placement.to_text())?;
                }
            }
            Shown::Schedule => {
                for (program, records) in compiled.programs.iter().zip(&compiled.records) {
                    writeln!(out, "program {}: {} cycles", program.name, program.cycles)?;
                    operations(&compiled.graph, records, out)?;
                }
            }
            Shown::Graph | Shown::Dispatches | Shown::Sram => {
                return show(self.step, &compiled.programs, system.chip(), out);
            }
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A line an operation.
fn operations(graph: &Graph, records: &[Record], out: &mut impl Write) -> std::io::Result<()> {
    let operations = compiler::operations(graph, records);
    let widest = |text: fn(&Operation) -> usize| operations.iter().map(text).max().unwrap_or(0);
    let name = widest(|operation| operation.name.len());
    let waited = widest(|operation| operation.waited.as_ref().map_or(1, String::len)).max("waited for".len());
    writeln!(
        out,
        "{:>8} {:>8} {:>6}  {:name$}  {:waited$}  held up by",
        "start", "end", "pieces", "operation", "waited for"
    )?;
    for Operation { name: of, tasks, start, end, waited: source, bound } in &operations {
        let source = source.as_deref().unwrap_or("-");
        let bound = bound.map_or_else(
            || "inputs alone".into(),
            |(cause, lost)| format!("{}, {lost} cycles over all pieces", cause.text()),
        );
        writeln!(out, "{start:>8} {end:>8} {tasks:>6}  {of:name$}  {source:waited$}  {bound}")?;
    }
    Ok(())
}

fn show(step: Shown, programs: &[Program], chip: &Chip, out: &mut impl Write) -> CommandResult {
    for program in programs {
        writeln!(out, "program {}: {} cycles", program.name, program.cycles)?;
        if step == Shown::Sram {
            for region in &program.regions {
                let bytes = region.word_count() * chip.lanes() as u64;
                let (kind, name) = (region.kind.text(), &region.name);
                writeln!(
                    out,
                    "  {kind:<7}{name:<16}[{}, {}] {}, {bytes} bytes",
                    region.vectors, region.lanes, region.format
                )?;
                for run in &region.runs {
                    writeln!(out, "    {run}")?;
                }
            }
            continue;
        }
        let mut issues = Vec::new();
        for (chip, run) in program.each_chip() {
            for (queue, items) in program.queues(chip) {
                issues.extend(expand(items).map(|issue| (run.start + issue.cycle, chip.0, queue, issue.instruction)));
            }
        }
        issues.sort_by_key(|&(cycle, chip, queue, _)| (cycle, chip, queue));
        for (cycle, number, queue, instruction) in issues {
            let prefix = if program.chips.len() > 1 { format!("{number}/") } else { String::new() };
            writeln!(out, "{cycle:>8}  {prefix}{:<12}{}", queue.to_string(), item_text(&instruction.into()))?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// A mark for chips that are not published.
fn synthetic(chip: &Chip) -> &'static str {
    if chip.synthetic().is_some() { ", synthetic" } else { "" }
}

#[derive(Args)]
pub(crate) struct Chips {
    /// Preset or .toml description
    name: Option<OsString>,
}

impl Chips {
    pub(crate) fn run(self) -> CommandResult {
        match self.name {
            None => {
                let mut out = std::io::stdout().lock();
                for name in PRESETS {
                    let chip = files::chip(name)?;
                    let (lanes, bytes, clock) = (chip.lanes(), chip.sram_bytes() >> 20, chip.values().clock_mhz);
                    let (queues, synthetic) = (chip.queues().len(), synthetic(&chip));
                    writeln!(
                        out,
                        "{name:<22}{lanes} lanes, {queues} queues, {bytes} MiB of SRAM, {clock} MHz{synthetic}"
                    )?;
                }
                for name in SYSTEMS {
                    let system = System::preset(name)?;
                    writeln!(
                        out,
                        "{name:<22}{} chips `{}`, {} links{}",
                        system.chips(),
                        system.chip().name(),
                        system.links().len(),
                        synthetic(system.chip())
                    )?;
                }
            }
            Some(name) => {
                let system = files::system(&name)?;
                let fingerprint = files::hex(&system.reference().fingerprint);
                write!(std::io::stdout(), "# fingerprint {fingerprint}\n{}", system.to_toml())?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
