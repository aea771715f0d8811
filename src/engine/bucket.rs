//! Token buckets: how many of something may happen in a second.

use super::seed::HashKey;
use super::time::{Instant, Stamp};

/// Milli-tokens, and when they were counted. Starts full.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    missing: u32,
    at: Stamp,
}

impl Bucket {
    pub(super) const FULL: Bucket = Bucket { missing: 0, at: Instant::ZERO.stamp() };

    /// Whether `take` would succeed.
    pub(super) fn has_one(&self, rate: u32, burst: u32, now: Instant) -> bool {
        self.missing_at(rate, now) + 1000 <= u64::from(burst) * 1000
    }

    /// Takes one token, when there is one: `rate` of them come back each second, up to `burst`.
    pub(super) fn take(&mut self, rate: u32, burst: u32, now: Instant) -> bool {
        let missing = self.missing_at(rate, now);
        if missing + 1000 > u64::from(burst) * 1000 {
            return false;
        }
        *self = Bucket { missing: (missing + 1000) as u32, at: now.stamp() };
        true
    }

    fn missing_at(&self, rate: u32, now: Instant) -> u64 {
        u64::from(self.missing).saturating_sub(u64::from(self.at.age(now)) * u64::from(rate))
    }
}

/// One bucket for each of many sources, in fixed memory: sources that fall into the same bucket share
/// it. Which ones do is secret, so that nobody can choose to share a neighbour's.
pub(super) struct SharedBuckets {
    buckets: Vec<Bucket>,
    key: HashKey,
}

impl SharedBuckets {
    const COUNT: usize = 1 << 14;

    pub(super) fn new(key: HashKey) -> SharedBuckets {
        SharedBuckets { buckets: vec![Bucket::FULL; Self::COUNT], key }
    }

    pub(super) fn memory() -> u64 {
        (Self::COUNT * size_of::<Bucket>()) as u64
    }

    pub(super) fn of(&mut self, source: u128) -> &mut Bucket {
        let at = self.key.hash_v6(source) as usize % Self::COUNT;
        &mut self.buckets[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::FULL;
        let mut now = Instant::from_secs(1000);
        let taken = |now, bucket: &mut Bucket| (0..1000).filter(|_| bucket.take(200, 400, now)).count();
        assert_eq!(taken(now, &mut bucket), 400);
        now = Instant::from_millis(now.millis() + 500);
        assert_eq!(taken(now, &mut bucket), 100);
        now = now.plus_secs(60);
        assert_eq!(taken(now, &mut bucket), 400);
    }
}
