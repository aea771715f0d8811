//! Where log lines go and what they look like.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use anyhow::Context;
use clap::ValueEnum;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// How log lines look. All but the journal's go to standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For a person on a terminal, journald under systemd, JSON otherwise
    Auto,
    /// One line of text for each event
    Human,
    /// systemd's journal, with each value as a field
    Journald,
    /// One JSON object for each event
    Json,
}

/// Starts logging for the process. `level` is a level or a `tracing` filter such as
/// `info,aftr::daemon=debug`; without it `RUST_LOG` says, and otherwise it is `info`.
///
/// # Errors
/// A filter that cannot be understood, or no journal to speak to.
pub fn start_logging(format: LogFormat, level: Option<&str>) -> anyhow::Result<()> {
    let filter = match level {
        Some(level) => EnvFilter::try_new(level).with_context(|| format!("--log-level {level}"))?,
        None => match std::env::var("RUST_LOG") {
            Ok(level) if !level.is_empty() => {
                EnvFilter::try_new(&level).with_context(|| format!("RUST_LOG={level}"))?
            }
            Ok(_) | Err(_) => EnvFilter::new("info"),
        },
    };
    let on_terminal = std::io::stderr().is_terminal();
    let text = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match resolve(format, on_terminal) {
        LogFormat::Journald => {
            tracing_journald::layer().context("cannot speak to systemd's journal")?.boxed()
        }
        LogFormat::Json => {
            tracing_subscriber::fmt::layer().with_writer(std::io::stderr).json().flatten_event(true).boxed()
        }
        LogFormat::Human | LogFormat::Auto => text.with_ansi(on_terminal).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init()
        .context("logging was started before")
}

/// What [`LogFormat::Auto`] means here.
fn resolve(format: LogFormat, on_terminal: bool) -> LogFormat {
    match format {
        LogFormat::Auto if on_terminal => LogFormat::Human,
        LogFormat::Auto if is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref()) => LogFormat::Journald,
        LogFormat::Auto => LogFormat::Json,
        LogFormat::Human | LogFormat::Journald | LogFormat::Json => format,
    }
}

/// systemd.exec(5): `JOURNAL_STREAM` names device and inode of the journal's socket. A child whose
/// standard error was redirected inherits the variable, so it must match.
fn is_journal(journal_stream: Option<&str>) -> bool {
    let Some((device, inode)) = journal_stream.and_then(|stream| stream.split_once(':')) else {
        return false;
    };
    rustix::fs::fstat(std::io::stderr().as_fd())
        .is_ok_and(|stat| device.parse() == Ok(stat.st_dev) && inode.parse() == Ok(stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_recognised_by_device_and_inode() {
        let stat = rustix::fs::fstat(std::io::stderr().as_fd()).unwrap();
        assert!(is_journal(Some(&format!("{}:{}", stat.st_dev, stat.st_ino))));
        assert!(!is_journal(Some(&format!("{}:{}", stat.st_dev, stat.st_ino + 1))));
        assert!(!is_journal(Some("nonsense")));
        assert!(!is_journal(None));
    }

    #[test]
    fn a_chosen_format_is_not_second_guessed() {
        assert_eq!(resolve(LogFormat::Json, true), LogFormat::Json);
        assert_eq!(resolve(LogFormat::Human, false), LogFormat::Human);
        assert_eq!(resolve(LogFormat::Auto, true), LogFormat::Human);
    }
}
