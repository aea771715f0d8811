//! What was counted. Plain integers: the worker that owns the engine publishes them.

use std::iter::Sum;

use super::verdict::DropReason;

/// Packets and octets, of the whole IP packet at this point.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Octets.
    pub octets: u64,
}

impl Traffic {
    #[inline]
    pub(super) fn count(&mut self, length: usize) {
        self.packets += 1;
        self.octets += length as u64;
    }

    fn add(&mut self, other: &Traffic) {
        self.packets += other.packets;
        self.octets += other.octets;
    }
}

/// Every packet that came is in exactly one of: `to_internet`, `to_b4`, `to_workers`, `replies`, `held`,
/// `fragments_held`, `tunnel_errors`, a drop. A fragment that was held and then went on, or was dropped after all, is in
/// `fragments_resumed`, too.
#[derive(Debug, Clone)]
pub struct Counters {
    drops: [u64; DropReason::ALL.len()],
    /// Came from the access network.
    pub from_b4: Traffic,
    /// Came from the Internet.
    pub from_internet: Traffic,
    /// Came from another worker, which counted it as `to_workers`, or as an answer of its own.
    pub from_workers: Traffic,
    /// Left to the Internet, translated or passed through.
    pub to_internet: Traffic,
    /// Left into a softwire, hairpinned ones included.
    pub to_b4: Traffic,
    /// Handed to another worker: a call to one of its homes, or an error about a packet to one of its B4s.
    pub to_workers: Traffic,
    /// Of `to_b4`, the ones that came from a softwire (RFC 4787 REQ-9).
    pub hairpinned: Traffic,
    /// Pieces that followed a first one into a softwire (RFC 6333 section 6.3); `to_b4` counts the first.
    pub fragments_to_b4: Traffic,
    /// Pieces that followed a first one to the Internet (RFC 4787 REQ-13); `to_internet` counts the first.
    pub fragments_to_internet: Traffic,
    /// Fragments that were kept, to be put together or until the first one of their datagram comes.
    pub fragments_held: u64,
    /// Of those, the ones that went on by themselves or were dropped later: counted there again.
    pub fragments_resumed: u64,
    /// Errors about our own packets in the access network that were taken: a path MTU, or a loss that its
    /// sender was told of (RFC 8201, RFC 2473 section 8).
    pub tunnel_errors: u64,
    /// Answered by the AFTR itself.
    pub replies: Traffic,
    /// Kept by the engine: unsolicited SYNs (RFC 5382 REQ-4).
    pub held: u64,
    /// ICMPv4 errors of our own into softwires.
    pub icmp_to_b4: u64,
    /// ICMPv4 errors of our own to the Internet.
    pub icmp_to_internet: u64,
    /// ICMPv6 errors of our own.
    pub icmpv6_errors: u64,
    /// Errors of our own that the rate limits kept back.
    pub icmp_suppressed: u64,
    /// Inner packets with bytes behind their total length (`info.in.trailer`, RFC 4213 section 3.6).
    pub trailers: u64,
    /// Pairs of ECN fields that no honest path makes (`info.ecn`, RFC 6040 section 4.2).
    pub ecn_anomalies: u64,
    /// Identifications used again within 120 s (`info.ipid.wrap`, RFC 6864 section 5.3.1).
    pub identification_wraps: u64,
    /// Held ports released early because `hold-down-max` was reached.
    pub hold_down_early: u64,
    /// Events that nobody fetched in time.
    pub events_lost: u64,
}

impl Default for Counters {
    fn default() -> Counters {
        Counters {
            drops: [0; DropReason::ALL.len()],
            from_b4: Traffic::default(),
            from_internet: Traffic::default(),
            from_workers: Traffic::default(),
            to_internet: Traffic::default(),
            to_b4: Traffic::default(),
            to_workers: Traffic::default(),
            hairpinned: Traffic::default(),
            fragments_to_b4: Traffic::default(),
            fragments_to_internet: Traffic::default(),
            fragments_held: 0,
            fragments_resumed: 0,
            tunnel_errors: 0,
            replies: Traffic::default(),
            held: 0,
            icmp_to_b4: 0,
            icmp_to_internet: 0,
            icmpv6_errors: 0,
            icmp_suppressed: 0,
            trailers: 0,
            ecn_anomalies: 0,
            identification_wraps: 0,
            hold_down_early: 0,
            events_lost: 0,
        }
    }
}

