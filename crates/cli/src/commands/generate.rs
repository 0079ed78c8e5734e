//! `lpu generate`: tokens from a model, and what they cost.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::ProgressBar;
use lpu::model::Tokenizer;
use lpu::report::Latency;
use lpu::{
    Engines, Limits, Model, Options, Output, Precision, ProgramFile, Sampler, Sequence, Session, SessionError, npy,
};

use super::files;
use super::options::{self, How, TargetOptions};
use super::outcome::{CommandResult, Usage, say_notes};
use super::prompts;
use super::request::Request;

#[derive(Args)]
pub(crate) struct Generate {
    /// Folder in Hugging Face form, .gguf file or compiled .lpb; nothing for the model that ships
    model: Option<PathBuf>,
    /// Text to go on from
    #[arg(long, conflicts_with = "tokens")]
    prompt: Option<String>,
    /// File of texts to go on from, one a line, each a sequence whose runs overlap those of the others; - for standard
    /// input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tokens", "prompt"])]
    prompts: Option<PathBuf>,
    /// Token ids to go on from
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true)]
    tokens: Option<Vec<u32>>,
    /// Most tokens to generate
    #[arg(long, default_value = "64", value_parser = options::tokens)]
    max_tokens: usize,
    #[command(flatten)]
    target: TargetOptions,
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
    pub(super) logits: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

fn temperature(text: &str) -> Result<f32, String> {
    text.parse()
        .ok()
        .filter(|&value: &f32| value >= 0.0 && value.is_finite())
        .ok_or_else(|| "give a number of at least 0".into())
}

impl Generate {
    pub(crate) fn run(self) -> CommandResult {
        self.logits.as_deref().map(Output::probe).transpose()?;
        files::unmixed(self.logits.as_deref(), "--logits", self.json)?;
        let piped = self.logits.as_deref().is_some_and(lpu::is_stdout);
        let begin = Instant::now();
        let mut prepared = self.start()?;
        let compile_seconds = begin.elapsed().as_secs_f64();
        if self.prompts.is_some() {
            return self.interleaved(&prepared, compile_seconds);
        }
        let (prompt, text) = prepared.prompts.swap_remove(0);
        let mut sequence = prepared.model.sequence()?;
        let tokenizer = prepared.tokenizer.take();
        // Text and report go where the logits do not.
        let mut out: Box<dyn Write> = if piped { Box::new(std::io::stderr()) } else { Box::new(std::io::stdout()) };
        let mut say = |text: &str| -> std::io::Result<()> {
            if self.json {
                return Ok(());
            }
            out.write_all(text.as_bytes())?;
            out.flush()
        };
        let vocab = prepared.model.host().config.vocab;
        let mut generation = sequence.generate(&prompt, self.sampler(), self.limits(), tokenizer.as_ref())?;
        if let Some(prompt) = &text {
            say(prompt)?;
        }
        let decoding = Instant::now();
        let mut rows: Vec<u8> = Vec::new();
        while let Some(generated) = generation.next() {
            let generated = match generated {
                Err(SessionError::NotFinite(error)) => {
                    say("\n")?;
                    let fed = [generation.prompt(), generation.tokens()].concat();
                    return Err(format!("{error}; {}", self.remedy(generation.sequence(), &fed)).into());
                }
                generated => generated?,
            };
            if self.logits.is_some() {
                rows.extend(generated.ran.logits.iter().flat_map(|logit| logit.to_le_bytes()));
            }
            match generated.token {
                Some(token) if tokenizer.is_none() && !generated.stop => say(&format!("{token} "))?,
                _ => say(&generated.text)?,
            }
        }
        let seconds = decoding.elapsed().as_secs_f64();
        say("\n\n")?;
        let fed = generation.cycles().len();
        if let Some(path) = &self.logits {
            let mut output = Output::create(path)?;
            npy::write(&mut output, "f4", &[fed, vocab], &rows).map_err(|error| output.failed(error))?;
            output.finish()?;
        }
        let latency = Latency { host_tokens_per_second: Some(fed as f64 / seconds), ..generation.latency()? };
        if self.json {
            writeln!(std::io::stdout(), "{}", generation.summary(&latency, compile_seconds)?)?;
        } else {
            write!(out, "{}", latency.table())?;
        }
        Ok(ExitCode::SUCCESS)
    }

    pub(super) fn sampler(&self) -> Sampler {
        Sampler::new(self.temperature, self.seed)
    }

    pub(super) fn limits(&self) -> Limits {
        Limits { max_tokens: self.max_tokens, ignore_stop: self.ignore_eos }
    }

