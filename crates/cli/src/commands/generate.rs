//! `lpu generate`: tokens from a model, and what they cost.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::ProgressBar;
use lpu::checker::{CheckError, issues};
use lpu::chip::System;
use lpu::isa::{Image, Program};
use lpu::model::Tokenizer;
use lpu::report::{Instructions, Latency, Utilization};
use lpu::{Engines, Options, Output, Precision, ProgramFile, Session, SessionError, counts, npy, units};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::json;

use super::request::Request;
use super::{How, Outcome, Target, Usage, files};

#[derive(Args)]
pub(crate) struct Generate {
    /// Folder in Hugging Face form, .gguf file or compiled .lpb; nothing for the model that ships
    model: Option<PathBuf>,
    /// Text to go on from
    #[arg(long, conflicts_with = "tokens")]
    prompt: Option<String>,
    /// Token ids to go on from
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true)]
    tokens: Option<Vec<u32>>,
    /// Most tokens to generate
    #[arg(long, default_value = "64", value_parser = super::tokens)]
    max_tokens: usize,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    how: How,
    /// Sampling temperature; 0 takes the likeliest token
    #[arg(long, default_value = "0", value_parser = temperature, allow_negative_numbers = true)]
    temperature: f32,
    /// Seed of the sampling
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Go on past stop ids
    #[arg(long)]
    ignore_eos: bool,
    /// Write the logits of all fed tokens
    #[arg(long)]
    logits: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn temperature(text: &str) -> Result<f32, String> {
    text.parse()
        .ok()
        .filter(|&value: &f32| value >= 0.0 && value.is_finite())
        .ok_or_else(|| "give a number of at least 0".into())
}

struct Sampler {
    temperature: f32,
    chance: ChaCha8Rng,
}

