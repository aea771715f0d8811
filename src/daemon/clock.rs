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

    /// The wall clock's time at `at`, for records. It follows the wall clock when that is set; otherwise whoever asks
    /// for the same moment gets the same answer, give or take microseconds.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn wall(&self, at: Instant) -> SystemTime {
        // Not `now`, which leaves out parts of a millisecond: journal and collectors would be told different times.
        let (now, elapsed) = (SystemTime::now(), self.origin.elapsed());
        let at = Duration::from_millis(at.millis());
        now + at.saturating_sub(elapsed) - elapsed.saturating_sub(at)
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

    /// Journal and collectors ask one after the other, and must be told the same.
    #[test]
    fn one_moment_is_one_wall_time() {
        let clock = Clock::start();
        let asked: Vec<SystemTime> = (0..400)
            .map(|_| {
                std::thread::sleep(Duration::from_micros(130));
                clock.wall(Instant::from_millis(5))
            })
            .collect();
        let mut sorted = asked;
        sorted.sort_unstable();
        // Some are asked by a thread that is interrupted in the middle.
        let spread = sorted[300].duration_since(sorted[100]).unwrap();
        assert!(spread < Duration::from_micros(100), "{spread:?}");
    }
}