    /// What helps where these tokens gave a logit that is not finite: another number format in which they give none,
    /// found by trying.
    pub(super) fn remedy(&self, failed: &Sequence, fed: &[u32]) -> String {
        if self.model.as_deref().is_some_and(files::is_compiled) {
            return "run `lpu generate` on the folder or .gguf file of the model, which tries the other number formats"
                .into();
        }
        let host = failed.host();
        let works = |&precision: &Precision| {
            let options = Options { precision, ..host.options() };
            let Ok(checkpoint) = files::checkpoint(self.model.as_deref()) else { return false };
            let session = Session::compile_for(
                checkpoint,
                failed.system(),
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

    /// Compiles or loads the model and encodes the prompts.
    fn start(&self) -> Result<Start, Box<dyn std::error::Error>> {
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
                let system = files::system_for(file.chip(), self.target.described())?;
                let model = Model::open(file, &system, &engines)?;
                let host = model.host();
                options::agrees(&self.target, host)?;
                let tokenizer = host.tokenizer.as_deref().map(Tokenizer::from_json).transpose()?;
                let prompts = self.encoded(tokenizer.as_ref(), false)?;
                let request = self.request(&prompts);
                let options = host.options();
                prompts::within(prompts.len(), host.sequences)?;
                request.within_positions(&host.config, Some(host.context))?;
                request.within(
                    &host.config,
                    &system,
                    &options,
                    " that the file was compiled for",
                    "compile again with",
                )?;
                Start { model, prompts, tokenizer }
            }
            path => {
                let checkpoint = files::checkpoint(path.as_deref())?;
                say_notes(&checkpoint);
                let json = checkpoint.checked_tokenizer_json();
                let tokenizer = json.and_then(|json| json.map(Tokenizer::from_json).transpose());
                let tokenizer = if self.tokens.is_some() { tokenizer.unwrap_or(None) } else { tokenizer? };
                let prompts = self.encoded(tokenizer.as_ref(), path.is_none())?;
                let request = self.request(&prompts);
                request.within_positions(&checkpoint.config, self.target.context)?;
                let context = self.target.context.unwrap_or_else(|| bucket_of(request.fed()));
                let system = self.target.system()?;
                let sequences = self.target.sequences.unwrap_or(prompts.len());
                let options = Options { sequences, ..self.target.options(context) };
                prompts::within(prompts.len(), sequences)?;
                request.within(&checkpoint.config, &system, &options, "", "give")?;
                let model =
                    Model::compile(checkpoint, &system, &options, &engines).map_err(|error| request.refit(error))?;
                Start { model, prompts, tokenizer }
            }
        };
        spinner.finish_and_clear();
        Ok(prepared)
    }

    /// The prompts, each with its ids.
    fn encoded(&self, tokenizer: Option<&Tokenizer>, shipped: bool) -> Result<Vec<Prompt>, Box<dyn std::error::Error>> {
        if let Some(tokens) = &self.tokens {
            return Ok(vec![(tokens.clone(), None)]);
        }
        let prompts = match (&self.prompts, &self.prompt) {
            (Some(path), _) => prompts::lines(path)?,
            (None, Some(prompt)) => vec![prompt.clone()],
            (None, None) if shipped => vec![files::SHIPPED_PROMPT.trim_end().to_owned()],
            (None, None) => return Err(Usage("no prompt; give --prompt TEXT or --tokens 1,2,3".into()).into()),
        };
        let tokenizer =
            tokenizer.ok_or("the model has no tokenizer.json, so it cannot read text; give --tokens 1,2,3")?;
        let encode = |prompt: String| match tokenizer.encode(&prompt)? {
            ids if ids.is_empty() => Err("the prompt has no tokens; give some text".into()),
            ids => Ok((ids, Some(prompt))),
        };
        prompts.into_iter().map(encode).collect()
    }

    /// What the longest of the prompts asks for.
    fn request(&self, prompts: &[Prompt]) -> Request {
        let longest = prompts.iter().map(|(ids, _)| ids.len()).max().unwrap_or(0);
        Request { prompt: longest, generated: self.max_tokens }
    }
}

/// The bucket that so many tokens are rounded up to: a multiple of 64 up to 256, then a power of two.
fn bucket_of(tokens: usize) -> usize {
    if tokens <= 256 { tokens.next_multiple_of(64) } else { tokens.checked_next_power_of_two().unwrap_or(tokens) }
}

/// Ids to go on from, and their text where they come from one.
pub(super) type Prompt = (Vec<u32>, Option<String>);

/// A model and what it goes on from.
pub(super) struct Start {
    pub(super) model: Arc<Model>,
    pub(super) prompts: Vec<Prompt>,
    pub(super) tokenizer: Option<Tokenizer>,
}
