//! What must hold between sections. Each check looks at the model; the report knows where its parts stand.

use std::collections::BTreeMap;

use crate::ports::PortShares;
use crate::prefixes::{WELL_KNOWN, overlaps, range_v4, touch};
use crate::report::Report;
use crate::{Config, MOST_ENTRIES};

const POOLS: &str = "nat.external-ip-address-pool";

pub(crate) fn check(config: &Config, report: &Report<'_>) {
    aftr_addresses_are_no_b4s(config, report);
    pools_do_not_overlap(config, report);
    pools_are_external(config, report);
    b4_prefixes_have_one_pool(config, report);
    port_sets_can_be_counted(config, report);
    deterministic_ranges_suffice(config, report);
    static_mappings_fit(config, report);
    static_mappings_are_distinct(config, report);
    pass_through_avoids_pools(config, report);
    crate::workers::check(config, report);
}

/// A tunnel has two ends.
fn aftr_addresses_are_no_b4s(config: &Config, report: &Report<'_>) {
    for (at, prefix) in config.softwire.b4_prefixes.iter().enumerate() {
        if let Some(address) = config.softwire.aftr_ipv6_addr.iter().find(|address| prefix.contains(*address))
        {
            let problem = format!("contains the AFTR address {address}");
            let cure = "name the prefixes of the B4s alone";
            report.wrong_value(&report.element("softwire.b4-prefixes", at), problem, cure);
        }
    }
}

/// RFC 6333 section 8.1: an external address and port has one owner.
fn pools_do_not_overlap(config: &Config, report: &Report<'_>) {
    let prefixes: Vec<_> = pool_prefixes(config, report).collect();
    let ranges: Vec<_> = prefixes.iter().map(|(_, net)| range_v4(*net)).collect();
    for (later, earlier) in overlaps(&ranges) {
        let (later, earlier) = (&prefixes[later].0, &prefixes[earlier].0);
        let problem = format!("overlaps {} of {earlier} (RFC 6333 section 8.1)", report.source(earlier));
        report.wrong_value(later, problem, "leave the addresses in one of the two");
    }
}

/// A packet from the Internet must not look as if it came from inside a softwire.
fn pools_are_external(config: &Config, report: &Report<'_>) {
    for (key, net) in pool_prefixes(config, report) {
        let internal = &config.softwire.internal_prefixes;
        if let Some(internal) = internal.iter().find(|internal| touch(**internal, net)) {
            let problem = format!("overlaps {internal} of softwire.internal-prefixes");
            report.wrong_value(&key, problem, "give external addresses, or take the prefix out there");
        }
    }
}

/// The pool of a B4 is the one with the longest prefix that holds it; equal ones would be a tie.
fn b4_prefixes_have_one_pool(config: &Config, report: &Report<'_>) {
    let mut owners = BTreeMap::new();
    for (at, pool) in config.nat.external_ip_address_pool.iter().enumerate() {
        let list = format!("{}.b4-prefixes", report.element(POOLS, at));
        if config.nat.deterministic.is_some() && !pool.b4_prefixes.is_empty() {
            let problem = "cannot stand with [nat.deterministic], whose subscribers share all pools in order";
            report.wrong(&list, problem, "leave it out");
            continue;
        }
        for (place, prefix) in pool.b4_prefixes.iter().enumerate() {
            let key = report.element(&list, place);
            let (owner, earlier) = owners.entry(*prefix).or_insert_with(|| (at, key.clone()));
            if *owner != at {
                let problem = format!("is that of {earlier} too");
                report.wrong_value(&key, problem, "give each B4 prefix to one pool");
            }
        }
    }
}

fn port_sets_can_be_counted(config: &Config, report: &Report<'_>) {
    let shares = shares(config);
    let pools = &config.nat.external_ip_address_pool;
    let addresses: u64 = pools.iter().map(|pool| pool.addresses()).sum();
    let sets = addresses * u64::from(shares.sets + shares.own_ranges);
    if sets > u64::from(MOST_ENTRIES) {
        let problem = format!("has {addresses} addresses with {sets} port sets, more than {MOST_ENTRIES}");
        report.wrong(POOLS, problem, "give fewer addresses, or raise port-set-size");
    }
}

