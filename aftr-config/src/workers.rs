//! Several workers: what each of them may use, and what they cannot share.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::Config;
use crate::report::Report;

/// The worker that an external address belongs to, the first being 0: neighbours take turns.
#[must_use]
pub fn worker_of_address(external: Ipv4Addr, workers: u16) -> u16 {
    (external.to_bits() % u32::from(workers)) as u16
}

impl Config {
    /// What one of the workers may use. Rates for all are divided; so is the room for all, with an eighth more
    /// and some on top, because subscribers are never spread quite evenly.
    #[must_use]
    pub fn of_one_worker(&self) -> Config {
        let mut config = self.clone();
        let workers = u32::from(self.dataplane.workers);
        let (nat, reassembly, icmp) = (&mut config.nat, &mut config.softwire.reassembly, &mut config.icmp);
        for rate in [
            &mut icmp.to_b4_rate,
            &mut icmp.to_internet_rate,
            &mut icmp.icmpv6_rate,
            &mut icmp.syn_reject_rate,
        ] {
            *rate = rate.div_ceil(workers);
        }
        for limit in [
            &mut nat.tables.limit_softwires,
            &mut nat.tables.limit_subscribers,
            &mut nat.tables.limit_port_mappings,
            &mut nat.tables.limit_sessions,
            &mut nat.syn_held_max,
            &mut nat.fragments.limit,
            &mut reassembly.limit,
        ]
        .into_iter()
        .chain(&mut nat.hold_down_max)
        {
            *limit = room(*limit, workers);
        }
        // No less than one home may have.
        for (octets, of_home) in [
            (&mut nat.fragments.octets, nat.fragments.octets_per_subscriber),
            (&mut reassembly.octets, reassembly.octets_per_subscriber),
        ] {
            *octets = octets.div_ceil(workers).max(of_home);
        }
        config
    }
}

/// One worker's part of what holds `limit` for all.
fn room(limit: u32, workers: u32) -> u32 {
    let part = limit.div_ceil(workers);
    // Four standard deviations of an even spread.
    let spread = 4 * part.isqrt() + 16;
    part.saturating_add(part / 8).saturating_add(spread).min(limit)
}

pub(crate) fn check(config: &Config, report: &Report<'_>) {
    let workers = config.dataplane.workers;
    if workers == 1 {
        return;
    }
    if !config.nat.nat_pass_through.is_empty() {
        let problem = format!(
            "cannot stand with dataplane.workers = {workers}: no external address says whose an untranslated \
             packet is"
        );
        report.wrong("nat.nat-pass-through", problem, "set dataplane.workers = 1, or leave the rules out");
    }
    let cpus = config.dataplane.cpus.len();
    if cpus != 0 && cpus != usize::from(workers) {
        let problem = format!("names {cpus} processors for {workers} workers");
        report.wrong("dataplane.cpus", problem, "name one for each worker, or leave it out");
    }
    check_pool_prefixes(config, report);
    check_static_mappings(config, report);
}

/// A pool that takes a part of a subscriber would take it to another worker than the rest of it.
fn check_pool_prefixes(config: &Config, report: &Report<'_>) {
    let mask = config.softwire.subscriber_mask_v6;
    for (at, pool) in config.nat.external_ip_address_pool.iter().enumerate() {
        let list = format!("{}.b4-prefixes", report.element("nat.external-ip-address-pool", at));
        let prefixes = pool.b4_prefixes.iter().enumerate();
        for (place, _) in prefixes.filter(|(_, prefix)| prefix.prefix_len() > mask) {
            let problem =
                format!("is a part of a subscriber, which is a /{mask}, and may be another worker's");
            let cure = format!("give a /{mask} or shorter, or set dataplane.workers = 1");
            report.wrong_value(&report.element(&list, place), problem, cure);
        }
    }
}

/// All that a subscriber has is its worker's, and an external address is one worker's.
fn check_static_mappings(config: &Config, report: &Report<'_>) {
    let workers = config.dataplane.workers;
    let mask = u128::MAX.checked_shl(128 - u32::from(config.softwire.subscriber_mask_v6)).unwrap_or(0);
    let mut first = BTreeMap::new();
    for (at, entry) in config.nat.mapping_table.iter().enumerate() {
        let element = report.element("nat.mapping-table", at);
        let key = format!("{element}.external-src-address");
        if config.nat.deterministic.is_some() {
            let problem = format!("cannot stand with nat.deterministic and dataplane.workers = {workers}");
            report.wrong_value(&key, problem, "set dataplane.workers = 1, or leave the mapping out");
            continue;
        }
        let address = entry.external_src_address;
        let subscriber = entry.b4_ipv6_address.to_bits() & mask;
        let (other, other_element) = first.entry(subscriber).or_insert((address, element));
        if worker_of_address(*other, workers) != worker_of_address(address, workers) {
            let problem = format!(
                "belongs to another of the {workers} workers than {other} of {other_element}, whose subscriber is \
                 the same"
            );
            report.wrong_value(&key, problem, format!("give {other}, or set dataplane.workers = 1"));
        }
    }
}

/// Pools that leave workers without subscribers.
pub(crate) fn advise(config: &Config, advice: &mut Vec<String>) {
    let workers = config.dataplane.workers;
    if workers == 1 {
        return;
    }
    for pool in &config.nat.external_ip_address_pool {
        let addresses = pool.external_ip_pool.iter().flat_map(|net| {
            let all = (net.network().to_bits()..=net.broadcast().to_bits()).map(Ipv4Addr::from);
            // A drained address takes nobody new.
            all.filter(|address| !pool.drain.contains(address)).take(usize::from(workers))
        });
        let serve: BTreeSet<u16> = addresses.map(|address| worker_of_address(address, workers)).collect();
        if serve.len() < usize::from(workers) {
            advice.push(format!(
                "nat.external-ip-address-pool {}: {} of the {workers} workers have an address of it and serve its \
                 B4s; {workers} addresses in a row give each one",
                pool.pool_id,
                serve.len()
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::room;

    #[test]
    fn one_worker_has_all_and_many_have_an_eighth_more_than_there_is() {
        assert_eq!(room(1_000_000, 1), 1_000_000);
        assert_eq!(room(1, 4), 1);
        assert_eq!(room(100, 2), 100);
        assert_eq!(room(1_048_576, 4), 262_144 + 32_768 + 2048 + 16);
    }
}
