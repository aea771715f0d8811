//! `[[nat.external-ip-address-pool]]`: the addresses that subscribers share.

use std::net::Ipv4Addr;

use ipnet::{Ipv4Net, Ipv4Subnets, Ipv6Net};
use toml::de::DeValue;

use crate::ports::PortShares;
use crate::prefixes::{not_unicast, range_v6, refuse_overlaps};
use crate::reader::{Table, Value, Wrong, ipv4_net, number, string};

/// `[[nat.external-ip-address-pool]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// `pool-id`: unique.
    pub pool_id: u32,
    /// `external-ip-pool`: addresses and prefixes in any mix (RFC 6888 REQ-3); every address of a prefix is used.
    pub external_ip_pool: Vec<Ipv4Net>,
    /// `b4-prefixes`: only these B4s; empty means any. The longest match wins.
    pub b4_prefixes: Vec<Ipv6Net>,
    /// `drain`: addresses that live mappings keep and no new subscriber or port set gets (RFC 6908 section 2.4).
    pub drain: Vec<Ipv4Addr>,
    /// `max-subscribers-per-address`: default as many as port sets fit.
    pub max_subscribers_per_address: u16,
    /// `high-threshold`: percent of port sets in use that raises an alarm, default 90 (RFC 8512).
    pub high_threshold: u8,
    /// `low-threshold`: percent at which it clears, default 70.
    pub low_threshold: u8,
    /// `notify-interval`: seconds between two notifications, at least 20 (RFC 8512), default 20.
    pub notify_interval: u32,
}

/// Reads every pool. `shares` is what one address is cut into.
pub(crate) fn read_pools(nat: &mut Table<'_>, shares: PortShares) -> Vec<Pool> {
    const KEY: &str = "external-ip-address-pool";
    const CURE: &str = "add [[nat.external-ip-address-pool]] with pool-id and external-ip-pool";
    nat.require(KEY, CURE);
    let (report, key) = (nat.report(), nat.key(KEY));
    // Of an address that is cut in a wrong way nothing is said.
    let cut = ["external-port-range", "port-set", "deterministic"];
    let is_cut = !cut.iter().any(|section| report.is_wrong(&nat.key(section)));
    let most_subscribers = if is_cut { shares.subscribers().max(1) } else { u32::from(u16::MAX) };
    let pools = nat.tables(KEY, |table| Some(Pool::read(table, most_subscribers)));
    if nat.has(KEY) && pools.is_empty() && !report.is_wrong(&key) {
        report.wrong(&key, "is empty", CURE);
    }
    for (at, pool) in pools.iter().enumerate() {
        let id_key = format!("{}.pool-id", report.element(&key, at));
        if report.is_wrong(&id_key) {
            continue;
        }
        if let Some(first) = pools[..at].iter().position(|other| other.pool_id == pool.pool_id) {
            let problem = format!("is the number of {} already", report.element(&key, first));
            report.wrong_value(&id_key, problem, "give each pool its own");
        }
    }
    pools
}

impl Pool {
    fn read(mut table: Table<'_>, most_subscribers: u32) -> Pool {
        table.require("pool-id", "give each pool a number");
        let pool = Pool {
            pool_id: table.number("pool-id", 0..=u32::MAX, 0),
            external_ip_pool: read_addresses(&mut table),
            b4_prefixes: table.list("b4-prefixes").unwrap_or_default(),
            drain: table.list("drain").unwrap_or_default(),
            max_subscribers_per_address: table
                .read_with("max-subscribers-per-address", |value| {
                    number(value, &(1..=most_subscribers))
                        .map_err(|wrong| wrong.add(": an address has room for no more"))
                })
                .unwrap_or(most_subscribers) as u16,
            high_threshold: table.number("high-threshold", 0..=100, 90),
            low_threshold: table.number("low-threshold", 0..=100, 70),
            // RFC 8512 notify-interval: 20 is its default, an hour its most.
            notify_interval: table.number("notify-interval", 20..=3600, 20),
        };
        pool.check(&table);
        table.finish();
        pool
    }

    fn check(&self, table: &Table<'_>) {
        let report = table.report();
        let b4_ranges: Vec<_> = self.b4_prefixes.iter().map(|net| range_v6(*net)).collect();
        refuse_overlaps(report, &table.key("b4-prefixes"), &b4_ranges);
        if self.low_threshold >= self.high_threshold {
            let (key, value) = if table.has("low-threshold") {
                (
                    "low-threshold",
                    format!("{} is not below high-threshold, {}", self.low_threshold, self.high_threshold),
                )
            } else {
                (
                    "high-threshold",
                    format!("{} is not above low-threshold, {}", self.high_threshold, self.low_threshold),
                )
            };
            let cure = "an alarm must clear below the percentage that raises it";
            report.wrong(&table.key(key), format!("= {value}"), cure);
        }
        let (drain, is_whole) = (table.key("drain"), !report.is_wrong(&table.key("external-ip-pool")));
        for (at, address) in self.drain.iter().enumerate() {
            let element = report.element(&drain, at);
            if is_whole && !self.holds(*address) {
                let cure = "drain an address while it is in the pool, and take it out later";
                report.wrong_value(&element, "is not in external-ip-pool", cure);
            } else if self.drain[..at].contains(address) {
                report.wrong_value(&element, "is there already", "leave one of the two out");
            }
        }
    }

