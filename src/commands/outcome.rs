//! Exit statuses.
//!
//! | status | meaning |
//! |---|---|
//! | 0 | done; a daemon: stopped as it was told to |
//! | 1 | failed while it worked |
//! | 2 | the command line, the configuration or what they name is wrong |
//! | 3 | this host lacks something: a permission, a device, a setting |

use std::process::ExitCode;

use crate::commands::configuration::ConfigurationError;
use crate::commands::explain::InputError;
use crate::commands::refusal::Refusal;
use crate::commands::replay::CaptureError;
use crate::daemon::{LoadError, StartError};

/// The exit status for a command that ended with `error`.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    let is_wrong_input = error.is::<LoadError>()
        || error.is::<ConfigurationError>()
        || error.is::<CaptureError>()
        || error.is::<InputError>()
        || error.is::<Refusal>();
    if is_wrong_input {
        ExitCode::from(2)
    } else if error.is::<StartError>() {
        ExitCode::from(3)
    } else {
        ExitCode::from(1)
    }
}
