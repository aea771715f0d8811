//! `port-set`, `[nat.deterministic]` and `port-quota`: how the ports of an address are shared out.

use std::ops::RangeInclusive;

use crate::reader::Table;
use crate::{MOST_ENTRIES, MOST_SECONDS, MOST_TOKENS};

/// Fewer ports than this are a slip of the pen. How few still serve a home is for the operator to judge.
const LEAST_PORTS: u32 = 8;

/// `port-set`: ports are granted to a subscriber in sets of this shape (RFC 6888 REQ-13, REQ-14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortSet {
    /// `port-set-size`: ports; divides the port range; default 512.
    pub port_set_size: u16,
    /// `max-port-sets`: sets that one subscriber may hold, 1 to 32; default 4.
    pub max_port_sets: u8,
    /// `port-set-timeout`: seconds that an empty set stays with its subscriber; default 120.
    pub port_set_timeout: u32,
}

/// `[nat.deterministic]`: each subscriber's ports follow from its B4 prefix (RFC 7422).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deterministic {
    /// `subscribers-per-address`: C of RFC 7422 section 2; default 14.
    pub subscribers_per_address: u16,
    /// `dynamic-shares`: D, shares of an address kept for overflow sets; 0 means none; default 2.
    pub dynamic_shares: u16,
}

/// `port-quota` (RFC 8512; RFC 6888 REQ-4)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortQuota {
    /// `tcp`: mappings of one subscriber; default 2048.
    pub tcp: u32,
    /// `udp`: default 2048.
    pub udp: u32,
    /// `icmp`: query identifiers; default 256.
    pub icmp: u32,
    /// `new-mappings-per-second`: default 200 (RFC 6888 REQ-4c).
    pub new_mappings_per_second: u32,
    /// `new-mappings-burst`: default 400.
    pub new_mappings_burst: u32,
}

impl PortSet {
    pub(crate) fn read(mut table: Table<'_>) -> PortSet {
        let port_set = PortSet {
            port_set_size: table.number("port-set-size", LEAST_PORTS..=u32::from(u16::MAX), 512),
            max_port_sets: table.number("max-port-sets", 1..=32, 4),
            port_set_timeout: table.number("port-set-timeout", 0..=MOST_SECONDS, 120),
        };
        table.finish();
        port_set
    }
}

impl Deterministic {
    pub(crate) fn read(mut table: Table<'_>) -> Deterministic {
        let deterministic = Deterministic {
            subscribers_per_address: table.number("subscribers-per-address", 1..=u32::from(u16::MAX), 14),
            dynamic_shares: table.number("dynamic-shares", 0..=u32::from(u16::MAX), 2),
        };
        table.finish();
        deterministic
    }
}

impl PortQuota {
    pub(crate) fn read(mut table: Table<'_>) -> PortQuota {
        let quota = PortQuota {
            tcp: table.number("tcp", 1..=MOST_ENTRIES, 2048),
            udp: table.number("udp", 1..=MOST_ENTRIES, 2048),
            icmp: table.number("icmp", 1..=MOST_ENTRIES, 256),
            new_mappings_per_second: table.number("new-mappings-per-second", 1..=MOST_TOKENS, 200),
            new_mappings_burst: table.number("new-mappings-burst", 1..=MOST_TOKENS, 400),
        };
        table.finish();
        quota
    }
}

/// What one external address is cut into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PortShares {
    /// Ports of the range.
    pub(crate) ports: u32,
    /// Ports that belong to one subscriber from the start (RFC 7422), and how many such ranges; 0 on demand.
    pub(crate) own_size: u32,
    pub(crate) own_ranges: u32,
    /// Ports that sets are granted from, and how many sets.
    pub(crate) granted_ports: u32,
    pub(crate) sets: u32,
}

impl PortShares {
    pub(crate) fn of(
        range: &RangeInclusive<u16>,
        port_set: PortSet,
        deterministic: Option<Deterministic>,
    ) -> PortShares {
        let ports = u32::from(*range.end()) + 1 - u32::from(*range.start());
        let (own_size, own_ranges, dynamic) = deterministic.map_or((0, 0, 1), |deterministic| {
            let own_ranges = u32::from(deterministic.subscribers_per_address);
            let dynamic = u32::from(deterministic.dynamic_shares);
            // RFC 7422 section 2: what the division leaves over joins the dynamic shares, if there are any.
            (ports / (own_ranges + dynamic), own_ranges, dynamic)
        });
        let granted_ports = if dynamic == 0 { 0 } else { ports - own_size * own_ranges };
        let sets = granted_ports / u32::from(port_set.port_set_size);
        PortShares { ports, own_size, own_ranges, granted_ports, sets }
    }

