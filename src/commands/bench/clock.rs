//! The bench measures real time.

use std::time::{Duration, Instant, SystemTime};

/// For intervals.
#[expect(clippy::disallowed_methods, reason = "the bench measures real time")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Since 1970, on the clock that the kernel stamps packets with.
#[expect(clippy::disallowed_methods, reason = "the bench measures real time")]
pub(super) fn wall() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
