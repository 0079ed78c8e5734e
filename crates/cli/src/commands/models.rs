//! `lpu compile`: a model, or a part of one, into a program file, or only into its latency.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use lpu::chip::System;
use lpu::compiler::{Bound, Compiled, Part};
use lpu::isa::{Container, Program};
use lpu::model::Checkpoint;
use lpu::report::Latency;
use lpu::{Activity, Host, Output, Package, Spread, Subject, Summary, compile_measured, latency_of};

use super::files;
use super::options::{self, TargetOptions};
use super::outcome::{CommandResult, say_notes};

#[derive(Args)]
pub(crate) struct Compile {
    /// Folder in Hugging Face form or .gguf file; with --timing-only also a config.json, a folder without weights, or
    /// the name of a known model (`lpu models`) where there is no file or folder of that name
    model: PathBuf,
    /// Program file to write
    #[arg(short, long, required_unless_present = "timing_only")]
    output: Option<PathBuf>,
    /// Print cycles without weights; with --output, write the program over an image of zeros, to check, inspect and
    /// run; it generates nothing
    #[arg(long)]
    timing_only: bool,
    /// Only a part, with named activations as inputs and outputs: layer:N, attention:N, ffn:N or head
    #[arg(long, value_parser = options::part)]
    part: Option<Part>,
    #[command(flatten)]
    target: TargetOptions,
    /// Keep no plans next to the program file
    #[arg(long)]
    no_cache: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Why there is nothing to report.
const NONE: &str = "no program was compiled; give a context of at least 1";

impl Compile {
    pub(crate) fn run(self) -> CommandResult {
        let begin = Instant::now();
        let piped = self.output.as_deref().is_some_and(lpu::is_stdout);
        files::unmixed(self.output.as_deref(), "--output", self.json)?;
        if let Some(path) = &self.output {
            Output::probe(path)?;
        }
        let checkpoint = self.checkpoint()?;
        let system = self.target.system()?;
        let options = self.target.options(256);
        let whole = checkpoint.graph();
        let graph = match self.part {
            Some(part) => part.of(&whole)?,
            None => whole,
        };
        let (compiled, activities) = compile_measured(&checkpoint, graph, &system, &options)?;
        let bounds: Vec<u64> = compiled.bounds.iter().map(Bound::cycles).collect();
        let buckets = lpu::compiler::buckets(options.context);
        let of_program = |(index, (program, activity)): (usize, (&Program, &Activity))| {
            let found = latency_of(&system, program, activity, (bounds[index], compiled.oracles[index]));
            (buckets[index], Latency { part: self.part.is_some(), sequences: options.sequences as u64, ..found })
        };
        let latencies: Vec<(usize, Latency)> =
            compiled.programs.iter().zip(&activities).take(buckets.len()).enumerate().map(of_program).collect();
        let (_, latency) = latencies.last().ok_or(NONE)?;
        let longest = latencies.len() - 1;
        let spread = Spread::new(&system, &compiled, longest, &activities[longest]);
        let hash = match &self.output {
            Some(path) => {
                let host = match self.part {
                    Some(_) => None,
                    None => Some(Host::new(&checkpoint, &options, &compiled)?),
                };
                let hash = write(path, &system, compiled, (host, !self.timing_only))?;
                // No model starts from a file without weights.
                if !self.no_cache && !self.timing_only && !piped && path.is_file() {
                    lpu::keep_plans(&system, path)?;
                }
                hash
            }
            None => None,
        };
        let model = match self.part {
            Some(part) => format!("{} {part}", checkpoint.name()),
            None => checkpoint.name().to_owned(),
        };
        if self.json {
            let subject = Subject {
                model: &model,
                chip: system.name(),
                precision: options.precision,
                context: options.context,
                hash,
            };
            let seconds = begin.elapsed().as_secs_f64();
            let summary = Summary::of_compiled(&subject, &latencies, seconds).ok_or(NONE)?;
            writeln!(std::io::stdout(), "{}", Summary { system: spread, ..summary })?;
            return Ok(ExitCode::SUCCESS);
        }
        // The report goes where the program file does not.
        let mut out: Box<dyn Write> = if piped { Box::new(std::io::stderr()) } else { Box::new(std::io::stdout()) };
        write!(out, "{}", latency.table())?;
        spread.map_or(Ok(()), |spread| write!(out, "{spread}"))?;
        if latencies.len() > 1 {
            writeln!(out, "by context            {}", by_context(&latencies))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The model, without its weights where only times are asked for.
    fn checkpoint(&self) -> Result<Checkpoint, Box<dyn Error>> {
        let checkpoint = match (self.timing_only, files::is_stream(&self.model)) {
            (true, true) => Checkpoint::from_config(&files::read(&self.model)?)?,
            (true, false) => files::shape(&self.model)?,
            (false, _) => files::checkpoint(Some(&self.model))?,
        };
        say_notes(&checkpoint);
        if !self.timing_only {
            return Ok(checkpoint);
        }
        let shape = Checkpoint::from_config(checkpoint.config.to_json().as_bytes())?;
        Ok(shape.with_name(checkpoint.name()))
    }
}

/// Writes a program file; gives the BLAKE3 that ends it.
fn write(
    path: &Path,
    system: &System,
    compiled: Compiled,
    (host, weights): (Option<Host>, bool),
) -> Result<Option<[u8; 32]>, Box<dyn Error>> {
    let Compiled { image, programs, interface, .. } = compiled;
    let host = Package { interface, host, weights }.to_bytes();
    let container = Container { chip: system.reference(), image, programs, host: host.into() };
    let encoded = container.encode()?;
    let mut output = Output::create(path)?;
    encoded.write_to(&mut output).map_err(|source| output.failed(source))?;
    output.finish()?;
    Ok(Some(encoded.hash()))
}

/// Cycles a token of every context bucket, for people.
fn by_context(latencies: &[(usize, Latency)]) -> String {
    let bucket = |(tokens, latency): &(usize, Latency)| format!("{} up to {tokens}", latency.cycles);
    latencies.iter().map(bucket).collect::<Vec<_>>().join(", ")
}
