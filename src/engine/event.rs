//! What the world may know of the engine: the one stream that feeds journal, export and metrics.
//!
//! No event names a remote address (RFC 6888 REQ-12).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use ipnet::Ipv6Net;

use super::time::Instant;
use aftr_config::Protocol;

/// Something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Instant,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A subscriber may now use these ports of an external address, for every protocol.
    PortSetGranted(Grant),
    /// The subscriber gave them back.
    PortSetReleased(Grant),
    /// A mapping was made.
    MappingCreated(MappingRecord),
    /// A mapping ended.
    MappingRemoved(MappingRecord),
    /// A subscriber's softwire now ends at another B4 address (RFC 7785 section 4.3).
    SoftwireMoved {
        /// The subscriber.
        subscriber: Ipv6Net,
        /// The B4 address until now.
        from: Ipv6Addr,
        /// The B4 address from now on.
        to: Ipv6Addr,
    },
    /// A pool's use crossed its high threshold (RFC 6888 REQ-11c, RFC 8512).
    PoolHigh {
        /// `pool-id`
        pool_id: u32,
        /// Port sets in use, in percent.
        percent: u8,
    },
    /// A pool's use fell below its low threshold again.
    PoolLow {
        /// `pool-id`
        pool_id: u32,
        /// Port sets in use, in percent.
        percent: u8,
    },
    /// A table crossed 80 % of its limit, or 95 % (RFC 6333 section 6.3).
    TableHigh {
        /// Which.
        table: Table,
        /// In use, in percent.
        percent: u8,
    },
    /// A table fell below 70 % again.
    TableLow {
        /// Which.
        table: Table,
        /// In use, in percent.
        percent: u8,
    },
    /// Inner and outer ECN came in pairs that no honest path makes (RFC 6040 section 4.2); sent at most every 60 s.
    EcnAnomalies {
        /// How many since the last one.
        count: u64,
    },
    /// A limit refused something new (RFC 6888 REQ-11, RFC 8158 section 4.3); sent at most every 20 s for a pool or
    /// an address, every 10 s for the whole instance, every 60 s for a subscriber.
    LimitReached(Limit),
    /// New mappings were refused; sent at most every 10 s, with the number since the last one.
    Refused {
        /// The counter that counted them.
        reason: super::verdict::DropReason,
        /// How many.
        count: u64,
    },
}

/// Something that is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// No address of a pool has room for another subscriber.
    Pool {
        /// `pool-id`
        pool_id: u32,
    },
    /// An external address has no port of a protocol left for the subscribers that are paired with it.
    Address {
        /// The address.
        external: Ipv4Addr,
        /// The protocol.
        protocol: Protocol,
    },
    /// `limit-sessions`
    Sessions,
    /// `limit-port-mappings`
    Mappings,
    /// `limit-subscribers`
    Subscribers,
    /// A subscriber has what it may have: of mappings, ports or sessions.
    Subscriber {
        /// The B4 whose packet was refused.
        b4: Ipv6Addr,
        /// The host behind it.
        internal: Ipv4Addr,
        /// How many it may have.
        most: u32,
    },
    /// A subscriber's datagrams in pieces are as many or as large as they may be.
    Fragments {
        /// The B4 whose packet was refused.
        b4: Ipv6Addr,
        /// The host behind it.
        internal: Ipv4Addr,
        /// How many datagrams it may have.
        most: u32,
    },
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Pool { pool_id } => write!(f, "addresses of pool {pool_id}"),
            Limit::Address { external, protocol } => write!(f, "{} ports of {external}", protocol.name()),
            Limit::Sessions => f.write_str("sessions"),
            Limit::Mappings => f.write_str("mappings"),
            Limit::Subscribers => f.write_str("subscribers"),
            Limit::Subscriber { b4, internal, most } => {
                write!(f, "the {most} entries of {b4} for {internal}")
            }
            Limit::Fragments { b4, internal, most } => {
                write!(f, "the {most} datagrams in pieces of {b4} for {internal}")
            }
        }
    }
}

/// What an engine keeps, within the limits of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// `limit-subscribers`
    Subscribers,
    /// `limit-softwires`
    Softwires,
    /// `limit-port-mappings`
    Mappings,
    /// `limit-sessions`
    Sessions,
    /// `[softwire.reassembly]`
    Reassembly,
    /// `[nat.fragments]`
    Fragments,
}

impl Table {
    /// Every table.
    pub const ALL: [Table; 6] = [
        Table::Subscribers,
        Table::Softwires,
        Table::Mappings,
        Table::Sessions,
        Table::Reassembly,
        Table::Fragments,
    ];

    /// What it is called in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Table::Subscribers => "subscribers",
            Table::Softwires => "softwires",
            Table::Mappings => "mappings",
            Table::Sessions => "sessions",
            Table::Reassembly => "reassembly",
            Table::Fragments => "fragments",
        }
    }
}

/// Ports of an external address that belong to a subscriber for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The subscriber.
    pub subscriber: Ipv6Net,
    /// The B4 whose packet asked for it.
    pub b4: Ipv6Addr,
    /// The host behind it that sent the packet.
    pub internal: Ipv4Addr,
    /// `pool-id` of the external address.
    pub pool_id: u32,
    /// External address.
    pub external: Ipv4Addr,
    /// First port.
    pub first_port: u16,
    /// Last port.
    pub last_port: u16,
}

/// A mapping, as a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappingRecord {
    /// The B4 address of the softwire.
    pub b4: Ipv6Addr,
    /// Protocol; for ICMP the ports are query identifiers.
    pub protocol: Protocol,
    /// Internal address and port.
    pub internal: SocketAddrV4,
    /// External address and port.
    pub external: SocketAddrV4,
    /// `pool-id` of the external address.
    pub pool_id: u32,
}
