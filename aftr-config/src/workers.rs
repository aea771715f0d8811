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
    /// What one of the workers may use: its part of every limit that is for all. Parts are rounded up.
    #[must_use]
    pub fn of_one_worker(&self) -> Config {
        let mut config = self.clone();
        let workers = u32::from(self.dataplane.workers);
        let (nat, reassembly, icmp) = (&mut config.nat, &mut config.softwire.reassembly, &mut config.icmp);
        for limit in [
            &mut nat.tables.limit_softwires,
            &mut nat.tables.limit_subscribers,
            &mut nat.tables.limit_port_mappings,
            &mut nat.tables.limit_sessions,
            &mut nat.syn_held_max,
            &mut nat.fragments.limit,
            &mut reassembly.limit,
            &mut icmp.to_b4_rate,
            &mut icmp.to_internet_rate,
            &mut icmp.icmpv6_rate,
            &mut icmp.syn_reject_rate,
        ] {
            *limit = limit.div_ceil(workers);
        }
        if let Some(most) = &mut nat.hold_down_max {
            *most = most.div_ceil(workers);
        }
        for octets in [&mut nat.fragments.octets, &mut reassembly.octets] {
            *octets = octets.div_ceil(workers);
        }
        config
    }
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
    check_static_mappings(config, report);
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
    for pool in &config.nat.external_ip_address_pool {
        let addresses = pool.external_ip_pool.iter().flat_map(|net| {
            (net.network().to_bits()..=net.broadcast().to_bits())
                .take(usize::from(workers))
                .map(Ipv4Addr::from)
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
