//! Commands over program files: `asm`, `disasm`, `check`, `run`.

use std::error::Error;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use lpu::chip::System;
use lpu::emulator::{BankAccess, Observer, StreamWrite};
use lpu::isa::{ChipId, Instruction, Program, Queue, Region, RegionKind, disassemble, region};
use lpu::{Engine, EngineError, Output, OutputError, Ran, npy};
use serde_json::json;

use super::given::Given;
use super::options::How;
use super::outcome::{CommandResult, Usage};
use super::verdict::Verdict;
use super::{files, program};

#[derive(Args)]
pub(crate) struct Asm {
    /// Program text (.lpu); `-` for standard input
    file: PathBuf,
    /// Program file to write (.lpb); `-` for standard output
    #[arg(short, long)]
    output: PathBuf,
    /// Chip preset or description, when the program names a custom one
    #[arg(long, visible_alias = "system")]
    chip: Option<OsString>,
}

impl Asm {
    pub(crate) fn run(self) -> CommandResult {
        let loaded = program::load(&self.file, self.chip.as_deref())?;
        loaded.on_chips(&self.file, self.chip.as_deref())?;
        lpu::write_file(&self.output, &loaded.container.to_bytes()?)?;
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Args)]
pub(crate) struct Disasm {
    /// Program file (.lpb); `-` for standard input
    file: PathBuf,
    /// Text file to write; a large image goes into a file next to it, or into the text on standard output [default: -]
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Chip preset or description, when the program names a custom one
    #[arg(long, visible_alias = "system")]
    chip: Option<OsString>,
}

