//! A configuration file, checked whole.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use aftr_config::{Config, ConfigError};

/// Why a file gives no configuration.
#[derive(Debug)]
pub enum LoadError {
    /// It cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// It can be read and is wrong: every reason.
    Wrong {
        /// The file.
        path: PathBuf,
        /// In the order of the file.
        errors: Vec<ConfigError>,
    },
}

/// Reads and checks the file at `path`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path) -> Result<Config, LoadError> {
    load_with_text(path).map(|(config, _)| config)
}

/// The same, with the text that was read.
///
/// # Errors
/// As [`load`].
pub fn load_with_text(path: &Path) -> Result<(Config, String), LoadError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| LoadError::Unreadable { path: path.to_owned(), error })?;
    match Config::parse(&text) {
        Ok(config) => Ok((config, text)),
        Err(errors) => Err(LoadError::Wrong { path: path.to_owned(), errors }),
    }
}

impl std::error::Error for LoadError {}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Unreadable { path, error } => {
                write!(f, "cannot read the configuration {}: {error}", path.display())?;
                if error.kind() == io::ErrorKind::NotFound {
                    f.write_str(
                        "\n  name another file with --config; aftr-config/examples/minimal.toml is a start",
                    )?;
                }
                Ok(())
            }
            LoadError::Wrong { path, errors } => {
                let count = errors.len();
                let plural = if count == 1 { "" } else { "s" };
                write!(f, "{} has {count} error{plural}", path.display())?;
                errors.iter().try_for_each(|error| write!(f, "\n{error}"))
            }
        }
    }
}
