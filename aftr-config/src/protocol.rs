//! The protocols that are translated, as keys and as values.

use crate::reader::Table;

/// One value for each protocol that is translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerProtocol<T> {
    /// `tcp`
    pub tcp: T,
    /// `udp`
    pub udp: T,
    /// `icmp`
    pub icmp: T,
}

/// Transport protocol of a rule or a static mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// `"tcp"`
    Tcp,
    /// `"udp"`
    Udp,
    /// `"icmp"`: the port is the query identifier (RFC 5508).
    Icmp,
}

impl Protocol {
    pub(crate) const NAMES: [(&'static str, Protocol); 3] =
        [("tcp", Protocol::Tcp), ("udp", Protocol::Udp), ("icmp", Protocol::Icmp)];

    /// What it is called in a configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Protocol::NAMES[self as usize].0
    }
}

/// `protocol` and `port` of a rule. A port means something together with TCP or UDP only.
pub(crate) fn read_protocol_and_port(table: &mut Table<'_>) -> (Option<Protocol>, Option<u16>) {
    let protocol = table.choice("protocol", &Protocol::NAMES);
    let port = table.optional_number("port", 1..=65535);
    let (report, key) = (table.report(), table.key("port"));
    match protocol {
        None if port.is_some() && !table.has("protocol") => {
            report.wrong_value(&key, "stands without a protocol", "add protocol = \"tcp\" or \"udp\"");
        }
        Some(Protocol::Icmp) if port.is_some() => {
            report.wrong_value(&key, "stands with ICMP, which has no ports", "leave the port out");
        }
        _ => {}
    }
    (protocol, port)
}
