//! Diagnostics of the library on standard error, where the environment asks for them: `LPU_LOG=debug`,
//! `LPU_LOG=lpu_compiler=debug`. Without `LPU_LOG`, `RUST_LOG` is read.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::fmt::time::uptime;

use crate::commands::Usage;

/// The variables that may hold the filter; the first one that is set and not empty does.
const VARIABLES: [&str; 2] = ["LPU_LOG", "RUST_LOG"];

/// Shows events and the durations of spans that pass the filter; nothing without one.
pub(crate) fn start() -> Result<(), Usage> {
    let set = |variable| std::env::var_os(variable).filter(|text| !text.is_empty()).map(|text| (variable, text));
    let Some((variable, text)) = VARIABLES.into_iter().find_map(set) else { return Ok(()) };
    let wrong = |why: &dyn std::fmt::Display| {
        Usage(format!("{variable}: {why}; give a level as debug, or targets with levels as lpu_compiler=debug"))
    };
    let text = text.to_str().ok_or_else(|| wrong(&"not UTF-8"))?;
    let filter = EnvFilter::builder().parse(text).map_err(|error| wrong(&error))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_timer(uptime())
        .init();
    Ok(())
}
