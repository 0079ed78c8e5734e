//! `lpu models`: the models whose shapes are known by name.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use lpu::KnownModel;
use serde_json::json;

use super::outcome::CommandResult;

#[derive(Args)]
pub(crate) struct Models {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Models {
    pub(crate) fn run(self) -> CommandResult {
        let models = KnownModel::all()?;
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        if self.json {
            writeln!(out, "{}", json!({ "models": models }))?;
            out.flush()?;
            return Ok(ExitCode::SUCCESS);
        }
        let [w8a8, w8a16, f16] = ["w8a8", "w8a16", "f16"].map(|format| format!("bytes in {format}"));
        writeln!(
            out,
            "{:<16} {:<9} {:>14} {w8a8:>15} {w8a16:>15} {f16:>15} {:>6} {:>7}",
            "name", "family", "parameters", "layers", "context"
        )?;
        for KnownModel { name, family, parameters, bytes, layers, context, .. } in models {
            writeln!(
                out,
                "{name:<16} {family:<9} {parameters:>14} {:>15} {:>15} {:>15} {layers:>6} {context:>7}",
                bytes.w8a8, bytes.w8a16, bytes.f16
            )?;
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}
