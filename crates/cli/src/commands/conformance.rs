//! Commands over conformance vectors: `conformance run`, `conformance coverage`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use lpu::conformance::{VectorError, Vectors, coverage, engines, run};

use super::outcome::{CommandResult, Usage};
use super::verdict::Verdict;

#[derive(Args)]
pub(crate) struct Conformance {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run every vector on an engine; exit status 1 if one is not met
    Run(RunVectors),
    /// List which rows of the instruction table and which rules the vectors cover; exit status 1 if one is not
    Coverage(Folder),
}

#[derive(Args)]
struct Folder {
    /// Folder with system.toml and vectors/ [default: the vectors in this command]
    folder: Option<PathBuf>,
}

/// Pairs each path in the folder of the vectors with the text of that file.
macro_rules! embedded {
    ($($path:literal),* $(,)?) => { [$(($path, include_str!(concat!("../../conformance/", $path)))),*] };
}

/// The vectors that ship.
const SHIPPED: [(&str, &str); 11] = embedded![
    "chip.toml",
    "system.toml",
    "vectors/arithmetic.json",
    "vectors/control.json",
    "vectors/conversions.json",
    "vectors/faults.json",
    "vectors/functions.json",
    "vectors/latches.json",
    "vectors/matrix.json",
    "vectors/memory.json",
    "vectors/switches.json",
];

#[derive(Args)]
struct RunVectors {
    #[command(flatten)]
    place: Folder,
    /// Engine: reference, fast, checker (verdicts and cycles), or all
    #[arg(long, default_value = "all")]
    engine: String,
}

impl Conformance {
    pub(crate) fn run(self) -> CommandResult {
        match self.command {
            Action::Run(command) => command.run(),
            Action::Coverage(place) => place.coverage(),
        }
    }
}

impl RunVectors {
    fn run(self) -> CommandResult {
        let all = engines();
        let known: Vec<&str> = all.iter().map(|engine| engine.name()).collect();
        if self.engine != "all" && !known.contains(&self.engine.as_str()) {
            return Err(Usage(format!("no engine `{}`; use {} or all", self.engine, known.join(", "))).into());
        }
        let vectors = self.place.vectors()?;
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

impl Folder {
    fn vectors(&self) -> Result<Vectors, VectorError> {
        match &self.folder {
            Some(folder) => Vectors::open(folder),
            None => Vectors::from_files(&SHIPPED),
        }
    }

    fn coverage(self) -> CommandResult {
        let vectors = self.vectors()?;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn every_file_of_the_vectors_ships() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance");
        let mut found = BTreeSet::new();
        for (inside, kind) in [("", "toml"), ("vectors/", "json")] {
            for entry in std::fs::read_dir(folder.join(inside)).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                if name.ends_with(kind) {
                    found.insert(format!("{inside}{name}"));
                }
            }
        }
        let shipped = super::SHIPPED.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(found, shipped);
    }
}
