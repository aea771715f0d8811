//! RFC 7422 as two functions of a configuration alone: whose own ports these are, and which are a
//! subscriber's. The engine cuts its ranges by the same [`Layout`] and the same numbering of addresses.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use aftr_config::Config;
use ipnet::{Ipv4Net, Ipv6Net};

use super::layout::{Layout, subscriber_index};
use super::pool::every_address;

/// The external address and ports that follow from a B4's address; nothing without `[nat.deterministic]`, or
/// for a B4 outside the prefixes.
#[must_use]
pub fn own_range(config: &Config, b4: Ipv6Addr) -> Option<(Ipv4Addr, RangeInclusive<u16>)> {
    let layout = Layout::new(&config.nat);
    let own_ranges = u64::from(layout.own_ranges());
    let prefix = Ipv6Net::new_assert(b4, config.softwire.subscriber_mask_v6).trunc().network();
    let softwire = &config.softwire;
    let index = subscriber_index(&softwire.b4_prefixes, softwire.subscriber_mask_v6, prefix.to_bits())?;
    let number = index.checked_div(own_ranges)?;
    let nets = config.nat.external_ip_address_pool.iter().flat_map(|pool| &pool.external_ip_pool);
    Some((nth_address(nets, number)?, layout.ports((index % own_ranges) as u32)))
}

/// The address with this number among those of all prefixes, in their order.
pub(in crate::engine) fn nth_address<'n>(
    nets: impl IntoIterator<Item = &'n Ipv4Net>,
    mut number: u64,
) -> Option<Ipv4Addr> {
    for net in nets {
        let count = 1u64 << (32 - net.prefix_len());
        if number < count {
            return Some(Ipv4Addr::from_bits(net.network().to_bits() + number as u32));
        }
        number -= count;
    }
    None
}

/// The subscriber whose own range the port is in; nothing where ports are granted on demand.
#[must_use]
pub fn own_range_subscriber(config: &Config, external: Ipv4Addr, port: u16) -> Option<Ipv6Net> {
    let layout = Layout::new(&config.nat);
    let own = layout.set_of(port).filter(|&set| set < layout.own_ranges())?;
    let nets = config.nat.external_ip_address_pool.iter().flat_map(|pool| &pool.external_ip_pool);
    let number = nets.flat_map(every_address).position(|address| address == external)? as u128;
    let mut index = number * u128::from(layout.own_ranges()) + u128::from(own);
    let mask = config.softwire.subscriber_mask_v6;
    for net in &config.softwire.b4_prefixes {
        let count = 1u128.checked_shl(u32::from(mask.checked_sub(net.prefix_len())?))?;
        if index < count {
            let bits = index.checked_shl(128 - u32::from(mask)).unwrap_or(0);
            return Ipv6Net::new((net.network().to_bits() + bits).into(), mask).ok();
        }
        index -= count;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(extra: &str) -> Config {
        let text = format!(
            "[softwire]\naftr-ipv6-addr = ['2001:db8:aaaa::1']\n\
             b4-prefixes = ['2001:db8:b4::/60', '2001:db8:b5::/61']\nsubscriber-mask-v6 = 64\n\
             [[nat.external-ip-address-pool]]\npool-id = 1\nexternal-ip-pool = ['192.0.2.1', '198.51.100.0/31']\n\
             {extra}"
        );
        Config::parse(&text).unwrap_or_else(|errors| panic!("{errors:?}"))
    }

    /// RFC 7422 section 2: both functions, for every address and port.
    #[test]
    fn both_functions_are_each_others_inverse() {
        let config = config("[nat.deterministic]\nsubscribers-per-address = 14\ndynamic-shares = 2");
        let mut owned = 0;
        for external in ["192.0.2.1", "198.51.100.0", "198.51.100.1"] {
            let external = external.parse().unwrap();
            for port in 0..=u16::MAX {
                let Some(subscriber) = own_range_subscriber(&config, external, port) else { continue };
                let (address, ports) = own_range(&config, subscriber.network()).unwrap();
                assert!(address == external && ports.contains(&port), "{external}:{port} {subscriber}");
                owned += 1;
            }
        }
        // 24 subscribers; RFC 7422 section 2.3: 4032 ports each.
        assert_eq!(owned, 24 * 4032);
    }

    /// RFC 7422 section 2.3: the table of the example.
    #[test]
    fn the_example_of_the_rfc_comes_out() {
        let config = config("[nat.deterministic]\nsubscribers-per-address = 14\ndynamic-shares = 2");
        let b4 = |number: u16| Ipv6Addr::new(0x2001, 0xdb8, 0xb4, number, 0, 0, 0, 9);
        let address: Ipv4Addr = "192.0.2.1".parse().unwrap();
        assert_eq!(own_range(&config, b4(0)), Some((address, 1024..=5055)));
        assert_eq!(own_range(&config, b4(13)), Some((address, 53440..=57471)));
        assert_eq!(own_range(&config, b4(14)).unwrap().0.to_string(), "198.51.100.0");
        assert_eq!(own_range_subscriber(&config, address, 57472), None);
        assert_eq!(own_range(&config, "2001:db8:ffff::1".parse().unwrap()), None);
    }

    #[test]
    fn on_demand_nothing_follows_from_a_prefix() {
        let config = config("");
        assert_eq!(own_range(&config, "2001:db8:b4::1".parse().unwrap()), None);
        assert_eq!(own_range_subscriber(&config, "192.0.2.1".parse().unwrap(), 2000), None);
    }
}
