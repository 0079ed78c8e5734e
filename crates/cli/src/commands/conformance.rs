//! Commands over conformance vectors: `conformance run`, `conformance coverage`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use lpu::conformance::{Vectors, coverage, engines, run};

use super::verdict::Verdict;
use super::{Outcome, Usage};

#[derive(Args)]
pub(crate) struct Conformance {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every vector on an engine; exit status 1 if one is not met
    Run(Run),
    /// List which rows of the instruction table and which rules the vectors cover; exit status 1 if one is not
    Coverage(Place),
}

#[derive(Args)]
struct Place {
    /// Folder with system.toml and vectors/
    #[arg(default_value = "tests/conformance")]
    folder: PathBuf,
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    place: Place,
    /// Engine: reference, fast, checker (verdicts and cycles), or all
    #[arg(long, default_value = "all")]
    engine: String,
}

impl Conformance {
    pub(crate) fn run(self) -> Outcome {
        match self.command {
            Command::Run(command) => command.run(),
            Command::Coverage(place) => place.coverage(),
        }
    }
}

impl Run {
    fn run(self) -> Outcome {
        let all = engines();
        let known: Vec<&str> = all.iter().map(|engine| engine.name()).collect();
        if self.engine != "all" && !known.contains(&self.engine.as_str()) {
            return Err(Usage(format!("no engine `{}`; use {} or all", self.engine, known.join(", "))).into());
        }
        let vectors = Vectors::open(&self.place.folder)?;
        let mut out = Verdict::stdout();
        let mut failed = 0;
        for engine in all.iter().filter(|engine| self.engine == "all" || self.engine == engine.name()) {
            let tally = run(&vectors, engine.as_ref());
            for failure in &tally.failed {
                writeln!(out, "{}: {}: {}", engine.name(), failure.name, failure.difference)?;
            }
            for refusal in &tally.refused {
                writeln!(out, "{}: {}: not run: {}", engine.name(), refusal.name, refusal.difference)?;
            }
            let (met, refused, broken) = (tally.met, tally.refused.len(), tally.failed.len());
            writeln!(out, "{:<10}{met} met, {broken} not met, {refused} not run", engine.name())?;
            failed += broken;
        }
        out.flush()?;
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Place {
    fn coverage(self) -> Outcome {
        let vectors = Vectors::open(&self.folder)?;
        let covered = coverage(&vectors);
        let mut out = Verdict::stdout();
        let few = |names: &[String]| {
            let shown = names.iter().take(4).map(String::as_str).collect::<Vec<_>>().join(", ");
            if names.len() > 4 { format!("{shown}, ..") } else { shown }
        };
        for (mnemonic, row) in &covered.rows {
            writeln!(out, "{mnemonic:<18}{:>4}  {}", row.vectors.len(), few(&row.vectors))?;
            for (operand, value) in &row.missing {
                writeln!(out, "{:<18}      missing: {operand} number {value}", "")?;
            }
        }
        writeln!(out)?;
        for (rule, names) in &covered.rules {
            writeln!(out, "{:<24}{:>4}  {}", rule.name(), names.len(), few(names))?;
        }
        out.flush()?;
        Ok(if covered.whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
