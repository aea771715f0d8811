//! `[softwire]`: the IPv4-in-IPv6 tunnels of RFC 6333, with the leaf names of RFC 8513.

use std::net::Ipv6Addr;

use ipnet::{Ipv4Net, Ipv6Net};

/// `[softwire]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Softwire {
    /// `aftr-ipv6-addr`: the addresses that B4s send to; at least one (RFC 6334: a B4 may pick any).
    pub aftr_ipv6_addr: Vec<Ipv6Addr>,
    /// `b4-prefixes`: who may open a softwire; empty means nobody (RFC 6333 section 11).
    pub b4_prefixes: Vec<Ipv6Net>,
    /// `internal-prefixes`: inner sources that are translated, besides 192.0.0.2 to 192.0.0.7.
    /// Default: the three blocks of RFC 1918.
    pub internal_prefixes: Vec<Ipv4Net>,
    /// `subscriber-mask-v6`: bits of a B4 address that name the subscriber, 0 to 128, default 128
    /// (RFC 7785 section 3; set it to the length that you delegate).
    pub subscriber_mask_v6: u8,
    /// `max-softwires-per-subscriber`: 1 to 255, default 1 (RFC 7785 section 4.1).
    pub max_softwires_per_subscriber: u8,
    /// `b4-address-change-limit`: seconds between two address changes, default 1800 (RFC 7785 section 4.3).
    pub b4_address_change_limit: u32,
    /// `state-migrate`: mappings follow a B4 that changes its address, default true.
    pub state_migrate: bool,
    /// `access-mtu`: IPv6 MTU towards the B4s, 1280 to 65535, default 1500.
    pub access_mtu: u16,
    /// `v6-v4-dscp-preservation`: how DSCP crosses, default [`Dscp::Uniform`] (RFC 2983, RFC 6908 section 2.10).
    pub dscp: Dscp,
    /// `ecn`: RFC 6040 mode of the encapsulation, default normal.
    pub ecn: Ecn,
    /// `hop-limit`: outer hop limit, 1 to 255, default 64 (RFC 2473 section 6.3).
    pub hop_limit: u8,
    /// `flow-label`: outer flow label, default zero (RFC 6438).
    pub flow_label: FlowLabel,
    /// `encapsulation-limit`: adds a Tunnel Encapsulation Limit option of 4 (RFC 2473 section 5.1), default false.
    pub encapsulation_limit: bool,
    /// `mss-clamping`
    pub mss_clamping: MssClamping,
    /// `answer-unknown-b4`: ICMPv6 1/5 to a source outside `b4-prefixes`, default false: silence
    /// (RFC 4213 section 3.6).
    pub answer_unknown_b4: bool,
}

impl Softwire {
    /// `tunnel-mtu`: the largest inner packet that needs no fragment: `access-mtu` less 40,
    /// and less 8 more when the encapsulation limit is added.
    #[must_use]
    pub fn tunnel_mtu(&self) -> u16 {
        self.access_mtu - 40 - if self.encapsulation_limit { 8 } else { 0 }
    }
}

/// How the DSCP crosses the tunnel (RFC 2983 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dscp {
    /// `true`: inner to outer on the way in, outer to inner on the way out.
    Uniform,
    /// `false`: the inner field is never touched; the outer one is 0.
    Pipe,
}

/// ECN on encapsulation (RFC 6040 section 4.3). Decapsulation follows section 4.2 in both modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ecn {
    /// `"normal"`: copied to the outer header.
    Normal,
    /// `"compat"`: the outer header says Not-ECT.
    Compat,
}

/// Outer flow label (RFC 6438).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowLabel {
    /// `"zero"`
    Zero,
    /// `"hash"`: 20 bits of a keyed hash of the inner flow.
    Hash,
}

/// `mss-clamping` (RFC 8513)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MssClamping {
    /// `enable`: default true.
    pub enable: bool,
    /// `mss-value`: upper limit; default `tunnel-mtu` less 40.
    pub mss_value: u16,
}
