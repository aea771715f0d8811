//! Identifications of IPv4 packets that many hosts send from one address (RFC 6864 section 5.3.1).

use std::net::Ipv4Addr;

use aftr_config::Protocol;

use super::aftr::Aftr;
use super::inner::Inner;
use super::seed::{Random, WireKey};
use super::time::{Instant, Stamp};
use super::verdict::DropReason;

/// Parts of a turn whose time is known: how exact the look back is.
const BLOCKS: usize = 16;
const BLOCK: u16 = (0x1_0000 / BLOCKS) as u16;

/// A counter that a few (source, destination, protocol) share. Each of these starts it at a secret place
/// of its own, so that they cannot be predicted.
#[derive(Clone, Copy)]
struct Lane {
    next: u16,
    /// Whether it has come round once.
    has_turned: bool,
    /// When each part of the turn was last begun.
    begun: [Stamp; BLOCKS],
}

pub(super) struct IpIdentifications {
    key: WireKey,
    lanes: Vec<Lane>,
}

impl IpIdentifications {
    const LANES: usize = 1 << 13;
    /// RFC 6864 section 4.3: the longest that a packet lives.
    const LIFE_MILLIS: u32 = 120_000;

    pub(super) fn new(random: &mut Random, now: Instant) -> IpIdentifications {
        let lane = Lane { next: 0, has_turned: false, begun: [now.stamp(); BLOCKS] };
        IpIdentifications { key: random.wire_key(), lanes: vec![lane; Self::LANES] }
    }

    pub(super) fn memory() -> u64 {
        (Self::LANES * size_of::<Lane>()) as u64
    }

    /// The next one, and whether it comes again within the life of the packet that had it before.
    fn next(
        &mut self,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        protocol: Protocol,
        is_strict: bool,
        now: Instant,
    ) -> (u16, bool) {
        let [a, b, c, d] = source.octets();
        let [e, f, g, h] = destination.octets();
        let hash = self.key.hash(&[a, b, c, d, e, f, g, h, protocol as u8]);
        let lane = &mut self.lanes[hash as usize % Self::LANES];
        let at = lane.next;
        let block = usize::from(at / BLOCK);
        // The last time was before the part behind this one was begun.
        let before = lane.begun[(block + 1) % BLOCKS];
        let repeats = lane.has_turned && before.age(now) < Self::LIFE_MILLIS;
        if repeats && is_strict {
            return (at, true);
        }
        if at.is_multiple_of(BLOCK) {
            lane.begun[block] = now.stamp();
        }
        lane.next = at.wrapping_add(1);
        lane.has_turned |= lane.next == 0;
        (((hash >> 32) as u16).wrapping_add(at), repeats)
    }
}

impl Aftr {
    /// The identification that a packet from a B4 leaves with. An atomic one keeps its own: it means nothing
    /// there (RFC 6864 section 4.1).
    #[inline(always)]
    pub(super) fn identification_for(
        &mut self,
        inner: &Inner,
        source: Ipv4Addr,
        protocol: Protocol,
        now: Instant,
    ) -> Result<u16, DropReason> {
        if inner.is_atomic() {
            return Ok(inner.identification);
        }
        // The same piece again: its datagram has one.
        if let Some(given) = self.identification_of(inner.datagram) {
            return Ok(given);
        }
        let is_strict = self.settings.config.nat.ipid_strict;
        let (identification, repeats) =
            self.ip_identifications.next(source, inner.destination, protocol, is_strict, now);
        if repeats {
            self.counters.identification_wraps += 1;
            if is_strict {
                return Err(DropReason::NatIpId);
            }
        }
        Ok(identification)
    }
}

#[cfg(test)]
mod tests {
    use super::super::seed::Seed;
    use super::*;

    fn ids() -> IpIdentifications {
        IpIdentifications::new(&mut Random::new(&Seed::from_number(1)), Instant::ZERO)
    }

    const ENDS: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(203, 0, 113, 1));

    #[test]
    fn row_6864_5_3_1_none_comes_again_before_all_have_been_used() {
        let mut ids = ids();
        let mut seen = vec![false; 1 << 16];
        for _ in 0..1 << 16 {
            let (id, repeats) = ids.next(ENDS.0, ENDS.1, Protocol::Udp, false, Instant::ZERO);
            assert!(!std::mem::replace(&mut seen[usize::from(id)], true));
            assert!(!repeats);
        }
    }

    #[test]
    fn row_6864_rate_more_than_546_in_a_second_are_noticed_and_fewer_are_not() {
        for (per_second, expected) in [(500u64, false), (1000, true)] {
            let mut ids = ids();
            let repeats = (0..300 * per_second).filter(|number| {
                ids.next(
                    ENDS.0,
                    ENDS.1,
                    Protocol::Udp,
                    false,
                    Instant::from_millis(number * 1000 / per_second),
                )
                .1
            });
            assert_eq!(repeats.count() > 0, expected, "{per_second}/s");
        }
    }

    #[test]
    fn destinations_and_protocols_count_from_places_of_their_own() {
        let mut ids = ids();
        let mut first =
            |destination, protocol| ids.next(ENDS.0, destination, protocol, false, Instant::ZERO).0;
        let one = first(ENDS.1, Protocol::Udp);
        let others = [first(ENDS.1, Protocol::Tcp), first(Ipv4Addr::new(203, 0, 113, 2), Protocol::Udp)];
        assert!(others.iter().all(|other| other.abs_diff(one) > 16), "{one} {others:?}");
    }
}
