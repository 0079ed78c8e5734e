//! `lpu compile`: a model, or a part of one, into a program file, or only into its latency.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use lpu::checker::CheckError;
use lpu::chip::{Chip, System};
use lpu::compile_graph;
use lpu::compiler::{Bound, Compiled, Part};
use lpu::isa::{Container, Program};
use lpu::model::Checkpoint;
use lpu::report::Latency;
use lpu::{Host, Options, Output, Package};
use serde_json::json;

use super::generate::{Subject, latency, latency_object, object, peak_rss};
use super::{Outcome, Target, files};

#[derive(Args)]
pub(crate) struct Compile {
    /// Folder in Hugging Face form or .gguf file; with --timing-only also a config.json or a folder without weights
    model: PathBuf,
    /// Program file to write
    #[arg(short, long, required_unless_present = "timing_only")]
    output: Option<PathBuf>,
    /// Print cycles without weights, writing nothing
    #[arg(long, conflicts_with = "output")]
    timing_only: bool,
    /// Only a part, with named activations as inputs and outputs: layer:N, attention:N, ffn:N or head
    #[arg(long, value_parser = super::part)]
    part: Option<Part>,
    #[command(flatten)]
    target: Target,
    /// Keep no plans beside the program file
    #[arg(long)]
    no_cache: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Bytes of SRAM that the regions of a program take.
pub(crate) fn used_bytes(program: &Program, chip: &Chip) -> u64 {
    program.regions.iter().map(lpu::isa::Region::word_count).sum::<u64>() * chip.lanes() as u64
}

impl Compile {
    pub(crate) fn run(self) -> Outcome {
        let begin = Instant::now();
        let piped = self.output.as_deref().is_some_and(lpu::is_stdout);
        files::unmixed(self.output.as_deref(), "--output", self.json)?;
        if let Some(path) = &self.output {
            Output::probe(path)?;
        }
        let mut checkpoint = match (self.timing_only, files::is_stream(&self.model)) {
            (true, true) => Checkpoint::from_config(&files::read(&self.model)?)?,
            (true, false) => Checkpoint::open_shape(&self.model)?,
            (false, _) => files::checkpoint(Some(&self.model))?,
        };
        super::say_notes(&checkpoint);
        if self.timing_only {
            let name = checkpoint.name().to_owned();
            checkpoint = Checkpoint::from_config(checkpoint.config.to_json().as_bytes())?.with_name(&name);
        }
        let chip = self.target.chip()?;
        let options =
            Options { precision: self.target.dtype.unwrap_or_default(), context: self.target.context.unwrap_or(256) };
        let whole = checkpoint.graph();
        let graph = match self.part {
            Some(part) => part.of(&whole)?,
            None => whole,
        };
        let compiled = compile_graph(&checkpoint, graph, &chip, &options)?;
        let bounds: Vec<u64> = compiled.bounds.iter().map(Bound::cycles).collect();
        let cycles: Vec<u64> = compiled.programs.iter().map(|program| program.cycles).collect();
        let system = System::single(&chip);
        let of_program = |(index, program): (usize, &Program)| {
            let found = latency(&system, &compiled.image, program, bounds[index], compiled.oracles[index])?;
            Ok(Latency { part: self.part.is_some(), ..found })
        };
        let latencies: Vec<Latency> =
            compiled.programs.iter().enumerate().map(of_program).collect::<Result<_, CheckError>>()?;
        let latency = latencies.last().ok_or("no program was compiled; give a context of at least 1")?;
        let mut hash = None;
        if let Some(path) = &self.output {
            let host = match self.part {
                Some(_) => None,
                None => Some(Host::new(&checkpoint, &options, &compiled)?),
            };
            let Compiled { image, programs, interface, .. } = compiled;
            let host = Package { interface, host }.to_bytes();
            let bytes = Container { chip: chip.reference(), image, programs, host: host.into() }.to_bytes()?;
            // The checksum ends the file.
            hash = bytes.last_chunk::<32>().copied();
            lpu::write_file(path, &bytes)?;
            drop(bytes);
            if !self.no_cache && !piped && path.is_file() {
                lpu::keep_plans(&system, path)?;
            }
        }
        let model = match self.part {
            Some(part) => format!("{} {part}", checkpoint.name()),
            None => checkpoint.name().to_owned(),
        };
        if self.json {
            let subject =
                Subject { model: &model, chip: chip.name(), dtype: options.precision, context: options.context, hash };
            let buckets = lpu::compiler::buckets(options.context);
            let per_token: Vec<_> = buckets.iter().zip(&latencies).map(bucket_object).collect();
            let mut object = object(&subject, latency, json!(per_token));
            object["latency"] = latencies.iter().map(latency_object).collect();
            object["utilization"] = latencies.iter().map(|latency| json!(latency.utilization)).collect();
            object["engine"] = json!(null);
            object["prompt_tokens"] = json!([]);
            object["tokens"] = json!([]);
            object["text"] = json!(null);
            object["hash"]["outputs"] = json!(null);
            object["host"] = json!({
                "compile_seconds": begin.elapsed().as_secs_f64(),
                "tokens_per_second": null,
                "peak_rss_bytes": peak_rss(),
                "threads": 1,
            });
            writeln!(std::io::stdout(), "{object}")?;
            return Ok(ExitCode::SUCCESS);
        }
        // The report goes where the program file does not.
        let mut out: Box<dyn Write> = if piped { Box::new(std::io::stderr()) } else { Box::new(std::io::stdout()) };
        write!(out, "{}", latency.table())?;
        if cycles.len() > 1 {
            let buckets = compiled_buckets(&options, &cycles);
            writeln!(out, "by context            {buckets}")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Cycles a token of one context bucket, for scripts.
fn bucket_object((context, latency): (&usize, &Latency)) -> serde_json::Value {
    let mut object = json!({
        "context": context, "cycles": latency.cycles, "lower_bound": latency.lower_bound, "ratio": latency.ratio()
    });
    if let Some(oracle) = latency.oracle {
        object["oracle"] = json!(oracle);
    }
    object
}

/// Cycles a token of every context bucket, for people.
fn compiled_buckets(options: &Options, cycles: &[u64]) -> String {
    let buckets = lpu::compiler::buckets(options.context);
    buckets.iter().zip(cycles).map(|(tokens, cycles)| format!("{cycles} up to {tokens}")).collect::<Vec<_>>().join(", ")
}
