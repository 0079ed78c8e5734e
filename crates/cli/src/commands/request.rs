//! What a request feeds, against what the model and the program hold. Advice names numbers that were tried.

use lpu::chip::System;
use lpu::compiler::{CompileError, compile};
use lpu::model::{Checkpoint, Config};
use lpu::{Options, ProofError, SessionError};

/// Tokens of a prompt, and the most that are generated.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub(crate) prompt: usize,
    pub(crate) generated: usize,
}

impl Request {
    /// Fed tokens are the prompt and all generated but the last.
    pub(crate) fn fed(self) -> usize {
        self.prompt + self.generated - 1
    }

    /// How to feed at most so many tokens.
    fn shorter(self, most: usize) -> String {
        match self.prompt <= most {
            true => format!("give --max-tokens {}", most - self.prompt + 1),
            false => format!("shorten the prompt to at most {most} tokens"),
        }
    }

    fn text(self) -> String {
        format!("{} prompt tokens and {} generated feed {}", self.prompt, self.generated, self.fed())
    }

    /// Refuses more tokens than the model has learned positions; `context` is one that was asked for.
    pub(crate) fn within_positions(self, config: &Config, context: Option<usize>) -> Result<(), String> {
        match config.learned_positions.filter(|&positions| self.fed() > positions) {
            Some(positions) => {
                let (text, shorter) =
                    (self.text(), self.shorter(context.map_or(positions, |context| context.min(positions))));
                Err(format!("{text}, more than the {positions} positions that the model has learned; {shorter}"))
            }
            None => Ok(()),
        }
    }

    /// Refuses more tokens than the context holds. `kind` says whose context it is, `longer` how to get one that holds
    /// them.
    pub(crate) fn within(
        self,
        config: &Config,
        system: &System,
        options: &Options,
        kind: &str,
        longer: &str,
    ) -> Result<(), String> {
        if self.fed() <= options.context {
            return Ok(());
        }
        let (text, context, mut advice) = (self.text(), options.context, self.shorter(options.context));
        let wanted = Options { context: self.fed(), ..*options };
        let shape = Checkpoint::from_config(config.to_json().as_bytes());
        if shape.is_ok_and(|shape| compile(&shape, system, &wanted).is_ok()) {
            advice += &format!(" or {longer} --context {}", self.fed());
        }
        Err(format!("{text}, more than the context of {context}{kind}; {advice}"))
    }

    /// What a request that does not fit alongside the weights can ask for instead.
    pub(crate) fn refit(self, error: SessionError) -> Box<dyn std::error::Error> {
        match &error {
            SessionError::Compile(ProofError::Compile(CompileError::ContextTooLarge {
                fits: Some(fits),
                fewer: None,
                ..
            })) if self.prompt <= *fits => {
                let generated = self.generated.min(fits - self.prompt + 1);
                format!("{error}: give --context {fits} --max-tokens {generated}").into()
            }
            _ => error.into(),
        }
    }
}