impl Counters {
    /// Packets dropped for `reason`.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// Packets dropped for any reason.
    #[must_use]
    pub fn dropped_in_total(&self) -> u64 {
        self.drops.iter().sum()
    }

    /// Every counter with its name, in the order that `docs/counters.md` explains them.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let traffic = [
            ("from_b4.packets", self.from_b4.packets),
            ("from_b4.octets", self.from_b4.octets),
            ("from_internet.packets", self.from_internet.packets),
            ("from_internet.octets", self.from_internet.octets),
            ("from_workers.packets", self.from_workers.packets),
            ("from_workers.octets", self.from_workers.octets),
            ("to_internet.packets", self.to_internet.packets),
            ("to_internet.octets", self.to_internet.octets),
            ("to_b4.packets", self.to_b4.packets),
            ("to_b4.octets", self.to_b4.octets),
            ("to_workers.packets", self.to_workers.packets),
            ("to_workers.octets", self.to_workers.octets),
            ("hairpinned.packets", self.hairpinned.packets),
            ("hairpinned.octets", self.hairpinned.octets),
            ("fragments_to_b4.packets", self.fragments_to_b4.packets),
            ("fragments_to_b4.octets", self.fragments_to_b4.octets),
            ("fragments_to_internet.packets", self.fragments_to_internet.packets),
            ("fragments_to_internet.octets", self.fragments_to_internet.octets),
            ("fragments.held", self.fragments_held),
            ("fragments.resumed", self.fragments_resumed),
            ("tunnel_errors", self.tunnel_errors),
            ("replies.packets", self.replies.packets),
            ("replies.octets", self.replies.octets),
            ("held", self.held),
            ("icmp.to_b4", self.icmp_to_b4),
            ("icmp.to_internet", self.icmp_to_internet),
            ("icmp.v6_errors", self.icmpv6_errors),
            ("icmp.suppressed", self.icmp_suppressed),
            ("info.in.trailer", self.trailers),
            ("info.ecn", self.ecn_anomalies),
            ("info.ipid.wrap", self.identification_wraps),
            ("info.hold_down.early", self.hold_down_early),
            ("info.events_lost", self.events_lost),
        ];
        traffic.into_iter().chain(DropReason::ALL.iter().map(|&reason| (reason.name(), self.dropped(reason))))
    }

    /// What two workers counted.
    fn plus(mut self, other: &Counters) -> Counters {
        let Counters {
            drops,
            from_b4,
            from_internet,
            from_workers,
            to_internet,
            to_b4,
            to_workers,
            hairpinned,
            fragments_to_b4,
            fragments_to_internet,
            fragments_held,
            fragments_resumed,
            tunnel_errors,
            replies,
            held,
            icmp_to_b4,
            icmp_to_internet,
            icmpv6_errors,
            icmp_suppressed,
            trailers,
            ecn_anomalies,
            identification_wraps,
            hold_down_early,
            events_lost,
        } = other;
        self.drops.iter_mut().zip(drops).for_each(|(sum, count)| *sum += count);
        self.from_b4.add(from_b4);
        self.from_internet.add(from_internet);
        self.from_workers.add(from_workers);
        self.to_internet.add(to_internet);
        self.to_b4.add(to_b4);
        self.to_workers.add(to_workers);
        self.hairpinned.add(hairpinned);
        self.fragments_to_b4.add(fragments_to_b4);
        self.fragments_to_internet.add(fragments_to_internet);
        self.replies.add(replies);
        self.fragments_held += fragments_held;
        self.fragments_resumed += fragments_resumed;
        self.tunnel_errors += tunnel_errors;
        self.held += held;
        self.icmp_to_b4 += icmp_to_b4;
        self.icmp_to_internet += icmp_to_internet;
        self.icmpv6_errors += icmpv6_errors;
        self.icmp_suppressed += icmp_suppressed;
        self.trailers += trailers;
        self.ecn_anomalies += ecn_anomalies;
        self.identification_wraps += identification_wraps;
        self.hold_down_early += hold_down_early;
        self.events_lost += events_lost;
        self
    }

    /// Drops `count` fragments that were held.
    pub(super) fn drop_held(&mut self, reason: DropReason, count: u64) {
        self.fragments_resumed += count;
        self.drops[reason as usize] += count;
    }

    #[inline]
    pub(super) fn drop(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
    }
}

impl<'a> Sum<&'a Counters> for Counters {
    fn sum<I: Iterator<Item = &'a Counters>>(all: I) -> Counters {
        all.fold(Counters::default(), Counters::plus)
    }
}
