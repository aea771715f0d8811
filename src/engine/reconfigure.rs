//! A changed configuration: it is taken over whole, and what it still allows lives on.

use aftr_config::Config;
use ipnet::Ipv6Net;

use super::aftr::Aftr;
use super::mapping::Layout;
use super::settings::Settings;
use super::time::Instant;

impl Aftr {
    /// Takes over a changed configuration; what it still allows lives on.
    ///
    /// # Errors
    /// The keys that cannot change while the engine runs; then nothing has changed.
    pub fn reconfigure(&mut self, config: &Config, now: Instant) -> Result<(), Vec<&'static str>> {
        let fixed = fixed_keys_that_differ(&self.settings.config, config);
        if !fixed.is_empty() {
            return Err(fixed);
        }
        self.settings = Settings::new(config, self.settings.ttl);
        self.reassembly.limit(&config.softwire.reassembly);
        self.fragments_from_b4.limit(&config.nat.fragments);
        self.fragments_from_internet.limit(&config.nat.fragments);
        self.pool.update(config, &self.share);
        self.ports.extend_to(self.pool.addresses.len());
        self.end_retired_mappings(now);
        let softwires: Vec<(u32, Ipv6Net)> =
            self.softwires.slab.iter().map(|(id, softwire)| (id, Ipv6Net::from(softwire.b4))).collect();
        for (id, b4) in softwires {
            if self.settings.allows_b4(b4.addr()) {
                self.softwires.reopen(id);
            } else {
                self.softwires.shut(id);
                self.purge(b4, now);
            }
        }
        self.rewatch_pools(now);
        Ok(())
    }

    /// Ends every mapping of every subscriber inside `prefix` (RFC 7785 section 4.6); says how many.
    pub fn purge(&mut self, prefix: Ipv6Net, now: Instant) -> usize {
        self.purge_passed_through(prefix);
        self.purge_mappings(prefix, now)
    }
}

/// What the tables were shaped by at the start.
fn fixed_keys_that_differ(old: &Config, new: &Config) -> Vec<&'static str> {
    let deterministic_pool = old.nat.deterministic.is_some()
        && old.nat.external_ip_address_pool != new.nat.external_ip_address_pool;
    // RFC 7422: whose ports are whose follows from the order of the prefixes.
    let deterministic_prefixes =
        old.nat.deterministic.is_some() && old.softwire.b4_prefixes != new.softwire.b4_prefixes;
    let differences = [
        ("softwire.aftr-ipv6-addr", old.softwire.aftr_ipv6_addr != new.softwire.aftr_ipv6_addr),
        ("softwire.subscriber-mask-v6", old.softwire.subscriber_mask_v6 != new.softwire.subscriber_mask_v6),
        ("nat.external-port-range", old.nat.external_port_range != new.nat.external_port_range),
        ("nat.port-set.port-set-size", Layout::new(&old.nat) != Layout::new(&new.nat)),
        ("nat.deterministic", old.nat.deterministic != new.nat.deterministic),
        ("nat.external-ip-address-pool (with nat.deterministic)", deterministic_pool),
        ("softwire.b4-prefixes (with nat.deterministic)", deterministic_prefixes),
        ("softwire.reassembly.limit", old.softwire.reassembly.limit != new.softwire.reassembly.limit),
        ("nat.fragments.limit", old.nat.fragments.limit != new.nat.fragments.limit),
        ("nat.mapping-limits", old.nat.tables != new.nat.tables),
        ("nat.syn-held-max", old.nat.syn_held_max != new.nat.syn_held_max),
        ("nat.mapping-table", old.nat.mapping_table != new.nat.mapping_table),
        ("dataplane", old.dataplane != new.dataplane),
        ("journal", old.journal != new.journal),
        ("ipfix, syslog", old.export != new.export),
    ];
    differences.into_iter().filter(|&(_, differs)| differs).map(|(key, _)| key).collect()
}
