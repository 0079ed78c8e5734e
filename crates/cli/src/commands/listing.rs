//! Mistakes in a text, each with its line, a caret, the reason and what to do.

use std::io::IsTerminal;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use lpu::isa::asm::AsmError;

use super::files::shown;

/// Lines longer than this are not shown (a `.hex` line may be as long as an image).
const LONGEST: usize = 400;

/// All mistakes of a text, ready to print.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Listing(String);

impl Listing {
    /// Lists the mistakes in `source`, which was read from `path`.
    pub(crate) fn new(path: &Path, source: &str, mistakes: &[AsmError]) -> Self {
        let renderer = if std::io::stderr().is_terminal() { Renderer::styled() } else { Renderer::plain() };
        let folder = path.parent().unwrap_or(Path::new(""));
        let path = shown(path);
        let entry = |mistake: &AsmError| match &mistake.file {
            Some(file) => entry(&renderer, &folder.join(&file.name).display().to_string(), &file.text, mistake),
            None => entry(&renderer, &path, source, mistake),
        };
        let mut text: String = mistakes.iter().map(|mistake| entry(mistake) + "\n\n").collect();
        let count = match mistakes.len() {
            1 => "1 mistake".to_owned(),
            count => format!("{count} mistakes"),
        };
        text += &format!("error: {count} in {path}; correct the text and run the command again");
        Self(text)
    }
}

fn entry(renderer: &Renderer, path: &str, source: &str, mistake: &AsmError) -> String {
    let span = mistake.span;
    let before = source.get(..span.start).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    let line = source.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    if line.len() > LONGEST {
        let notes: String = mistake.trail.iter().map(|step| format!("\n  = note: {step}")).collect();
        return format!(
            "error: {}\n --> {path}:{}:{}\n  = help: {}{notes}",
            mistake.message, span.line, span.column, mistake.help
        );
    }
    let at = (span.start - start).min(line.len());
    let marked = at..(at + span.length).min(line.len());
    let snippet = Snippet::source(line)
        .path(path)
        .line_start(span.line as usize)
        .annotation(AnnotationKind::Primary.span(marked));
    let title = Level::ERROR.primary_title(mistake.message.as_str());
    let notes = mistake.trail.iter().map(|step| Level::NOTE.message(step.as_str()));
    renderer.render(&[title.element(snippet).element(Level::HELP.message(mistake.help.as_str())).elements(notes)])
}