    /// Whether an address is one of the pool's.
    #[must_use]
    pub fn holds(&self, address: Ipv4Addr) -> bool {
        self.external_ip_pool.iter().any(|net| net.contains(&address))
    }

    /// Addresses of this pool.
    pub(crate) fn addresses(&self) -> u64 {
        self.external_ip_pool.iter().map(|net| 1 << (32 - net.prefix_len())).sum()
    }
}

/// The prefixes of `external-ip-pool`; what each came from is noted, since a range becomes several.
fn read_addresses(table: &mut Table<'_>) -> Vec<Ipv4Net> {
    const CURE: &str = "name prefixes, addresses or ranges, as [\"198.51.100.0/28\", \"203.0.113.7\"]";
    let (report, key) = (table.report(), table.key("external-ip-pool"));
    table.require("external-ip-pool", CURE);
    let entries: Vec<Addresses> = table.list("external-ip-pool").unwrap_or_default();
    if table.has("external-ip-pool") && entries.is_empty() && !report.is_wrong(&key) {
        report.wrong_value(&key, "is empty", CURE);
    }
    let mut prefixes = Vec::new();
    let mut from = Vec::new();
    for (at, Addresses(nets)) in entries.into_iter().enumerate() {
        let element = report.element(&key, at);
        if let Some(block) = nets.iter().find_map(|net| not_unicast(*net)) {
            let cure = "give addresses that the Internet routes to this AFTR";
            report.wrong_value(&element, format!("touches {block}"), cure);
        }
        from.resize(from.len() + nets.len(), at);
        prefixes.extend(nets);
    }
    let from = from.into_iter().map(|at| report.index(&key, at)).collect();
    report.keep(&key, from);
    prefixes
}

/// One entry of `external-ip-pool`: `"198.51.100.0/28"`, `"203.0.113.7"`, `"198.51.100.4-198.51.100.9"`.
struct Addresses(Vec<Ipv4Net>);

impl Value for Addresses {
    fn read(value: &DeValue<'_>) -> Result<Addresses, Wrong> {
        let text = string(value, "a prefix, an address or a range, in quotes")?;
        let Some((first, last)) = text.split_once('-') else {
            return match text.parse::<Ipv4Addr>() {
                Ok(address) => Ok(Addresses(vec![Ipv4Net::from(address)])),
                Err(_) => ipv4_net(text).map(|net| Addresses(vec![net])),
            };
        };
        let ends = first.trim().parse::<Ipv4Addr>().ok().zip(last.trim().parse::<Ipv4Addr>().ok());
        let Some((first, last)) = ends else {
            return Err(Wrong::new("cannot be read", "write a range as \"198.51.100.4-198.51.100.9\""));
        };
        if first > last {
            return Err(Wrong::new("ends before it begins", format!("write \"{last}-{first}\"")));
        }
        Ok(Addresses(Ipv4Subnets::new(first, last, 0).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, String> {
        let value = DeValue::parse(text).expect("a value");
        let addresses = Addresses::read(value.get_ref()).map_err(|wrong| wrong.to_string())?;
        Ok(addresses.0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_entry_is_a_prefix_an_address_or_a_range() {
        assert_eq!(read("'198.51.100.0/28'").unwrap(), ["198.51.100.0/28"]);
        assert_eq!(read("'203.0.113.7'").unwrap(), ["203.0.113.7/32"]);
        assert_eq!(read("'198.51.100.4 - 198.51.100.9'").unwrap(), ["198.51.100.4/30", "198.51.100.8/31"]);
        assert_eq!(read("'198.51.100.4-198.51.100.4'").unwrap(), ["198.51.100.4/32"]);
    }

    #[test]
    fn what_is_no_entry_says_how_it_should_look() {
        assert!(read("'198.51.100.1/28'").unwrap_err().contains("write \"198.51.100.0/28\""));
        assert!(read("'198.51.100.9-198.51.100.4'").unwrap_err().contains("198.51.100.4-198.51.100.9"));
        assert!(read("'198.51.100.0/33'").unwrap_err().contains("cannot be read"));
        assert!(read("'a-b'").unwrap_err().contains("cannot be read"));
        assert!(read("7").unwrap_err().contains("is a whole number"));
    }
}