impl Sampler {
    fn next(&mut self, logits: &[f32]) -> u32 {
        let best = (0..logits.len()).reduce(|best, id| if logits[id] > logits[best] { id } else { best }).unwrap_or(0);
        if self.temperature <= 0.0 {
            return best as u32;
        }
        let temperature = f64::from(self.temperature);
        let weight = |logit: f32| lpu::num::fp64::exp((f64::from(logit) - f64::from(logits[best])) / temperature);
        let total: f64 = logits.iter().map(|&logit| weight(logit)).sum();
        let mut point = (self.chance.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * total;
        for (id, &logit) in logits.iter().enumerate() {
            point -= weight(logit);
            if point < 0.0 {
                return id as u32;
            }
        }
        best as u32
    }
}

impl Generate {
    pub(crate) fn run(self) -> Outcome {
        self.logits.as_deref().map(Output::probe).transpose()?;
        files::unmixed(self.logits.as_deref(), "--logits", self.json)?;
        let piped = self.logits.as_deref().is_some_and(lpu::is_stdout);
        let begin = Instant::now();
        let mut prepared = self.session()?;
        let compile_seconds = begin.elapsed().as_secs_f64();
        let tokenizer = prepared.tokenizer.take();
        let session = &mut prepared.session;
        let stop_ids = session.host().config.stop_ids.clone();
        let mut sampler = Sampler { temperature: self.temperature, chance: ChaCha8Rng::seed_from_u64(self.seed) };
        let after_prompt = |tokenizer| Tokenizer::stream_after(tokenizer, &prepared.prompt);
        let mut stream = tokenizer.as_ref().map(after_prompt).transpose()?;
        let (mut generated, mut cycles, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        let mut fetched = 0;
        // Text and report go where the logits do not.
        let mut out: Box<dyn Write> = if piped { Box::new(std::io::stderr()) } else { Box::new(std::io::stdout()) };
        let mut say = |text: &str| -> std::io::Result<()> {
            if self.json {
                return Ok(());
            }
            out.write_all(text.as_bytes())?;
            out.flush()
        };
        if let Some(prompt) = &prepared.text {
            say(prompt)?;
        }
        let decoding = Instant::now();
        let mut pending: Vec<u32> = prepared.prompt.iter().rev().copied().collect();
        let mut digest = blake3::Hasher::new();
        while let Some(token) = pending.pop() {
            let result = match session.feed(token) {
                Err(SessionError::NotFinite(error)) => {
                    say("\n")?;
                    let mut fed = prepared.prompt.clone();
                    fed.extend(&generated);
                    return Err(format!("{error}; {}", self.remedy(session, &fed)).into());
                }
                result => result?,
            };
            cycles.push(result.cycles);
            fetched = result.fetched;
            let row: Vec<u8> = result.logits.iter().flat_map(|logit| logit.to_le_bytes()).collect();
            digest.update(&row);
            if self.logits.is_some() {
                rows.extend(row);
            }
            if !pending.is_empty() {
                continue;
            }
            let next = sampler.next(&result.logits);
            generated.push(next);
            if !self.ignore_eos && stop_ids.contains(&next) {
                break;
            }
            match stream.as_mut() {
                Some(stream) => {
                    if let Some(text) = stream.push(next)? {
                        say(&text)?;
                    }
                }
                None => say(&format!("{next} "))?,
            }
            if generated.len() < self.max_tokens {
                pending.push(next);
            }
        }
        if let Some(stream) = stream {
            say(&stream.finish()?)?;
        }
        let seconds = decoding.elapsed().as_secs_f64();
        say("\n\n")?;
        if let Some(path) = &self.logits {
            let mut output = Output::create(path)?;
            let shape = [cycles.len(), session.host().config.vocab];
            npy::write(&mut output, "f4", &shape, &rows).map_err(|error| output.failed(error))?;
            output.finish()?;
        }
        let last = session.bucket(session.position().saturating_sub(1));
        let oracle = session.host().oracles.get(last).copied().flatten();
        let (system, bound) = (System::single(session.chip()), session.host().lower_bounds[last]);
        let mut latency = latency(&system, &session.image()?, &session.programs()?[last], bound, oracle)?;
        latency.instructions.fetched = Some(fetched);
        let speed = cycles.len() as f64 / seconds;
        latency.host_tokens_per_second = Some(speed);
        if self.json {
            let text = tokenizer.map(|tokenizer| tokenizer.decode_after(&prepared.prompt, &generated)).transpose()?;
            let host = session.host();
            let (model, chip, hash) = (host.name.as_str(), session.chip().name(), Some(session.program_hash()?));
            let subject = Subject { model, chip, dtype: host.precision, context: host.context, hash };
            let mut object = object(&subject, &latency, json!(cycles));
            object["engine"] = json!(session.engine().name());
            object["prompt_tokens"] = json!(prepared.prompt);
            object["tokens"] = json!(generated);
            object["text"] = json!(text);
            object["hash"]["outputs"] = json!(digest.finalize().to_hex().as_str());
            object["host"] = json!({
                "compile_seconds": compile_seconds,
                "tokens_per_second": speed,
                "peak_rss_bytes": peak_rss(),
                "threads": session.engine().threads(),
            });
            writeln!(std::io::stdout(), "{object}")?;
        } else {
            write!(out, "{}", latency.table())?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// What helps where these tokens gave a logit that is not finite: another number format in which they give none,
    /// found by trying.
    fn remedy(&self, failed: &Session, fed: &[u32]) -> String {
        if self.model.as_deref().is_some_and(files::is_compiled) {
            return "run `lpu generate` on the folder or .gguf file of the model, which tries the other number formats"
                .into();
        }
        let host = failed.host();
        let works = |&precision: &Precision| {
            let options = Options { precision, context: host.context };
            let Ok(checkpoint) = files::checkpoint(self.model.as_deref()) else { return false };
            let session = Session::compile_for(
                checkpoint,
                failed.chip(),
                &options,
                &Engines { threads: self.how.threads, ..Engines::default() },
            );
            session.is_ok_and(|mut session| fed.iter().all(|&token| session.feed(token).is_ok()))
        };
        let others =
            [Precision::W8A16, Precision::F16, Precision::W8A8].into_iter().filter(|&other| other != host.precision);
        match { others }.find(works) {
            Some(other) => format!("with --dtype {} the tokens fed so far give finite numbers: use that", other.name()),
            None => "other number formats do not help: check the weights of the model".into(),
        }
    }

    /// Compiles or loads the model and encodes the prompt.
    fn session(&self) -> Result<Prepared, Box<dyn std::error::Error>> {
        let spinner = if self.json || !std::io::stderr().is_terminal() {
            ProgressBar::hidden()
        } else {
            let spinner = ProgressBar::new_spinner();
            spinner.set_message("compiling");
            spinner.enable_steady_tick(Duration::from_millis(100));
            spinner
        };
        let engines = self.how.engines(false)?;
        let prepared = match &self.model {
            Some(path) if files::is_compiled(path) => {
                let file = ProgramFile::open(path)?;
                let chip = files::chip_for(file.chip(), self.target.chip.as_deref())?;
                let session = Session::open(file, &chip, &engines)?;
                let host = session.host();
                super::agrees(&self.target, host)?;
                let tokenizer = host.tokenizer.as_deref().map(Tokenizer::from_json).transpose()?;
                let (prompt, text) = self.prompt(tokenizer.as_ref(), false)?;
                let request = self.request(&prompt);
                let options = Options { precision: host.precision, context: host.context };
                request.within_positions(&host.config, Some(host.context))?;
                request.within(
                    &host.config,
                    &chip,
                    &options,
                    " that the file was compiled for",
                    "compile again with",
                )?;
                Prepared { session, prompt, text, tokenizer }
            }
            path => {
                let checkpoint = files::checkpoint(path.as_deref())?;
                super::say_notes(&checkpoint);
                let json = checkpoint.checked_tokenizer_json();
                let tokenizer = json.and_then(|json| json.map(Tokenizer::from_json).transpose());
                let tokenizer = if self.tokens.is_some() { tokenizer.unwrap_or(None) } else { tokenizer? };
                let (prompt, text) = self.prompt(tokenizer.as_ref(), path.is_none())?;
                let request = self.request(&prompt);
                request.within_positions(&checkpoint.config, self.target.context)?;
                let context = self.target.context.unwrap_or_else(|| bucket_of(request.fed()));
                let chip = self.target.chip()?;
                let options = Options { precision: self.target.dtype.unwrap_or_default(), context };
                request.within(&checkpoint.config, &chip, &options, "", "give")?;
                let session = Session::compile_for(checkpoint, &chip, &options, &engines)
                    .map_err(|error| request.refit(error))?;
                Prepared { session, prompt, text, tokenizer }
            }
        };
        spinner.finish_and_clear();
        Ok(prepared)
    }

    fn prompt(
        &self,
        tokenizer: Option<&Tokenizer>,
        shipped: bool,
    ) -> Result<(Vec<u32>, Option<String>), Box<dyn std::error::Error>> {
        if let Some(tokens) = &self.tokens {
            return Ok((tokens.clone(), None));
        }
        let prompt = match &self.prompt {
            Some(prompt) => prompt.as_str(),
            None if shipped => files::SHIPPED_PROMPT.trim_end(),
            None => return Err(Usage("no prompt; give --prompt TEXT or --tokens 1,2,3".into()).into()),
        };
        let tokenizer =
            tokenizer.ok_or("the model has no tokenizer.json, so it cannot read text; give --tokens 1,2,3")?;
        let ids = tokenizer.encode(prompt)?;
        if ids.is_empty() {
            return Err("the prompt has no tokens; give some text".into());
        }
        Ok((ids, Some(prompt.to_owned())))
    }

    fn request(&self, prompt: &[u32]) -> Request {
        Request { prompt: prompt.len(), generated: self.max_tokens }
    }
}

/// The bucket that so many tokens are rounded up to: a multiple of 64 up to 256, then a power of two.
fn bucket_of(tokens: usize) -> usize {
    if tokens <= 256 { tokens.next_multiple_of(64) } else { tokens.checked_next_power_of_two().unwrap_or(tokens) }
}

struct Prepared {
    session: Session,
    prompt: Vec<u32>,
    text: Option<String>,
    tokenizer: Option<Tokenizer>,
}

/// The latency of a program on a system.
pub(crate) fn latency(
    system: &System,
    image: &Image<'_>,
    program: &Program,
    lower_bound: u64,
    oracle: Option<u64>,
) -> Result<Latency, CheckError> {
    let (chip, cycles) = (system.chip(), program.cycles);
    let counts = counts(system, &issues(system, image, program)?, cycles);
    Ok(Latency {
        part: false,
        cycles,
        lower_bound,
        oracle,
        clock_mhz: chip.values().clock_mhz,
        utilization: Utilization::new(&counts, &units(system), cycles),
        sram: (super::models::used_bytes(program, chip), u64::from(system.chips()) * chip.sram_bytes()),
        instructions: Instructions { preloaded: program.instructions() as u64, fetched: None },
        host_tokens_per_second: None,
    })
}

/// What was compiled, for reports.
pub(crate) struct Subject<'a> {
    pub(crate) model: &'a str,
    pub(crate) chip: &'a str,
    pub(crate) dtype: Precision,
    pub(crate) context: usize,
    /// BLAKE3 of the program file, where there is one.
    pub(crate) hash: Option<[u8; 32]>,
}

/// Latency as JSON has it.
pub(crate) fn latency_object(latency: &Latency) -> serde_json::Value {
    json!({ "us_per_token": latency.microseconds(), "tokens_per_second": latency.tokens_per_second() })
}

/// The keys that `generate` and `compile` share.
pub(crate) fn object(subject: &Subject<'_>, latency: &Latency, per_token: serde_json::Value) -> serde_json::Value {
    let hash = subject.hash.map(|hash| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    let mut object = json!({
        "model": subject.model,
        "chip": subject.chip,
        "dtype": subject.dtype.name(),
        "context": subject.context,
        "cycles": { "per_token": per_token, "lower_bound": latency.lower_bound, "ratio": latency.ratio() },
        "latency": latency_object(latency),
        "utilization": latency.utilization,
        "instructions": latency.instructions,
        "sram": { "used_bytes": latency.sram.0, "total_bytes": latency.sram.1 },
        "hash": { "program": hash },
    });
    if let Some(oracle) = latency.oracle {
        object["cycles"]["oracle"] = json!(oracle);
    }
    object
}

/// The largest resident size of this process, in bytes; 0 where the system does not say.
pub(crate) fn peak_rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0) * 1024
}