impl Disasm {
    pub(crate) fn run(self) -> CommandResult {
        let loaded = program::load(&self.file, self.chip.as_deref())?;
        loaded.on_chips(&self.file, self.chip.as_deref())?;
        let output = self.output.filter(|path| !lpu::is_stdout(path));
        let image = output.as_ref().map(|path| path.with_extension("image"));
        let name = image.as_ref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
        let (text, bytes) = disassemble(&loaded.container, name.as_deref());
        match output {
            Some(path) => lpu::write_file(&path, text.as_bytes())?,
            None => std::io::stdout().write_all(text.as_bytes())?,
        }
        if let (Some(path), Some(bytes)) = (image, bytes) {
            lpu::write_file(&path, &bytes)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Args)]
pub(crate) struct Check {
    /// Program, text or binary; `-` for standard input
    file: PathBuf,
    /// Chip preset or description, when the program names a custom one
    #[arg(long, visible_alias = "system")]
    chip: Option<OsString>,
}

impl Check {
    pub(crate) fn run(self) -> CommandResult {
        let loaded = program::load(&self.file, self.chip.as_deref())?;
        let system = loaded.system(self.chip.as_deref())?;
        let mut out = Verdict::stdout();
        let mut broken = 0;
        for (index, program) in loaded.container.programs.iter().enumerate() {
            let report = lpu::checker::check_system(&system, &loaded.container.image, program)?;
            write!(out, "{}", loaded.listed(&self.file, index, &report.violations))?;
            broken += report.violations.len();
            let proven = match report.violations.is_empty() {
                true => lpu::checker::prove_interval(&system, program, &report),
                false => Ok(()),
            };
            if let Err(error) = &proven {
                writeln!(out, "{} `{}`: {error}", files::shown(&self.file), program.name)?;
                broken += 1;
            } else if report.violations.is_empty() {
                let warnings = report.warnings(&system, program);
                write!(out, "{}", loaded.warned(&self.file, index, &warnings))?;
                let count = match warnings.len() {
                    0 => String::new(),
                    1 => ", 1 warning".to_owned(),
                    count => format!(", {count} warnings"),
                };
                let interval = match program.interval {
                    Some(interval) => format!(", runs at least {interval} cycles apart"),
                    None => String::new(),
                };
                writeln!(
                    out,
                    "{} `{}`: legal, {} cycles{interval}{count}",
                    files::shown(&self.file),
                    program.name,
                    report.cycles
                )?;
            }
        }
        out.flush()?;
        Ok(if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

#[derive(Args)]
pub(crate) struct Run {
    /// Program, text or binary; `-` for standard input
    file: PathBuf,
    /// Fill an input region: NAME=FILE.npy
    #[arg(long, value_name = "NAME=FILE.npy", value_parser = named_file)]
    input: Vec<(String, PathBuf)>,
    /// Write a region after the run: NAME=FILE.npy
    #[arg(long, value_name = "NAME=FILE.npy", value_parser = named_file)]
    output: Vec<(String, PathBuf)>,
    /// Chip preset or description, when the program names a custom one
    #[arg(long, visible_alias = "system")]
    chip: Option<OsString>,
    #[command(flatten)]
    how: How,
    /// Write every dispatch, stream write and bank access, one JSON object a line
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// One JSON object a line, and the first error of writing them.
struct Trace {
    file: Output,
    outcome: std::io::Result<()>,
}

impl Trace {
    fn line(&mut self, value: &serde_json::Value) {
        if self.outcome.is_ok() {
            self.outcome = writeln!(self.file, "{value}");
        }
    }

    fn finish(self) -> Result<(), OutputError> {
        match self.outcome {
            Ok(()) => self.file.finish(),
            Err(error) => Err(self.file.failed(error)),
        }
    }
}

impl Observer for Trace {
    fn dispatch(&mut self, cycle: u64, chip: ChipId, queue: Queue, item: u32, instruction: &Instruction) {
        let text = lpu::isa::item_text(&lpu::isa::Item::from(*instruction));
        self.line(
            &json!({"cycle": cycle, "chip": chip.0, "dispatch": queue.to_string(), "item": item, "instruction": text}),
        );
    }
    fn stream_write(&mut self, write: StreamWrite<'_>) {
        let StreamWrite { cycle, chip, queue, stream, position, .. } = write;
        self.line(&json!({"cycle": cycle, "chip": chip.0, "stream": stream.to_string(), "position": position,
            "from": queue.to_string()}));
    }
    fn bank_access(&mut self, access: BankAccess) {
        let BankAccess { cycle, chip, slice, bank, word, write } = access;
        let kind = if write { "write" } else { "read" };
        self.line(&json!({"cycle": cycle, "chip": chip.0, "slice": slice.to_string(), "bank": bank, "word": word,
            "access": kind}));
    }
}

fn named_file(argument: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = argument.split_once('=').ok_or("write NAME=FILE.npy")?;
    if name.is_empty() || file.is_empty() {
        return Err("write NAME=FILE.npy".into());
    }
    Ok((name.to_owned(), file.into()))
}

fn read_array(path: &Path, region: &Region) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    npy::region_bytes(&files::read(path)?, region).map_err(|error| format!("{}: {error}", path.display()).into())
}

fn write_array(path: &Path, region: &Region, bytes: &[u8]) -> Result<(), OutputError> {
    let mut output = Output::create(path)?;
    npy::write_region(&mut output, region, bytes).map_err(|error| output.failed(error))?;
    output.finish()
}

impl Run {
    pub(crate) fn run(self) -> CommandResult {
        let engines = self.how.engines(self.trace.is_some())?;
        let given = Given::open(&self.file, self.chip.as_deref())?;
        let system = given.system(self.chip.as_deref())?;
        let program = given.program().ok_or("the file holds no program")?;
        let explained = |error: EngineError| match &error {
            EngineError::Fault(violation) => {
                let file = self.file.display();
                format!("{}`lpu check {file}` lists every broken rule", given.listed(&self.file, violation))
            }
            _ => error.to_string(),
        };
        let mut engine = given.engine(&system, &engines).map_err(explained)?;
        for (name, path) in &self.output {
            region::named(program, name)?;
            Output::probe(path)?;
        }
        self.trace.as_deref().map(Output::probe).transpose()?;
        self.fill(&mut engine, program)?;
        let ran = match &self.trace {
            Some(path) => {
                let mut trace = Trace { file: Output::create(path)?, outcome: Ok(()) };
                let ran = engine.run_observed(0, &mut trace).map_err(explained);
                let finished = trace.finish();
                let ran = ran?;
                finished?;
                ran
            }
            None => engine.run(0).map_err(explained)?,
        };
        for (name, path) in &self.output {
            write_array(path, region::named(program, name)?, &engine.read_region(program, name)?)?;
        }
        self.report(&system, &program.name, engine.name(), ran, given.instructions()?)?;
        Ok(ExitCode::SUCCESS)
    }

    /// Fills every input region of a program, each from the file that is given for it.
    fn fill(&self, engine: &mut Engine, program: &Program) -> Result<(), Box<dyn Error>> {
        let mut named = Vec::new();
        for (name, path) in &self.input {
            if named.contains(&name.as_str()) {
                return Err(Usage(format!("--input {name} is given twice; leave out one of them")).into());
            }
            engine.write_input(program, name, &read_array(path, region::named(program, name)?)?)?;
            named.push(name.as_str());
        }
        let missing = program
            .regions
            .iter()
            .find(|region| region.kind == RegionKind::Input && !named.contains(&region.name.as_str()));
        match missing {
            Some(Region { name, vectors, lanes, format, .. }) => Err(format!(
                "input `{name}` ([{vectors}, {lanes}] of {format}) is not given; add --input {name}=FILE.npy"
            )
            .into()),
            None => Ok(()),
        }
    }

    /// Prints what a run measured.
    fn report(&self, system: &System, program: &str, engine: &str, ran: Ran, preloaded: usize) -> std::io::Result<()> {
        let (mut out, clock) = (std::io::stdout(), system.chip().values().clock_mhz);
        let (cycles, microseconds) = (ran.cycles, ran.cycles as f64 / f64::from(clock));
        if self.json {
            let mut object = json!({
                "program": program, "chip": system.name(), "engine": engine, "cycles": cycles, "us": microseconds,
                "instructions": {"preloaded": preloaded, "fetched": ran.fetched},
            });
            if let Some(why) = system.chip().synthetic() {
                object["synthetic"] = why.into();
            }
            return writeln!(out, "{object}");
        }
        if let Some(why) = system.chip().synthetic() {
            writeln!(out, "chip `{}` is synthetic: {why}", system.chip().name())?;
        }
        writeln!(out, "{cycles} cycles, {microseconds:.3} microseconds at {clock} MHz")?;
        writeln!(out, "{preloaded} instructions preloaded, {} fetched from memory", ran.fetched)
    }
}
