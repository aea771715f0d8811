//! `[[nat.nat-pass-through]]`: destinations that are reached untranslated.

use ipnet::Ipv4Net;

use crate::protocol::{Protocol, read_protocol_and_port};
use crate::reader::Table;

/// `[[nat.nat-pass-through]]` (RFC 8512; RFC 6888 REQ-6)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassThrough {
    /// `prefix`: destination.
    pub prefix: Ipv4Net,
    /// `protocol`: none means TCP, UDP and ICMP.
    pub protocol: Option<Protocol>,
    /// `port`: destination port; none means all.
    pub port: Option<u16>,
}

impl PassThrough {
    pub(crate) fn read(mut table: Table<'_>) -> Option<PassThrough> {
        let prefix = table.required("prefix", "name the destinations that are not translated");
        let (protocol, port) = read_protocol_and_port(&mut table);
        table.finish();
        Some(PassThrough { prefix: prefix?, protocol, port })
    }
}
