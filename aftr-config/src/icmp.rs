//! `[icmp]`: how many errors of our own may leave (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 f).

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
