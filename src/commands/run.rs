//! `aftr run`: the daemon.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::daemon::{LogFormat, load_with_text, start_logging, supervise};

/// Arguments of `aftr run`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration; SIGHUP reads it again
    #[arg(short, long, value_name = "FILE", default_value = "/etc/aftr/aftr.toml")]
    config: PathBuf,
    /// How log lines look
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "auto")]
    log_format: LogFormat,
    /// error, warn, info, debug, trace, or a filter like info,aftr::daemon=debug [default: $RUST_LOG or info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

/// Runs until it is told to stop.
///
/// # Errors
/// Why it did not start, or could not go on.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    start_logging(arguments.log_format, arguments.log_level.as_deref())?;
    let (config, text) = load_with_text(&arguments.config)?;
    supervise(&arguments.config, config, text)?;
    Ok(ExitCode::SUCCESS)
}
