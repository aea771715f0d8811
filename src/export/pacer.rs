//! When the next attempt to connect may be made (RFC 7011 section 10.4.4: not more often than once a minute by
//! default).

use std::time::Duration;

use crate::engine::Instant;

/// Spaces attempts.
pub(super) struct Pacer {
    interval: Duration,
    /// Differs between targets, so that exporters that lost the same collector do not come back at once.
    spread: u64,
    last: Option<Instant>,
}

impl Pacer {
    /// At least `seconds` between two attempts, and up to a tenth more as `spread` says.
    pub(super) fn new(seconds: u32, spread: u64) -> Pacer {
        Pacer { interval: Duration::from_secs(u64::from(seconds)), spread, last: None }
    }

    /// Whether an attempt may be made now; if so it counts as made.
    pub(super) fn may_try(&mut self, now: Instant) -> bool {
        let may = self.last.is_none_or(|last| now >= last + self.interval);
        if may {
            let tenth = self.interval.as_millis() as u64 / 10;
            // Knuth's multiplicative hash: attempts of one target differ too.
            self.spread = self.spread.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let more = Duration::from_millis((self.spread >> 32) % (tenth + 1));
            self.last = Some(now + more);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// IPX-10
    #[test]
    fn ten_minutes_have_ten_attempts_and_one() {
        for spread in 0..50 {
            let mut pacer = Pacer::new(60, spread);
            let tries: Vec<u64> = (0..600_000)
                .step_by(100)
                .filter(|&millis| pacer.may_try(Instant::from_millis(millis)))
                .collect();
            assert!((9..=10).contains(&tries.len()), "{tries:?}");
            assert!(tries.windows(2).all(|pair| (60_000..=66_100).contains(&(pair[1] - pair[0]))));
        }
    }
}
