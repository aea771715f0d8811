//! What every record says of this translator, and what percentages of its configuration are in numbers.

use aftr_config::Config;

use crate::engine::{Limit, Table};

/// Longest name of a pool, in octets: it must fit into the smallest datagram (RFC 7011 section 10.3.3).
const MOST_NAME: usize = 300;

/// This translator, as collectors see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// natInstanceID, and the Observation Domain.
    pub nat_instance_id: u32,
    /// Name of this machine in syslog.
    pub host_name: String,
    /// The pools of the configuration.
    pub pools: Vec<PoolFacts>,
    /// `limit-subscribers`
    pub most_subscribers: u32,
    /// `limit-port-mappings`
    pub most_mappings: u32,
    /// `limit-sessions`
    pub most_sessions: u32,
}

/// A pool, as collectors see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolFacts {
    /// `pool-id`
    pub pool_id: u32,
    /// Its prefixes, with a comma between two.
    pub name: String,
    /// How many addresses it has.
    pub addresses: u64,
    /// Percent.
    pub high_threshold: u8,
    /// Percent.
    pub low_threshold: u8,
}

impl Instance {
    /// The instance of a configuration, on the machine of that name.
    #[must_use]
    pub fn of(config: &Config, host_name: &str) -> Instance {
        let pools = config.nat.external_ip_address_pool.iter().map(|pool| {
            let mut name = String::new();
            for net in &pool.external_ip_pool {
                let more = format!("{}{net}", if name.is_empty() { "" } else { "," });
                if name.len() + more.len() <= MOST_NAME {
                    name += &more;
                }
            }
            PoolFacts {
                pool_id: pool.pool_id,
                name,
                addresses: pool.external_ip_pool.iter().map(|net| 1 << (32 - net.prefix_len())).sum(),
                high_threshold: pool.high_threshold,
                low_threshold: pool.low_threshold,
            }
        });
        Instance {
            nat_instance_id: config.export.nat_instance_id,
            host_name: host_name.to_owned(),
            pools: pools.collect(),
            most_subscribers: config.nat.tables.limit_subscribers,
            most_mappings: config.nat.tables.limit_port_mappings,
            most_sessions: config.nat.tables.limit_sessions,
        }
    }

    /// The value of a limit; 0 for one that has none.
    pub(super) const fn most(&self, limit: &Limit) -> u32 {
        match *limit {
            Limit::Pool { .. } | Limit::Address { .. } => 0,
            Limit::Sessions => self.most_sessions,
            Limit::Mappings => self.most_mappings,
            Limit::Subscribers => self.most_subscribers,
            Limit::Subscriber { most, .. } | Limit::Fragments { most, .. } => most,
        }
    }

    /// A pool's thresholds as numbers of addresses: high, low. They round up and down, so that high is never
    /// below low.
    pub(super) fn pool_thresholds(&self, pool_id: u32) -> Option<(u32, u32)> {
        let pool = self.pools.iter().find(|pool| pool.pool_id == pool_id)?;
        let high = (pool.addresses * u64::from(pool.high_threshold)).div_ceil(100);
        let low = pool.addresses * u64::from(pool.low_threshold) / 100;
        Some((u32::try_from(high).unwrap_or(u32::MAX), u32::try_from(low).unwrap_or(u32::MAX)))
    }

    /// The threshold that a table crossed, as a number: the engine tells at 80 and at 95 percent. Of tables
    /// that RFC 8158 has no name for, nothing.
    pub(super) fn table_threshold(&self, table: Table, percent: u8) -> Option<u32> {
        let most = match table {
            Table::Subscribers => self.most_subscribers,
            Table::Mappings => self.most_mappings,
            Table::Softwires | Table::Sessions | Table::Reassembly | Table::Fragments => return None,
        };
        let crossed = if percent >= 95 { 95 } else { 80 };
        u32::try_from((u64::from(most) * crossed).div_ceil(100)).ok()
    }
}
