//! The configuration language of `aftr`, and nothing else.
//!
//! [`Config::parse`] is the only way in: it reads the text once, finds everything that is wrong
//! with it, and gives either a [`Config`] whose fields cannot be wrong or every [`ConfigError`].
//! Keys are the leaf names of RFC 8512 (ietf-nat) and RFC 8513 (ietf-dslite) where these have one.
//! Durations are whole seconds.

// One file is one section: its model, then how it is read.
mod softwire;
mod nat;
mod pool;
mod ports;
mod limits;
mod fragments;
mod timers;
mod pass_through;
mod mapping_table;
mod protocol;
mod policy;
mod icmp;
mod dataplane;
mod workers;
mod export;
mod target;
mod tls;
mod journal;
// What holds between sections, and what follows from them.
mod checks;
mod advice;
mod capacity;
// How a document is read.
mod reader;
mod report;
mod prefixes;
mod error;

pub use capacity::Capacity;
pub use dataplane::{Dataplane, DeviceKind, Interfaces};
pub use error::ConfigError;
pub use export::{Collector, Export, Format, Receiver};
pub use fragments::FragmentLimits;
pub use icmp::IcmpLimits;
pub use journal::{Journal, OnLoss};
pub use limits::{SessionLimits, Tables};
pub use mapping_table::StaticMapping;
pub use nat::{Filtering, MidSession, Nat, UnknownOptions};
pub use pass_through::PassThrough;
pub use policy::{Policy, Rule};
pub use pool::Pool;
pub use ports::{Deterministic, PortQuota, PortSet};
pub use protocol::{PerProtocol, Protocol};
pub use softwire::{DfPolicy, Dscp, Ecn, FlowLabel, MssClamping, Softwire};
pub use target::{Log, Spool, Target, Transport};
pub use timers::{PerPortTimeout, Timers};
pub use tls::Tls;
pub use workers::worker_of_address;

use reader::Table;
use report::Report;
use toml::de::DeTable;

/// Longest duration, in seconds: 30 days, which fits the engine's 32-bit milliseconds.
const MOST_SECONDS: u32 = 2_592_000;
/// Most entries of a table.
const MOST_ENTRIES: u32 = 1 << 30;
/// Most tokens of a bucket, which the engine counts in thousandths.
const MOST_TOKENS: u32 = 4_000_000;

/// A configuration that has been checked whole: no field of it can be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `[softwire]`: who may open one, and how it looks on the wire.
    pub softwire: Softwire,
    /// `[nat]`: pools, port sets, quotas, filtering and timers.
    pub nat: Nat,
    /// `[policy]`: what is refused although it could be translated.
    pub policy: Policy,
    /// `[icmp]`: how many errors of our own may leave.
    pub icmp: IcmpLimits,
    /// `[dataplane]`: devices and workers.
    pub dataplane: Dataplane,
    /// `[ipfix]` and `[syslog]`: who is told of grants.
    pub export: Export,
    /// `[journal]`: the evidence of who held which ports; absent, none is kept.
    pub journal: Option<Journal>,
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the text; of a text that is no TOML, the first
    /// syntax error.
    pub fn parse(text: &str) -> Result<Config, Vec<ConfigError>> {
        let document = DeTable::parse(text).map_err(|error| vec![ConfigError::syntax(text, &error)])?;
        let report = Report::new(text, document.get_ref());
        let config = Config::read(Table::root(document.get_ref(), &report));
        checks::check(&config, &report);
        let errors = report.into_errors();
        if errors.is_empty() { Ok(config) } else { Err(errors) }
    }

    /// What the configuration allows and an operator may not have meant, one sentence each.
    #[must_use]
    pub fn advice(&self) -> Vec<String> {
        advice::advice(self)
    }

    /// How many subscribers and mappings fit.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        Capacity::of(self)
    }

    /// The model of a document, with defaults in place of what is wrong.
    fn read(mut root: Table<'_>) -> Config {
        let softwire = Softwire::read(root.table("softwire"));
        let config = Config {
            nat: Nat::read(root.table("nat"), &softwire),
            softwire,
            policy: Policy::read(root.table("policy")),
            icmp: IcmpLimits::read(root.table("icmp")),
            dataplane: Dataplane::read(root.table("dataplane")),
            export: Export::read(root.table("ipfix"), root.table("syslog")),
            journal: if root.has("journal") {
                Journal::read(root.table("journal"))
            } else {
                // For whoever writes its name wrong.
                root.report().note_known("journal".to_owned());
                None
            },
        };
        root.finish();
        config
    }
}

#[cfg(test)]
mod tests;
