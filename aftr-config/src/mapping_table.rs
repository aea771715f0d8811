//! `[[nat.mapping-table]]`: static mappings.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::protocol::Protocol;
use crate::reader::Table;

/// `[[nat.mapping-table]]`: a static mapping (RFC 8512 mapping-entry, RFC 6888 REQ-9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StaticMapping {
    /// `b4-ipv6-address`: the softwire that holds the host.
    pub b4_ipv6_address: Ipv6Addr,
    /// `transport-protocol`
    pub transport_protocol: Protocol,
    /// `internal-src-address`
    pub internal_src_address: Ipv4Addr,
    /// `internal-src-port`
    pub internal_src_port: u16,
    /// `external-src-address`: an address of a pool.
    pub external_src_address: Ipv4Addr,
    /// `external-src-port`: 1 to 65535; its port set is never granted to anybody.
    pub external_src_port: u16,
}

impl StaticMapping {
    pub(crate) fn read(mut table: Table<'_>) -> Option<StaticMapping> {
        let b4_ipv6_address = table.required("b4-ipv6-address", "name the B4 in front of the host");
        table.require("transport-protocol", "write \"tcp\", \"udp\" or \"icmp\"");
        let transport_protocol = table.choice("transport-protocol", &Protocol::NAMES);
        let internal_src_address = table.required("internal-src-address", "name the host");
        table.require("internal-src-port", "name the host's port");
        let internal_src_port = table.optional_number("internal-src-port", 1..=65535);
        let external_src_address = table.required("external-src-address", "name an address of a pool");
        table.require("external-src-port", "name the port that the Internet sees");
        let external_src_port = table.optional_number("external-src-port", 1..=65535);
        table.finish();
        Some(StaticMapping {
            b4_ipv6_address: b4_ipv6_address?,
            transport_protocol: transport_protocol?,
            internal_src_address: internal_src_address?,
            internal_src_port: internal_src_port?,
            external_src_address: external_src_address?,
            external_src_port: external_src_port?,
        })
    }
}
