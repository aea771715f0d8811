//! `[nat]`: translation, with the leaf names of RFC 8512.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::{Ipv4Net, Ipv6Net};

/// `[nat]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nat {
    /// `[[nat.external-ip-address-pool]]`: at least one; none overlaps another (RFC 6333 section 8.1).
    pub external_ip_address_pool: Vec<Pool>,
    /// `filtering-type`, for all or per protocol; default endpoint-independent (RFC 4787 REQ-8).
    pub filtering_type: PerProtocol<Filtering>,
    /// `external-port-range = [first, last]`; default 1024 to 65535 (RFC 6908 section 2.11).
    pub external_port_range: RangeInclusive<u16>,
    /// `port-set`
    pub port_set: PortSet,
    /// `[nat.deterministic]` (RFC 7422); none means port sets on demand.
    pub deterministic: Option<Deterministic>,
    /// `port-quota`: external ports and ICMP identifiers of one subscriber (RFC 6888 REQ-4).
    pub port_quota: PortQuota,
    /// `[nat.session-limits]` (RFC 6888 REQ-5)
    pub session_limits: SessionLimits,
    /// `[nat.mapping-limits]`: sizes of the tables, fixed at start.
    pub tables: Tables,
    /// `[nat.timers]`
    pub timers: Timers,
    /// `hold-down-max`: most ports held at a time; none is unlimited (RFC 6888 REQ-8).
    pub hold_down_max: Option<u32>,
    /// `port-parity-preservation`: even stays even; default false (RFC 7857 section 8).
    pub port_parity_preservation: bool,
    /// `udp-inbound-refresh`: packets from the Internet keep a UDP mapping; default false (RFC 4787 REQ-6).
    pub udp_inbound_refresh: bool,
    /// `syn-reject`: ICMP 3/3 for an unsolicited SYN after `tcp-in-syn-timeout`; default true (RFC 5382 REQ-4).
    pub syn_reject: bool,
    /// `syn-held-max`: unsolicited SYNs remembered at a time; default 16384.
    pub syn_held_max: u32,
    /// `tcp-mid-session`: a packet from inside that opens nothing and belongs to nothing; default drop.
    pub tcp_mid_session: MidSession,
    /// `pool-echo`: pool addresses answer ICMP echo from the Internet; default false.
    pub pool_echo: bool,
    /// `udp-reject`: ICMP 3/3 for UDP from the Internet without a mapping; default false: silence.
    pub udp_reject: bool,
    /// `[[nat.nat-pass-through]]`: destinations that are reached untranslated (RFC 6888 REQ-6).
    pub nat_pass_through: Vec<PassThrough>,
    /// `[[nat.mapping-table]]`: static mappings.
    pub mapping_table: Vec<StaticMapping>,
}

/// `[[nat.external-ip-address-pool]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// `pool-id`: unique.
    pub pool_id: u32,
    /// `external-ip-pool`: addresses and prefixes in any mix (RFC 6888 REQ-3); every address of a prefix is used.
    pub external_ip_pool: Vec<Ipv4Net>,
    /// `b4-prefixes`: only these B4s; empty means any. The longest match wins.
    pub b4_prefixes: Vec<Ipv6Net>,
    /// `drain`: addresses that live mappings keep and no new subscriber or port set gets (RFC 6908 section 2.4).
    pub drain: Vec<Ipv4Addr>,
    /// `max-subscribers-per-address`: default as many as port sets fit.
    pub max_subscribers_per_address: u16,
    /// `high-threshold`: percent of port sets in use that raises an alarm, default 90 (RFC 8512).
    pub high_threshold: u8,
    /// `low-threshold`: percent at which it clears, default 70.
    pub low_threshold: u8,
    /// `notify-interval`: seconds between two notifications, at least 20 (RFC 8512), default 20.
    pub notify_interval: u32,
}

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

/// `filtering-type` (RFC 4787 section 5)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filtering {
    /// `"endpoint-independent"`
    EndpointIndependent,
    /// `"address-dependent"`
    AddressDependent,
    /// `"address-and-port-dependent"`
    AddressAndPortDependent,
}

