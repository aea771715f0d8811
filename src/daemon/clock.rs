//! The only clock: everything else is given the time.

use std::time::{Duration, SystemTime};

use crate::engine::Instant;

/// Counts from the moment it was made. Monotonic; does not run while the machine sleeps.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    /// A clock whose origin is now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start() -> Clock {
        Clock { origin: std::time::Instant::now() }
    }

    /// Milliseconds since the origin, as the engine wants them.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::from_millis(self.origin.elapsed().as_millis() as u64)
    }

    /// The wall clock's time at `at`, for records. It follows the wall clock when that is set.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn wall(&self, at: Instant) -> SystemTime {
        let now = self.now();
        let ahead = at - now;
        SystemTime::now() - (now - at) + ahead
    }

    /// The wall clock's time at `at`, in milliseconds since 1970 (UTC).
    #[must_use]
    pub fn unix_millis(&self, at: Instant) -> u64 {
        let since = self.wall(at).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        since.as_millis() as u64
    }

    /// From now until `at`; zero when that has passed.
    #[must_use]
    pub fn until(&self, at: Instant) -> Duration {
        at - self.now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_instant_is_a_later_wall_time() {
        let clock = Clock::start();
        let (earlier, later) = (clock.now(), clock.now() + Duration::from_secs(60));
        let between = clock.wall(later).duration_since(clock.wall(earlier)).unwrap();
        assert!((59..=61).contains(&between.as_secs()), "{between:?}");
    }
}
