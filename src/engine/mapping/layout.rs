//! How the ports of one external address are cut into port sets.
//!
//! On demand: sets of one size over the whole range. Deterministic (RFC 7422 section 2): C own ranges
//! of (ports / (C + D)) each, one for each subscriber, and behind them overflow sets.

use std::ops::RangeInclusive;

use aftr_config::Nat;
use ipnet::Ipv6Net;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) struct Layout {
    first: u32,
    /// Ports of an own range, and how many there are; no own ranges on demand.
    own_size: u32,
    own_count: u32,
    set_size: u32,
    set_count: u32,
}

impl Layout {
    pub(in crate::engine) fn new(nat: &Nat) -> Layout {
        let first = u32::from(*nat.external_port_range.start());
        let ports = u32::from(*nat.external_port_range.end()) + 1 - first;
        let set_size = u32::from(nat.port_set.port_set_size);
        let (own_size, own_count) = nat.deterministic.map_or((0, 0), |deterministic| {
            let shares =
                u32::from(deterministic.subscribers_per_address) + u32::from(deterministic.dynamic_shares);
            (ports / shares, u32::from(deterministic.subscribers_per_address))
        });
        // With D = 0 what the division leaves over is nobody's (RFC 7422: "D=0 → no dynamic").
        let overflow = match nat.deterministic {
            Some(deterministic) if deterministic.dynamic_shares == 0 => 0,
            _ => ports - own_size * own_count,
        };
        Layout { first, own_size, own_count, set_size, set_count: overflow / set_size }
    }

    /// Port sets of one address, own ranges included.
    pub(in crate::engine) fn sets(&self) -> u32 {
        self.own_count + self.set_count
    }

    /// Own ranges of one address: they come first. 0 on demand.
    pub(in crate::engine) fn own_ranges(&self) -> u32 {
        self.own_count
    }

    /// The ports of the set with this number.
    pub(in crate::engine) fn ports(&self, set: u32) -> RangeInclusive<u16> {
        let (first, size) = if set < self.own_count {
            (self.first + set * self.own_size, self.own_size)
        } else {
            let overflow = self.first + self.own_count * self.own_size;
            (overflow + (set - self.own_count) * self.set_size, self.set_size)
        };
        first as u16..=(first + size - 1) as u16
    }

    /// The set that a port is in.
    pub(in crate::engine) fn set_of(&self, port: u16) -> Option<u32> {
        let at = u32::from(port).checked_sub(self.first)?;
        let own = self.own_count * self.own_size;
        let set = if at < own { at / self.own_size } else { self.own_count + (at - own) / self.set_size };
        (set < self.sets()).then_some(set)
    }
}

/// RFC 7422 section 2: the place of a subscriber among all that the B4 prefixes can hold.
pub(in crate::engine) fn subscriber_index(b4_prefixes: &[Ipv6Net], mask: u8, prefix: u128) -> Option<u64> {
    let host_bits = 128 - u32::from(mask);
    let mut before = 0u128;
    for net in b4_prefixes {
        let count = 1u128.checked_shl(u32::from(mask - net.prefix_len()))?;
        if net.contains(&std::net::Ipv6Addr::from(prefix)) {
            let below = (prefix - net.network().to_bits()).checked_shr(host_bits).unwrap_or(0);
            return u64::try_from(before + below).ok();
        }
        before = before.checked_add(count)?;
    }
    None
}
