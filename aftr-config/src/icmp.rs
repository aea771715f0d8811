//! `[icmp]`: how many errors of our own may leave (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 f).

use crate::MOST_TOKENS;
use crate::reader::{Table, number};

/// `[icmp]`: token buckets, in packets per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpLimits {
    /// `enable`: errors of our own are sent at all; default true (RFC 5508 REQ-9).
    pub enable: bool,
    /// `per-subscriber-rate`: ICMPv4 into the softwires of one subscriber; default 10.
    pub per_subscriber_rate: u32,
    /// `per-subscriber-burst`: default 20.
    pub per_subscriber_burst: u32,
    /// `to-b4-rate`: ICMPv4 into all softwires; default 1000.
    pub to_b4_rate: u32,
    /// `to-internet-rate`: ICMPv4 to the Internet; default 500.
    pub to_internet_rate: u32,
    /// `icmpv6-per-source-rate`: ICMPv6 errors to one source; default 10.
    pub icmpv6_per_source_rate: u32,
    /// `icmpv6-rate`: ICMPv6 errors in total; default 100.
    pub icmpv6_rate: u32,
    /// `echo-per-b4-rate`: echo replies of 192.0.0.1 and of the AFTR address to one B4; default 10.
    pub echo_per_b4_rate: u32,
    /// `syn-reject-rate`: ICMP 3/3 for unsolicited SYNs; default 100.
    pub syn_reject_rate: u32,
}

impl IcmpLimits {
    pub(crate) fn read(mut table: Table<'_>) -> IcmpLimits {
        let limits = IcmpLimits {
            enable: table.value("enable", true),
            per_subscriber_rate: read_rate(&mut table, "per-subscriber-rate", 10),
            per_subscriber_burst: read_rate(&mut table, "per-subscriber-burst", 20),
            to_b4_rate: read_rate(&mut table, "to-b4-rate", 1000),
            to_internet_rate: read_rate(&mut table, "to-internet-rate", 500),
            icmpv6_per_source_rate: read_rate(&mut table, "icmpv6-per-source-rate", 10),
            icmpv6_rate: read_rate(&mut table, "icmpv6-rate", 100),
            echo_per_b4_rate: read_rate(&mut table, "echo-per-b4-rate", 10),
            syn_reject_rate: read_rate(&mut table, "syn-reject-rate", 100),
        };
        table.finish();
        limits
    }
}

fn read_rate(table: &mut Table<'_>, key: &'static str, default: u32) -> u32 {
    let rate = table.read_with(key, |value| {
        number(value, &(1..=MOST_TOKENS)).map_err(|wrong| wrong.add(", or enable = false for none"))
    });
    rate.unwrap_or(default)
}
