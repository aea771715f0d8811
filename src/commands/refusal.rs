//! A command line that cannot be carried out as it is.

use std::fmt;

/// Why, with a cure.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) why: String,
    pub(super) cure: String,
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  {}", self.why, self.cure)
    }
}
