//! Time as the engine sees it: milliseconds since the engine was made, given with every call.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment, in milliseconds since an origin that the caller chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The origin.
    pub const ZERO: Instant = Instant(0);

    /// `millis` after the origin.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Instant {
        Instant(millis)
    }

    /// `secs` after the origin.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Instant {
        Instant(secs * 1000)
    }

    /// Milliseconds since the origin.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// The moment `secs` seconds later.
    #[inline]
    #[must_use]
    pub(crate) const fn plus_secs(self, secs: u32) -> Instant {
        Instant(self.0 + secs as u64 * 1000)
    }

    /// The low half, for records that are looked at more often than every 49 days.
    #[inline]
    #[must_use]
    pub(crate) const fn stamp(self) -> Stamp {
        Stamp(self.0 as u32)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, duration: Duration) -> Instant {
        Instant(self.0 + duration.as_millis() as u64)
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// Time since `earlier`; zero when it is later.
    fn sub(self, earlier: Instant) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A recent moment in four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stamp(u32);

impl Stamp {
    /// Milliseconds from this stamp to `now`.
    #[inline]
    pub(crate) fn age(self, now: Instant) -> u32 {
        (now.0 as u32).wrapping_sub(self.0)
    }

    /// The moment `secs` after this stamp, which is not later than `now`.
    #[inline]
    pub(crate) fn plus_secs(self, secs: u32, now: Instant) -> Instant {
        Instant((now.0 + u64::from(secs) * 1000).saturating_sub(u64::from(self.age(now))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_the_wrap_of_its_four_bytes() {
        let then = Instant::from_millis(u64::from(u32::MAX) - 10);
        let now = Instant::from_millis(then.millis() + 1000);
        assert_eq!(then.stamp().age(now), 1000);
        assert_eq!(then.stamp().plus_secs(300, now), then.plus_secs(300));
    }
}
