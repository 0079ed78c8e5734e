//! Diagnostics of the library on standard error, for those that ask: `LPU_LOG=debug`, `LPU_LOG=lpu_compiler=debug`.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::fmt::time::uptime;

use crate::commands::Usage;

/// The variable that holds the filter.
const VARIABLE: &str = "LPU_LOG";

/// Shows events and the durations of spans that pass the filter; nothing without one.
pub(crate) fn start() -> Result<(), Usage> {
    let Some(text) = std::env::var_os(VARIABLE).filter(|text| !text.is_empty()) else { return Ok(()) };
    let wrong = |why: &dyn std::fmt::Display| {
        Usage(format!("{VARIABLE}: {why}; give a level as debug, or targets with levels as lpu_compiler=debug"))
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
