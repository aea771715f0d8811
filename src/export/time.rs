//! Time is handed in: both clocks at once.

use crate::engine::Instant;

/// A moment, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For intervals.
    pub monotonic: Instant,
    /// For what is written: milliseconds since 1970 (UTC).
    pub unix_millis: u64,
}

/// Tells the time. The daemon's clock and those of tests are such.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Now;

    /// How well the wall clock is synchronised: `None` when nobody asked; else whether it is, and how far off it
    /// may be in microseconds (RFC 5424 section 7.1).
    fn quality(&self) -> Option<(bool, Option<u64>)> {
        None
    }
}
