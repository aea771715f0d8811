//! How late it is for what becomes too old: a wall clock that is set forward must not be the end of the evidence.

use super::record::Millis;

/// A wall clock that is ahead of what is expected by more than this is doubted…
const DOUBT: Millis = 3_600_000;
/// …until it has been so for this long: by then somebody has seen it, or it is right.
const PATIENCE: Millis = 86_400_000;

/// Follows the wall clock by the monotonic one.
#[derive(Debug)]
pub struct Age {
    /// Monotonic, and what the wall clock said then.
    base: (Millis, Millis),
    ahead_since: Option<Millis>,
}

impl Age {
    /// From `last_known` on, the last sign of life of the journal; 0 for a new one, which believes `wall`.
    #[must_use]
    pub fn new(monotonic: Millis, wall: Millis, last_known: Millis) -> Age {
        let known = if last_known == 0 { wall } else { last_known };
        Age { base: (monotonic, known), ahead_since: None }
    }

    /// The time by which things are too old or not, at the time of both clocks.
    pub fn observe(&mut self, monotonic: Millis, wall: Millis) -> Millis {
        let expected = self.base.1 + (monotonic - self.base.0);
        if wall > expected + DOUBT {
            let since = *self.ahead_since.get_or_insert(monotonic);
            if monotonic - since < PATIENCE {
                return expected;
            }
        }
        (self.base, self.ahead_since) = ((monotonic, wall), None);
        wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Millis = PATIENCE;

    /// PRIV-3, TIM-2: bad time for an hour costs nothing; time that stays is believed.
    #[test]
    fn a_leap_is_believed_after_a_day_only() {
        let mut age = Age::new(0, 1000 * DAY, 1000 * DAY - 60_000);
        assert_eq!(age.observe(1000, 1000 * DAY), 1000 * DAY);
        assert_eq!(age.observe(2000, 1200 * DAY), 1000 * DAY + 1000, "200 days in a second");
        assert_eq!(age.observe(3000, 1000 * DAY + 2000), 1000 * DAY + 2000, "set back");
        assert_eq!(age.observe(4000, 1200 * DAY), 1000 * DAY + 3000);
        assert_eq!(age.observe(4000 + DAY - 1, 1201 * DAY), 1001 * DAY + 2999);
        assert_eq!(age.observe(4000 + DAY, 1201 * DAY), 1201 * DAY);
        assert_eq!(age.observe(5000 + DAY, 1201 * DAY + 1000), 1201 * DAY + 1000);
    }

    #[test]
    fn after_a_long_time_off_it_takes_a_day_too() {
        let mut age = Age::new(0, 1030 * DAY, 1000 * DAY);
        assert_eq!(age.observe(1000, 1030 * DAY + 1000), 1000 * DAY + 1000);
        assert_eq!(age.observe(1000 + DAY, 1031 * DAY + 1000), 1031 * DAY + 1000);
        assert_eq!(Age::new(0, 5, 0).observe(0, 5), 5);
    }
}
