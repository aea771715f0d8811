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
        // Both clocks whole: where one is cut to milliseconds, the same `at` comes out at one or at the next.
        let origin = SystemTime::now() - self.origin.elapsed();
        origin + Duration::from_millis(at.millis())
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

    #[test]
    fn an_instant_keeps_its_wall_time() {
        let clock = Clock::start();
        let at = clock.now() + Duration::from_secs(5);
        let walls: Vec<SystemTime> = (0..1000).map(|_| clock.wall(at)).collect();
        // Not all: a thread may be put aside between its two looks, and the wall clock may be slewed.
        let close = walls.iter().filter(|wall| {
            let (one, other) = (wall.duration_since(walls[0]), walls[0].duration_since(**wall));
            one.or(other).unwrap_or_default() < Duration::from_micros(100)
        });
        assert!(close.count() > 900);
    }
}
