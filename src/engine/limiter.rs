//! How many packets of our own may leave (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 f): a share for
//! each source, so that one cannot silence us for the others, and a total.

use std::net::Ipv4Addr;

use aftr_config::IcmpLimits;

use super::bucket::{Bucket, SharedBuckets};
use super::seed::Random;
use super::time::Instant;

pub(super) struct Limiter {
    errors: SharedBuckets,
    echoes: SharedBuckets,
    errors6: SharedBuckets,
    recipients: SharedBuckets,
    tunnel_errors: Bucket,
    to_b4: Bucket,
    to_internet: Bucket,
    to_all6: Bucket,
    syn_rejects: Bucket,
}

impl Limiter {
    pub(super) fn new(random: &mut Random) -> Limiter {
        Limiter {
            errors: SharedBuckets::new(random.hash_key()),
            echoes: SharedBuckets::new(random.hash_key()),
            errors6: SharedBuckets::new(random.hash_key()),
            recipients: SharedBuckets::new(random.hash_key()),
            tunnel_errors: Bucket::FULL,
            to_b4: Bucket::FULL,
            to_internet: Bucket::FULL,
            to_all6: Bucket::FULL,
            syn_rejects: Bucket::FULL,
        }
    }

    pub(super) fn memory() -> u64 {
        4 * SharedBuckets::memory()
    }

    /// An ICMPv4 error, or a TCP reset, into a softwire of this subscriber.
    pub(super) fn error_to_b4(&mut self, limits: &IcmpLimits, subscriber: u128, now: Instant) -> bool {
        limits.enable
            && self.errors.of(subscriber).take(limits.per_subscriber_rate, limits.per_subscriber_burst, now)
            && self.to_b4.take(limits.to_b4_rate, limits.to_b4_rate, now)
    }

    /// An answer of 192.0.0.1, or of the AFTR's IPv6 address, to this B4's echo.
    pub(super) fn echo(&mut self, limits: &IcmpLimits, b4: u128, now: Instant) -> bool {
        self.echoes.of(b4).take(limits.echo_per_b4_rate, limits.echo_per_b4_rate, now)
    }

    /// An ICMPv6 error to this source.
    pub(super) fn error6(&mut self, limits: &IcmpLimits, source: u128, now: Instant) -> bool {
        let rate = limits.icmpv6_per_source_rate;
        limits.enable
            && self.errors6.of(source).take(rate, rate, now)
            && self.to_all6.take(limits.icmpv6_rate, limits.icmpv6_rate, now)
    }

    /// An ICMPv4 error, or an echo reply, to a host on the Internet: at most a fifth of all is one host's.
    pub(super) fn error_to_internet(&mut self, limits: &IcmpLimits, to: Ipv4Addr, now: Instant) -> bool {
        let (rate, share) = (limits.to_internet_rate, (limits.to_internet_rate / 5).max(1));
        limits.enable
            && self.recipients.of(to.to_bits().into()).take(share, share, now)
            && self.to_internet.take(rate, rate, now)
    }

    /// The same about a packet that was lost in a softwire: anybody can say so, and has a fifth of all for it.
    pub(super) fn tunnel_error(&mut self, limits: &IcmpLimits, now: Instant) -> bool {
        let share = (limits.to_internet_rate / 5).max(1);
        limits.enable && self.tunnel_errors.take(share, share, now)
    }

    /// An ICMP 3/3 for an unsolicited SYN (RFC 5382 REQ-4).
    pub(super) fn syn_reject(&mut self, limits: &IcmpLimits, now: Instant) -> bool {
        limits.enable && self.syn_rejects.take(limits.syn_reject_rate, limits.syn_reject_rate, now)
    }
}