    /// Subscribers that find a place at an address.
    pub(crate) fn subscribers(&self) -> u32 {
        if self.own_ranges == 0 { self.sets } else { self.own_ranges }
    }

    pub(crate) fn check(&self, nat: &Table<'_>, port_set: PortSet, deterministic: Option<Deterministic>) {
        match deterministic {
            None => self.check_division(nat, port_set),
            Some(deterministic) => self.check_deterministic(nat, port_set, deterministic),
        }
    }

    /// Sets of one size fill the range, so that no port is lost and a port names its set.
    fn check_division(&self, nat: &Table<'_>, port_set: PortSet) {
        let (report, size) = (nat.report(), u32::from(port_set.port_set_size));
        if self.ports < LEAST_PORTS {
            let problem = format!("holds {} ports", self.ports);
            report.wrong(&nat.key("external-port-range"), problem, format!("give {LEAST_PORTS} at least"));
        } else if !self.ports.is_multiple_of(size) {
            let problem = format!("= {size} does not divide the {} ports of external-port-range", self.ports);
            report.wrong(&nat.key("port-set.port-set-size"), problem, division_cure(self.ports, size));
        }
    }

    fn check_deterministic(&self, nat: &Table<'_>, port_set: PortSet, deterministic: Deterministic) {
        let report = nat.report();
        let Deterministic { subscribers_per_address: own, dynamic_shares: dynamic } = deterministic;
        if self.own_size == 0 {
            let problem = format!(
                "= {own} leaves a subscriber no port: {} ports for {own} + {dynamic} shares",
                self.ports
            );
            let cure = match self.ports.saturating_sub(dynamic.into()) {
                0 => "lower dynamic-shares".to_owned(),
                most => format!("give {} at most, for {LEAST_PORTS} ports each", (most / LEAST_PORTS).max(1)),
            };
            report.wrong(&nat.key("deterministic.subscribers-per-address"), problem, cure);
        } else if dynamic > 0 && self.sets == 0 && !report.is_wrong(&nat.key("port-set")) {
            let problem = format!("= {dynamic} holds {} ports, fewer than one port set", self.granted_ports);
            let cure = format!("raise it, write 0, or lower port-set-size, {}", port_set.port_set_size);
            report.wrong(&nat.key("deterministic.dynamic-shares"), problem, cure);
        }
    }
}

/// The nearest sizes that divide the ports.
fn division_cure(ports: u32, size: u32) -> String {
    let divides = |size: &u32| ports.is_multiple_of(*size);
    let below = (LEAST_PORTS..=size.min(ports)).rev().find(divides);
    let above = (size + 1..=ports).find(divides);
    match (below, above) {
        (Some(below), Some(above)) => format!("{below} and {above} do"),
        (Some(only), None) | (None, Some(only)) => format!("{only} does; a rounder range has more divisors"),
        (None, None) => "widen external-port-range".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETS: PortSet = PortSet { port_set_size: 512, max_port_sets: 4, port_set_timeout: 120 };

    #[test]
    fn on_demand_an_address_has_126_sets() {
        let shares = PortShares::of(&(1024..=65535), SETS, None);
        assert_eq!((shares.ports, shares.sets, shares.own_ranges), (64512, 126, 0));
        assert_eq!(shares.subscribers(), 126);
    }

    #[test]
    fn rfc_7422_section_2_example() {
        let deterministic = Deterministic { subscribers_per_address: 14, dynamic_shares: 2 };
        let shares = PortShares::of(&(1024..=65535), SETS, Some(deterministic));
        assert_eq!((shares.own_size, shares.own_ranges), (4032, 14));
        // Ports 57472 to 65535 are left: 8064, which is 15 sets.
        assert_eq!((shares.granted_ports, shares.sets), (8064, 15));
        assert_eq!(shares.subscribers(), 14);
    }

    #[test]
    fn without_dynamic_shares_the_remainder_is_nobodys() {
        let deterministic = Deterministic { subscribers_per_address: 100, dynamic_shares: 0 };
        let shares = PortShares::of(&(1024..=65535), SETS, Some(deterministic));
        assert_eq!((shares.own_size, shares.granted_ports, shares.sets), (645, 0, 0));
    }

    #[test]
    fn the_cure_names_the_nearest_divisors() {
        assert_eq!(division_cure(64512, 500), "448 and 504 do");
        assert_eq!(division_cure(64512, 65000), "64512 does; a rounder range has more divisors");
        assert_eq!(division_cure(64511, 70), "31 and 2081 do");
    }
}
