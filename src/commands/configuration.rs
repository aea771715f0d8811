//! The configuration of a command that names it by its place. `aftr run`, which has `--config`, needs none
//! of this.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use crate::daemon::{self, LoadError};
use crate::engine::Config;

/// Why a file gives no configuration, with a cure that fits the command line.
#[derive(Debug)]
pub(super) struct ConfigurationError {
    error: LoadError,
    /// Which arguments the command wants.
    arguments: &'static str,
}

/// Reads and checks the file at `path`. `arguments` are those that the command wants.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn configuration(path: &Path, arguments: &'static str) -> Result<Config, ConfigurationError> {
    daemon::load(path).map_err(|error| ConfigurationError { error, arguments })
}

impl std::error::Error for ConfigurationError {}

impl fmt::Display for ConfigurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LoadError::Unreadable { path, error } = &self.error else { return self.error.fmt(f) };
        let path = path.display();
        let arguments = self.arguments;
        let kind = error.kind();
        if kind == ErrorKind::InvalidData {
            write!(f, "the configuration {path} is not a text file\n  {arguments}")
        } else if kind == ErrorKind::IsADirectory {
            write!(f, "the configuration {path} is a directory, not a text file\n  {arguments}")
        } else if kind == ErrorKind::NotFound {
            write!(f, "cannot read the configuration {path}: {error}\n  {arguments}; ")?;
            f.write_str("aftr-config/examples/minimal.toml is a start")
        } else {
            self.error.fmt(f)
        }
    }
}
