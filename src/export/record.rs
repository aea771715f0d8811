//! What a collector is told: one event, with the time of the wall clock, ready to be written in any form.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::template;
use crate::engine::Limit;

/// One thing that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// When, in milliseconds since 1970 (UTC).
    pub at: u64,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A subscriber got ports of an external address, or gave them back: natEvent 16, 17.
    PortSet {
        /// Which of both.
        change: Change,
        /// Who.
        host: Host,
        /// External address.
        external: Ipv4Addr,
        /// First port.
        first_port: u16,
        /// Last port.
        last_port: u16,
        /// `pool-id`
        pool_id: u32,
    },
    /// A mapping began, or ended: natEvent 8, 9.
    Mapping {
        /// Which of both.
        change: Change,
        /// Who.
        host: Host,
        /// 1, 6 or 17.
        protocol: u8,
        /// Of the host; the identifier of an ICMP query.
        internal_port: u16,
        /// External address.
        external: Ipv4Addr,
        /// External port.
        external_port: u16,
        /// `pool-id`
        pool_id: u32,
    },
    /// A threshold was crossed: natEvent 18.
    Threshold {
        /// Which.
        threshold: Threshold,
        /// Its value, as a number of addresses, mappings or subscribers.
        value: u32,
        /// `pool-id`; 0 for one that is not a pool's.
        pool_id: u32,
    },
    /// A limit refused something new: natEvent 3, 12, 13.
    Limit {
        /// Which.
        limit: Limit,
        /// Its value; 0 for a pool and an address, of which RFC 8158 asks for none.
        most: u32,
    },
}

/// Beginning or end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It began.
    Begin,
    /// It ended.
    End,
}

/// Whose it is: both addresses together, since homes use the same private ones (RFC 6333 section 6.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host {
    /// The B4.
    pub b4: Ipv6Addr,
    /// The host behind it.
    pub internal: Ipv4Addr,
}

/// natThresholdEvent (RFC 8158 table 3), as far as the engine tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threshold {
    /// 1: a pool is nearly used up.
    PoolHigh,
    /// 2: it has room again.
    PoolLow,
    /// 3: so are the mappings.
    MappingsHigh,
    /// 5: so are the subscribers, each of which has one external address.
    AddressMappingsHigh,
}

/// How dear a record is: when something must be lost, the first of these goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A notice for the operator.
    Notice = 0,
    /// A mapping: a part of a grant.
    Mapping = 1,
    /// A grant: the only record of who had which ports.
    Grant = 2,
}

impl Class {
    /// Every class, the first to go first.
    pub const ALL: [Class; 3] = [Class::Notice, Class::Mapping, Class::Grant];

    /// What it is called in counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Class::Notice => "notice",
            Class::Mapping => "mapping",
            Class::Grant => "grant",
        }
    }
}

impl Record {
    /// How dear it is.
    #[inline]
    #[must_use]
    pub const fn class(&self) -> Class {
        match self.what {
            What::PortSet { .. } => Class::Grant,
            What::Mapping { .. } => Class::Mapping,
            What::Threshold { .. } | What::Limit { .. } => Class::Notice,
        }
    }

    /// The number of its template.
    #[inline]
    #[must_use]
    pub const fn template(&self) -> u16 {
        match self.what {
            What::PortSet { .. } => template::PORT_SET,
            What::Mapping { .. } => template::MAPPING,
            What::Threshold { threshold, .. } => template::THRESHOLDS[threshold.code() as usize - 1],
            What::Limit { limit: Limit::Pool { .. }, .. } => template::NO_ADDRESS,
            What::Limit { limit: Limit::Address { .. }, .. } => template::NO_PORT,
            What::Limit { limit, .. } => template::QUOTAS[quota(&limit) as usize - 1],
        }
    }

    /// natEvent (RFC 8158 section 4.3). `nel` gives 1 and 2 for what begins and ends, which RFC 8158 calls
    /// historic and older collectors know.
    #[inline]
    #[must_use]
    pub const fn nat_event(&self, nel: bool) -> u8 {
        match (self.what, nel) {
            (What::PortSet { change, .. } | What::Mapping { change, .. }, true) => change.code(1),
            (What::PortSet { change, .. }, false) => change.code(16),
            (What::Mapping { change, .. }, false) => change.code(8),
            (What::Threshold { .. }, _) => 18,
            (What::Limit { limit: Limit::Pool { .. }, .. }, _) => 3,
            (What::Limit { limit: Limit::Address { .. }, .. }, _) => 12,
            (What::Limit { .. }, _) => 13,
        }
    }
}

/// natQuotaExceededEvent (RFC 8158 table 2); 0 for what is no quota.
pub(super) const fn quota(limit: &Limit) -> u32 {
    match limit {
        Limit::Pool { .. } | Limit::Address { .. } => 0,
        Limit::Sessions => 1,
        Limit::Mappings => 2,
        Limit::Subscriber { .. } => 3,
        Limit::Subscribers => 4,
        Limit::Fragments { .. } => 5,
    }
}

impl Change {
    const fn code(self, begin: u8) -> u8 {
        match self {
            Change::Begin => begin,
            Change::End => begin + 1,
        }
    }
}

impl Threshold {
    /// Every one.
    pub const ALL: [Threshold; 4] =
        [Threshold::PoolHigh, Threshold::PoolLow, Threshold::MappingsHigh, Threshold::AddressMappingsHigh];

    /// natThresholdEvent
    #[inline]
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Threshold::PoolHigh => 1,
            Threshold::PoolLow => 2,
            Threshold::MappingsHigh => 3,
            Threshold::AddressMappingsHigh => 5,
        }
    }
}
