//! `lpu generate --prompts`: several sequences, whose runs follow one another as soon as the programs allow.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use lpu::report::Latency;
use lpu::{Interleaved, Output, SessionError, npy};

use super::files;
use super::generate::{Generate, Start};
use super::outcome::CommandResult;

/// The prompts of a file, one a line.
pub(super) fn lines(path: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let name = files::shown(path);
    let text = String::from_utf8(files::read(path)?)
        .map_err(|error| format!("{name}: {error}; save it as UTF-8, one prompt a line"))?;
    let lines: Vec<String> = text.strip_prefix('\u{feff}').unwrap_or(&text).lines().map(str::to_owned).collect();
    if lines.is_empty() {
        return Err(format!("{name} has no line; give one prompt a line").into());
    }
    match lines.iter().position(|line| line.trim().is_empty()) {
        Some(empty) => Err(format!("{name}: line {} is empty; give a prompt there or take it out", empty + 1).into()),
        None => Ok(lines),
    }
}

/// Refuses more prompts than sequences.
pub(super) fn within(prompts: usize, sequences: usize) -> Result<(), String> {
    match prompts <= sequences {
        true => Ok(()),
        false => Err(format!(
            "{prompts} prompts are more than the {sequences} sequences that the model is compiled for; give at most \
            {sequences} lines, or compile with --sequences {prompts}"
        )),
    }
}

impl Generate {
    /// Generates from all prompts, a token of each in turn.
    pub(super) fn interleaved(&self, start: &Start, compile_seconds: f64) -> CommandResult {
        let (model, tokenizer) = (&start.model, start.tokenizer.as_ref());
        let vocab = model.host().config.vocab;
        let mut sequences = model.sequences()?;
        let mut generations = Vec::new();
        for (sequence, (ids, _)) in sequences.iter_mut().zip(&start.prompts) {
            generations.push(sequence.generate(ids, self.sampler(), self.limits(), tokenizer)?);
        }
        let mut interleaved = Interleaved::new(model, generations);
        let decoding = Instant::now();
        let mut rows: Vec<Vec<u8>> = vec![Vec::new(); start.prompts.len()];
        while let Some(turn) = interleaved.next() {
            let turn = match turn {
                Err(SessionError::NotFinite(error)) => {
                    let failed = interleaved.failed().map(|sequence| &interleaved.generations()[sequence]);
                    let remedy = failed.map(|failed| {
                        let fed = [failed.prompt(), failed.tokens()].concat();
                        let sequence = failed.sequence();
                        format!(" (sequence {}); {}", sequence.number(), self.remedy(sequence, &fed))
                    });
                    return Err(format!("{error}{}", remedy.unwrap_or_default()).into());
                }
                turn => turn?,
            };
            if self.logits.is_some() {
                rows[turn.sequence].extend(turn.generated.ran.logits.iter().flat_map(|logit| logit.to_le_bytes()));
            }
        }
        let seconds = decoding.elapsed().as_secs_f64();
        let fed: usize = interleaved.times().iter().map(|times| times.per_token.len()).sum();
        if let Some(path) = &self.logits {
            let mut output = Output::create(path)?;
            npy::write(&mut output, "f4", &[fed, vocab], &rows.concat()).map_err(|error| output.failed(error))?;
            output.finish()?;
        }
        let latency = Latency { host_tokens_per_second: Some(fed as f64 / seconds), ..interleaved.latency()? };
        if self.json {
            writeln!(std::io::stdout(), "{}", interleaved.summary(&latency, compile_seconds)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        // Text and report go where the logits do not.
        let piped = self.logits.as_deref().is_some_and(lpu::is_stdout);
        let mut out: Box<dyn Write> = if piped { Box::new(std::io::stderr()) } else { Box::new(std::io::stdout()) };
        for (generation, (times, (_, prompt))) in
            interleaved.generations().iter().zip(interleaved.times().iter().zip(&start.prompts))
        {
            let (number, fed, end) = (generation.sequence().number(), times.per_token.len(), times.end);
            let begin = times.starts.first().copied().unwrap_or(0);
            writeln!(out, "sequence {number}, {fed} tokens fed in cycles {begin} to {end}")?;
            let (prompt, text) = (prompt.as_deref().unwrap_or_default(), generation.text()?.unwrap_or_default());
            writeln!(out, "{prompt}{text}\n")?;
        }
        write!(out, "{}", latency.table())?;
        writeln!(out, "{:<22}{fed} tokens fed in {} cycles", "all sequences", interleaved.cycles())?;
        Ok(ExitCode::SUCCESS)
    }
}
