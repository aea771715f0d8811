//! How many subscribers and mappings a configuration has room for.

use std::fmt;

use crate::Config;
use crate::ports::PortShares;

/// What the pools hold. Drained addresses take nobody new and are not counted; see
/// [`Capacity::drained_addresses`]. The tables may hold less: [`Config::advice`] says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// External addresses that take subscribers.
    pub external_addresses: u64,
    /// External addresses that only serve what they have (RFC 6908 section 2.4).
    pub drained_addresses: u64,
    /// Port sets of one address that may be granted; in deterministic mode, the overflow sets.
    pub port_sets_per_address: u32,
    /// Ports of such a set.
    pub ports_per_set: u32,
    /// Ports of a subscriber's own range; none outside deterministic mode (RFC 7422 section 2).
    pub own_range: Option<u32>,
    /// Subscribers that find a place: at one port set each, or at their own ranges.
    pub subscribers: u64,
    /// Subscribers that can all have `max-port-sets` at the same time.
    pub subscribers_with_all_sets: u64,
    /// Subscribers that share one address, in the fullest pool.
    pub sharing_ratio: u32,
    /// External ports of one subscriber and protocol, at most.
    pub ports_per_subscriber: u32,
    /// Mappings of one protocol that the addresses hold.
    pub mappings_per_protocol: u64,
}

impl Capacity {
    pub(crate) fn of(config: &Config) -> Capacity {
        let nat = &config.nat;
        let shares = PortShares::of(&nat.external_port_range, nat.port_set, nat.deterministic);
        let (size, most_sets) =
            (u32::from(nat.port_set.port_set_size), u32::from(nat.port_set.max_port_sets));
        // The own range is the first of a subscriber's port sets.
        let (own_sets, most_granted) =
            if shares.own_ranges == 0 { (0, most_sets) } else { (1, most_sets - 1) };
        // Without any set to grant, the own range is all that anybody can have.
        let grants = most_granted.min(shares.sets);
        let with_all = shares.sets.checked_div(grants).unwrap_or(u32::MAX);
        let mut capacity = Capacity {
            external_addresses: 0,
            drained_addresses: 0,
            port_sets_per_address: shares.sets,
            ports_per_set: size,
            own_range: (own_sets == 1).then_some(shares.own_size),
            subscribers: 0,
            subscribers_with_all_sets: 0,
            sharing_ratio: 0,
            ports_per_subscriber: own_sets * shares.own_size + grants * size,
            mappings_per_protocol: 0,
        };
        for pool in &nat.external_ip_address_pool {
            let drained = pool.drain.len() as u64;
            let addresses = pool.addresses() - drained;
            let each = u32::from(pool.max_subscribers_per_address).min(shares.subscribers());
            capacity.external_addresses += addresses;
            capacity.drained_addresses += drained;
            capacity.subscribers += addresses * u64::from(each);
            capacity.subscribers_with_all_sets += addresses * u64::from(each.min(with_all));
            capacity.sharing_ratio = capacity.sharing_ratio.max(each);
        }
        let ports = shares.own_size * shares.own_ranges + shares.sets * size;
        capacity.mappings_per_protocol = capacity.external_addresses * u64::from(ports);
        capacity
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "external addresses      {}", self.external_addresses)?;
        match self.drained_addresses {
            0 => writeln!(f)?,
            drained => writeln!(f, ", and {drained} drained")?,
        }
        if let Some(ports) = self.own_range {
            writeln!(f, "own range               {ports} ports of each subscriber")?;
        }
        writeln!(
            f,
            "port sets               {} of {} ports on each address",
            self.port_sets_per_address, self.ports_per_set
        )?;
        writeln!(f, "subscribers             {}, {} to an address", self.subscribers, self.sharing_ratio)?;
        writeln!(
            f,
            "  with all port sets    {}, {} ports each",
            self.subscribers_with_all_sets, self.ports_per_subscriber
        )?;
        write!(f, "mappings per protocol   {}", self.mappings_per_protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity(nat: &str, pool: &str) -> Capacity {
        let text = format!(
            "[softwire]\naftr-ipv6-addr = ['2001:db8:aaaa::1']\nb4-prefixes = ['2001:db8:b4::/48']\n\
             subscriber-mask-v6 = 56\n{nat}\n[[nat.external-ip-address-pool]]\npool-id = 1\n{pool}"
        );
        Config::parse(&text).unwrap_or_else(|errors| panic!("{errors:?}")).capacity()
    }

    #[test]
    fn on_demand_sets_are_shared() {
        let capacity = capacity("", "external-ip-pool = ['198.51.100.0/28']\ndrain = ['198.51.100.3']");
        let expected = Capacity {
            external_addresses: 15,
            drained_addresses: 1,
            port_sets_per_address: 126,
            ports_per_set: 512,
            own_range: None,
            subscribers: 15 * 126,
            // 126 sets are four for 31 subscribers (RFC 6888 REQ-13).
            subscribers_with_all_sets: 15 * 31,
            sharing_ratio: 126,
            ports_per_subscriber: 2048,
            mappings_per_protocol: 15 * 64512,
        };
        assert_eq!(capacity, expected);
    }

    #[test]
    fn a_deterministic_subscriber_has_its_own_range_first() {
        let capacity = capacity("[nat.deterministic]", "external-ip-pool = ['198.51.100.0/27']");
        let expected = Capacity {
            external_addresses: 32,
            drained_addresses: 0,
            port_sets_per_address: 15,
            ports_per_set: 512,
            own_range: Some(4032),
            subscribers: 32 * 14,
            // Three of four sets are granted: 15 are enough for five.
            subscribers_with_all_sets: 32 * 5,
            sharing_ratio: 14,
            ports_per_subscriber: 4032 + 3 * 512,
            mappings_per_protocol: 32 * (14 * 4032 + 15 * 512),
        };
        assert_eq!(capacity, expected);
    }

    #[test]
    fn without_overflow_everybody_has_all_that_there_is() {
        let nat = "[nat.deterministic]\ndynamic-shares = 0";
        let capacity = capacity(nat, "external-ip-pool = ['198.51.100.0/27']");
        assert_eq!(capacity.subscribers_with_all_sets, capacity.subscribers);
        assert_eq!(capacity.ports_per_subscriber, 4608);
    }
}
