//! What the world may know of the engine: the one stream that feeds journal, export and metrics.
//!
//! No event names a remote address (RFC 6888 REQ-12).

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
    /// New mappings were refused; sent at most every 10 s, with the number since the last one.
    Refused {
        /// The counter that counted them.
        reason: super::verdict::DropReason,
        /// How many.
        count: u64,
    },
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