/// RFC 7422 section 2: every subscriber that the prefixes can hold has its own range.
fn deterministic_ranges_suffice(config: &Config, report: &Report<'_>) {
    let Some(deterministic) = config.nat.deterministic else { return };
    let mask = config.softwire.subscriber_mask_v6;
    let mut subscribers = 0u128;
    for (at, prefix) in config.softwire.b4_prefixes.iter().enumerate() {
        match mask.checked_sub(prefix.prefix_len()) {
            Some(bits) => {
                subscribers = subscribers.saturating_add(1u128.checked_shl(bits.into()).unwrap_or(u128::MAX))
            }
            None => {
                let problem =
                    format!("is longer than subscriber-mask-v6 = {mask}: it is less than a subscriber");
                let cure = format!("give a /{mask} or shorter, or raise the mask");
                report.wrong_value(&report.element("softwire.b4-prefixes", at), problem, cure);
            }
        }
    }
    let addresses: u64 = config.nat.external_ip_address_pool.iter().map(|pool| pool.addresses()).sum();
    let each = u128::from(deterministic.subscribers_per_address);
    let places = u128::from(addresses) * each;
    let is_known = !report.is_wrong(POOLS)
        && !report.is_wrong("softwire.b4-prefixes")
        && !report.is_wrong("softwire.subscriber-mask-v6");
    if is_known && subscribers > places {
        let count = if subscribers < 1 << 40 {
            subscribers.to_string()
        } else {
            format!("2^{}", subscribers.ilog2())
        };
        let problem = format!(
            "has own ranges for {places} subscribers ({each} x {addresses} addresses), and softwire.b4-prefixes \
             hold {count} at subscriber-mask-v6 = {mask}"
        );
        let wanted = subscribers.div_ceil(each);
        let cure = match u32::try_from(wanted) {
            Ok(wanted) => format!(
                "set softwire.subscriber-mask-v6 to the length that is delegated, or give {wanted} addresses"
            ),
            Err(_) => "set softwire.subscriber-mask-v6 to the length that is delegated".to_owned(),
        };
        report.wrong("nat.deterministic", problem, cure);
    }
}

fn static_mappings_fit(config: &Config, report: &Report<'_>) {
    let (pools, softwire) = (&config.nat.external_ip_address_pool, &config.softwire);
    for (at, entry) in config.nat.mapping_table.iter().enumerate() {
        let element = report.element("nat.mapping-table", at);
        let wrong = |key: &str, problem, cure| report.wrong_value(&format!("{element}.{key}"), problem, cure);
        if !report.is_wrong(POOLS) && !pools.iter().any(|pool| pool.holds(entry.external_src_address)) {
            wrong("external-src-address", "is in no pool", "name an address of external-ip-pool");
        }
        let b4 = entry.b4_ipv6_address;
        if !report.is_wrong("softwire.b4-prefixes")
            && !softwire.b4_prefixes.iter().any(|net| net.contains(&b4))
        {
            wrong(
                "b4-ipv6-address",
                "is in none of softwire.b4-prefixes",
                "name a B4 that may open a softwire",
            );
        }
        let host = entry.internal_src_address;
        let is_b4 = WELL_KNOWN.contains(&host) && host.octets()[3] >= 2;
        let is_internal = is_b4 || softwire.internal_prefixes.iter().any(|net| net.contains(&host));
        if !report.is_wrong("softwire.internal-prefixes") && !is_internal {
            let problem = "is in none of softwire.internal-prefixes";
            wrong("internal-src-address", problem, "name a host behind the B4");
        }
    }
}

fn static_mappings_are_distinct(config: &Config, report: &Report<'_>) {
    let (mut externals, mut internals) = (BTreeMap::new(), BTreeMap::new());
    for (at, entry) in config.nat.mapping_table.iter().enumerate() {
        let element = report.element("nat.mapping-table", at);
        let protocol = entry.transport_protocol;
        let external = (entry.external_src_address, protocol, entry.external_src_port);
        if let Some(first) = externals.insert(external, element.clone()) {
            let problem = format!("is mapped by {first} already");
            report.wrong_value(
                &format!("{element}.external-src-port"),
                problem,
                "give another port or address",
            );
        }
        let host = (entry.b4_ipv6_address, entry.internal_src_address, protocol, entry.internal_src_port);
        if let Some(first) = internals.insert(host, element.clone()) {
            // RFC 4787 REQ-1: an internal endpoint has one external endpoint.
            let problem = format!("of this host is mapped by {first} already");
            report.wrong_value(&format!("{element}.internal-src-port"), problem, "leave one of the two out");
        }
    }
}

/// What is sent to a pool address is for a subscriber, and translated.
fn pass_through_avoids_pools(config: &Config, report: &Report<'_>) {
    for (at, rule) in config.nat.nat_pass_through.iter().enumerate() {
        if let Some((pool, _)) = pool_prefixes(config, report).find(|(_, net)| touch(*net, rule.prefix)) {
            let key = format!("{}.prefix", report.element("nat.nat-pass-through", at));
            let problem = format!("overlaps {} of {pool}", report.source(&pool));
            report.wrong_value(&key, problem, "name destinations outside the pools");
        }
    }
}

fn shares(config: &Config) -> PortShares {
    PortShares::of(&config.nat.external_port_range, config.nat.port_set, config.nat.deterministic)
}

/// Every prefix of every pool, with its path.
fn pool_prefixes<'c>(
    config: &'c Config,
    report: &'c Report<'_>,
) -> impl Iterator<Item = (String, ipnet::Ipv4Net)> + 'c {
    config.nat.external_ip_address_pool.iter().enumerate().flat_map(move |(at, pool)| {
        let list = format!("{}.external-ip-pool", report.element(POOLS, at));
        let nets = pool.external_ip_pool.iter().enumerate();
        nets.map(move |(place, net)| (report.element(&list, place), *net))
    })
}
