//! What can be looked at from outside while the engine runs.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::time::Duration;

use aftr_config::Protocol;
use ipnet::Ipv6Net;

/// How many live in each table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Subscribers.
    pub subscribers: usize,
    /// Softwires.
    pub softwires: usize,
    /// Mappings, static ones included.
    pub mappings: usize,
    /// Sessions.
    pub sessions: usize,
    /// Outer packets that are not whole yet.
    pub reassembling: usize,
    /// IPv4 datagrams that cross in pieces.
    pub fragmented: usize,
}

/// A mapping that lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappingView {
    /// The B4 address that its softwire has now.
    pub b4: Ipv6Addr,
    /// Protocol; for ICMP the ports are query identifiers.
    pub protocol: Protocol,
    /// Internal address and port.
    pub internal: SocketAddrV4,
    /// External address and port.
    pub external: SocketAddrV4,
    /// Time since it was made.
    pub age: Duration,
    /// Time since the last packet that kept it alive.
    pub idle: Duration,
    /// Sessions that it carries; always 0 for UDP and ICMP with endpoint-independent filtering.
    pub sessions: u32,
    /// Configured, not made by traffic.
    pub is_static: bool,
}

/// A subscriber that holds something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriberView {
    /// The B4 prefix that names it.
    pub prefix: Ipv6Net,
    /// Its external address, once it has one.
    pub external: Option<Ipv4Addr>,
    /// Its softwires' B4 addresses.
    pub softwires: Vec<Ipv6Addr>,
    /// Its port sets: first and last port.
    pub port_sets: Vec<(u16, u16)>,
    /// Mappings: TCP, UDP, ICMP.
    pub mappings: [u32; 3],
    /// Sessions.
    pub sessions: u32,
    /// Inner packets and octets from its B4s.
    pub from_b4: (u64, u64),
    /// Inner packets and octets to its B4s.
    pub to_b4: (u64, u64),
}
