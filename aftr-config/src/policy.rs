//! `[policy]`: what an operator refuses although it could be translated (RFC 6908 section 2.5).

use ipnet::{Ipv4Net, Ipv6Net};

use crate::Protocol;
use crate::protocol::read_protocol_and_port;
use crate::reader::Table;

/// `[policy]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// `[[policy.deny-from-b4]]`: refused with ICMP 3/13 to the host (RFC 6908 section 2.5.1).
    pub deny_from_b4: Vec<Rule>,
    /// `[[policy.deny-from-internet]]`: refused in silence (RFC 6908 section 2.5.2).
    pub deny_from_internet: Vec<Rule>,
    /// `downstream-dscp`: set on every packet to a B4, inner and outer; none leaves it alone.
    pub downstream_dscp: Option<u8>,
}

/// One rule: a packet that matches every key present is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// `b4-prefix`: which B4s; none means all. Only in `deny-from-b4`.
    pub b4_prefix: Option<Ipv6Net>,
    /// `prefix`: the remote side: destination from a B4, source from the Internet.
    pub prefix: Ipv4Net,
    /// `protocol`: none means all three.
    pub protocol: Option<Protocol>,
    /// `port`: the remote side's port; none means all.
    pub port: Option<u16>,
}

impl Policy {
    pub(crate) fn read(mut table: Table<'_>) -> Policy {
        let policy = Policy {
            deny_from_b4: table.tables("deny-from-b4", |mut rule| {
                let b4_prefix = rule.optional("b4-prefix");
                Rule::read(rule, b4_prefix)
            }),
            deny_from_internet: table.tables("deny-from-internet", |rule| Rule::read(rule, None)),
            downstream_dscp: table.optional_number("downstream-dscp", 0..=63),
        };
        table.finish();
        policy
    }
}

impl Rule {
    fn read(mut table: Table<'_>, b4_prefix: Option<Ipv6Net>) -> Option<Rule> {
        let prefix = table.required("prefix", "name the remote side; \"0.0.0.0/0\" is everybody");
        let (protocol, port) = read_protocol_and_port(&mut table);
        table.finish();
        Some(Rule { b4_prefix, prefix: prefix?, protocol, port })
    }
}
