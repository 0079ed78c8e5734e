//! `lpu compile`: a model into a program file, or only into its latency.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use lpu::chip::Chip;
use lpu::isa::Program;
use lpu::model::Checkpoint;
use lpu::{Engines, Options, Precision, Session};
use serde_json::json;

use super::{Outcome, Target, files, generate};

#[derive(Args)]
pub(crate) struct Compile {
    /// Folder in Hugging Face form or .gguf file, or a config.json with --timing-only
    model: PathBuf,
    /// Program file to write
    #[arg(short, long, required_unless_present = "timing_only")]
    output: Option<PathBuf>,
    /// Print cycles without weights, writing nothing
    #[arg(long, conflicts_with = "output")]
    timing_only: bool,
    #[command(flatten)]
    target: Target,
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
        if let Some(path) = &self.output {
            files::writable(path)?;
        }
        let checkpoint = if self.timing_only && self.model.is_file() {
            Checkpoint::from_config(&files::read(&self.model)?)?
        } else {
            Checkpoint::open(&self.model)?
        };
        let chip = files::chip(self.target.chip.as_deref().unwrap_or("tsp-v1"))?;
        let options = Options { precision: self.target.dtype.unwrap_or(Precision::F16), context: self.target.context.unwrap_or(256) };
        let session = Session::compile_for(checkpoint, &chip, &options, &Engines::REFERENCE)?;
        if let Some(path) = &self.output {
            files::write(path, &session.container().ok_or("the session has no image to write")?.to_bytes()?)?;
        }
        let latency = generate::session_latency(&session);
        if self.json {
            let mut object = generate::object(&session, &latency, &[session.program().cycles])?;
            object["engine"] = json!(null);
            object["prompt_tokens"] = json!([]);
            object["tokens"] = json!([]);
            object["text"] = json!(null);
            object["hash"]["outputs"] = json!(null);
            object["host"] = json!({
                "compile_seconds": begin.elapsed().as_secs_f64(),
                "tokens_per_second": null,
                "peak_rss_bytes": generate::peak_rss(),
                "threads": 1,
            });
            writeln!(std::io::stdout(), "{object}")?;
        } else {
            write!(std::io::stdout(), "{}", latency.table())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