/// `port-set`: ports are granted to a subscriber in sets of this shape (RFC 6888 REQ-13, REQ-14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortSet {
    /// `port-set-size`: ports; divides the port range; default 512.
    pub port_set_size: u16,
    /// `max-port-sets`: sets that one subscriber may hold, 1 to 32; default 4.
    pub max_port_sets: u8,
    /// `port-set-timeout`: seconds that an empty set stays with its subscriber; default 120.
    pub port_set_timeout: u32,
}

/// `[nat.deterministic]`: each subscriber's ports follow from its B4 prefix (RFC 7422).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deterministic {
    /// `subscribers-per-address`: C of RFC 7422 section 2; default 14.
    pub subscribers_per_address: u16,
    /// `dynamic-shares`: D, shares of an address kept for overflow sets; 0 means none; default 2.
    pub dynamic_shares: u16,
}

/// `port-quota` (RFC 8512; RFC 6888 REQ-4)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortQuota {
    /// `tcp`: mappings of one subscriber; default 2048.
    pub tcp: u32,
    /// `udp`: default 2048.
    pub udp: u32,
    /// `icmp`: query identifiers; default 256.
    pub icmp: u32,
    /// `new-mappings-per-second`: default 200 (RFC 6888 REQ-4c).
    pub new_mappings_per_second: u32,
    /// `new-mappings-burst`: default 400.
    pub new_mappings_burst: u32,
}

/// `[nat.session-limits]` (RFC 6888 REQ-5)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// `limit-per-subscriber`: sessions of one subscriber; default 8192.
    pub limit_per_subscriber: u32,
    /// `limit-per-mapping`: sessions of one mapping; default 1024.
    pub limit_per_mapping: u32,
    /// `inbound-half-open-per-mapping`: opened from the Internet and unanswered; default 256.
    pub inbound_half_open_per_mapping: u32,
    /// `inbound-half-open-per-subscriber`: default 1024.
    pub inbound_half_open_per_subscriber: u32,
}

/// `[nat.mapping-limits]`: what the tables are sized for; exhaustion refuses the new (RFC 6888 REQ-11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tables {
    /// `limit-subscribers`: default 65536.
    pub limit_subscribers: u32,
    /// `limit-softwires`: default as many as subscribers.
    pub limit_softwires: u32,
    /// `limit-port-mappings`: mappings of all subscribers; default 1048576.
    pub limit_port_mappings: u32,
    /// `limit-sessions`: sessions of all subscribers; default 1048576.
    pub limit_sessions: u32,
    /// `limit-pass-through-sessions`: untranslated sessions; default 65536 when a rule exists, otherwise 0.
    pub limit_pass_through_sessions: u32,
}

/// `[nat.timers]`, in seconds. The floors are the RFCs'; `relaxed-timers = true` lets a test or a lab go below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timers {
    /// `udp-timeout`: default 300, floor 120 (RFC 4787 REQ-5).
    pub udp_timeout: u32,
    /// `tcp-idle-timeout`: default and floor 7440 (RFC 5382 REQ-5).
    pub tcp_idle_timeout: u32,
    /// `tcp-trans-open-timeout`: default 240; may be lower (RFC 7857 section 2.1).
    pub tcp_trans_open_timeout: u32,
    /// `tcp-trans-close-timeout`: default and floor 240 (RFC 5382 REQ-5); also the life after a RST (RFC 7857 section 2.2).
    pub tcp_trans_close_timeout: u32,
    /// `tcp-in-syn-timeout`: default and floor 6 (RFC 5382 REQ-4).
    pub tcp_in_syn_timeout: u32,
    /// `icmp-timeout`: default and floor 60 (RFC 5508 REQ-2).
    pub icmp_timeout: u32,
    /// `hold-down-timeout`: default 120 (RFC 6888 REQ-8).
    pub hold_down_timeout: u32,
    /// `per-port-timeout`: shorter UDP timers for destination ports 0 to 1023 (RFC 4787 REQ-5a).
    pub per_port_timeout: Vec<PerPortTimeout>,
}

/// `[[nat.timers.per-port-timeout]]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerPortTimeout {
    /// `port-number`: UDP destination port, 0 to 1023.
    pub port_number: u16,
    /// `timeout`: seconds.
    pub timeout: u32,
}

/// `tcp-mid-session`: what meets a TCP packet from inside without SYN, session or mapping (RFC 5382 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MidSession {
    /// `"drop"`: silence.
    Drop,
    /// `"rst"`: a RST to the host.
    Rst,
}

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
